package relay_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// What a ChannelBind may say (RFC 8656 §12.2).
func TestConformanceChannelBind(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		v6 := w.v6
		other := s.call(t, w)
		other.allocate(familyOf(v6))
		good := peer(other.relayed)
		forbidden, foreign := netip.MustParseAddrPort("203.0.113.9:50000"), netip.MustParseAddrPort("[2001:db8:77::99]:50000")
		if v6 {
			forbidden, foreign = netip.MustParseAddrPort("[2001:db8:99::1]:50000"), netip.MustParseAddrPort("198.51.100.99:50000")
		}
		for _, row := range []struct {
			section, says string
			setters       setters
			code          int
		}{
			{"RFC 8656 §12.2", "the first channel", setters{channel(0x4000), good}, 0},
			{"RFC 8656 §12.2", "the last channel", setters{channel(0x4FFF), good}, 0},
			{"RFC 8656 §12.2", "below the range", setters{channel(0x3FFF), good}, 400},
			{"RFC 8656 §12.2", "above the range", setters{channel(0x5000), good}, 400},
			{"RFC 8656 §12.2", "the end of RFC 5766's range", setters{channel(0x7FFF), good}, 400},
			{"RFC 8656 §12.2", "RTP's range", setters{channel(0x8000), good}, 400},
			{"RFC 8656 §12.2", "channel 0", setters{channel(0), good}, 400},
			{"RFC 8656 §12.2", "the highest number", setters{channel(0xFFFF), good}, 400},
			{"RFC 8656 §12.2", "the number in the wrong half", setters{number32(stun.AttrChannelNumber, 0x4000), good}, 400},
			{"RFC 8656 §18.1", "reserved bytes are ignored", setters{number32(stun.AttrChannelNumber, 0x4000FFFF), good}, 0},
			{"RFC 8656 §18.1", "number of two bytes", setters{raw(stun.AttrChannelNumber, 0x40, 0), good}, 400},
			{"RFC 8656 §18.1", "empty number", setters{raw(stun.AttrChannelNumber), good}, 400},
			{"RFC 8656 §12.2", "no number", setters{good}, 400},
			{"RFC 8656 §12.2", "no peer", setters{channel(0x4000)}, 400},
			{"RFC 8656 §12.2", "neither", nil, 400},
			{"RFC 8489 §14.2", "malformed peer", setters{channel(0x4000), raw(stun.AttrXORPeerAddress, 0, 1, 2, 3)}, 400},
			{"RFC 8656 §12.2", "wrong family", setters{channel(0x4000), peer(foreign)}, 443},
			{"RFC 8656 §12.2", "forbidden", setters{channel(0x4000), peer(forbidden)}, 403},
			{"RFC 8489 §6.3.1", "attribute that is not understood", setters{channel(0x4000), good, raw(0x7FFF)}, 420},
		} {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				c := s.call(t, w)
				c.allocate(familyOf(v6))
				other.permit(c.relayed)
				c.request(stun.MethodChannelBind, row.setters...).want(t, row.code)
				// Bound or not, and with it the permission.
				other.sendTo(c.relayed, []byte("in"))
				other.settle()
				if row.code == 0 {
					number := uint16(0x4000)
					if row.says == "the last channel" {
						number = 0x4FFF
					}
					c.wantChannel(number, []byte("in"))
					c.sendTo(other.relayed, []byte("out"))
					other.wantData(c.relayed, []byte("out"))
				}
				c.quiet()
			})
		}
	})
}

