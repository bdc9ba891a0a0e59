package relay_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// twoAddresses makes a dual allocation and returns its relayed transport addresses, IPv4's first.
func (c *caller) twoAddresses(setters ...stun.Setter) [2]netip.AddrPort {
	c.t.Helper()
	a := c.allocate(append([]stun.Setter{alsoIPv6}, setters...)...)
	if a.has(attrAddressErrorCode) {
		c.t.Errorf("ADDRESS-ERROR-CODE %q beside what was asked for", a.get(attrAddressErrorCode))
	}
	return a.twoAddresses(c.t)
}

// twoAddresses reads the two XOR-RELAYED-ADDRESS of a dual allocation.
func (a *answer) twoAddresses(t testing.TB) [2]netip.AddrPort {
	t.Helper()
	two := a.relayed(t)
	if len(two) != 2 || !relays4.Contains(two[0].Addr()) || !relays6.Contains(two[1].Addr()) {
		t.Fatalf("XOR-RELAYED-ADDRESS %v, want one of %v and one of %v (RFC 8656 §7.2 item 9)", two, relays4, relays6)
	}
	return [2]netip.AddrPort(two)
}

// relayed reads every XOR-RELAYED-ADDRESS.
func (a *answer) relayed(t testing.TB) (all []netip.AddrPort) {
	t.Helper()
	for _, one := range a.attributes {
		if one.kind == stun.AttrXORRelayedAddress {
			only := answer{raw: a.raw, attributes: []attribute{one}}
			all = append(all, only.address(t, stun.AttrXORRelayedAddress))
		}
	}
	return all
}

// A dual allocation is one allocation with two relayed transport addresses (RFC 8656 §7.2 item 9).
func TestConformanceDual(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		before := s.Count()
		c := s.call(t, w)
		request := c.signed(stun.MethodAllocate, udpTransport, alsoIPv6)
		a := c.signedAnswer(request)
		a.want(t, 0)
		two := a.twoAddresses(t)
		if again := c.signedAnswer(request); !bytes.Equal(again.raw, a.raw) {
			t.Error("a retransmission got another answer (RFC 8489 §6.3.1)")
		}
		if got := s.Count() - before; got != 1 {
			t.Errorf("%d allocations, want 1", got)
		}
		s.Allocations(-1, func(n relay.AllocationInfo) bool {
			if n.Client == c.local() && (n.Relayed != two[0] || n.Additional != two[1]) {
				t.Errorf("shown as %v and %v, is %v", n.Relayed, n.Additional, two)
			}
			return true
		})
		old := s.call(t, w) // coturn's client has a number of its own for ADDITIONAL-ADDRESS-FAMILY
		a = old.request(stun.MethodAllocate, udpTransport, number32(0x8032, 2<<24))
		a.want(t, 0)
		a.twoAddresses(t)
		for _, one := range []*caller{c, old} {
			one.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		}
		if got := s.Count() - before; got != 0 {
			t.Errorf("%d allocations after Refresh to zero, want 0", got)
		}
	})
}

