package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Peers beyond the process: the relayed transport addresses are sockets then, on this host's loopback addresses.

// peerRules parses --peers.
func peerRules(t testing.TB, texts ...string) (all []peers.Rule) {
	t.Helper()
	for _, text := range texts {
		rule, err := peers.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rule)
	}
	return all
}

// outgoing starts a server whose clients may have peers on the loopback addresses.
func outgoing(t *testing.T, change func(*relay.Config)) *served {
	t.Helper()
	return conforming(t, func(c *relay.Config) {
		c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
		// Above what Linux gives to sockets by itself, so that no listener or peer has a port that loop allows.
		c.RelayPorts = allocation.PortRange{Min: 61000, Max: 65535}
		c.Peers.Rules = peerRules(t, "loop", "127.0.0.0/8", "::1")
		if change != nil {
			change(c)
		}
	})
}

// eachReading runs a test on a server that polls its sockets and on one that reads each by itself.
func eachReading(t *testing.T, test func(t *testing.T, s *served)) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			test(t, outgoing(t, func(c *relay.Config) { c.PortableUDP = portable }))
		})
	}
}

// host is a peer outside: a plain socket.
type host struct {
	t testing.TB
	*net.UDPConn
}

func newHost(t testing.TB, v6 bool) *host {
	t.Helper()
	ip := netip.MustParseAddr("127.0.0.1")
	if v6 {
		ip = netip.IPv6Loopback()
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &host{t, conn}
}

func (h *host) address() netip.AddrPort { return h.LocalAddr().(*net.UDPAddr).AddrPort() }

// want reads a datagram and where it comes from.
func (h *host) want(from netip.AddrPort, data []byte) {
	h.t.Helper()
	h.SetReadDeadline(deadline())
	b := make([]byte, 1<<16)
	n, source, err := h.ReadFromUDPAddrPort(b)
	if err != nil {
		h.t.Fatalf("nothing reached the peer: %v", err)
	}
	if source != from || !bytes.Equal(b[:n], data) {
		h.t.Errorf("the peer got %q from %v, want %q from %v", trim(b[:n]), source, trim(data), from)
	}
}

func (h *host) send(to netip.AddrPort, data []byte) {
	h.t.Helper()
	if _, err := h.WriteToUDPAddrPort(data, to); err != nil {
		h.t.Fatal(err)
	}
}

// Packets to and from a peer outside, over every transport, by indications and channels, of every size that fits
// (RFC 8656 §11, §12).
func TestConformancePeersOutside(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		eachWay(t, func(t *testing.T, w way) {
			for _, v6 := range []bool{false, true} {
				a, h := s.call(t, w), newHost(t, v6)
				a.allocate(familyOf(v6))
				a.permit(h.address())
				sizes := []int{0, 1, 3, 4, 1200, 1473, 9000, 60000}
				if w == overDTLS {
					sizes = sizes[:6] // a record takes no more
				}
				for _, size := range sizes {
					data := bytes.Repeat([]byte{byte(size)}, size)
					a.sendTo(h.address(), data)
					h.want(a.relayed, data)
					h.send(a.relayed, data)
					a.wantData(h.address(), data)
				}
				a.bind(0x4001, h.address())
				for _, size := range sizes {
					data := bytes.Repeat([]byte{byte(size)}, size)
					a.send(channelData(0x4001, data, a.stream != nil))
					h.want(a.relayed, data)
					h.send(a.relayed, data)
					a.wantChannel(0x4001, data)
				}
			}
		})
	})
}

// What comes in a burst leaves whole and in order, both ways.
func TestConformancePeersBurst(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		a, h := s.call(t, overUDP), newHost(t, false)
		a.allocate()
		a.bind(0x4001, h.address())
		for round := range 5 {
			for i := range 60 {
				a.send(channelData(0x4001, bytes.Repeat([]byte{byte(i)}, 100+i*round), false))
			}
			for i := range 60 {
				h.want(a.relayed, bytes.Repeat([]byte{byte(i)}, 100+i*round))
			}
			for i := range 60 {
				h.send(a.relayed, bytes.Repeat([]byte{byte(i)}, 100+i*round))
			}
			for i := range 60 {
				a.wantChannel(0x4001, bytes.Repeat([]byte{byte(i)}, 100+i*round))
			}
		}
	})
}

// A client of the same server is reached inside the process, whichever rule allows it.
func TestConformancePeersHairpin(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		a, b := s.call(t, overUDP), s.call(t, overTCP)
		a.allocate()
		b.allocate()
		a.bind(0x4001, b.relayed)
		b.bind(0x4002, a.relayed)
		a.send(channelData(0x4001, []byte("there"), false))
		b.wantChannel(0x4002, []byte("there"))
		b.send(channelData(0x4002, []byte("back"), true))
		a.wantChannel(0x4001, []byte("back"))
		eventually(t, "two packets are counted as hairpinned", func() bool { return s.Snapshot().Hairpin == 2 })
	})
}

