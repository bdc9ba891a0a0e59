package relay_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// What an Allocate request may say, and what comes of it (RFC 8656 §7.2).
func TestConformanceAllocate(t *testing.T) {
	s := conforming(t, nil)
	token := raw(stun.AttrReservationToken, []byte("12345678")...)
	rows := []struct {
		section, says string
		setters       setters
		code          int
	}{
		{"RFC 8656 §7.2", "item 3: without REQUESTED-TRANSPORT", nil, 400},
		{"RFC 8656 §7.2", "item 3: empty REQUESTED-TRANSPORT", setters{raw(stun.AttrRequestedTransport)}, 400},
		{"RFC 8656 §7.2", "item 3: REQUESTED-TRANSPORT of a byte", setters{raw(stun.AttrRequestedTransport, 17)}, 400},
		{"RFC 8656 §7.2", "item 3: REQUESTED-TRANSPORT of eight bytes", setters{raw(stun.AttrRequestedTransport, 17, 0, 0, 0, 0, 0, 0, 0)}, 400},
		{"RFC 8656 §7.2", "item 3: protocol 0", setters{number32(stun.AttrRequestedTransport, 0)}, 442},
		{"RFC 8656 §7.2", "item 3: UDP in the wrong byte", setters{number32(stun.AttrRequestedTransport, 17)}, 442},
		{"RFC 8656 §18.8", "reserved bytes are ignored", setters{number32(stun.AttrRequestedTransport, 17<<24|0xFFFFFF)}, 0},
		{"RFC 8489 §14", "the first of two counts: UDP", setters{udpTransport, number32(stun.AttrRequestedTransport, 6<<24)}, 0},
		{"RFC 8489 §14", "the first of two counts: SCTP", setters{number32(stun.AttrRequestedTransport, 132<<24), udpTransport}, 442},
		{"RFC 8656 §7.2", "item 4: DONT-FRAGMENT", setters{udpTransport, raw(stun.AttrDontFragment)}, 0},
		{"RFC 8656 §7.2", "item 5: token of nobody's", setters{udpTransport, token}, 508},
		{"RFC 8656 §18.10", "token of seven bytes", setters{udpTransport, raw(stun.AttrReservationToken, []byte("1234567")...)}, 400},
		{"RFC 8656 §7.2", "item 5: token beside EVEN-PORT", setters{udpTransport, token, evenPort}, 400},
		{"RFC 8656 §7.2", "item 5: token beside REQUESTED-ADDRESS-FAMILY", setters{udpTransport, wantIPv4, token}, 400},
		{"RFC 8656 §7.2", "item 5: token beside ADDITIONAL-ADDRESS-FAMILY", setters{udpTransport, alsoIPv6, token}, 400},
		{"RFC 8656 §7.2", "item 6: both families", setters{udpTransport, wantIPv4, alsoIPv6}, 400},
		{"RFC 8656 §7.2", "item 7: no such family", setters{udpTransport, number32(stun.AttrRequestedAddressFamily, 3<<24)}, 440},
		{"RFC 8656 §7.2", "item 7: family 0", setters{udpTransport, number32(stun.AttrRequestedAddressFamily, 0)}, 440},
		{"RFC 8656 §18.6", "family of two bytes", setters{udpTransport, raw(stun.AttrRequestedAddressFamily, 1, 0)}, 400},
		{"RFC 8656 §18.6", "reserved bytes of the family are ignored", setters{udpTransport, number32(stun.AttrRequestedAddressFamily, 1<<24|0xFFFFFF)}, 0},
		{"RFC 8656 §7.2", "item 8: EVEN-PORT with R beside ADDITIONAL-ADDRESS-FAMILY", setters{udpTransport, evenPair, alsoIPv6}, 400},
		{"RFC 8656 §7.2", "item 9: ADDITIONAL-ADDRESS-FAMILY of IPv4", setters{udpTransport, alsoIPv4}, 400},
		{"RFC 8656 §18.11", "malformed ADDITIONAL-ADDRESS-FAMILY", setters{udpTransport, raw(attrAdditionalFamily, 2)}, 400},
		{"RFC 8656 §18.7", "empty EVEN-PORT", setters{udpTransport, raw(stun.AttrEvenPort)}, 400},
		{"RFC 8656 §18.7", "EVEN-PORT of four bytes", setters{udpTransport, raw(stun.AttrEvenPort, 0, 0, 0, 0)}, 400},
		{"RFC 8656 §18.2", "LIFETIME of three bytes", setters{udpTransport, raw(stun.AttrLifetime, 0, 2, 0)}, 400},
		{"RFC 8656 §18.2", "LIFETIME of eight bytes", setters{udpTransport, raw(stun.AttrLifetime, make([]byte, 8)...)}, 400},
		{"RFC 8489 §6.3.1", "attribute that is not understood", setters{udpTransport, raw(0x7FFF, 1)}, 420},
		{"RFC 8489 §6.3.1", "that before all others", setters{raw(0x7FFF, 1)}, 420},
	}
	eachWay(t, func(t *testing.T, w way) {
		for _, row := range rows {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				c := s.call(t, w)
				a := c.request(stun.MethodAllocate, row.setters...)
				a.want(t, row.code)
				if row.code == 420 {
					a.wantUnknown(t, 0x7FFF)
				}
				if row.code != 0 {
					// Nothing is left of what was refused: the same five-tuple is still free.
					c.allocate()
				}
			})
		}
	})
}