// What comes from the client leaves by the address of the peer's family, what comes to either reaches the client.
func TestConformanceDualData(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		two := c.twoAddresses()
		peers := [2]*caller{s.call(t, w), s.call(t, w)}
		peers[0].allocate(wantIPv4)
		peers[1].allocate(wantIPv6)
		stranger := s.call(t, w)
		stranger.allocate(wantIPv6)

		c.sendTo(peers[1].relayed, []byte("no permission yet"))
		c.permit(peers[0].relayed, peers[1].relayed)
		for i, p := range peers {
			p.permit(two[i])
			c.sendTo(p.relayed, []byte("by Send"))
			p.wantData(two[i], []byte("by Send"))
			p.sendTo(two[i], []byte("back"))
			c.wantData(p.relayed, []byte("back"))
		}
		c.bind(0x4000, peers[0].relayed)
		c.bind(0x4001, peers[1].relayed)
		for _, row := range []struct {
			section, says string
			number        uint16
			to            netip.AddrPort
		}{
			{"RFC 8656 §12.2", "the number of a peer of the other family", 0x4000, stranger.relayed},
			{"RFC 8656 §12.2", "the number of a peer of the other family", 0x4001, netip.AddrPortFrom(peers[0].relayed.Addr(), 1)},
			{"RFC 8656 §12.2", "another number for the peer", 0x4002, peers[1].relayed},
		} {
			a := c.request(stun.MethodChannelBind, channel(row.number), peer(row.to))
			if a.code() != 400 {
				t.Errorf("%s: %s: %d, want 400", row.section, row.says, a.code())
			}
		}
		for range 3 { // the routes change with each packet
			for i, p := range peers {
				c.send(channelData(0x4000+uint16(i), []byte("by channel"), true))
				p.wantData(two[i], []byte("by channel"))
				p.sendTo(two[i], []byte("to a channel"))
				c.wantChannel(0x4000+uint16(i), []byte("to a channel"))
			}
		}
		stranger.permit(two[1])
		stranger.sendTo(two[1], []byte("nobody asked me"))
		stranger.settle()
		c.quiet()
	})
}

// A Refresh with REQUESTED-ADDRESS-FAMILY is about one half; its end takes its permissions and channels along and leaves
// the other's alone (RFC 8656 §8.1, §8.2).
func TestConformanceDualRefresh(t *testing.T) {
	s := conforming(t, nil)
	families := [2]stun.Setter{wantIPv4, wantIPv6}
	for first := range families {
		gone, kept := first, 1-first
		t.Run([]string{"IPv4 goes", "IPv6 goes"}[first], func(t *testing.T) {
			eachWay(t, func(t *testing.T, w way) {
				before := s.Count()
				c := s.call(t, w)
				two := c.twoAddresses()
				peers := [2]*caller{s.call(t, w), s.call(t, w)}
				for i, p := range peers {
					p.allocate(families[i])
					p.permit(two[i])
					c.bind(0x4000+uint16(i), p.relayed)
				}
				c.request(stun.MethodRefresh, families[gone]).want(t, 0)
				c.request(stun.MethodRefresh, families[kept]).want(t, 0)
				c.request(stun.MethodRefresh).want(t, 0)
				c.request(stun.MethodRefresh, number32(stun.AttrRequestedAddressFamily, 7<<24)).want(t, 443)

				a := c.request(stun.MethodRefresh, families[gone], lifetime(0))
				a.want(t, 0)
				if got := a.seconds(t); got != 0 {
					t.Errorf("LIFETIME is %d, want 0", got)
				}
				if got := s.Count() - before; got != 3 {
					t.Errorf("%d allocations, want 3", got)
				}
				for says, setters := range map[string]setters{"Refresh": {families[gone]}, "Refresh to zero": {families[gone], lifetime(0)}} {
					if got := c.request(stun.MethodRefresh, setters...).code(); got != 443 {
						t.Errorf("%s of what is gone: %d, want 443", says, got)
					}
				}
				c.request(stun.MethodCreatePermission, peer(peers[gone].relayed)).want(t, 443)
				c.request(stun.MethodCreatePermission, peer(peers[kept].relayed), peer(peers[gone].relayed)).want(t, 443)
				c.request(stun.MethodChannelBind, channel(0x4005), peer(peers[gone].relayed)).want(t, 443)

				c.send(channelData(0x4000+uint16(gone), []byte("by what is gone"), true))
				c.sendTo(peers[gone].relayed, []byte("by what is gone"))
				c.settle()
				peers[gone].quiet()
				peers[gone].sendTo(two[gone], []byte("to what is gone"))
				peers[gone].settle()
				c.quiet()

				c.send(channelData(0x4000+uint16(kept), []byte("by what is left"), true))
				peers[kept].wantData(two[kept], []byte("by what is left"))
				peers[kept].sendTo(two[kept], []byte("to what is left"))
				c.wantChannel(0x4000+uint16(kept), []byte("to what is left"))
				// The number went with its half.
				c.bind(0x4000+uint16(gone), netip.AddrPortFrom(peers[kept].relayed.Addr(), peers[kept].relayed.Port()^1))

				c.request(stun.MethodAllocate, udpTransport).want(t, 437)
				c.request(stun.MethodRefresh, families[kept], lifetime(0)).want(t, 0)
				c.request(stun.MethodRefresh).want(t, 437)
				c.allocate(families[kept])
			})
		})
	}
}

