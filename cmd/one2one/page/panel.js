// The live panel: how the call travels, from getStats, once a second.

const interval = 1000; // milliseconds
const samples = 60; // of a plot

const $ = (id) => document.getElementById(id);

// A plot has up to two lines: what goes out, what comes in.
class Plot {
  constructor(title, format, lines) {
    this.format = format;
    this.values = lines.map(() => []);
    const element = document.createElement("div");
    element.className = "plot";
    element.innerHTML = `<h3></h3><p>${lines.map((l) => `<span class="${l.side}"></span>`).join("")}</p>` +
      `<svg viewBox="0 0 ${samples - 1} 40" preserveAspectRatio="none" aria-hidden="true"><line x1="0" y1="39.5" x2="${samples - 1}" y2="39.5"/>${lines.map((l) => `<polyline class="${l.side}"/>`).join("")}</svg>`;
    element.querySelector("h3").textContent = title;
    this.labels = [...element.querySelectorAll("p span")];
    this.curves = [...element.querySelectorAll("polyline")];
    this.signs = lines.map((l) => l.sign);
    $("plots").append(element);
    this.show();
  }

  add(...values) {
    values.forEach((value, i) => {
      this.values[i].push(value);
      if (this.values[i].length > samples) this.values[i].shift();
    });
    this.show();
  }

  clear() {
    this.values.forEach((line) => line.splice(0));
    this.show();
  }

  show() {
    const top = Math.max(1e-9, ...this.values.flat().filter(Number.isFinite)) * 1.15;
    this.values.forEach((line, i) => {
      const last = line.at(-1);
      this.labels[i].textContent = `${this.signs[i]}${Number.isFinite(last) ? this.format(last) : "–"}`;
      const points = line.map((v, x) => [samples - line.length + x, v]).filter(([, v]) => Number.isFinite(v));
      this.curves[i].setAttribute("points", points.map(([x, v]) => `${x},${(39 - (v / top) * 38).toFixed(1)}`).join(" "));
    });
  }
}

const bits = (v) => (v >= 1e6 ? `${(v / 1e6).toFixed(2)} Mbit/s` : `${(v / 1e3).toFixed(0)} kbit/s`);

export class Panel {
  #plots;
  #call = null;
  #timer = 0;
  #last = null;
  #told = null;
  #candidates = [];