// The success carries the addresses and the lifetime, whatever families client and relay are of (RFC 8656 §7.2).
func TestConformanceAllocateSuccess(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayPorts = allocation.PortRange{Min: 50000, Max: 50999} })
	eachWay(t, func(t *testing.T, w way) {
		for _, row := range []struct {
			says    string
			setters setters
			from    netip.Prefix
		}{
			{"IPv4 by default", nil, relays4},
			{"IPv4 as requested", setters{wantIPv4}, relays4},
			{"IPv6 as requested", setters{wantIPv6}, relays6},
			{"both", setters{alsoIPv6}, relays4},
			{"both and an even port", setters{alsoIPv6, evenPort}, relays4},
		} {
			t.Run(row.says, func(t *testing.T) {
				c := s.call(t, w)
				a := c.allocate(row.setters...)
				if !row.from.Contains(c.relayed.Addr()) || c.relayed.Port() < 50000 || c.relayed.Port() > 50999 {
					t.Errorf("XOR-RELAYED-ADDRESS is %v, want one of %v and 50000-50999", c.relayed, row.from)
				}
				if got := a.address(t, stun.AttrXORMappedAddress); got != c.local() {
					t.Errorf("XOR-MAPPED-ADDRESS is %v, want %v", got, c.local())
				}
				if got := a.seconds(t); got != 600 {
					t.Errorf("LIFETIME is %d, want 600", got)
				}
				if a.has(stun.AttrReservationToken) {
					t.Error("RESERVATION-TOKEN that nobody asked for")
				}
				if a.has(attrAddressErrorCode) {
					t.Errorf("ADDRESS-ERROR-CODE %q, although nothing is missing", a.get(attrAddressErrorCode))
				}
				for _, one := range a.relayed(t) {
					if strings.HasSuffix(row.says, "even port") && one.Port()%2 != 0 {
						t.Errorf("XOR-RELAYED-ADDRESS %v for EVEN-PORT", one)
					}
				}
			})
		}
	})
	if got := s.Count(); got != 30 {
		t.Errorf("%d allocations, want 30", got)
	}
}

