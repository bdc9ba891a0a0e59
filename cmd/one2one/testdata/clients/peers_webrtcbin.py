"""Two peers by GStreamer's webrtcbin, thus libnice, in one process; clients_test.go has what they read and write."""

import base64, hashlib, json, sys
from urllib.parse import quote
import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC

PACKETS = 20
ELEMENTS = ["webrtcbin", "nicesrc", "dtlsenc", "srtpenc", "sctpenc", "rtpbin", "audiotestsrc", "alawenc", "rtppcmapay"]
Gst.init(None)
if lacking := [name for name in ELEMENTS if not Gst.ElementFactory.find(name)]:
    sys.exit(f"there is no {lacking[0]}")
if "--probe" in sys.argv:
    sys.exit()

task = json.load(sys.stdin)
data = base64.b64decode(task["data"])
loop, pipeline = GLib.MainLoop(), Gst.Pipeline()
arrived, packets, channels = bytearray(), 0, []


def peer(name, configuration):
    it = Gst.ElementFactory.make("webrtcbin", name)
    it.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    it.set_property("ice-transport-policy", GstWebRTC.WebRTCICETransportPolicy.RELAY)
    pipeline.add(it)
    for server in configuration["iceServers"]:
        user = quote(server["username"], safe="") + ":" + quote(server["credential"], safe="")
        for url in server["urls"]:
            it.emit("add-turn-server", url.replace("turn:", f"turn://{user}@"))
    return it


def then(do):
    """Calls do with the reply to a request, on the loop's thread."""
    return Gst.Promise.new_with_change_func(lambda promise: GLib.idle_add(lambda: do(promise.get_reply()) and False))


def connect():
    def offered(reply):
        offer = reply.get_value("offer")
        alice.emit("set-local-description", offer, None)
        bob.emit("set-remote-description", offer, then(lambda _: bob.emit("create-answer", None, then(answered))))

    def answered(reply):
        answer = reply.get_value("answer")
        bob.emit("set-local-description", answer, None)
        alice.emit("set-remote-description", answer, None)

    alice.emit("create-offer", None, then(offered))


def exchange(one, other):
    one.connect("on-ice-candidate", lambda _, line, candidate: other.emit("add-ice-candidate", line, candidate))


def opened(channel):
    for at in range(0, len(data), 16384):
        channel.emit("send-data", GLib.Bytes.new(data[at : at + 16384]))


def incoming(_, channel):
    channels.append(channel)
    channel.connect("on-message-data", lambda _, part: GLib.idle_add(lambda: count(part.get_data(), 0)))


def media(_, pad):
    sink = Gst.ElementFactory.make("fakesink")
    sink.set_property("signal-handoffs", True)
    sink.connect("handoff", lambda *_: GLib.idle_add(lambda: count(b"", 1)))
    pipeline.add(sink)
    sink.sync_state_with_parent()
    pad.link(sink.get_static_pad("sink"))


def count(part, packet):
    global packets
    arrived.extend(part)
    packets += packet
    if len(arrived) >= len(data) and packets >= PACKETS:
        loop.quit()


def pair(it):
    promise = Gst.Promise.new()
    it.emit("get-stats", None, promise)
    promise.wait()
    reply = promise.get_reply()
    all = [reply.get_value(reply.nth_field_name(i)) for i in range(reply.n_fields())]
    stats = {s.get_string("id"): s for s in all}
    (selected,) = [s for s in all if s.get_name() == "candidate-pair"]  # it has no others
    ids = [selected.get_string(side + "-candidate-id") for side in ("local", "remote")]
    return [stats[id].get_string("candidate-type") for id in ids]


alice, bob = (peer(name, c) for name, c in zip(["alice", "bob"], task["configurations"]))
exchange(alice, bob)
exchange(bob, alice)
bob.connect("on-data-channel", incoming)
bob.connect("pad-added", media)
tone = Gst.parse_bin_from_description(
    "audiotestsrc is-live=true ! alawenc ! rtppcmapay ! capsfilter caps=application/x-rtp,media=audio,encoding-name=PCMA,payload=8,clock-rate=8000", True
)
pipeline.add(tone)
tone.link(alice)
pipeline.set_state(Gst.State.PLAYING)
channel = alice.emit("create-data-channel", "file", None)
channel.connect("on-open", opened)
GLib.idle_add(connect)
loop.run()
result = {"sum": hashlib.sha256(arrived).hexdigest(), "media": packets, "pairs": [pair(alice), pair(bob)]}
pipeline.set_state(Gst.State.NULL)
print(json.dumps(result))