// Datagrams from a peer without a permission, or that the rules don't allow, reach nobody (RFC 8656 §9, §11.3).
func TestConformancePeersUnwanted(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		a, b, h := s.call(t, overUDP), s.call(t, overUDP), newHost(t, false)
		a.allocate()
		b.allocate()
		b.permit(h.address())
		h.send(a.relayed, []byte("unwanted"))
		h.send(b.relayed, []byte("wanted"))
		b.wantData(h.address(), []byte("wanted"))
		eventually(t, "the drop is counted", func() bool { return dropped(s.Server, "peer_no_permission") == 1 })
		a.quiet()

		// The rules change while it runs: the allocation stays, the peer is out.
		if err := s.Peers().Replace(peerRules(t, "loop", "127.0.0.0/8", "::1", "!"+h.address().String())); err != nil {
			t.Fatal(err)
		}
		h.send(b.relayed, []byte("denied"))
		eventually(t, "the drop is counted", func() bool { return dropped(s.Server, "peer_not_allowed") == 1 })
		b.sendTo(h.address(), []byte("denied"))
		eventually(t, "the drop is counted", func() bool { return dropped(s.Server, "peer_not_allowed") == 2 })
		b.request(stun.MethodChannelBind, channel(0x4001), peer(h.address())).want(t, 403)
		b.quiet()
		if err := s.Peers().Replace(peerRules(t, "loop", "127.0.0.0/8", "::1")); err != nil {
			t.Fatal(err)
		}
		h.send(b.relayed, []byte("again"))
		b.wantData(h.address(), []byte("again"))
	})
}

// No rule leads to the server's own listeners, nor to what no rule names (RFC 8656 §10.2: 403).
func TestConformancePeersForbidden(t *testing.T) {
	s := outgoing(t, func(c *relay.Config) { c.Peers.Rules = peerRules(t, "loop", "127.0.0.1:1-65535", "0.0.0.0/0") })
	a := s.call(t, overUDP)
	a.allocate()
	for i, row := range []struct {
		says string
		to   netip.AddrPort
		code int
	}{
		{"an address that a rule names", netip.MustParseAddrPort("127.0.0.1:9"), 0},
		{"an address in a wide rule", netip.MustParseAddrPort("192.0.2.1:9"), 0},
		{"the server's own listener", s.at(t, overUDP), 403},
		{"its other listener", s.at(t, overTCP), 403},
		{"loopback that no rule names", netip.MustParseAddrPort("127.0.0.2:9"), 403},
		{"metadata of a cloud", netip.MustParseAddrPort("169.254.169.254:80"), 403},
		{"unspecified", netip.MustParseAddrPort("0.0.0.0:80"), 403},
		{"multicast", netip.MustParseAddrPort("224.0.0.1:80"), 403},
	} {
		t.Run(row.says, func(t *testing.T) {
			a.t = t
			a.request(stun.MethodChannelBind, channel(0x4000+uint16(i)), peer(row.to)).want(t, row.code)
		})
	}
}

// A port that nobody listens on is reported by ICMP, and the client is told (RFC 8656 §11.5, §18.13).
func TestConformancePeersICMP(t *testing.T) {
	if !udp.HasPoller {
		t.Skip("this system doesn't tell of ICMP messages")
	}
	s := outgoing(t, nil)
	for _, w := range []way{overUDP, overTCP} {
		for v6, want := range map[bool][]byte{
			false: {0, 0, 3 << 1, 3, 0, 0, 0, 0}, // type 3: destination unreachable, code 3: port
			true:  {0, 0, 1 << 1, 4, 0, 0, 0, 0}, // type 1: destination unreachable, code 4: port
		} {
			a, h := s.call(t, w), newHost(t, v6)
			a.allocate(familyOf(v6))
			a.permit(h.address())
			h.Close()
			a.sendTo(h.address(), []byte("anybody there?"))
			told, err := parseMessage(a.receive())
			if err != nil {
				t.Fatal(err)
			}
			if told.method != stun.MethodData || told.class != stun.ClassIndication || !told.has(stun.AttrData) || len(told.get(stun.AttrData)) > 0 {
				t.Errorf("%v, IPv6 %v: want a Data indication without data, got %x", w, v6, told.raw)
			}
			if got := told.address(t, stun.AttrXORPeerAddress); got != h.address() {
				t.Errorf("XOR-PEER-ADDRESS is %v, want %v", got, h.address())
			}
			if got := told.get(0x8004); !bytes.Equal(got, want) {
				t.Errorf("%v, IPv6 %v: ICMP is %x, want %x", w, v6, got, want)
			}
			a.sendTo(h.address(), []byte("still?")) // the pending error must not cost the next datagram
			a.receive()
		}
	}
}

