package relay_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
)

// forbiddenPeers are the addresses that a client might be led to by mistake or malice, told by what they spell. victim
// is a relayed address that may be permitted, in its own spelling only.
func forbiddenPeers(victim netip.Addr) map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.53", "127.255.255.255", // this host
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.0.8", "198.18.0.1", // private networks
		"169.254.1.1", "169.254.169.254", // link-local, and what clouds serve there
		"224.0.0.1", "239.255.255.250", "232.1.1.1", // multicast
		"255.255.255.255", "240.0.0.1", // broadcast, reserved
		"198.51.100.0", "198.51.100.255", // the relays' own network and broadcast address
		"198.51.99.255", "198.51.101.0", "8.8.8.8", "203.0.113.1", // beside, and elsewhere
		"::", "::1", "fe80::1", "febf::1", "fc00::1", "fd00::1", "fec0::1",
		"ff01::1", "ff02::1", "ff05::2", "ff0e::1", // multicast
		"2001:db8:77::", // the relays' subnet-router anycast address
		"2001:db8:78::1", "2001:db8:76:ffff::1", "2001:db8:77:1::1", "2001:4860:4860::8888", "100::1",
		"::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:7f00:1::1",
		"::ffff:0.0.0.0", "::ffff:255.255.255.255", "::ffff:224.0.0.1", "::ffff:169.254.169.254",
	} {
		all[text] = netip.MustParseAddr(text)
	}
	if victim.Is4() {
		v4 := victim.As4()
		embedded := func(name, prefix string, at int) {
			b := netip.MustParseAddr(prefix).As16()
			copy(b[at:], v4[:])
			all[fmt.Sprintf("%v, %s", victim, name)] = netip.AddrFrom16(b)
		}
		embedded("IPv4-mapped", "::ffff:0:0", 12)
		embedded("IPv4-compatible", "::", 12)
		embedded("IPv4-translated", "::ffff:0:0:0", 12)
		embedded("NAT64", "64:ff9b::", 12)
		embedded("NAT64 of a network's own", "64:ff9b:1::", 12)
		embedded("6to4", "2002::", 2)
		embedded("6to4 with a host", "2002::1", 2)
		embedded("ISATAP", "fe80::5efe:0:0", 12)
		embedded("Teredo", "2001::", 4)
		all["byte order reversed"] = netip.AddrFrom4([4]byte{v4[3], v4[2], v4[1], v4[0]})
	}
	return all
}

// A peer that is none of this server's relayed addresses is forbidden, in every spelling: 403 where the family is the
// allocation's, 443 where it is not; and nothing goes there by another way (RFC 8656 §10.2, §12.2, §11.2).
func TestConformanceForbiddenPeers(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		victim := s.call(t, w)
		victim.allocate(wantIPv4)
		for _, v6 := range []bool{false, true} {
			c := s.call(t, w)
			c.allocate(familyOf(v6))
			victim.permit(netip.AddrPortFrom(victim.relayed.Addr(), 1)) // should the spelling make them the same
			for name, ip := range forbiddenPeers(victim.relayed.Addr()) {
				t.Run(fmt.Sprintf("%v from %v", name, c.relayed.Addr()), func(t *testing.T) {
					c.t = t
					want := 403
					if ip.Is6() != v6 {
						want = 443
					}
					there := netip.AddrPortFrom(ip, victim.relayed.Port())
					c.request(stun.MethodCreatePermission, peer(there)).want(t, want)
					c.request(stun.MethodChannelBind, channel(0x4000), peer(there)).want(t, want)
					c.sendTo(there, []byte("nevertheless"))
					c.send(channelData(0x4000, []byte("nevertheless"), true))
				})
			}
			c.t = t
			c.settle()
			victim.quiet()
		}
		// The other family's true relayed address, and ports that no relayed address has.
		c6 := s.call(t, w)
		c6.allocate(wantIPv6)
		c6.request(stun.MethodCreatePermission, peer(victim.relayed)).want(t, 443)
		victim.request(stun.MethodCreatePermission, peer(c6.relayed)).want(t, 443)
		victim.request(stun.MethodChannelBind, channel(0x4000), peer(c6.relayed)).want(t, 443)
	})
}

