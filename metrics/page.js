// Keeps the page up to date and draws its plots. What comes from the server is only ever put into the page as text.
"use strict";

const $ = (id) => document.getElementById(id);
const LIMIT = 300, PAST = 360; // points of a plot: of the last ones, and of one in ten seconds
let span = LIMIT; // seconds that plots show

// ---- writing

// make returns an element with attributes and children; strings become text.
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text"].includes(name);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== "") e.setAttribute(key, value);
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}
const td = (text, title) => make("td", { title }, text);
const num = (text, title) => make("td", { class: "n", title }, text);
const th = (...content) => make("th", { scope: "row" }, ...content);
const user = (name) => make("td", { class: "user" }, make("bdi", {}, name));
const short = (name) => ([...name].length > 24 ? [...name].slice(0, 23).join("") + "…" : name); // beside figures
const bad = (cell, is) => { if (is) cell.classList.add("bad"); return cell; };

// put writes a text that is another, so that what is marked stays marked.
const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

// fill replaces the rows of a table's body; where there is none it says so.
function fill(body, rows, width = 1, none = "None.") {
  if (!body) return;
  const held = document.activeElement?.getAttribute("href"), holding = held && body.contains(document.activeElement);
  body.replaceChildren(...(rows.length ? rows : [make("tr", {}, make("td", { colspan: width }, none))]));
  if (holding) [...body.querySelectorAll("a")].find((a) => a.getAttribute("href") === held)?.focus();
}

