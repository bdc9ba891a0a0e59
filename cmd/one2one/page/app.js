// The page: what can be done in which state, and what is said about it.
//
//   offline ─► idle ─► registering ─► ready ─► calling ──┐
//                                       ▲ └──► ringing ──┴─► connecting ─► connected ◄─► interrupted
//                                       └───────────────────────┴─────────────┴──────────────┘

import { Call } from "./call.js";
import { Panel } from "./panel.js";
import { Signalling } from "./signalling.js";
import { mediaFailure, noDevice } from "./words.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search); // ?name=alice&call=bob&transport=tcp

const signalling = new Signalling();
const panel = new Panel();
let state = "offline";
let own = ""; // the name that is registered
let peer = ""; // who is in this call
let call = null;
let offered = null; // an incoming call that is not answered yet
let media = null; // camera and microphone

const words = {
  offline: () => "No connection to the server, trying again…",
  idle: () => "Not registered",
  registering: () => "Registering…",
  ready: () => `Registered as ${own}`,
  calling: () => `Calling ${peer}…`,
  ringing: () => `${peer} is calling`,
  connecting: () => `Connecting with ${peer}…`,
  connected: () => `In a call with ${peer}`,
  interrupted: () => "Connection interrupted, looking for a new way…",
};
const inCall = () => ["calling", "connecting", "connected", "interrupted"].includes(state);

function setState(next) {
  if (state !== next) note(words[next]());
  state = document.body.dataset.state = next;
  $("statusText").textContent = words[next]();
  $("name").disabled = $("register").disabled = next !== "idle";
  $("peer").disabled = $("call").disabled = next !== "ready";
  $("transport").disabled = !["idle", "ready"].includes(next);
  $("hangup").disabled = !inCall();
  $("mute").disabled = !media?.getAudioTracks().length;
  $("camera").disabled = !media?.getVideoTracks().length;
  $("remoteHint").textContent = { idle: "Register a name to begin", ready: "Nobody is here yet", calling: "Ringing…", connecting: "Connecting…" }[next] ?? "";
  $("remoteName").textContent = peer && next !== "ready" ? peer : "The other side";
  $("remoteInitial").textContent = peer && inCall() ? initial(peer) : "";
  $("remoteBadge").hidden = next !== "interrupted";
  $("remoteBadge").textContent = "interrupted";
}

const initial = (name) => [...name][0]?.toUpperCase() ?? "";

// note adds a line to "What happened".
function note(text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  line.append(time, text);
  $("log").prepend(line);
}

// tell shows a message until something else happens. It is read out by screen readers.
function tell(text, mild = false) {
  $("noticeText").textContent = text;
  $("notice").classList.toggle("mild", mild);
  $("notice").hidden = !text;
  if (text) note(text);
}

// Camera and microphone.

async function openMedia() {
  if (media?.getTracks().some((t) => t.readyState === "live")) return;
  if (!navigator.mediaDevices) throw new Error(mediaFailure({ name: "InsecureContext" }));
  const wishes = [{ video: true, audio: true }, { audio: true }, { video: true }];
  const missing = [null, noDevice.video, noDevice.audio];
  for (const [i, wish] of wishes.entries()) {
    try {
      media = await navigator.mediaDevices.getUserMedia(wish);
      if (missing[i]) tell(missing[i], true);
      break;
    } catch (error) {
      if (error.name !== "NotFoundError") throw new Error(mediaFailure(error));
    }
  }
  if (!media) {
    tell(noDevice.both, true);
    return;
  }
  $("ownVideo").srcObject = media;
  showOwn();
}

function showOwn() {
  const video = media?.getVideoTracks()[0];
  document.querySelector(".own").classList.toggle("live", Boolean(video?.enabled));
  $("ownInitial").textContent = own ? initial(own) : "";
  $("ownName").textContent = own ? `${own} (you)` : "You";
  const muted = media?.getAudioTracks()[0]?.enabled === false;
  $("ownBadge").hidden = !muted;
  $("ownBadge").textContent = "muted";
  $("mute").setAttribute("aria-pressed", muted);
  $("camera").setAttribute("aria-pressed", video?.enabled === false);
}

function toggle(kind) {
  const track = media?.getTracks().find((t) => t.kind === kind);
  if (!track) return;
  track.enabled = !track.enabled;
  showOwn();
}

// Registration.

function register(name) {
  if (state !== "idle") return;
  tell("");
  own = name;
  setState("registering");
  signalling.send({ id: "register", name });
}

async function registered(message) {
  if (message.response !== "accepted") {
    own = "";
    setState("idle");
    tell(`You could not be registered: ${message.message || message.response}.`);
    $("name").focus();
    return;
  }
  setState("ready");
  try {
    await openMedia();
  } catch (error) {
    tell(error.message);
  }
  setState(state);
  showOwn();
  if (state !== "ready") return;
  if (asked.get("call")) startCall(asked.get("call"));
  else $("peer").focus();
  asked.delete("call");
}

// Calls.

const transport = () => document.querySelector("[name=transport]:checked").value;

async function startCall(name) {
  if (state !== "ready") return;
  tell("");
  peer = name;
  setState("calling");
  $("hangup").focus();
  try {
    await openMedia();
    const configuration = await signalling.configuration();
    if (state !== "calling") return;
    await begin(configuration, true);
    signalling.send({ id: "call", from: own, to: peer, sdpOffer: await call.offer() });
  } catch (error) {
    endCall(error.message);
  }
}