// DONT-FRAGMENT towards a peer outside: what fits goes, what doesn't comes back as ICMP (RFC 8656 §11.2, §14).
func TestConformancePeersDontFragment(t *testing.T) {
	if !udp.HasPoller {
		t.Skip("this system has no portable way to set DF")
	}
	s := outgoing(t, nil)
	a, h := s.call(t, overUDP), newHost(t, false)
	a.allocate()
	a.permit(h.address())
	small, large := bytes.Repeat([]byte{1}, 1000), bytes.Repeat([]byte{2}, 65400) // lo has an MTU of 65,536 bytes
	a.sendTo(h.address(), small, raw(stun.AttrDontFragment))
	h.want(a.relayed, small)
	a.sendTo(h.address(), large[:60000], raw(stun.AttrDontFragment))
	h.want(a.relayed, large[:60000])
	a.sendTo(h.address(), small)
	h.want(a.relayed, small)
}

// EVEN-PORT with a reservation: both ports are bound, and the token's bearer gets the other one with its socket
// (RFC 8656 §7.2).
func TestConformancePeersReservation(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		a, b, h := s.call(t, overUDP), s.call(t, overUDP), newHost(t, false)
		token := a.allocate(raw(stun.AttrEvenPort, 0x80)).get(stun.AttrReservationToken)
		next := netip.AddrPortFrom(a.relayed.Addr(), a.relayed.Port()+1)
		if other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(next)); err == nil {
			other.Close()
			t.Errorf("%v is reserved, yet not bound", next)
		}
		b.allocate(raw(stun.AttrReservationToken, token...))
		if b.relayed != next {
			t.Fatalf("the token brings %v, want %v", b.relayed, next)
		}
		b.permit(h.address())
		h.send(b.relayed, []byte("hello"))
		b.wantData(h.address(), []byte("hello"))
	})
}

// Ports that others on this host have are passed over; when none is left the answer is 508, and those who have one go on.
func TestConformancePeersBusyPorts(t *testing.T) {
	for range 10 { // until a run of ports is free
		first := newHost(t, false)
		ports := allocation.PortRange{Min: first.address().Port(), Max: first.address().Port() + 3}
		if ports.Max < ports.Min {
			continue
		}
		free, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(first.address().Addr(), ports.Max)))
		if err != nil {
			continue
		}
		free.Close()
		s := outgoing(t, func(c *relay.Config) { c.RelayPorts = ports })
		a, b, h := s.call(t, overUDP), s.call(t, overUDP), newHost(t, false)
		a.allocate()
		if a.relayed.Port() == ports.Min {
			t.Fatal("a port is handed out that somebody else has")
		}
		for code := 0; code == 0; b = s.call(t, overUDP) {
			if code = b.request(stun.MethodAllocate, udpTransport).code(); code != 0 && code != 508 {
				t.Fatalf("code %d for the lack of ports, want 508", code)
			}
		}
		a.permit(h.address())
		h.send(a.relayed, []byte("goes on"))
		a.wantData(h.address(), []byte("goes on"))
		return
	}
	t.Skip("no free run of ports found")
}

// When an allocation ends, its socket is closed.
func TestConformancePeersEnd(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		for _, end := range []func(a *caller){
			func(a *caller) { a.request(stun.MethodRefresh, lifetime(0)).want(t, 0) },
			func(a *caller) { a.conn.Close() },
		} {
			a := s.call(t, overTCP)
			a.allocate()
			end(a)
			eventually(t, "the port is free", func() bool {
				conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a.relayed))
				if err == nil {
					conn.Close()
				}
				return err == nil
			})
		}
	})
}

// Two servers, a client each: the relayed transport address of one is a peer outside for the other.
func TestConformancePeersSiblings(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		other := outgoing(t, nil)
		for _, w := range []way{overUDP, overTCP} {
			a, b := s.call(t, w), other.call(t, overUDP)
			a.allocate()
			b.allocate()
			a.bind(0x4001, b.relayed)
			b.bind(0x4002, a.relayed)
			for i := range uint32(100) {
				data := binary.BigEndian.AppendUint32(nil, i)
				a.send(channelData(0x4001, data, a.stream != nil))
				b.wantChannel(0x4002, data)
				b.send(channelData(0x4002, data, false))
				a.wantChannel(0x4001, data)
			}
		}
	})
}

// Clients over TCP alone are served, too: without a UDP listener there are loops for the sockets.
func TestConformancePeersWithoutUDP(t *testing.T) {
	s := outgoing(t, func(c *relay.Config) {
		c.Listeners = []relay.Listener{{Scheme: "tcp", Address: "127.0.0.1:0"}}
	})
	a, h := s.call(t, overTCP), newHost(t, false)
	a.allocate()
	a.permit(h.address())
	a.sendTo(h.address(), []byte("ping"))
	h.want(a.relayed, []byte("ping"))
	h.send(a.relayed, []byte("pong"))
	a.wantData(h.address(), []byte("pong"))
}
