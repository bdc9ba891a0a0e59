package relay_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

// What is told of TCP allocations (RFC 6062): that they are, what connections they have, and at their end all bytes.

// ofTCP returns the allocation of a caller's.
func (s *served) ofTCP(t *testing.T, c *caller) (found relay.AllocationInfo) {
	t.Helper()
	s.Allocations(-1, func(a relay.AllocationInfo) bool {
		if a.Relayed == c.relayed {
			found = a
		}
		return found.ID == 0
	})
	if found.ID == 0 {
		t.Fatalf("no allocation has %v", c.relayed)
	}
	return found
}

func TestConformanceTCPTold(t *testing.T) {
	s := witness(t, nil)
	u := s.call(t, overTCP)
	u.allocate()
	if n := s.ofTCP(t, u); n.RelayTransport != "udp" || n.Connections != nil {
		t.Errorf("an allocation of UDP over TCP is shown as one of %s with %v", n.RelayTransport, n.Connections)
	}
	a, b := s.tcpPair(t, overTCP)
	id := s.ofTCP(t, a).ID
	if e := s.event(t, events.Birth, id, 0); e.RelayTransport != "tcp" || e.Relay != a.relayed || e.Transport != "tcp" {
		t.Errorf("the birth says %+v", e)
	}
	s.wantLog(t, fmt.Sprintf("allocation %d created", id), "relay="+a.relayed.String()+"/tcp ")

	here := s.data(a, overTCP, a.connect(b.relayed))
	if got := s.ofTCP(t, a).Connections; len(got) != 1 || got[0].Joined || got[0].Peer != b.relayed {
		t.Errorf("connections %+v, want one to %v that is pending", got, b.relayed)
	}
	there := s.data(b, overTCP, b.attempt(a.relayed))
	up, down := noise(3<<20), noise(1<<20)
	go here.conn.Write(up)
	there.wantBytes(up)
	there.send(down)
	here.wantBytes(down)
	for _, row := range []struct {
		one, other *caller
		up, down   int
	}{{a, b, len(up), len(down)}, {b, a, len(down), len(up)}} {
		want := tcp.Reading{Peer: row.other.relayed, Joined: true, Up: uint64(row.up), Down: uint64(row.down)}
		var n relay.AllocationInfo
		eventually(t, fmt.Sprintf("%+v", want), func() bool {
			n = s.ofTCP(t, row.one)
			got := n.Connections
			return n.Counts.Down.Bytes == want.Down && len(got) == 1 && got[0].Since > 0 && got[0] == tcp.Reading{Peer: want.Peer, Joined: true, Since: got[0].Since, Up: want.Up, Down: want.Down}
		})
		if n.RelayTransport != "tcp" || n.Counts.Up.Bytes != want.Up || n.Counts.Down.Bytes != want.Down {
			t.Errorf("allocation %d: %s, %+v, want the bytes of %+v", n.ID, n.RelayTransport, n.Counts, want)
		}
	}
	a.request(stun.MethodConnect, peer(u.relayed)).want(t, 447)
	if e := s.event(t, events.Refusal, id, 0); e.Method != "connect" || e.Code != 447 || e.Relay != a.relayed || e.RelayTransport != "tcp" || e.Client != a.local() || e.User != "alice" {
		t.Errorf("the refusal says %+v", e)
	}
	here.conn.Close()
	there.wantEnd()
	there.conn.Close()
	eventually(t, "the connection is forgotten", func() bool { return len(s.ofTCP(t, a).Connections) == 0 })
	here, there = s.joined(a, b, overTCP, overTCP)
	here.send([]byte("again"))
	there.wantBytes([]byte("again"))
	a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)

	e, all := s.event(t, events.Death, id, 0), len(up)+len("again")
	if want := (events.Traffic{FromClient: events.Count{Bytes: uint64(all)}, ToClient: events.Count{Bytes: uint64(len(down))}}); e.RelayTransport != "tcp" || e.Connections != 2 || *e.Traffic != want {
		t.Errorf("the death says %+v, %+v, want two connections and %+v", e, e.Traffic, want)
	}
	s.wantLog(t, fmt.Sprintf("allocation %d ended", id), "relay="+a.relayed.String()+"/tcp ", fmt.Sprintf("from_client=0/%dB to_client=0/%dB", all, len(down)), "connections=2")
	want := fmt.Sprintf("created for 10m0s; permitted %v; connected to %v ×2; refused connect: 447, the peer does not accept the connection (%v); "+
		"disconnected from %v after %dB from the client and %dB to it; disconnected from %v after 5B from the client and 0B to it; ended released by the client",
		b.relayed.Addr(), b.relayed, u.relayed, b.relayed, len(up), len(down), b.relayed)
	if got := told(s.served, id); got != want {
		t.Errorf("the history is\n%s\nwant\n%s", got, want)
	}
}