function incoming(message) {
  if (state !== "ready") {
    signalling.send({ id: "incomingCallResponse", from: message.from, callResponse: "reject", message: "busy" });
    return;
  }
  tell("");
  offered = { ...message, candidates: [] };
  peer = message.from;
  setState("ringing");
  $("incomingText").textContent = `${peer} wants to see and hear you.`;
  $("incomingInitial").textContent = initial(peer);
  $("incoming").showModal();
}

async function accept() {
  if (state !== "ringing") return;
  const { from, sdpOffer, iceConfiguration, candidates } = offered;
  offered = null;
  $("incoming").close();
  setState("connecting");
  $("hangup").focus();
  try {
    await openMedia();
    await begin(iceConfiguration, false);
    candidates.forEach((candidate) => call.candidate(candidate));
    const sdpAnswer = await call.accept(sdpOffer);
    signalling.send({ id: "incomingCallResponse", from, callResponse: "accept", sdpAnswer });
  } catch (error) {
    endCall(error.message);
  }
}

function decline() {
  if (state !== "ringing") return;
  signalling.send({ id: "incomingCallResponse", from: offered.from, callResponse: "reject", message: "user declined" });
  leave();
}

async function begin(configuration, caller) {
  const mine = (call = new Call({ signalling, configuration, transport: transport(), media, caller }));
  mine.addEventListener("state", ({ detail }) => {
    if (mine !== call) return;
    if (detail !== "connecting" || state !== "calling") setState(detail);
    if (detail === "connected") tell("");
  });
  mine.addEventListener("failed", ({ detail }) => mine === call && endCall(detail.message));
  mine.addEventListener("remote", ({ detail }) => {
    const video = $("remoteVideo");
    if (video.srcObject === detail) return; // its second track
    video.srcObject = detail;
    video.onloadeddata = () => document.querySelector(".remote").classList.add("live");
    video.play().catch((error) => error.name === "NotAllowedError" && tell("Your browser does not play sound by itself: click into the page once.", true));
  });
  panel.follow(call, own, peer);
}

async function callAnswered(message) {
  if (!call || state !== "calling") return;
  if (message.response !== "accepted") {
    leave();
    tell(`No call: ${message.message || message.response}.`);
    return;
  }
  setState("connecting");
  try {
    await call.answered(message.sdpAnswer);
  } catch (error) {
    endCall(error.message);
  }
}

// endCall hangs up, for a reason that the user is told.
function endCall(reason) {
  signalling.send({ id: "stop" });
  leave();
  if (reason) tell(reason);
}

// leave puts everything back to where the next call begins.
function leave() {
  call?.close();
  call = null;
  offered = null;
  panel.rest();
  if ($("incoming").open) $("incoming").close();
  document.querySelector(".remote").classList.remove("live");
  $("remoteVideo").srcObject = null;
  if (peer) $("peer").value ||= peer;
  setState(signalling.open ? "ready" : "offline");
  peer = "";
  setState(state);
  if (state === "ready") $("peer").focus();
}

// What the server says.

signalling.addEventListener("open", () => {
  setState("idle");
  const again = own || asked.get("name");
  if (again) {
    $("name").value = again;
    register(again);
  } else {
    $("name").focus();
  }
});
signalling.addEventListener("lost", () => {
  if (call || offered) {
    leave();
    tell("The call ended: the connection to the server is lost.");
  }
  setState("offline");
});
signalling.addEventListener("message", ({ detail: message }) => {
  switch (message.id) {
    case "registerResponse":
      return registered(message);
    case "incomingCall":
      return incoming(message);
    case "callResponse":
      return callAnswered(message);
    case "iceCandidate":
      return offered ? offered.candidates.push(message.candidate) : call?.candidate(message.candidate);
    case "renegotiate":
      return call?.renegotiate(message.sdpOffer, message.iceConfiguration).catch(() => {});
    case "renegotiateResponse":
      return call?.answered(message.sdpAnswer).catch(() => {});
    case "stopCommunication":
      if (!call && !offered) return;
      leave();
      return tell(`The call is over: ${message.message || "the other side has hung up"}.`, true);
    case "error":
      return note(`The server says: ${message.message}`);
  }
});

// What the user does.

$("registerForm").onsubmit = (event) => {
  event.preventDefault();
  register($("name").value.trim());
};
$("callForm").onsubmit = (event) => {
  event.preventDefault();
  startCall($("peer").value.trim());
};
$("accept").onclick = accept;
$("decline").onclick = decline;
$("incoming").oncancel = (event) => {
  event.preventDefault();
  decline();
};
$("hangup").onclick = () => endCall("");
$("mute").onclick = () => toggle("audio");
$("camera").onclick = () => toggle("video");
$("dismiss").onclick = () => tell("");
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("incoming").open) return;
  const writing = event.target.matches("input:not([type=radio]):enabled");
  if (event.key === "Escape" && inCall()) endCall("");
  else if (event.key.toLowerCase() === "m" && !writing) toggle("audio");
  else if (event.key.toLowerCase() === "v" && !writing) toggle("video");
});
addEventListener("click", () => $("remoteVideo").srcObject && $("remoteVideo").paused && $("remoteVideo").play().catch(() => {}));
addEventListener("pagehide", () => call && signalling.send({ id: "stop" }));

const wished = document.querySelector(`[name=transport][value="${CSS.escape(asked.get("transport") ?? "")}"]`);
if (wished) wished.checked = true;
setState("offline");
signalling.connect();