// LIFETIME is at least the default and at most the maximum (RFC 8656 §7.2, §8.2).
func TestConformanceLifetime(t *testing.T) {
	s := conforming(t, nil)
	clamp := map[uint32]uint32{0: 600, 1: 600, 599: 600, 600: 600, 601: 601, 1800: 1800, 3599: 3599, 3600: 3600, 3601: 3600, 1 << 31: 3600, 1<<32 - 1: 3600}
	expires := func(t *testing.T, c *caller, want uint32) {
		t.Helper()
		found := false
		s.Allocations(-1, func(a relay.AllocationInfo) bool {
			if found = a.Relayed == c.relayed; found {
				if left := time.Until(a.Expires); left > time.Duration(want)*time.Second || left < time.Duration(want)*time.Second-patience {
					t.Errorf("expires in %v, want %d s", left, want)
				}
			}
			return !found
		})
		if !found {
			t.Error("no such allocation")
		}
	}
	for _, w := range []way{overUDP, overTCP6} {
		for wanted, granted := range clamp {
			t.Run(fmt.Sprintf("%s %d", w, wanted), func(t *testing.T) {
				c := s.call(t, w)
				if got := c.allocate(lifetime(wanted)).seconds(t); got != granted {
					t.Errorf("Allocate grants %d s, want %d", got, granted)
				}
				expires(t, c, granted)
				if wanted == 0 {
					return // TestConformanceRefresh
				}
				a := c.request(stun.MethodRefresh, lifetime(wanted))
				a.want(t, 0)
				if got := a.seconds(t); got != granted {
					t.Errorf("Refresh grants %d s, want %d", got, granted)
				}
				expires(t, c, granted)
				if got := c.request(stun.MethodRefresh).seconds(t); got != 600 {
					t.Errorf("Refresh without LIFETIME grants %d s, want 600", got)
				}
				expires(t, c, 600)
			})
		}
	}
}

// A request that comes again gets the same answer again, to the byte, also when the allocation has changed meanwhile;
// another request on the five-tuple gets 437, before anything else is looked at (RFC 8489 §6.3.1, RFC 8656 §5, §7.2).
func TestConformanceRetransmission(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		for _, row := range []struct {
			says    string
			setters setters
		}{
			{"plain", setters{udpTransport}},
			{"with a lifetime", setters{udpTransport, lifetime(1234)}},
			{"with a reservation", setters{udpTransport, evenPair}},
			{"of IPv6", setters{udpTransport, wantIPv6}},
			{"of both families", setters{udpTransport, alsoIPv6}},
		} {
			t.Run(row.says, func(t *testing.T) {
				before := s.Count()
				c := s.call(t, w)
				request := c.signed(stun.MethodAllocate, row.setters...)
				first := c.signedAnswer(request)
				first.want(t, 0)
				again := func(when string) {
					t.Helper()
					if a := c.signedAnswer(request); !bytes.Equal(a.raw, first.raw) {
						t.Errorf("%s the answer is\n%x, and was\n%x", when, a.raw, first.raw)
					}
				}
				again("at once")
				c.send(request)
				c.send(request)
				c.answerTo(request)
				c.answerTo(request)
				c.request(stun.MethodRefresh, lifetime(3000)).want(t, 0)
				again("after a Refresh")

				c.request(stun.MethodAllocate, udpTransport).want(t, 437)
				c.request(stun.MethodAllocate).want(t, 437)
				c.request(stun.MethodAllocate, number32(stun.AttrRequestedTransport, 6<<24)).want(t, 437)
				c.request(stun.MethodAllocate, udpTransport, wantIPv4, alsoIPv6).want(t, 437)
				again("after others were refused")
				if got := s.Count() - before; got != 1 {
					t.Errorf("%d allocations, want 1", got)
				}

				// After its end the request is a new one.
				c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
				c.signedAnswer(request).want(t, 0)
			})
		}
	})
}