// With relayed addresses on the server's own, as without any setting, the rest of the loopback network, and the
// server's own listening address in another spelling, stay forbidden.
func TestConformanceForbiddenLoopback(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = nil })
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		c.allocate(familyOf(w.v6))
		number := uint16(0x4000)
		for text, code := range map[string]int{"127.0.0.1": 0, "::1": 0, "127.0.0.2": 403, "127.1.0.0": 403, "::ffff:127.0.0.1": 403, "::127.0.0.1": 403, "::": 403, "0.0.0.0": 403, "::2": 403} {
			ip := netip.MustParseAddr(text)
			if ip.Is6() != w.v6 {
				code = 443
			}
			t.Run(text, func(t *testing.T) {
				c.t = t
				number++
				c.request(stun.MethodCreatePermission, peer(netip.AddrPortFrom(ip, 50000))).want(t, code)
				c.request(stun.MethodChannelBind, channel(number), peer(netip.AddrPortFrom(ip, 50000))).want(t, code)
			})
		}
		c.t = t
		// Nobody has a relayed transport address on the listeners' or on low ports.
		for _, port := range []uint16{s.at(t, w).Port(), 0, 22, 53, 80} {
			there := netip.AddrPortFrom(c.relayed.Addr(), port)
			c.permit(there)
			c.sendTo(there, c.unsigned(stun.MethodBinding))
		}
		c.settle()
		c.quiet()
	})
}

// What a CreatePermission may say; all of its peers are permitted or none (RFC 8656 §10.2).
func TestConformancePermission(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		v6 := w.v6
		good, better := s.call(t, w), s.call(t, ways[0])
		good.allocate(familyOf(v6))
		better.allocate(familyOf(v6))
		forbidden, foreign := netip.MustParseAddrPort("203.0.113.9:50000"), netip.MustParseAddrPort("[2001:db8:77::99]:50000")
		if v6 {
			forbidden, foreign = netip.MustParseAddrPort("[2001:db8:99::1]:50000"), netip.MustParseAddrPort("198.51.100.99:50000")
		}
		malformed := raw(stun.AttrXORPeerAddress, 0, 3, 1, 2, 3, 4, 5, 6)
		for _, row := range []struct {
			section, says string
			setters       setters
			code          int
		}{
			{"RFC 8656 §10.2", "no peer", nil, 400},
			{"RFC 8656 §10.2", "empty peer", setters{raw(stun.AttrXORPeerAddress)}, 400},
			{"RFC 8489 §14.2", "peer of four bytes", setters{raw(stun.AttrXORPeerAddress, 0, 1, 0, 0)}, 400},
			{"RFC 8489 §14.2", "peer of family 3", setters{malformed}, 400},
			{"RFC 8489 §14.2", "IPv6 peer of eight bytes", setters{raw(stun.AttrXORPeerAddress, 0, 2, 0, 0, 1, 2, 3, 4)}, 400},
			{"RFC 8489 §14.2", "IPv4 peer of twenty bytes", setters{raw(stun.AttrXORPeerAddress, append([]byte{0, 1}, make([]byte, 18)...)...)}, 400},
			{"RFC 8656 §10.2", "wrong family", setters{peer(foreign)}, 443},
			{"RFC 8656 §10.2", "forbidden", setters{peer(forbidden)}, 403},
			{"RFC 8656 §10.2", "forbidden in the middle", setters{peer(good.relayed), peer(forbidden), peer(better.relayed)}, 403},
			{"RFC 8656 §10.2", "forbidden at the end", setters{peer(good.relayed), peer(better.relayed), peer(forbidden)}, 403},
			{"RFC 8656 §10.2", "forbidden at the front", setters{peer(forbidden), peer(good.relayed), peer(better.relayed)}, 403},
			{"RFC 8656 §10.2", "wrong family in the middle", setters{peer(good.relayed), peer(foreign), peer(better.relayed)}, 443},
			{"RFC 8656 §10.2", "malformed in the middle", setters{peer(good.relayed), malformed, peer(better.relayed)}, 400},
			{"RFC 8489 §6.3.1", "attribute that is not understood", setters{peer(good.relayed), raw(0x7FFF), peer(better.relayed)}, 420},
			{"RFC 8656 §10.2", "all of them", setters{peer(good.relayed), peer(better.relayed)}, 0},
			{"RFC 8656 §10.2", "the same twice", setters{peer(good.relayed), peer(better.relayed), peer(good.relayed)}, 0},
			{"RFC 8656 §9", "ports are ignored", setters{peer(netip.AddrPortFrom(good.relayed.Addr(), 0)), peer(netip.AddrPortFrom(better.relayed.Addr(), 1))}, 0},
		} {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				c := s.call(t, w)
				c.allocate(familyOf(v6))
				good.permit(c.relayed)
				better.permit(c.relayed)
				c.request(stun.MethodCreatePermission, row.setters...).want(t, row.code)
				hears := func(c *caller, from netip.AddrPort, says string) {
					t.Helper()
					if row.code == 0 {
						c.wantData(from, []byte(says))
					}
					c.quiet()
				}
				for _, other := range []*caller{good, better} {
					other.sendTo(c.relayed, []byte("in"))
					other.settle()
					hears(c, other.relayed, "in")
					c.sendTo(other.relayed, []byte("out"))
					c.settle()
					hears(other, c.relayed, "out")
				}
			})
		}
	})
}

