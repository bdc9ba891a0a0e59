"""Two peers by aiortc in one process; clients_test.go has what they read and write."""

import asyncio, base64, hashlib, json, sys
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

if "--probe" in sys.argv:
    sys.exit()
FRAMES = 20


def peer(configuration):
    return RTCPeerConnection(RTCConfiguration([RTCIceServer(**server) for server in configuration["iceServers"]]))


def relayed(description):
    """What iceTransportPolicy relay leaves of it, which this version does not know."""
    lines = description.sdp.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("a=candidate") or " typ relay" in line]
    return RTCSessionDescription("".join(kept), description.type)


def pair(peer):
    """The selected pair, which this version's getStats does not have."""
    selected = peer.sctp.transport.transport._connection._nominated[1]
    return [selected.local_candidate.type, selected.remote_candidate.type]


async def main():
    task = json.load(sys.stdin)
    data = base64.b64decode(task["data"])
    alice, bob = (peer(configuration) for configuration in task["configurations"])
    arrived, complete, frames = bytearray(), asyncio.Event(), asyncio.Event()

    @bob.on("datachannel")
    def datachannel(channel):
        @channel.on("message")
        def message(part):
            arrived.extend(part)
            if len(arrived) >= len(data):
                complete.set()

    async def listen(track):
        for _ in range(FRAMES):
            await track.recv()
        frames.set()

    tasks = []
    bob.on("track", lambda track: tasks.append(asyncio.create_task(listen(track))))

    channel = alice.createDataChannel("file")

    @channel.on("open")
    def opened():
        for at in range(0, len(data), 16384):
            channel.send(data[at : at + 16384])

    alice.addTrack(AudioStreamTrack())
    await alice.setLocalDescription(await alice.createOffer())
    await bob.setRemoteDescription(relayed(alice.localDescription))
    await bob.setLocalDescription(await bob.createAnswer())
    await alice.setRemoteDescription(relayed(bob.localDescription))
    await asyncio.gather(complete.wait(), frames.wait())
    result = {"sum": hashlib.sha256(arrived).hexdigest(), "media": FRAMES, "pairs": [pair(alice), pair(bob)]}
    await asyncio.gather(alice.close(), bob.close())
    print(json.dumps(result))


asyncio.run(main())
