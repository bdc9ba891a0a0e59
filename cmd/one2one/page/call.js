// One call: an RTCPeerConnection from its making to its end. It gives an event for whatever the page has to show:
//
//   state         detail: "connecting", "connected", "interrupted"
//   failed        detail: an Error whose message is for the user; the call is over
//   remote        detail: a MediaStream
//   told          detail: what the other side says about its way to the relay

import { relayFailure } from "./words.js";

const patience = 2500; // milliseconds of silence before a new way is looked for
const retry = 4000; // between two attempts
const giveUp = 90000; // without a connection

export class Call extends EventTarget {
  #signalling;
  #early = []; // candidates from before the remote description
  #errors = []; // of gathering
  #relayed = 0; // candidates of the relay that were gathered
  #since = 0; // when the connection was lost
  #timer = 0;
  #about;
  #transport;
  ended = false;

  // configuration is an RTCConfiguration, transport "any", "udp" or "tcp", media a MediaStream or null.
  constructor({ signalling, configuration, transport, media, caller }) {
    super();
    this.#signalling = signalling;
    this.#transport = transport;
    this.caller = caller;
    const pc = (this.pc = new RTCPeerConnection(throughTransport(configuration, transport)));
    for (const kind of ["audio", "video"]) {
      const track = media?.getTracks().find((t) => t.kind === kind);
      // The callee's transceivers are made by the offer; addTrack finds them.
      if (track) pc.addTrack(track, media);
      else if (caller) pc.addTransceiver(kind, { direction: "recvonly" });
    }
    this.#about = pc.createDataChannel("about", { negotiated: true, id: 0 });
    this.#about.onmessage = (event) => this.#emit("told", JSON.parse(event.data));
    pc.onicecandidate = ({ candidate }) => this.#gathered(candidate);
    pc.onicecandidateerror = (event) => this.#errors.push(event);
    pc.onconnectionstatechange = () => this.#changed();
    pc.ontrack = ({ streams: [stream] }) => stream && this.#emit("remote", stream);
  }

  async offer() {
    await this.pc.setLocalDescription();
    return this.pc.localDescription.sdp;
  }

  async accept(sdp) {
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.pc.setLocalDescription();
    this.#describe();
    return this.pc.localDescription.sdp;
  }

  async answered(sdp) {
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    this.#describe();
  }

  candidate(candidate) {
    if (this.pc.remoteDescription) this.#add(candidate);
    else this.#early.push(candidate);
  }

  // renegotiate answers the other side, which looks for a new way. The callee gives in when both do.
  async renegotiate(sdp, configuration) {
    if (this.pc.signalingState !== "stable" && this.caller) return;
    this.pc.setConfiguration(throughTransport(configuration, this.#transport));
    this.#relayed = 0;
    const answer = await this.accept(sdp);
    this.#signalling.send({ id: "renegotiateResponse", sdpAnswer: answer });
  }

  // tell lets the other side show how this one is connected.
  tell(about) {
    if (this.#about.readyState === "open") this.#about.send(JSON.stringify(about));
  }

  close() {
    this.ended = true;
    clearTimeout(this.#timer);
    this.pc.close();
  }

  #emit(type, detail) {
    if (!this.ended) this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #fail(error) {
    this.#emit("failed", error);
  }

  #describe() {
    this.#early.splice(0).forEach((candidate) => this.#add(candidate));
  }

  #add(candidate) {
    // A candidate of an earlier round is refused by the browser, and that is no fault.
    this.pc.addIceCandidate(candidate).catch(() => {});
  }

  #gathered(candidate) {
    if (candidate?.candidate) {
      if (candidate.type === "relay") this.#relayed++;
      this.#signalling.send({ id: "onIceCandidate", candidate: candidate.toJSON() });
      return;
    }
    const relayOnly = this.pc.getConfiguration().iceTransportPolicy === "relay";
    if (candidate === null && relayOnly && this.#relayed === 0 && !this.#since) {
      this.#fail(relayFailure(this.#errors, this.#transport));
    }
  }

  #changed() {
    const state = this.pc.connectionState;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#since = 0;
      this.connected = true;
      this.#emit("state", "connected");
    } else if (state === "connecting" && !this.connected) {
      this.#emit("state", "connecting");
    } else if (state === "failed" && !this.connected) {
      this.#fail(new Error("No way to the other side was found, though the relay answered. Both sides need the same relay."));
    } else if ((state === "disconnected" || state === "failed") && !this.#since) {
      this.#since = Date.now();
      this.#emit("state", "interrupted");
      // One of the two asks first, so that they rarely meet.
      this.#timer = setTimeout(() => this.#restart(), this.caller ? patience : 3 * patience);
    }
  }

  // restart looks for a new way, with new credentials, until there is one: the relay may have been restarted.
  async #restart() {
    if (this.ended || !this.#since) return;
    if (Date.now() - this.#since > giveUp) {
      this.#fail(new Error("The connection was lost and did not come back: the relay does not answer any more."));
      return;
    }
    this.#timer = setTimeout(() => this.#restart(), retry);
    try {
      const configuration = await this.#signalling.configuration();
      if (this.ended || !this.#since) return;
      this.pc.setConfiguration(throughTransport(configuration, this.#transport));
      this.#errors = [];
      this.#relayed = 0;
      if (this.pc.signalingState === "have-remote-offer") return;
      await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
      this.#signalling.send({ id: "renegotiate", sdpOffer: this.pc.localDescription.sdp });
    } catch {
      // The next attempt is set.
    }
  }
}

// throughTransport leaves those URLs of a configuration that go over UDP or TCP.
function throughTransport(configuration, transport) {
  if (transport === "any") return configuration;
  const iceServers = configuration.iceServers
    .map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => (/[?&]transport=tcp/.test(url) || /^turns:(?!.*transport=udp)/.test(url)) === (transport === "tcp")) }))
    .filter((server) => server.urls.length > 0);
  if (iceServers.length === 0) throw new Error(`The relay offers no ${transport.toUpperCase()}; choose another way to it.`);
  return { ...configuration, iceServers };
}