// A permission is an IP address's, for one allocation, and both sides need theirs (RFC 8656 §9, §11.2, §11.3).
func TestConformancePermissionIsPerAddress(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		s := conforming(t, func(c *relay.Config) {
			c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.8/30")}
		})
		var callers [3]*caller
		for i := range callers {
			callers[i] = s.call(t, w)
			callers[i].allocate(wantIPv4)
		}
		// Two addresses for three: two of them share one.
		a, b, c := callers[0], callers[1], callers[2]
		switch a.relayed.Addr() {
		case b.relayed.Addr():
			b, c = c, b
		case c.relayed.Addr():
		default:
			a, b = b, a
		}
		if a.relayed.Addr() != c.relayed.Addr() || a.relayed.Addr() == b.relayed.Addr() {
			t.Fatalf("%v, %v, %v", a.relayed, b.relayed, c.relayed)
		}

		a.sendTo(b.relayed, []byte("none"))
		a.settle()
		b.quiet()
		b.permit(a.relayed)
		a.sendTo(b.relayed, []byte("receiver's only"))
		a.settle()
		b.quiet()
		b.sendTo(a.relayed, []byte("sender's only"))
		b.settle()
		a.quiet()
		a.permit(b.relayed)
		a.sendTo(b.relayed, []byte("both"))
		b.wantData(a.relayed, []byte("both"))
		b.sendTo(a.relayed, []byte("back"))
		a.wantData(b.relayed, []byte("back"))

		// c has a's address: b lets it in, but it has no permission of its own.
		c.sendTo(b.relayed, []byte("another allocation's"))
		c.settle()
		b.quiet()
		c.permit(b.relayed)
		c.sendTo(b.relayed, []byte("another port"))
		b.wantData(c.relayed, []byte("another port"))
		b.sendTo(c.relayed, []byte("to that port"))
		c.wantData(b.relayed, []byte("to that port"))
	})
}

// What one allocation can make the server remember is bounded: 508, and still all or none (RFC 8656 §10.2, §12.2).
func TestConformanceManyPeers(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	c, witness := s.call(t, overUDP), s.call(t, overUDP)
	c.allocate()
	witness.allocate()
	witness.permit(c.relayed)
	next := uint32(10<<24 | 1)
	block := func(n int) (all setters) {
		for range n {
			var ip [4]byte
			binary.BigEndian.PutUint32(ip[:], next)
			next++
			all = append(all, peer(netip.AddrPortFrom(netip.AddrFrom4(ip), 50000)))
		}
		return all
	}
	permitted, refused := 0, 0
	for refused == 0 && permitted < 100_000 {
		a := c.request(stun.MethodCreatePermission, block(100)...)
		if a.code() != 0 {
			a.want(t, 508)
			refused++
			continue
		}
		permitted += 100
	}
	if refused == 0 {
		t.Fatalf("%d permissions and no end", permitted)
	}
	// The witness stands first in a request that is too much.
	c.request(stun.MethodCreatePermission, append(setters{peer(witness.relayed)}, block(150)...)...).want(t, 508)
	witness.sendTo(c.relayed, []byte("in"))
	witness.settle()
	c.quiet()

	d := s.call(t, overUDP)
	d.allocate()
	bound := 0
	for ; bound < 0x1000; bound++ {
		if a := d.request(stun.MethodChannelBind, append(setters{channel(uint16(0x4000 + bound))}, block(1)...)...); a.code() != 0 {
			a.want(t, 508)
			break
		}
	}
	if bound < 100 || bound == 0x1000 {
		t.Errorf("%d channels, then no end", bound)
	}
}