// A dual allocation is one of a user's and of all, as long as anything of it goes on.
func TestConformanceDualQuota(t *testing.T) {
	for name, limit := range map[string]func(*relay.Config){
		"user": func(c *relay.Config) { c.UserQuota = 1 }, "total": func(c *relay.Config) { c.TotalQuota = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			code := map[string]int{"user": 486, "total": 508}[name]
			s := conforming(t, limit)
			c, other := s.call(t, overUDP), s.call(t, overUDP)
			c.twoAddresses()
			other.request(stun.MethodAllocate, udpTransport).want(t, code)
			c.request(stun.MethodRefresh, wantIPv4, lifetime(0)).want(t, 0)
			other.request(stun.MethodAllocate, udpTransport).want(t, code)
			c.request(stun.MethodRefresh, wantIPv6, lifetime(0)).want(t, 0)
			other.twoAddresses()
		})
	}
}

// What can't be had of two is told (RFC 8656 §7.2 item 9, §18.12).
func TestConformanceDualInPart(t *testing.T) {
	for _, row := range []struct {
		says    string
		change  func(*relay.Config)
		taken   stun.Setter // of a family of which one is there
		code    int
		problem string // ADDRESS-ERROR-CODE
	}{
		{"no IPv6", func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{relays4} }, nil, 0, "\x02\x00\x04\x28Address Family not Supported"},
		{"no IPv4, which item 7 wants", func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{relays6} }, nil, 440, ""},
		{"no IPv6 left", onePort, wantIPv6, 0, "\x02\x00\x05\x08Insufficient Capacity"},
		{"no IPv4 left", onePort, wantIPv4, 0, "\x01\x00\x05\x08Insufficient Capacity"},
	} {
		t.Run(row.says, func(t *testing.T) {
			s := conforming(t, row.change)
			if row.taken != nil {
				s.call(t, overUDP).allocate(row.taken)
			}
			for _, alias := range []struct{ ask, problem stun.AttrType }{{attrAdditionalFamily, attrAddressErrorCode}, {0x8032, 0x8033}} {
				c := s.call(t, overUDP)
				a := c.request(stun.MethodAllocate, udpTransport, number32(alias.ask, 2<<24))
				a.want(t, row.code)
				if got := string(a.get(alias.problem)); got != row.problem {
					t.Errorf("ADDRESS-ERROR-CODE %q, want %q", got, row.problem)
				}
				if row.code == 0 {
					c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
				}
				if row.taken != nil {
					break // what the first had rests now
				}
			}
		})
	}
}

// onePort leaves one relayed transport address of each family.
func onePort(c *relay.Config) {
	c.RelayAddresses = []netip.Prefix{netip.PrefixFrom(relays4.Addr().Next(), 32), netip.PrefixFrom(relays6.Addr().Next(), 128)}
	c.RelayPorts = allocation.PortRange{Min: 50000, Max: 50000}
}

// Each half has a socket of its own where there are peers beyond the process.
func TestConformanceDualPeers(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		c := s.call(t, overUDP)
		a := c.allocate(alsoIPv6)
		two := a.relayed(t)
		hosts := [2]*host{newHost(t, false), newHost(t, true)}
		for i, h := range hosts {
			c.permit(h.address())
			c.sendTo(h.address(), []byte("out"))
			h.want(two[i], []byte("out"))
			h.send(two[i], []byte("in"))
			c.wantData(h.address(), []byte("in"))
		}
		c.request(stun.MethodRefresh, wantIPv4, lifetime(0)).want(t, 0)
		hosts[0].send(two[0], []byte("to nobody"))
		hosts[1].send(two[1], []byte("to what is left"))
		c.wantData(hosts[1].address(), []byte("to what is left"))
	})
}