// A number has one peer and a peer one number; asking for more changes nothing, asking again refreshes (RFC 8656 §12,
// §12.2).
func TestConformanceChannelConflict(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c, a, b := s.call(t, w), s.call(t, overUDP), s.call(t, overTCP)
		for _, one := range []*caller{c, a, b} {
			one.allocate()
		}
		a.permit(c.relayed)
		b.permit(c.relayed)
		c.bind(0x4000, a.relayed)
		elsewhere := netip.MustParseAddrPort("203.0.113.9:50000")
		for _, row := range []struct {
			says string
			n    uint16
			peer netip.AddrPort
			code int
		}{
			{"the same again", 0x4000, a.relayed, 0},
			{"the number for another address", 0x4000, b.relayed, 400},
			{"the number for another port", 0x4000, netip.AddrPortFrom(a.relayed.Addr(), a.relayed.Port()^1), 400},
			{"another number for the peer", 0x4001, a.relayed, 400},
			{"the number for a peer that is forbidden besides", 0x4000, elsewhere, 400},
			{"the number for a peer of the wrong family besides", 0x4000, netip.MustParseAddrPort("[2001:db8:77::99]:50000"), 400},
			{"another number for another port of the peer", 0x4001, netip.AddrPortFrom(a.relayed.Addr(), a.relayed.Port()^1), 0},
			{"the same once more", 0x4000, a.relayed, 0},
		} {
			t.Run(row.says, func(t *testing.T) {
				c.t = t
				c.request(stun.MethodChannelBind, channel(row.n), peer(row.peer)).want(t, row.code)
				c.send(channelData(0x4000, []byte(row.says), true))
				a.wantData(c.relayed, []byte(row.says))
			})
		}
		c.t = t
		b.quiet()
		// No permission came of what was refused.
		b.sendTo(c.relayed, []byte("in"))
		b.settle()
		c.quiet()
		// Numbers are the allocation's own.
		a.bind(0x4000, c.relayed)
		b.bind(0x4000, c.relayed)
		c.bind(0x4FFF, b.relayed)
		c.send(channelData(0x4FFF, []byte("to b"), true))
		b.wantChannel(0x4000, []byte("to b"))
		a.send(channelData(0x4000, []byte("to c"), true))
		c.wantChannel(0x4000, []byte("to c"))
		a.quiet()
	})
}

// What a client sends as ChannelData or Send arrives as ChannelData where the receiver has a channel to the sender and
// as Data where it has none, of any size, over any transports (RFC 8656 §11.3, §12.5, §12.7).
func TestConformanceRelaying(t *testing.T) {
	eachPath(t, nil, func(t *testing.T, s *served) {
		for _, from := range ways {
			for _, to := range ways {
				for _, v6 := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s to %s, relayed as IPv6: %v", from, to, v6), func(t *testing.T) {
						a, b := s.call(t, from), s.call(t, to)
						a.allocate(familyOf(v6))
						b.allocate(familyOf(v6))
						relays(a, b)
					})
				}
			}
		}
	})
}

// eachPath runs a test against a server for each way that datagrams can take through it.
func eachPath(t *testing.T, change func(*relay.Config), test func(t *testing.T, s *served)) {
	for _, path := range []struct {
		name string
		set  func(*relay.Config)
	}{
		{"offloaded", func(*relay.Config) {}},
		{"one loop", func(c *relay.Config) { c.Workers = 1 }},
		{"batched", func(c *relay.Config) { c.Offload = udp.Offload{} }},
		{"portable", func(c *relay.Config) { c.PortableUDP = true }},
	} {
		t.Run(path.name, func(t *testing.T) {
			test(t, conforming(t, func(c *relay.Config) {
				path.set(c)
				if change != nil {
					change(c)
				}
			}))
		})
	}
}

func relays(a, b *caller) {
	sizes := []int{0, 1, 2, 3, 4, 5, 160, 1200, 1201, 1472, 9000}
	payload := func(n int) []byte { return bytes.Repeat([]byte{byte(n + 1)}, n) }
	a.permit(b.relayed)
	b.permit(a.relayed)
	for _, n := range sizes {
		a.sendTo(b.relayed, payload(n))
		b.wantData(a.relayed, payload(n))
	}
	a.bind(0x4A00, b.relayed)
	for _, n := range sizes {
		a.send(channelData(0x4A00, payload(n), true))
		b.wantData(a.relayed, payload(n))
	}
	b.bind(0x4B00, a.relayed)
	for _, n := range sizes {
		a.send(channelData(0x4A00, payload(n), true))
		b.wantChannel(0x4B00, payload(n))
		if a.stream == nil {
			a.send(channelData(0x4A00, payload(n), false))
			b.wantChannel(0x4B00, payload(n))
		}
		a.sendTo(b.relayed, payload(n)) // both kinds may be mixed
		b.wantChannel(0x4B00, payload(n))
	}
	b.send(channelData(0x4B00, []byte("and back"), true))
	a.wantChannel(0x4A00, []byte("and back"))
	a.quiet()
	b.quiet()
}

