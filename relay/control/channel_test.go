package control

import (
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// RFC 8656 §12.2.
func TestChannelBind(t *testing.T) {
	good := "203.0.113.5:50000"
	p := peerAt(good)
	type test struct {
		name    string
		family  byte
		setters []stun.Setter
		code    int
		number  uint16 // bound afterwards
		peer    string
	}
	tests := []test{
		{"first number", ipv4, []stun.Setter{channel(0x4000), p}, 0, 0x4000, good},
		{"last number", ipv4, []stun.Setter{channel(0x4FFF), p}, 0, 0x4FFF, good},
		{"IPv6", ipv6, []stun.Setter{channel(0x4001), peerAt("[2001:db8:2::5]:50000")}, 0, 0x4001, "[2001:db8:2::5]:50000"},
		{"reserved bits are ignored", ipv4, []stun.Setter{raw(stun.AttrChannelNumber, 0x40, 0, 0xFF, 0xFF), p}, 0, 0x4000, good},
		{"no CHANNEL-NUMBER", ipv4, []stun.Setter{p}, 400, 0, ""},
		{"no XOR-PEER-ADDRESS", ipv4, []stun.Setter{channel(0x4000)}, 400, 0, ""},
		{"neither", ipv4, nil, 400, 0, ""},
		{"number 0", ipv4, []stun.Setter{channel(0), p}, 400, 0, ""},
		{"below the range", ipv4, []stun.Setter{channel(0x3FFF), p}, 400, 0, ""},
		{"above the range", ipv4, []stun.Setter{channel(0x5000), p}, 400, 0, ""},
		{"in RFC 5766's range only", ipv4, []stun.Setter{channel(0x7FFF), p}, 400, 0, ""},
		{"last of all", ipv4, []stun.Setter{channel(0xFFFF), p}, 400, 0, ""},
		{"CHANNEL-NUMBER malformed", ipv4, []stun.Setter{raw(stun.AttrChannelNumber, 0x40, 0), p}, 400, 0, ""},
		{"XOR-PEER-ADDRESS malformed", ipv4, []stun.Setter{channel(0x4000), raw(stun.AttrXORPeerAddress, 1)}, 400, 0, ""},
		{"two peers", ipv4, []stun.Setter{channel(0x4000), p, peerAt("203.0.113.5:50001")}, 400, 0, ""},
		{"the other family", ipv4, []stun.Setter{channel(0x4000), peerAt("[2001:db8:2::5]:50000")}, 443, 0, ""},
		{"the other family, IPv6", ipv6, []stun.Setter{channel(0x4000), p}, 443, 0, ""},
		{"port 0", ipv4, []stun.Setter{channel(0x4000), peerAt("203.0.113.5:0")}, 403, 0, ""},
		{"port below the range", ipv4, []stun.Setter{channel(0x4000), peerAt("203.0.113.5:49999")}, 403, 0, ""},
		{"port above the range", ipv4, []stun.Setter{channel(0x4000), peerAt("203.0.113.5:60000")}, 403, 0, ""},
		{"last port", ipv4, []stun.Setter{channel(0x4000), peerAt("203.0.113.5:59999")}, 0, 0x4000, "203.0.113.5:59999"},
	}
	for f, list := range strangers {
		for _, s := range list {
			tests = append(tests, test{inFamily(f) + " " + s, f, []stun.Setter{channel(0x4000), peerAt(s)}, 403, 0, ""})
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)
			a := c.allocate(family(test.family))
			answer := c.do(stun.MethodChannelBind, test.setters...)
			wantCode(t, answer, test.code)
			wantSigned(t, answer, true)
			now := s.table.Now()
			if test.code != 0 {
				if len(a.Channels(now)) != 0 || len(a.Permissions(now)) != 0 {
					t.Error("a refused ChannelBind bound or permitted something")
				}
				return
			}
			wantAttributes(t, answer, stun.AttrMessageIntegrity, stun.AttrFingerprint)
			want := netip.MustParseAddrPort(test.peer)
			if got := a.Channel(test.number, now); got == nil || got.Peer != want {
				t.Errorf("channel %#x is %+v, want %v", test.number, got, want)
			}
			if !a.Permitted(want.Addr(), now) {
				t.Error("ChannelBind installed no permission")
			}
		})
	}
}

// A channel and a peer are bound to each other only, for as long as the binding and
// the five minutes after it last (RFC 8656 §12).
func TestChannelConflict(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	a := c.allocate(lifetime(3600))
	p, q := peerAt("203.0.113.5:50000"), peerAt("203.0.113.5:50001")
	bind := func(n uint16, to peer, code int) {
		t.Helper()
		c.nonce = string(s.auth.AppendNonce(nil, clientV4))
		answer := c.do(stun.MethodChannelBind, channel(n), to)
		wantCode(t, answer, code)
		wantSigned(t, answer, true)
	}
	bind(0x4000, p, 0)
	bind(0x4000, q, 400) // channel is bound to another peer
	bind(0x4001, p, 400) // peer is bound to another channel
	bind(0x4001, q, 0)
	bind(0x4000, q, 400) // both are bound, not to each other

	s.clock.advance(allocation.ChannelLifetime - 1)
	bind(0x4000, p, 0) // refreshed
	s.clock.advance(allocation.ChannelLifetime - 1)
	if a.Channel(0x4000, s.table.Now()) == nil || a.Channel(0x4001, s.table.Now()) != nil {
		t.Error("the refreshed channel is over, or the other one is not")
	}
	bind(0x4000, q, 400)
	bind(0x4002, p, 400)
	s.clock.advance(allocation.ChannelCooldown)
	bind(0x4002, p, 400) // expired a moment ago, still together
	s.clock.advance(1)
	bind(0x4002, p, 0)
	bind(0x4000, q, 0)
}

func TestTooManyChannels(t *testing.T) {
	s := newServer(t, relayPrefix)
	c := s.client(alice, alicePassword)
	a := c.allocate()
	next := netip.MustParseAddr("10.20.1.0")
	for n := range allocation.MaxChannels {
		next = next.Next()
		wantCode(t, c.do(stun.MethodChannelBind, channel(uint16(0x4000+n)), peer(netip.AddrPortFrom(next, 50000))), 0)
	}
	answer := c.do(stun.MethodChannelBind, channel(0x4FFF), peer(netip.AddrPortFrom(next.Next(), 50000)))
	wantCode(t, answer, 508)
	wantSigned(t, answer, true)
	if got := len(a.Channels(s.table.Now())); got != allocation.MaxChannels {
		t.Errorf("%d channels, want %d", got, allocation.MaxChannels)
	}
}

// Clients made of coturn's library, known by NONCE ahead of REALM, still get the
// whole range of RFC 5766 §11; nobody gets more.
func TestLegacyChannelNumbers(t *testing.T) {
	for _, test := range []struct {
		number uint16
		code   int
	}{{0x3FFF, 400}, {0x4000, 0}, {0x5000, 0}, {0x7FFF, 0}, {0x8000, 400}, {0xFFFF, 400}} {
		s := newServer(t)
		c := s.client(alice, alicePassword)
		a := c.allocate()
		wantCode(t, c.do(stun.MethodChannelBind, stun.NewNonce(c.nonce), channel(test.number), peerAt("203.0.113.5:50000")), test.code)
		if bound := a.Channel(test.number, s.table.Now()) != nil; bound != (test.code == 0) {
			t.Errorf("%#x: bound %v", test.number, bound)
		}
	}
}