const count = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
function scaled(n, base, units) {
  let unit = 0;
  while (n >= base - 0.05 && unit < units.length - 1) { n /= base; unit++; }
  return (unit === 0 ? n.toFixed(n < 10 && n % 1 ? 1 : 0) : n.toFixed(1)) + " " + units[unit];
}
const size = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
const bits = (n) => scaled(n, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
const rate = (n) => scaled(n, 1000, ["/s", "k/s", "M/s", "G/s"]);
const loss = (x) => (x === null ? "" : (100 * x).toFixed(1) + " %");
const ms = (x) => (x === null ? "" : x.toFixed(1) + " ms");
function lasting(s) {
  s = Math.max(0, Math.floor(s));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + two(s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + two(Math.floor((s % 3600) / 60)) + " min";
  return Math.floor(s / 86400) + " d " + two(Math.floor((s % 86400) / 3600)) + " h";
}
// relays spells the relayed address, of a dual allocation both; that of a TCP allocation says so.
const relays = (a) => (a.relay_transport === "tcp" ? a.relay + "/tcp" : a.additional_relay ? `${a.relay} ${a.additional_relay}` : a.relay);
let ahead = 0; // of the server's clock before ours, in ms
const since = (time) => lasting((Date.now() + ahead - Date.parse(time)) / 1000);
const until = (time) => lasting((Date.parse(time) - Date.now() - ahead) / 1000);

// say shows whether the page is live; as long as something else is in trouble, that.
let trouble = "";
function say(text, wrong) {
  const state = $("state");
  if (trouble && !wrong) [text, wrong] = [trouble, true];
  if (state.textContent !== text) state.textContent = text;
  state.className = wrong ? "bad" : "live";
}

// ---- plots

const WIDTH = 400, HEIGHT = 110;

// Plot draws lines over the last points. series: names; spell: writes a value.
class Plot {
  constructor(title, spell, options = {}) {
    this.title = title; this.spell = spell; this.least = options.least ?? 1; this.points = []; this.past = []; this.names = options.names ?? [];
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.top = make("span", { class: "top" });
    this.now = make("figcaption", {});
    this.at = null;
    this.figure = make("figure", { tabindex: "0", role: "img" }, this.now, make("div", { class: "canvas" }, this.top, this.svg));
    this.svg.addEventListener("pointermove", (e) => { const box = this.svg.getBoundingClientRect(); this.point((e.clientX - box.left) / box.width); });
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.figure.addEventListener("keydown", (e) => {
      if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
      e.preventDefault();
      this.point(Math.min(1, Math.max(0, (this.at ?? 1) + (e.key === "ArrowLeft" ? -1 : 1) / (LIMIT - 1))));
    });
    this.figure.addEventListener("blur", () => this.point(null));
    $("plots").append(this.figure);
    $("plots").hidden = false;
  }
  point(at) { this.at = at; this.draw(); }
  // add takes {at, values: {name: number}}.
  add(at, values, past = false) {
    const points = past ? this.past : this.points;
    points.push({ at, values });
    if (points.length > (past ? PAST : LIMIT)) points.shift();
    for (const name of Object.keys(values)) if (!this.names.includes(name)) this.names.push(name);
  }
  draw() {
    const last = this.points.at(-1)?.at ?? this.past.at(-1)?.at ?? 0, first = last - (span - 1) * 1000;
    // An hour is of the past's points alone, five minutes are as far as there are others.
    const begin = span > LIMIT ? last : this.points[0]?.at ?? last;
    const points = [...this.past.filter((p) => p.at >= first && p.at < begin), ...this.points.filter((p) => p.at >= first && p.at >= begin)];
    let most = this.least;
    for (const p of points) for (const v of Object.values(p.values)) if (v > most) most = v;
    const x = (at) => ((at - first) / (last - first || 1)) * WIDTH, y = (v) => HEIGHT - 2 - (v / most) * (HEIGHT - 14);
    const lines = this.names.map((name, i) => {
      let d = "", before = null;
      for (const p of points) {
        d += (before === null || p.at - before > 25000 ? "M" : "L") + x(p.at).toFixed(1) + " " + y(p.values[name] ?? 0).toFixed(1);
        before = p.at;
      }
      return make("path", { d, class: "s" + (i % 6) });
    });
    let shown = points.at(-1);
    if (this.at !== null && points.length) {
      const wanted = first + this.at * (last - first);
      shown = points.reduce((a, b) => (Math.abs(b.at - wanted) < Math.abs(a.at - wanted) ? b : a));
      lines.push(make("line", { x1: x(shown.at), x2: x(shown.at), y1: 0, y2: HEIGHT, class: "cross" }));
    }
    this.svg.replaceChildren(make("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 2, y2: HEIGHT - 2, class: "axis" }), make("line", { x1: 0, x2: WIDTH, y1: 12, y2: 12, class: "axis" }), ...lines);
    this.top.textContent = this.spell(most);
    const legend = this.names.map((name, i) => make("span", { class: "key s" + (i % 6) }, make("i", {}), `${name ? name + " " : ""}${this.spell(shown?.values[name] ?? 0)}`));
    const when = this.at !== null && shown ? make("time", {}, new Date(shown.at).toLocaleTimeString()) : null;
    this.now.replaceChildren(make("b", {}, this.title), when ?? "", ...(legend.length ? legend : [make("span", {}, "none")]));
    this.figure.setAttribute("aria-label", this.now.textContent);
  }
}

// ---- what is asked for

// at is an address beside the page's own, without the name and password that may stand in that: fetch refuses those.
function at(path) {
  const url = new URL(path, document.baseURI);
  url.username = url.password = "";
  return url;
}

async function ask(path) {
  const answer = await fetch(at(path), { headers: { Accept: "application/json" } });
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
  return answer.json();
}

// act posts what a button means, once its user has said so.
function act(form, question, done) {
  form?.addEventListener("submit", async (e) => {
    e.preventDefault();
    if (!confirm(question())) return;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await fetch(at(form.getAttribute("action")), { method: "POST" });
      if (answer.ok) done(); else say((await answer.text()).trim(), true);
    } catch { say("the server does not answer", true); }
    button.disabled = false;
  });
}

// every runs a task now and again and again while the page is seen; a task that fails waits longer.
function every(interval, task) {
  let timer, running = false, late = 0;
  const run = async () => {
    clearTimeout(timer);
    if (running || document.hidden) return;
    running = true;
    try {
      await task();
      late = 0;
      trouble = "";
    } catch (e) {
      late = Math.min(late + 1, 5);
      trouble = e.status ? e.message : "the server does not answer";
      say(trouble, true);
    }
    running = false;
    timer = setTimeout(run, interval * 2 ** late);
  };
  document.addEventListener("visibilitychange", run);
  run();
  return run;
}

// ---- the overview

function overview() {
  const columns = [...document.querySelectorAll("#table thead th")];
  const plots = {
    bits: new Plot("bitrate", bits, { names: ["from clients", "to clients"], least: 1000 }),
    packets: new Plot("packets", rate, { names: ["from clients", "to clients"], least: 10 }),
    allocations: new Plot("allocations", count, { names: [""], least: 10 }),
    dropped: new Plot("dropped packets", rate),
    refused: new Plot("refused credentials", rate),
    cpu: new Plot("processors", (v) => v.toFixed(2), { names: [""], least: 0.1 }),
    memory: new Plot("memory", size, { names: [""], least: 16 << 20 }),
  };
  let process = null;

  function showProcess(p) {
    process = p;
    $("line").textContent = `${p.version} up ${since(p.started)} · ${count(p.total)} live allocation${p.total === 1 ? "" : "s"} · ${count(p.hairpin)} packets turned around`;
    document.title = `hairpin: ${count(p.total)}`;
    $("draining").hidden = !p.drain.draining;
    if (p.drain.draining) $("draining").textContent = `Draining: no new allocations; what is left ends in ${lasting(p.drain.remaining)} at the latest.`;
    if ($("drain")) $("drain").hidden = p.drain.draining;
    fill($("listeners").tBodies[0], p.listeners.map((l, i) => make("tr", {}, th(l.removed ? l.name + " (removed)" : l.name), td(l.address), td(l.public), bad(td(l.offload, l.fault), l.fault),
      // Of the other family of one listener the counts are above.
      ...(i > 0 && l.name === p.listeners[i - 1].name ? [make("td", { colspan: "6" })] : [num(count(l.allocations)), num(count(l.created)),
        ...[0, 3, 2, 1].map((d) => num(count(l.traffic[d].packets), size(l.traffic[d].bytes)))]))), 10);
    fill($("relay"), p.relay.map((r) => make("tr", {}, td(r))));
    fill($("peers"), p.peers.map((r) => make("tr", {}, th(r.rule), make("td", {}, r.addresses.join(" "), r.fault ? make("span", { class: "bad" }, " " + r.fault) : ""))));
    const r = p.reload;
    fill($("settings"), [
      make("tr", {}, th("media are looked at"), td(p.quality)),
      ...Object.keys(p.events).sort().map((result) => make("tr", {}, th("events " + result.replaceAll("_", " ")), bad(td(count(p.events[result])), result.startsWith("lost")))),
      ...(r ? [make("tr", {}, th("last reload"), make("td", {}, `${r.time.slice(0, 19)}Z, ${r.result}: ${(r.changed ?? []).join(", ")}`, make("span", { class: "bad" }, (r.faults ?? []).join("; "))))] : []),
    ]);
    for (const id of ["dropped", "refused", "discarded"])
      fill($(id), Object.keys(p[id]).sort().map((reason) => make("tr", {}, th(reason), num(count(p[id][reason])))));
  }
  function showSamples(samples, past) {
    for (const [s, before] of [...past.map((s) => [s, true]), ...samples.map((s) => [s, false])]) {
      plots.bits.add(s.at, { "from clients": s.bits[0], "to clients": s.bits[1] }, before);
      plots.packets.add(s.at, { "from clients": s.packets[0], "to clients": s.packets[1] }, before);
      plots.allocations.add(s.at, { "": s.allocations }, before);
      plots.dropped.add(s.at, s.dropped, before);
      plots.refused.add(s.at, s.refused, before);
      plots.cpu.add(s.at, { "": s.cpu }, before);
      plots.memory.add(s.at, { "": s.memory }, before);
    }
    if (samples.length) { ahead = samples.at(-1).at - Date.now(); if (Math.abs(ahead) < 2000) ahead = 0; }
    drawPlots();
  }
  const drawPlots = () => { if (!document.hidden) for (const p of Object.values(plots)) p.draw(); };
  $("spans").hidden = false;
  $("span").addEventListener("change", () => { span = Number($("span").value); drawPlots(); });

  // The stream renews itself after an error of the network, but not after an answer that refuses it.
  let first = true;
  function connect() {
    const stream = new EventSource("live");
    stream.onmessage = (e) => {
      const event = JSON.parse(e.data);
      if (first) for (const p of Object.values(plots)) { p.points = []; p.past = []; }
      first = false;
      showProcess(event.process);
      showSamples(event.samples, event.past);
      say("live");
    };
    stream.onopen = () => { first = true; };
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) {
        say("not live: too many pages are open, or the server has ended; trying again", true);
        setTimeout(connect, 10000 + 10000 * Math.random());
      } else say("the server does not answer; trying again", true);
    };
  }
  connect();

  // The table's part is in the page's address, so that it can be kept and sent on.
  const query = new URLSearchParams(location.search);
  const limit = Number(query.get("limit") ?? 50);
  const keep = () => history.replaceState(null, "", "?" + query);
  const draw = every(2000, async () => {
    const t = await ask("table?" + query);
    $("matched").textContent = t.matched === t.total ? `${count(t.total)}` : `${count(t.matched)} of ${count(t.total)}`;
    fill($("table").tBodies[0], t.rows.map((r) => make("tr", {},
      make("th", { scope: "row", class: "n" }, make("a", { href: "?id=" + r.id }, String(r.id))), user(r.user), td(r.client), td(r.listener), td(relays(r)), num(since(r.created)), num(until(r.expires)),
      r.relay_transport === "tcp" ? num(`${r.connections} / ${r.peers}`, "connections / permissions") : num(`${r.channels} / ${r.peers}`, "channels / permissions"), num(bits(r.in), `${count(r.client_in.packets)} packets, ${size(r.client_in.bytes)}`), num(bits(r.out), `${count(r.client_out.packets)} packets, ${size(r.client_out.bytes)}`),
      num(count(r.dropped)), bad(num(loss(r.loss)), r.loss > 0.02), bad(num(ms(r.jitter_ms)), r.jitter_ms > 30))), columns.length);
    const order = query.get("sort") ?? "id";
    for (const c of columns) {
      const sorted = order === c.dataset.key ? "first" : order === "-" + c.dataset.key ? "last" : "";
      c.dataset.sorted = sorted;
      c.setAttribute("aria-sort", sorted ? "other" : "none");
    }
    const go = (offset, id, text) => make("a", { href: "?" + new URLSearchParams({ ...Object.fromEntries(query), offset }), id, "data-offset": offset }, text);
    const links = [];
    if (t.offset > 0) links.push(go(Math.max(0, t.offset - limit), "back", "back"));
    if (t.matched > limit) links.push(`${count(t.offset + Math.min(1, t.rows.length))} to ${count(t.offset + t.rows.length)}`);
    if (t.offset + t.rows.length < t.matched) links.push(go(t.offset + t.rows.length, "next", "next"));
    const held = document.activeElement?.id;
    $("pages").replaceChildren(...links);
    if (held === "next" || held === "back") ($(held) ?? $("next") ?? $("back"))?.focus();
  });
  $("table").tHead.addEventListener("click", (e) => {
    const key = e.target.closest("th")?.dataset.key;
    if (!key || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    query.set("sort", (query.get("sort") ?? "id") === key ? "-" + key : key);
    query.delete("offset");
    keep();
    draw();
  });
  $("pages").addEventListener("click", (e) => {
    if (e.target.dataset.offset === undefined || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    query.set("offset", e.target.dataset.offset);
    keep();
    draw();
  });
  const filter = $("filter").elements.namedItem("filter");
  let typing;
  const search = () => {
    clearTimeout(typing);
    if (filter.value) query.set("filter", filter.value); else query.delete("filter");
    query.delete("offset");
    keep();
    draw();
  };
  filter.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 300); });
  $("filter").addEventListener("submit", (e) => { e.preventDefault(); search(); });
  // The browser's own search begins when the key goes down; the focus moves when it is up again, so that nothing is typed.
  const calls = (e) => e.key === "/" && document.activeElement !== filter;
  document.addEventListener("keydown", (e) => { if (calls(e)) e.preventDefault(); });
  document.addEventListener("keyup", (e) => { if (calls(e)) filter.focus(); });
  act($("drain"), () => `Drain this server? It takes no new allocations, and ends when the ${count(process?.total ?? 0)} live ones have. This can't be taken back.`, () => say("draining"));
}