  constructor() {
    const both = [{ side: "out", sign: "↑ " }, { side: "in", sign: "↓ " }];
    this.#plots = {
      bitrate: new Plot("Bitrate", bits, both),
      rtt: new Plot("Round trip", (v) => `${v.toFixed(v < 10 ? 1 : 0)} ms`, [{ side: "out", sign: "" }]),
      loss: new Plot("Packets lost", (v) => `${v.toFixed(1)} %`, both),
      frames: new Plot("Video frames", (v) => `${v.toFixed(0)} /s`, both),
    };
  }

  // follow shows a call until the next one; own and peer are names.
  follow(call, own, peer) {
    this.#call = call;
    this.#last = null;
    this.#told = null;
    Object.values(this.#plots).forEach((plot) => plot.clear());
    $("nodeYou").textContent = own;
    $("nodePeer").textContent = peer;
    $("nodeRelay").textContent = "relay";
    for (const id of ["legYou", "relayYou", "relayPeer", "legPeer"]) $(id).textContent = "–";
    call.addEventListener("told", ({ detail }) => {
      this.#told = detail;
      $("legPeer").textContent = detail.transport;
    });
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#read(), interval);
  }

  // rest stops at the last state, which stays readable after the call.
  rest() {
    clearInterval(this.#timer);
    this.#call = null;
  }

  async #read() {
    const call = this.#call;
    const stats = await call?.pc.getStats().catch(() => null);
    if (!stats || call !== this.#call || call.ended) return;
    const all = [...stats.values()];
    const transport = all.find((s) => s.type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId);
    this.#showCandidates(all, pair);
    if (!pair) return;
    const local = stats.get(pair.localCandidateId);
    const remote = stats.get(pair.remoteCandidateId);
    const about = { transport: way(local) };
    call.tell(about);
    this.#showRoute(local, remote, about);
    this.#showNumbers(all, pair, local, remote, transport);
  }

  #showRoute(local, remote, about) {
    const relayed = local?.candidateType === "relay";
    $("nodeRelay").textContent = relayed ? `relay ${local.url ? serverOf(local) : ""}` : "directly, without a relay";
    $("legYou").textContent = about.transport;
    $("relayYou").textContent = relayed ? spell(local) : "not used";
    $("relayPeer").textContent = remote?.candidateType === "relay" ? spell(remote) : "not used";
    $("legPeer").textContent = this.#told?.transport ?? "…";
    $("route").setAttribute("aria-label", `You, ${about.transport} to the relay at ${spell(local)}, from there to ${spell(remote)}, ${this.#told?.transport ?? "in an unknown way"} to the other side.`);
  }

  #showNumbers(all, pair, local, remote, transport) {
    const sum = (type, field, kind) => all.filter((s) => s.type === type && (!kind || s.kind === kind)).reduce((n, s) => n + (s[field] ?? 0), 0);
    const now = {
      at: pair.timestamp, pair: pair.id, sent: pair.bytesSent, received: pair.bytesReceived,
      got: sum("inbound-rtp", "packetsReceived"), lost: sum("inbound-rtp", "packetsLost"),
      gave: sum("outbound-rtp", "packetsSent"), lostThere: sum("remote-inbound-rtp", "packetsLost"),
      decoded: sum("inbound-rtp", "framesDecoded", "video"), encoded: sum("outbound-rtp", "framesEncoded", "video"),
    };
    const before = this.#last;
    this.#last = now;
    if (before?.pair === now.pair && now.at > before.at) {
      const seconds = (now.at - before.at) / 1000;
      const share = (lost, whole) => (whole + lost > 0 ? (100 * Math.max(0, lost)) / (whole + Math.max(0, lost)) : 0);
      this.#plots.bitrate.add((8 * (now.sent - before.sent)) / seconds, (8 * (now.received - before.received)) / seconds);
      this.#plots.rtt.add(1000 * (pair.currentRoundTripTime ?? NaN));
      this.#plots.loss.add(share(now.lostThere - before.lostThere, now.gave - before.gave), share(now.lost - before.lost, now.got - before.got));
      this.#plots.frames.add((now.encoded - before.encoded) / seconds, (now.decoded - before.decoded) / seconds);
    }
    const picture = (s) => (s?.frameWidth ? `${s.frameWidth} × ${s.frameHeight}` : "none");
    const find = (type) => all.find((s) => s.type === type && s.kind === "video");
    const codec = all.find((s) => s.type === "codec" && s.mimeType?.startsWith("video/"));
    fill($("pair"), [
      ["state", pair.state],
      ["here", `${local.candidateType} ${spell(local)}, ${way(local)}`],
      ["there", `${remote.candidateType} ${spell(remote)}`],
      ["sent, received", `${megabytes(now.sent)}, ${megabytes(now.received)}`],
      ["picture out, in", `${picture(find("outbound-rtp"))}, ${picture(find("inbound-rtp"))}${codec ? `, ${codec.mimeType.slice(6)}` : ""}`],
      ["encryption", transport?.srtpCipher ? `DTLS-SRTP, ${transport.srtpCipher}` : "–"],
    ]);
  }

  #showCandidates(all, pair) {
    const rows = ["local-candidate", "remote-candidate"].flatMap((type) => all.filter((s) => s.type === type));
    $("candidateCount").textContent = rows.length;
    const shown = rows.map((c) => {
      const selected = c.id === pair?.localCandidateId || c.id === pair?.remoteCandidateId;
      const mine = c.type === "local-candidate";
      return { selected, cells: [mine ? "here" : "there", c.candidateType, spell(c), mine ? way(c) : "–", mine ? serverOf(c) : "–"] };
    });
    if (JSON.stringify(shown) === JSON.stringify(this.#candidates)) return;
    this.#candidates = shown;
    $("candidates").replaceChildren(
      ...shown.map(({ selected, cells }) => {
        const row = document.createElement("tr");
        if (selected) row.className = "selected";
        row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
        return row;
      }),
    );
  }
}

// spell writes a candidate's address; browsers hide some of them.
function spell(candidate) {
  if (!candidate) return "–";
  const host = candidate.address ?? candidate.ip;
  if (!host) return "hidden by the browser";
  return host.includes(":") ? `[${host}]:${candidate.port}` : `${host}:${candidate.port}`;
}

// way is how this side reaches the relay, or the peer where there is none.
function way(candidate) {
  return (candidate?.relayProtocol ?? candidate?.protocol ?? "?").toUpperCase();
}

function serverOf(candidate) {
  return candidate?.url ? candidate.url.replace(/^turns?:|\?.*/g, "") : "–";
}

function megabytes(bytes) {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(0)} kB`;
}

function fill(list, entries) {
  list.replaceChildren(
    ...entries.map(([name, text]) => {
      const entry = document.createElement("div");
      entry.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text }));
      return entry;
    }),
  );
}