// A refusal that is known only when a peer outside has not answered is told as the others are.
func TestConformanceTCPRefusedLater(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("TCP allocations have peers outside on Linux only")
	}
	s := witness(t, func(c *relay.Config) {
		c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.RelayPorts = allocation.PortRange{Min: 61000, Max: 65535}
		c.Peers.Rules = peerRules(t, "127.0.0.0/8")
	})
	a, h := s.call(t, overTCP), newTCPHost(t, false)
	a.allocateTCP()
	id := s.ofTCP(t, a).ID
	h.Close()
	a.request(stun.MethodConnect, peer(h.address())).want(t, 447)
	e := s.event(t, events.Refusal, id, 0)
	if e.Method != "connect" || e.Code != 447 || e.Reason == "" || e.User != "alice" || e.Client != a.local() || e.Relay != a.relayed || e.Listener == "" {
		t.Errorf("the refusal says %+v", e)
	}
}

// However a TCP allocation ends, its data connections end with it, and its last line has every byte that passed, although
// they pass up to that moment.
func TestConformanceTCPFinalCounters(t *testing.T) {
	for _, row := range []struct {
		says, why string
		change    func(*relay.Config)
		user      func(*witnessed, *caller)
		end       func(s *witnessed, a *caller, id uint64)
	}{
		{says: "by the operator", why: "ended by the operator", end: func(s *witnessed, _ *caller, id uint64) { s.End(id) }},
		{says: "by the client", why: "released by the client", end: func(_ *witnessed, a *caller, _ uint64) { a.request(stun.MethodRefresh, lifetime(0)).want(a.t, 0) }},
		{says: "with its connection", why: "connection closed", end: func(_ *witnessed, a *caller, _ uint64) { a.conn.Close() }},
		{says: "at the drain's deadline", why: "server shutdown", end: func(s *witnessed, _ *caller, _ uint64) { s.Drain(50 * time.Millisecond) }},
		{says: "by expiry", why: "expired", change: func(c *relay.Config) { c.Auth.EnforceExpiry = true },
			user: func(s *witnessed, a *caller) {
				name, password, err := s.Auth().Issue("dave", 2*time.Second)
				if err != nil {
					a.t.Fatal(err)
				}
				a.as(name, password)
			},
			end: func(*witnessed, *caller, uint64) {}},
	} {
		for _, w := range []way{overTCP, overTLS} {
			t.Run(row.says+" "+w.String(), func(t *testing.T) {
				s := witness(t, row.change)
				a, b := s.call(t, w), s.call(t, overTCP6).as("bob", "builder") // each by a listener of its own
				if row.user != nil {
					row.user(s, a)
				}
				a.allocateTCP()
				b.allocateTCP()
				a.permit(b.relayed)
				b.permit(a.relayed)
				id := s.ofTCP(t, a).ID
				here, there := s.joined(a, b, w, overTCP6)

				var both sync.WaitGroup
				for _, one := range []*caller{here, there} { // both ways at once, until the server cuts them
					both.Go(func() {
						for block := noise(20_000); ; {
							if _, err := one.conn.Write(block); err != nil {
								return
							}
						}
					})
					both.Go(func() {
						one.conn.SetReadDeadline(deadline())
						if _, err := io.Copy(io.Discard, one.stream); err != nil {
							if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
								t.Error("a data connection outlives its allocation")
							}
						}
					})
				}
				eventually(t, "bytes pass both ways", func() bool {
					n := s.ofTCP(t, a).Counts
					return n.Up.Bytes > 1<<20 && n.Down.Bytes > 1<<20
				})
				row.end(s, a, id)
				e := s.event(t, events.Death, id, 0)
				both.Wait()
				var client relay.ListenerCounts
				for _, l := range s.Snapshot().Listeners {
					if l.Name == e.Listener {
						client = l
					}
				}
				if in, out := client.Traffic[forward.ClientIn].Bytes, client.Traffic[forward.ClientOut].Bytes; e.Why != row.why || e.Connections != 1 || e.Traffic.FromClient.Bytes != in || e.Traffic.ToClient.Bytes != out {
					t.Errorf("the death says %q, %+v; %d bytes came from the client and %d went to it", e.Why, e.Traffic, in, out)
				}
				if got := told(s.served, id); !strings.HasSuffix(got, fmt.Sprintf("disconnected from %v after %dB from the client and %dB to it; ended %s", b.relayed, e.Traffic.FromClient.Bytes, e.Traffic.ToClient.Bytes, row.why)) {
					t.Errorf("the history is %s", got)
				}
			})
		}
	}
}