// ---- one allocation

function allocation() {
  const id = $("id").textContent;
  if (!$("facts")) return; // it has ended
  const plots = {
    up: new Plot("from the client", bits, { names: ["relayed and dropped"], least: 1000 }),
    down: new Plot("to the client", bits, { names: ["relayed"], least: 1000 }),
    loss: new Plot("loss on the way to the relay", (v) => v.toFixed(1) + " %", { least: 5 }),
    jitter: new Plot("jitter", (v) => v.toFixed(1) + " ms", { least: 10 }),
  };
  let before = null;
  const stop = every(1000, async () => {
    let d;
    try { d = await ask("allocation?id=" + id); } catch (e) { if (e.status !== 404) throw e; d = { allocation: null, peers: [], history: [] }; }
    const a = d.allocation, now = Date.now();
    if (d.history.length) fill($("history"), d.history.map((h) => make("tr", {}, td(h.first), th(h.what), td(h.detail), td(h.times > 1 ? `×${count(h.times)}, last ${h.last}` : ""))));
    if (!a) {
      $("ended").hidden = false;
      $("ended").textContent = "It has ended.";
      if ($("end")) $("end").hidden = true;
      say("");
      return;
    }
    say("live");
    put("expires", until(a.expires));
    put("client", a.moves ? `${a.client} (moved ${count(a.moves)}×, before at ${a.earlier.map((p) => `${p.transport} ${p.client}`).join(", ")})` : a.client);
    put("over", `${a.transport} to ${a.server} (${a.listener})`);
    put("relayed", relays(a));
    fill($("channels"), a.channels.map((c) => make("tr", {}, th(c.number), td(c.peer), num(until(c.expires) + " left"))));
    fill($("connections"), (a.connections ?? []).map((c) => make("tr", {}, th(c.peer), td(c.state), num("for " + since(c.since)), num(size(c.client_in_bytes) + " from client"), num(size(c.client_out_bytes) + " to client"))));
    fill($("permissions"), a.permissions.map((p) => make("tr", {}, th(p.peer), num(until(p.expires) + " left"))));
    fill($("partners"), d.peers.map((p) => make("tr", {}, th(make("a", { href: "?id=" + p.id }, String(p.id))), user(p.user), td(p.relay))));
    const c = a.counters, dropped = (n) => num(n === null ? "" : count(n));
    fill($("traffic"), [["from client", c.client_in, a.dropped.client_in], ["to peers", c.peer_out, null], ["from peers", c.peer_in, a.dropped.peer_in], ["to client", c.client_out, null]]
      .map(([name, t, n]) => make("tr", {}, th(name), num(count(t.packets)), num(size(t.bytes)), dropped(n))));
    const streams = a.streams.map((s) => ({ ...s, from: s.direction === "client_in" ? "client" : "peer", key: s.direction + s.ssrc }));
    for (const p of d.peers) streams.push(...p.streams.filter((s) => s.direction === "client_in").map((s) => ({ ...s, from: p.user, peer: true, key: p.id + "/" + s.ssrc })));
    fill($("streams"), streams.map((s) => make("tr", {}, make("td", {}, make("div", { class: "user" }, make("bdi", {}, s.from))), td(s.repair_of ? `${s.ssrc} for ${s.repair_of}` : String(s.ssrc), s.repair_of ? "retransmissions or FEC, by the timestamps" : undefined), num(String(s.payload_type)), num(s.inferred_clock_rate ? count(s.inferred_clock_rate) + " Hz" : ""), num(bits(s.bitrate)),
      num(count(s.packets)), num(count(s.lost)), bad(num(loss(s.loss)), !s.repair_of && s.loss > 0.02), bad(num(ms(s.mean_jitter_ms)), !s.repair_of && s.mean_jitter_ms > 30), num(count(s.reordered)), num(count(s.duplicates)), num(ms(s.longest_gap_ms)), bad(num(String(s.stalls)), !s.repair_of && s.stalls > 0))), 13, a.observed ? "None was seen." : "Nobody looks: see --quality.");
    fill($("kinds"), [["from client", a.media.client_in], ["from peers", a.media.peer_in]].flatMap(([side, m]) => (m ? Object.keys(m.packets).sort().map((kind) =>
      make("tr", {}, th(side), td(kind), num(count(m.packets[kind])), td(kind === "rtcp" ? Object.keys(m.rtcp ?? {}).sort().map((name) => `${name} ${count(m.rtcp[name])}`).join(" ") : ""))) : [])), 4);
    if (before && now > before.at) {
      const seconds = (now - before.at) / 1000, more = (now, then) => Math.max(0, (8 * (now - then)) / seconds);
      plots.up.add(now, { "relayed and dropped": more(c.client_in.bytes, before.c.client_in.bytes) });
      plots.down.add(now, { relayed: more(c.client_out.bytes, before.c.client_out.bytes) });
      const lost = {}, jitter = {};
      for (const s of streams.filter((s) => !s.repair_of)) {
        const was = before.streams.get(s.key), name = `${short(s.from)} ${s.ssrc}`;
        if (was && s.expected > was.expected) lost[name] = Math.min(100, (100 * Math.max(0, s.lost - was.lost)) / (s.expected - was.expected));
        if (s.jitter_ms !== null) jitter[name] = s.jitter_ms;
      }
      plots.loss.add(now, lost);
      plots.jitter.add(now, jitter);
      for (const p of Object.values(plots)) p.draw();
    }
    before = { at: now, c, streams: new Map(streams.map((s) => [s.key, s])) };
  });
  act($("end"), () => `End allocation ${id}? The call that uses it is cut.`, () => { say("ended"); stop(); });
}

if (document.body.dataset.page === "overview") overview(); else allocation();
