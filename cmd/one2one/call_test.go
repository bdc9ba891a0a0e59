package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// call brings two people into a call and waits until both see each other.
func (s *stage) call(first, second string) (alice, bob *person) {
	s.t.Helper()
	alice, bob = s.open("alice", first, ""), s.open("bob", second, "")
	alice.state("ready")
	bob.state("ready")
	connect(alice, bob)
	return alice, bob
}

func connect(caller, callee *person) {
	caller.t.Helper()
	caller.calls(callee.name)
	callee.state("ringing")
	callee.until("document.activeElement.id === 'accept'")
	do(callee, key("\r"))
	for _, p := range []*person{caller, callee} {
		p.state("connected")
		p.until(counting + ".then((c) => c.FramesDecoded > 5 && c.AudioPackets > 5)")
	}
}

// Two browsers meet in the relay over each pair of transports: pictures and sound arrive without loss, and the server
// counted what the browsers did.
func TestCall(t *testing.T) {
	for _, test := range []struct {
		alice, bob string
		frames     int // to be decoded: 10 s of a first call, less of the others
		hangsUp    string
	}{
		{"udp", "tcp", 200, "bob"},
		{"udp", "udp", 40, "alice"},
		{"tcp", "tcp", 40, "alice"},
	} {
		t.Run(test.alice+" "+test.bob, func(t *testing.T) {
			s := newStage(t, stageOptions{})
			alice, bob := s.call(test.alice, test.bob)
			both := map[*person]string{alice: test.alice, bob: test.bob}
			for p, way := range both {
				before := p.counts()
				p.until(fmt.Sprintf("%s.then((c) => c.FramesDecoded >= %d && c.AudioSamples > %g)", counting, test.frames, before.AudioSamples))
				c := p.counts()
				if c.LocalType != "relay" || c.RemoteType != "relay" || c.Way != way {
					t.Errorf("%s: from %s (%s) to %s", p.name, c.LocalType, c.Way, c.RemoteType)
				}
				if c.Lost != 0 || c.Received == 0 {
					t.Errorf("%s: %d of %d RTP packets are lost", p.name, c.Lost, c.Received)
				}
				if shown := p.text("legYou") + p.text("legPeer"); shown != strings.ToUpper(test.alice+test.bob) && p == alice || !strings.Contains(p.text("relayYou"), c.Address) {
					t.Errorf("%s: the panel shows %q and %q for %q", p.name, shown, p.text("relayYou"), c.Address)
				}
			}
			if a, b := alice.counts(), bob.counts(); a.Address != b.RemoteAddress || a.RemoteAddress != b.Address {
				t.Errorf("%s ⇄ %s and %s ⇄ %s", a.Address, a.RemoteAddress, b.Address, b.RemoteAddress)
			}
			s.agrees(alice, bob)
			if test.alice != test.bob {
				alice.shot("connected")
				bob.likes("dark")
				bob.shot("connected-dark")
			}

			hanging, other := alice, bob
			if test.hangsUp == "bob" {
				hanging, other = bob, alice
			}
			do(hanging, key("\x1b")) // Escape
			hanging.state("ready")
			other.state("ready")
			other.hears("The call is over: " + hanging.name + " has hung up")
			other.shot("over")
			s.until(func() bool { return s.used() == 0 })

			// And again, the other way round, with new credentials.
			connect(bob, alice)
			bob.click("hangup")
			alice.state("ready")
		})
	}
}

// agrees holds the server's counters against the browsers': between two readings of the server's lies one of the
// browsers'. What a browser counts as sent in the pair has passed the server as a packet from a client.
func (s *stage) agrees(people ...*person) {
	s.t.Helper()
	const slack = 0.02 // refreshes, and what is on its way
	var sent, received, bytes float64
	before := s.traffic()
	for _, p := range people {
		c := p.counts()
		sent += float64(c.PairPacketsSent)
		received += float64(c.PairPacketsReceived)
		bytes += float64(c.PairBytesSent)
	}
	after := s.traffic()
	for _, counted := range []struct {
		what    string
		browser float64
		low     uint64
		high    uint64
	}{
		{"packets from clients", sent, before[forward.ClientIn].Packets, after[forward.ClientIn].Packets},
		{"packets to clients", received, before[forward.ClientOut].Packets, after[forward.ClientOut].Packets},
	} {
		if counted.browser < float64(counted.low)*(1-slack)-50 || counted.browser > float64(counted.high)*(1+slack)+50 {
			s.t.Errorf("%s: %d to %d at the server, %.0f in the browsers", counted.what, counted.low, counted.high, counted.browser)
		}
	}
	if total := after[forward.ClientIn].Bytes; bytes > float64(total)*(1+slack) || bytes < 0.8*float64(before[forward.ClientIn].Bytes) {
		s.t.Errorf("bytes from clients: %d at the server, %.0f of payload in the browsers", total, bytes)
	}
	for _, d := range s.relay.Snapshot().Dropped {
		if d.Value > 0 {
			s.t.Logf("dropped: %s %d", d.Name, d.Value)
		}
	}
}

