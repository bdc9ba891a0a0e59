// Two peers by werift in one process; clients_test.go has what they read and write.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const { MediaStreamTrack, RTCPeerConnection, RtpHeader, RtpPacket } = createRequire(process.env.HAIRPIN_NODE_MODULES + "/")("werift");
if (process.argv.includes("--probe")) process.exit();
const packets = 20;

const task = JSON.parse(await text(process.stdin));
const data = Buffer.from(task.data, "base64");
const [alice, bob] = task.configurations.map((configuration) => new RTCPeerConnection(configuration));
const arrived = [];
let media = 0;

for (const [one, other] of [[alice, bob], [bob, alice]]) {
  one.onIceCandidate.subscribe((candidate) => candidate && other.addIceCandidate(candidate.toJSON()));
}

const complete = new Promise((resolve) => {
  const count = () => Buffer.concat(arrived).length >= data.length && media >= packets && resolve();
  bob.onDataChannel.subscribe((channel) => channel.onMessage.subscribe((part) => { arrived.push(part); count(); }));
  bob.onTrack.subscribe((track) => track.onReceiveRtp.subscribe(() => { media++; count(); }));
});

const channel = alice.createDataChannel("file");
channel.stateChanged.subscribe((state) => {
  for (let at = 0; state === "open" && at < data.length; at += 16384) channel.send(data.subarray(at, at + 16384));
});
const track = new MediaStreamTrack({ kind: "audio" });
alice.addTrack(track);

await alice.setLocalDescription(await alice.createOffer());
await bob.setRemoteDescription(alice.localDescription);
await bob.setLocalDescription(await bob.createAnswer());
await alice.setRemoteDescription(bob.localDescription);
let sequenceNumber = 0;
const talking = setInterval(() => {
  sequenceNumber++;
  track.writeRtp(new RtpPacket(new RtpHeader({ sequenceNumber, timestamp: 960 * sequenceNumber, payloadType: 96 }), Buffer.alloc(160)));
}, 20);
await complete;
clearInterval(talking);
console.log(JSON.stringify({ sum: createHash("sha256").update(Buffer.concat(arrived)).digest("hex"), media, pairs: [alice, bob].map(pair) }));
await Promise.all([alice.close(), bob.close()]);
process.exit(0);

function pair(peer) {
  const connection = peer.iceTransports[0].connection;
  return [connection.nominated.localCandidate.type, connection.nominated.remoteCandidate.type];
}