// A limit of bandwidth slows data connections down, those of one's own, of one's user and of the peer's; no byte is lost.
func TestConformanceDataConnectionBandwidth(t *testing.T) {
	const rate = 8_000_000 // bits/s
	for _, row := range []struct {
		says   string
		change func(*relay.Config)
		ways   [2]way
	}{
		{"an allocation's", func(c *relay.Config) { c.MaxBandwidth = rate }, [2]way{overTCP, overTCP6}},
		{"a user's", func(c *relay.Config) { c.UserBandwidth = rate }, [2]way{overTCP, overTCP}},
		{"an allocation's, over TLS", func(c *relay.Config) { c.MaxBandwidth = rate }, [2]way{overTLS, overTCP}},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			s := conforming(t, row.change)
			a, b := s.call(t, row.ways[0]), s.call(t, row.ways[1]).as("bob", "builder")
			a.allocateTCP()
			b.allocateTCP()
			a.permit(b.relayed)
			b.permit(a.relayed)
			here, there := s.joined(a, b, row.ways[0], row.ways[1])
			data := noise(1_000_000)
			least := time.Duration(len(data)-rate/8/8) * 8 * time.Second / rate // an eighth of a second's worth comes at once
			sent := 0
			for { // a machine that is busy may be too slow, but never too fast
				began := time.Now()
				for _, one := range []*caller{here, there} { // each way has a rate of its own
					go one.conn.Write(data)
				}
				var both sync.WaitGroup
				for _, one := range []*caller{here, there} {
					both.Go(func() { one.wantBytes(data) })
				}
				both.Wait()
				took := time.Since(began)
				sent += len(data)
				t.Logf("%d bytes each way in %v, %.1f %% of the rate", len(data), took, 100*float64(least)/float64(took))
				if took < least*97/100 {
					t.Fatalf("%d bytes each way took %v, want %v", len(data), took, least)
				}
				if took < least*5/4 {
					break
				}
				if sent == 6*len(data) {
					t.Fatalf("%d bytes each way took %v, want %v, in none of six attempts less", len(data), took, least)
				}
			}
			here.closeWrite()
			there.wantEnd()
			if n := s.ofTCP(t, a); n.Counts.Up.Bytes != uint64(sent) || n.Counts.UpDropped.Bytes+n.Counts.DownDropped.Bytes != 0 {
				t.Errorf("%+v", n.Counts)
			}
		})
	}
}