// EVEN-PORT gives an even port; with R its upper neighbour is kept for whoever brings the token, over whatever
// transport, once (RFC 8656 §7.2).
func TestConformanceEvenPort(t *testing.T) {
	s := conforming(t, nil)
	for range 20 {
		c := s.call(t, overUDP)
		if a := c.allocate(evenPort); c.relayed.Port()%2 != 0 || a.has(stun.AttrReservationToken) {
			t.Fatalf("port %d; RESERVATION-TOKEN %x", c.relayed.Port(), a.get(stun.AttrReservationToken))
		}
		if a := s.call(t, overUDP).allocate(raw(stun.AttrEvenPort, 0x7F)); a.has(stun.AttrReservationToken) {
			t.Fatal("the other bits of EVEN-PORT are not R (RFC 8656 §18.7)")
		}
	}
	for _, family := range []stun.Setter{wantIPv4, wantIPv6} {
		for i, w := range ways {
			first, second := s.call(t, w), s.call(t, ways[(i+1)%len(ways)])
			a := first.allocate(evenPair, family)
			token := a.get(stun.AttrReservationToken)
			if len(token) != 8 || first.relayed.Port()%2 != 0 {
				t.Fatalf("port %d; RESERVATION-TOKEN %x", first.relayed.Port(), token)
			}
			second.as("bob", "builder").request(stun.MethodAllocate, raw(stun.AttrReservationToken, token...)).want(t, 400) // the token stays good
			b := second.allocate(raw(stun.AttrReservationToken, token...))
			if want := netip.AddrPortFrom(first.relayed.Addr(), first.relayed.Port()+1); second.relayed != want {
				t.Errorf("the token is redeemed for %v, want %v", second.relayed, want)
			}
			if b.has(stun.AttrReservationToken) {
				t.Error("a token for a token")
			}
			third := s.call(t, w)
			third.request(stun.MethodAllocate, udpTransport, raw(stun.AttrReservationToken, token...)).want(t, 508)
			third.allocate()
		}
	}
}

// A reservation holds its port against all others, and outlives the allocation that made it (RFC 8656 §7.2).
func TestConformanceReservationHolds(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}
		c.RelayPorts = allocation.PortRange{Min: 50001, Max: 50004}
	})
	first := s.call(t, overUDP)
	token := first.allocate(evenPair).get(stun.AttrReservationToken)
	first.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport, evenPair).want(t, 508) // 50004 has no neighbour, or 50002's is taken
	for range 2 {
		s.call(t, overUDP).allocate()
	}
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport).want(t, 508) // one rests, one is reserved
	c := s.call(t, overTCP)
	c.allocate(raw(stun.AttrReservationToken, token...))
	if want := netip.AddrPortFrom(first.relayed.Addr(), first.relayed.Port()+1); c.relayed != want {
		t.Errorf("the token is redeemed for %v, want %v", c.relayed, want)
	}
}

// A family that the server has no addresses of is not supported (RFC 8656 §7.2, item 7).
func TestConformanceFamilies(t *testing.T) {
	for _, row := range []struct {
		only          netip.Prefix
		plain, v4, v6 int
	}{
		{relays4, 0, 0, 440},
		{relays6, 440, 440, 0},
	} {
		s := conforming(t, func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{row.only} })
		eachWay(t, func(t *testing.T, w way) {
			for _, one := range []struct {
				setters setters
				code    int
			}{{setters{udpTransport}, row.plain}, {setters{udpTransport, wantIPv4}, row.v4}, {setters{udpTransport, wantIPv6}, row.v6}} {
				s.call(t, w).request(stun.MethodAllocate, one.setters...).want(t, one.code)
			}
		})
	}
}