// The largest payloads: what fits into a datagram of the receiver's passes, what does not is dropped, and neither
// disturbs what follows.
func TestConformanceLargest(t *testing.T) {
	s := conforming(t, nil)
	const datagram = 65507 // bytes of UDP over IPv4
	for _, row := range []struct {
		from, to way
		length   int
		channel  bool // the receiver has one
		passes   bool
	}{
		{overUDP, overUDP, datagram - 4, true, true},
		{overUDP, overTCP, datagram - 4, true, true},
		{overUDP, overUDP, datagram - 36 - 3, false, true}, // its Data indication is padded
		{overUDP, overUDP, datagram - 36 + 1, false, false},
		{overTCP, overTCP, 65535, true, true},
		{overTCP, overUDP, 65535, true, false},
		{overTCP, overUDP, datagram - 4, true, true},
		{overTCP, overTCP, 65532 - 16, false, true},
		{overTCP, overTCP, 65532 - 16 + 1, false, false},
		{overTCP, overTCP, 65535, false, false},
	} {
		t.Run(fmt.Sprintf("%s to %s %d bytes, channel %v", row.from, row.to, row.length, row.channel), func(t *testing.T) {
			a, b := s.call(t, row.from), s.call(t, row.to)
			a.allocate()
			b.allocate()
			a.bind(0x4000, b.relayed)
			b.permit(a.relayed)
			hears := func(data []byte) {
				t.Helper()
				if row.channel {
					b.wantChannel(0x4001, data)
				} else {
					b.wantData(a.relayed, data)
				}
			}
			if row.channel {
				b.bind(0x4001, a.relayed)
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 4096)[:row.length]
			a.send(channelData(0x4000, data, a.stream != nil))
			if row.passes {
				hears(data)
			}
			a.send(channelData(0x4000, []byte("next"), true))
			hears([]byte("next"))
		})
	}
}

// ChannelData that is wrong is dropped and nothing else happens (RFC 8656 §12.6).
func TestConformanceChannelDataDropped(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.call(t, overUDP), s.call(t, overUDP)
	a.allocate()
	b.allocate()
	a.bind(0x4000, b.relayed)
	a.bind(0x4001, netip.AddrPortFrom(b.relayed.Addr(), b.relayed.Port()^1))
	b.permit(a.relayed)
	for _, row := range []struct {
		says string
		b    []byte
	}{
		{"number that is not bound", channelData(0x4002, []byte("data"), true)},
		{"peer that nobody is", channelData(0x4001, []byte("data"), true)},
		{"reserved number", channelData(0x5000, []byte("data"), true)},
		{"the end of RFC 5766's range", channelData(0x7FFF, []byte("data"), true)},
		{"length field larger than what is there", []byte{0x40, 0, 0, 5, 'd', 'a', 't', 'a'}},
		{"largest length field", []byte{0x40, 0, 0xFF, 0xFF, 'd', 'a', 't', 'a'}},
		{"header cut", []byte{0x40, 0, 0}},
		{"first byte alone", []byte{0x40}},
	} {
		t.Run(row.says, func(t *testing.T) {
			a.send(row.b)
			a.settle()
			b.quiet()
		})
	}
	// Padding beyond four bytes is tolerated as well as none.
	a.send(append(channelData(0x4000, []byte("padded"), true), make([]byte, 8)...))
	b.wantData(a.relayed, []byte("padded"))
	// A stranger on the channel of somebody else.
	c := s.call(t, overUDP)
	c.send(channelData(0x4000, []byte("data"), true))
	c.settle()
	b.quiet()
	// The receiver's permission is asked for each packet, bound or not.
	d := s.call(t, overUDP)
	d.allocate()
	d.bind(0x4000, b.relayed)
	d.send(channelData(0x4000, []byte("data"), true))
	d.settle()
	b.quiet()
}