// used counts the allocations that carried anything. Chromium sometimes makes more than it needs, when it learns of the
// host's networks late, and leaves those to expire.
func (s *stage) used() (n int) {
	s.relay.Allocations(-1, func(a relay.AllocationInfo) bool {
		if a.Counts.Up.Packets > 0 {
			n++
		}
		return true
	})
	return n
}

// sent is how many packets each allocation's client has sent to peers, by the allocation's ID.
func (s *stage) sent() map[uint64]uint64 {
	packets := make(map[uint64]uint64)
	s.relay.Allocations(-1, func(a relay.AllocationInfo) bool {
		packets[a.ID] = a.Counts.Up.Packets
		return true
	})
	return packets
}

// traffic sums up the listeners.
func (s *stage) traffic() (sum [forward.Directions]struct{ Packets, Bytes uint64 }) {
	for _, l := range s.relay.Snapshot().Listeners {
		for d, c := range l.Traffic {
			sum[d].Packets += c.Packets
			sum[d].Bytes += c.Bytes
		}
	}
	return sum
}

// 20 MB arrive byte for byte, from a UDP client to a TCP client and back.
func TestDataChannel(t *testing.T) {
	s := newStage(t, stageOptions{})
	alice, bob := s.call("udp", "tcp")
	const receive = `void (globalThis.arrived = new Promise((resolve) => {
  connections.at(-1).ondatachannel = ({ channel }) => {
    const parts = [];
    let size = 0;
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      parts.push(data);
      if ((size += data.byteLength) >= 20e6) resolve(digest(new Blob(parts)));
    };
  };
}))`
	const digest = `void (globalThis.digest = async (blob) => {
  const sum = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return blob.size + ":" + [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, "0")).join("");
})`
	const send = `(async () => {
  const bytes = new Uint8Array(20e6);
  for (let i = 0; i < bytes.length; i += 50000) crypto.getRandomValues(bytes.subarray(i, i + 50000));
  const channel = connections.at(-1).createDataChannel("file");
  await new Promise((resolve) => (channel.onopen = resolve));
  channel.bufferedAmountLowThreshold = 1e6;
  for (let i = 0; i < bytes.length; i += 50000) {
    if (channel.bufferedAmount > 4e6) await new Promise((resolve) => (channel.onbufferedamountlow = resolve));
    channel.send(bytes.subarray(i, i + 50000));
  }
  return digest(new Blob([bytes]));
})()`
	for _, direction := range []struct{ from, to *person }{{alice, bob}, {bob, alice}} {
		for _, p := range []*person{alice, bob} {
			p.eval(digest, nil)
		}
		direction.to.eval(receive, nil)
		var sent, arrived string
		direction.from.eval(send, &sent)
		direction.to.eval("arrived", &arrived)
		if sent != arrived || !strings.HasPrefix(arrived, "20000000:") {
			t.Errorf("%s sent %s, %s got %s", direction.from.name, sent, direction.to.name, arrived)
		}
	}
	alice.state("connected")
}

// The relay is killed and another one takes its place, which knows nothing of the call: the users see that it is
// interrupted, and it goes on by itself.
func TestRelayRestart(t *testing.T) {
	s := newStage(t, stageOptions{})
	alice, bob := s.call("udp", "tcp")
	s.stop()
	alice.state("interrupted")
	bob.state("interrupted")
	alice.shot("interrupted")
	s.startRelay()
	for _, p := range []*person{alice, bob} {
		p.state("connected")
		before := p.counts().FramesDecoded
		p.until(fmt.Sprintf("%s.then((c) => c.FramesDecoded > %d)", counting, before+10))
	}
	// A slow machine takes more than one try, and what the first ones left behind stays for a while.
	before := s.sent()
	frames := alice.counts().FramesDecoded
	alice.until(fmt.Sprintf("%s.then((c) => c.FramesDecoded > %d)", counting, frames+30))
	moving := 0
	for id, packets := range s.sent() {
		if packets > before[id]+10 {
			moving++
		}
	}
	if moving != 2 {
		t.Errorf("the call moves through %d allocations of the new relay, want 2", moving)
	}
}
