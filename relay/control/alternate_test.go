package control

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// alternatesOf reads every ALTERNATE-SERVER, by hand (RFC 8489 §14.1, §14.15).
func alternatesOf(t *testing.T, m *stun.Message) (servers []netip.AddrPort) {
	t.Helper()
	for _, a := range m.Attributes {
		if a.Type != stun.AttrAlternateServer {
			continue
		}
		v := a.Value
		if len(v) != 8 && len(v) != 20 || v[0] != 0 || int(v[1]) != len(v)/8 {
			t.Fatalf("ALTERNATE-SERVER is %x", v)
		}
		ip, _ := netip.AddrFromSlice(v[4:])
		servers = append(servers, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[2:])))
	}
	return servers
}

func TestClosedGate(t *testing.T) {
	v4a, v4b := netip.MustParseAddrPort("192.0.2.11:3478"), netip.MustParseAddrPort("192.0.2.12:3479")
	v6 := netip.MustParseAddrPort("[2001:db8::11]:3478")
	here := netip.MustParseAddrPort("127.0.0.1:3478")
	for _, test := range []struct {
		name       string
		alternates []netip.AddrPort
		v6         bool // the client
		code       int
		want       [][]netip.AddrPort // one of these
	}{
		{"none", nil, false, 508, nil},
		{"one", []netip.AddrPort{v4a}, false, 300, [][]netip.AddrPort{{v4a}}},
		{"one of two", []netip.AddrPort{v4a, v4b}, false, 300, [][]netip.AddrPort{{v4a}, {v4b}}},
		{"only of the other family", []netip.AddrPort{v6}, false, 508, nil},
		{"the client's family first", []netip.AddrPort{v4a, v6}, false, 300, [][]netip.AddrPort{{v4a, v6}}},
		{"the client's family first, IPv6", []netip.AddrPort{v4a, v6}, true, 300, [][]netip.AddrPort{{v6, v4a}}},
		{"only of the other family, IPv6", []netip.AddrPort{v4a}, true, 508, nil},
		{"only on loopback, where the client is not", []netip.AddrPort{here}, false, 508, nil},
		{"also on loopback", []netip.AddrPort{here, v4a}, false, 300, [][]netip.AddrPort{{v4a}}},
		{"ourselves", []netip.AddrPort{serverV4}, false, 508, nil},
		{"ourselves and another", []netip.AddrPort{v4a, serverV4}, false, 300, [][]netip.AddrPort{{v4a}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			gate := new(Gate)
			s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Gate = gate })
			at, server := clientV4, serverV4
			if test.v6 {
				at, server = clientV6, serverV6
			}
			c := s.clientAt(at, server, alice, alicePassword)
			held := c.nth(1)
			first := held.request(stun.MethodAllocate, udpTransport)
			wantCode(t, held.send(first), 0)
			granted := held.lastBytes
			if test.alternates != nil {
				gate.SetAlternates(test.alternates)
			}
			gate.Close()
			gate.Close()

			seen := map[netip.AddrPort]bool{}
			for range 50 {
				answer := c.do(stun.MethodAllocate, udpTransport)
				wantCode(t, answer, test.code)
				wantSigned(t, answer, true)
				got := alternatesOf(t, answer)
				if test.code == 300 {
					seen[got[0]] = true
				}
				if !slices.ContainsFunc(test.want, func(w []netip.AddrPort) bool { return slices.Equal(got, w) }) && len(test.want)+len(got) > 0 {
					t.Fatalf("ALTERNATE-SERVER %v, want one of %v", got, test.want)
				}
			}
			if len(seen) != len(test.want) {
				t.Errorf("of %v only %v were drawn", test.want, seen)
			}
			// Nothing else is turned away, and nothing is told to strangers or of what is wrong otherwise.
			wantCode(t, c.as(alice, bobPassword).do(stun.MethodAllocate, udpTransport), 401)
			wantCode(t, c.do(stun.MethodAllocate), 400)
			wantCode(t, c.do(stun.MethodAllocate, udpTransport, unknownAttr), 420)
			wantCode(t, held.send(first), 0)
			if !slices.Equal(held.lastBytes, granted) {
				t.Error("a retransmission got another answer than before")
			}
			wantCode(t, held.do(stun.MethodAllocate, udpTransport), 437)
			wantCode(t, held.do(stun.MethodRefresh), 0)
			if n := s.table.Count(); n != 1 {
				t.Errorf("%d allocations, want 1", n)
			}
		})
	}
}

// Once Close has returned, the number of allocations doesn't grow: every success has been counted.
func TestGateClosesBehindThoseInside(t *testing.T) {
	for range 20 {
		gate := new(Gate)
		s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Gate = gate })
		var running sync.WaitGroup
		var made atomic.Int64
		begun := make(chan struct{}, 4)
		for g := range 4 {
			requests := make([]*stun.Message, 200)
			clients := make([]*client, len(requests))
			for i := range requests {
				clients[i] = s.client(alice, alicePassword).nth(1 + 1000*g + i)
				requests[i] = clients[i].request(stun.MethodAllocate, udpTransport)
			}
			worker := s.handler.NewWorker()
			running.Go(func() {
				for i, m := range requests {
					answer := worker.Handle(m.Raw, &clients[i].from, nil)
					if answer[0] == 1 && answer[1] == 3 { // RFC 8489 §5: an Allocate success
						made.Add(1)
					}
					if i == 20 {
						begun <- struct{}{}
					}
				}
			})
		}
		<-begun
		gate.Close()
		closed := s.table.Count()
		running.Wait()
		if n := s.table.Count(); n != closed || made.Load() != int64(n) {
			t.Fatalf("%d allocations when the gate was closed, %d later, %d successes", closed, n, made.Load())
		}
	}
}

// Newcomers are sent on when there is no room for them, or from a number of allocations on; those who are there stay.
func TestOverCapacity(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("192.0.2.11:3478")
	for _, test := range []struct {
		name    string
		change  func(*allocation.Options, *authOptions, *Options)
		without int // code where no other server is known
	}{
		{"redirect-at", func(_ *allocation.Options, _ *authOptions, o *Options) { o.RedirectAt = 2 }, 0},
		{"total quota", func(o *allocation.Options, _ *authOptions, _ *Options) { o.TotalQuota = 2 }, 508},
		{"no address left", func(o *allocation.Options, _ *authOptions, _ *Options) {
			o.Ports = allocation.PortRange{Min: 50000, Max: 50001}
		}, 508},
	} {
		t.Run(test.name, func(t *testing.T) {
			gate := new(Gate)
			s := newServer(t, test.change, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Gate = gate })
			c := s.client(alice, alicePassword)
			first := c.request(stun.MethodAllocate, udpTransport)
			wantCode(t, c.send(first), 0)
			second := c.nth(1)
			wantCode(t, second.do(stun.MethodAllocate, udpTransport), 0)
			last := c.nth(2)
			wantCode(t, last.do(stun.MethodAllocate, udpTransport), test.without)
			last.do(stun.MethodRefresh, lifetime(0))

			gate.SetAlternates([]netip.AddrPort{elsewhere})
			answer := last.do(stun.MethodAllocate, udpTransport)
			wantCode(t, answer, 300)
			wantSigned(t, answer, true)
			if got := alternatesOf(t, answer); !slices.Equal(got, []netip.AddrPort{elsewhere}) {
				t.Errorf("sent to %v", got)
			}
			wantCode(t, c.send(first), 0) // a retransmission
			wantCode(t, c.do(stun.MethodRefresh), 0)
		})
	}
}