// Relayed transport addresses are unlike each other and not to be foretold, an IP address each as long as there are
// some, and rest before they are used again.
func TestConformanceRelayedAddresses(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/29")}
	})
	seen, perAddress := map[netip.AddrPort]bool{}, map[netip.Addr]int{}
	ascending := 0
	var last netip.AddrPort
	for i := range 60 {
		c := s.call(t, ways[i%len(ways)])
		c.allocate()
		if seen[c.relayed] {
			t.Errorf("%v twice", c.relayed)
		}
		if c.relayed.Port() < 49152 {
			t.Errorf("port %d is outside of the dynamic range (RFC 8656 §7.2)", c.relayed.Port())
		}
		if c.relayed.Compare(last) > 0 {
			ascending++
		}
		last, seen[c.relayed] = c.relayed, true
		perAddress[c.relayed.Addr()]++
		if want := min(i+1, 6); len(perAddress) != want {
			t.Fatalf("%d allocations share %d addresses, want %d", i+1, len(perAddress), want)
		}
		if i%2 == 0 {
			c.request(stun.MethodRefresh, lifetime(0)).want(t, 0) // it rests now
		}
	}
	if ascending < 10 || ascending > 50 {
		t.Errorf("%d of 60 addresses are higher than the one before", ascending)
	}
	for _, outside := range []string{"198.51.100.0", "198.51.100.7"} {
		if perAddress[netip.MustParseAddr(outside)] > 0 {
			t.Errorf("%s is the network's or the broadcast address", outside)
		}
	}
}

// Quotas and exhausted addresses have their own codes, and end with what they count (RFC 8656 §7.2, §19).
func TestConformanceQuotas(t *testing.T) {
	one := []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}
	for _, row := range []struct {
		says   string
		change func(*relay.Config)
		fits   int
		code   int // of the next one
		bob    int // of somebody else's
		back   int // of one more after one has ended
	}{
		{"user quota", func(c *relay.Config) { c.UserQuota = 3 }, 3, 486, 0, 0},
		{"total quota", func(c *relay.Config) { c.TotalQuota = 3 }, 3, 508, 508, 0},
		{"ports", func(c *relay.Config) {
			c.RelayAddresses, c.RelayPorts = one, allocation.PortRange{Min: 50000, Max: 50002}
		}, 3, 508, 508, 508}, // the address rests
		{"ports that do not rest", func(c *relay.Config) {
			c.RelayAddresses, c.RelayPorts, c.Cooldown = one, allocation.PortRange{Min: 50000, Max: 50002}, 1
		}, 3, 508, 508, 0},
	} {
		t.Run(row.says, func(t *testing.T) {
			s := conforming(t, row.change)
			callers := make([]*caller, row.fits)
			for i := range callers {
				callers[i] = s.call(t, ways[i%len(ways)])
				callers[i].allocate()
			}
			next := s.call(t, overUDP)
			for range 3 {
				next.request(stun.MethodAllocate, udpTransport).want(t, row.code)
			}
			s.call(t, overUDP).as("bob", "builder").request(stun.MethodAllocate, udpTransport).want(t, row.bob)
			callers[0].request(stun.MethodRefresh, lifetime(0)).want(t, 0)
			next.request(stun.MethodAllocate, udpTransport).want(t, row.back)
			for _, c := range callers[1:] {
				c.request(stun.MethodRefresh).want(t, 0) // they are not disturbed
			}
		})
	}
	t.Run("no pair of ports", func(t *testing.T) {
		s := conforming(t, func(c *relay.Config) {
			c.RelayAddresses, c.RelayPorts = one, allocation.PortRange{Min: 50001, Max: 50002}
		})
		c := s.call(t, overUDP)
		c.request(stun.MethodAllocate, udpTransport, evenPair).want(t, 508)
		c.allocate(evenPort)
	})
}

// The transport is a part of the five-tuple: one client address may hold an allocation at each listener.
func TestConformanceFiveTuples(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.Listeners = append(c.Listeners, relay.Listener{Scheme: "udp", Address: "127.0.0.1:0"})
	})
	var servers []netip.AddrPort
	for _, l := range s.ListenerInfos() {
		if l.Scheme == "udp" && l.Address.Addr().Is4() {
			servers = append(servers, l.Address)
		}
	}
	a := s.callAt(t, "udp", servers[0], netip.AddrPort{})
	a.allocate()
	a.conn.Close() // the allocation stays: nothing tells the server
	b := s.callAt(t, "udp", servers[1], a.local())
	b.nonce = a.nonce
	b.allocate()
	if a.relayed == b.relayed || s.Count() != 2 {
		t.Errorf("%v and %v, %d allocations", a.relayed, b.relayed, s.Count())
	}
}
