package control

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// strangers are peers that the loop rule forbids, in every spelling that could be
// mistaken for a relayed transport address or reach something else of the host's.
var strangers = map[byte][]string{
	ipv4: {
		"192.0.2.1:3478",    // the server itself
		"198.51.100.7:5000", // a client
		"203.0.113.4:50000", // beside the relay address
		"203.0.113.6:50000",
		"0.0.0.0:50000",         // unspecified
		"127.0.0.1:50000",       // loopback
		"169.254.1.1:50000",     // link-local
		"224.0.0.1:50000",       // multicast
		"255.255.255.255:50000", // broadcast
		"10.0.0.1:50000",        // private
	},
	ipv6: {
		"[2001:db8::1]:3478",
		"[2001:db8:2::6]:50000",
		"[::]:50000",
		"[::1]:50000",
		"[fe80::1]:50000",
		"[ff02::1]:50000",
		"[fc00::1]:50000",
		"[::ffff:203.0.113.5]:50000",    // the relay address, IPv4-mapped
		"[::203.0.113.5]:50000",         // IPv4-compatible
		"[64:ff9b::203.0.113.5]:50000",  // NAT64
		"[2002:cb00:7105::1]:50000",     // 6to4
		"[64:ff9b:1::cb00:7105]:50000",  // local NAT64
		"[2001:0:cb00:7105::1]:50000",   // Teredo
		"[::ffff:0:203.0.113.5]:50000",  // IPv4-translated
		"[2001:db8:2::5:0:0:0]:50000",   // looks like the relay address
		"[2001:db8:2:0:1::5]:50000",     // and this
		"[::ffff:127.0.0.1]:50000",      // loopback, mapped
		"[::ffff:255.255.255.255]:5000", // broadcast, mapped
	},
}

func inFamily(f byte) string { return map[byte]string{ipv4: "IPv4", ipv6: "IPv6"}[f] }

// RFC 8656 §10.2.
func TestCreatePermission(t *testing.T) {
	type test struct {
		name   string
		family byte
		peers  []stun.Setter
		code   int
		want   []string // addresses permitted afterwards
	}
	v4, v6 := peerAt("203.0.113.5:50000"), peerAt("[2001:db8:2::5]:50000")
	tests := []test{
		{"one", ipv4, []stun.Setter{v4}, 0, []string{"203.0.113.5"}},
		{"one, IPv6", ipv6, []stun.Setter{v6}, 0, []string{"2001:db8:2::5"}},
		{"the port is ignored", ipv4, []stun.Setter{peerAt("203.0.113.5:0")}, 0, []string{"203.0.113.5"}},
		{"the same twice", ipv4, []stun.Setter{v4, v4}, 0, []string{"203.0.113.5"}},
		{"none", ipv4, nil, 400, nil},
		{"malformed", ipv4, []stun.Setter{raw(stun.AttrXORPeerAddress, 0, 1, 2)}, 400, nil},
		{"IPv6 of four bytes", ipv4, []stun.Setter{raw(stun.AttrXORPeerAddress, 0, 2, 0, 0, 1, 2, 3, 4)}, 400, nil},
		{"family of nobody", ipv4, []stun.Setter{raw(stun.AttrXORPeerAddress, 0, 3, 0, 0, 1, 2, 3, 4)}, 400, nil},
		{"good and malformed", ipv4, []stun.Setter{v4, raw(stun.AttrXORPeerAddress)}, 400, nil},
		{"the other family", ipv4, []stun.Setter{v6}, 443, nil},
		{"the other family, IPv6", ipv6, []stun.Setter{v4}, 443, nil},
		{"good and of the other family", ipv4, []stun.Setter{v4, v6}, 443, nil},
		{"forbidden and of the other family", ipv4, []stun.Setter{peerAt("10.0.0.1:1"), v6}, 443, nil},
		{"good and forbidden", ipv4, []stun.Setter{v4, peerAt("10.0.0.1:1")}, 403, nil},
		{"forbidden and good", ipv4, []stun.Setter{peerAt("10.0.0.1:1"), v4}, 403, nil},
		{"IPv4-mapped on IPv4", ipv4, []stun.Setter{peerAt("[::ffff:203.0.113.5]:50000")}, 443, nil},
	}
	for f, list := range strangers {
		for _, s := range list {
			tests = append(tests, test{inFamily(f) + " " + s, f, []stun.Setter{peerAt(s)}, 403, nil})
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)
			a := c.allocate(family(test.family))
			answer := c.do(stun.MethodCreatePermission, test.peers...)
			wantCode(t, answer, test.code)
			wantSigned(t, answer, true)
			if test.code == 0 {
				wantAttributes(t, answer, stun.AttrMessageIntegrity, stun.AttrFingerprint)
			}
			got := a.Permissions(s.table.Now())
			if len(got) != len(test.want) {
				t.Fatalf("permissions %v, want %v", got, test.want)
			}
			for _, address := range test.want {
				if !a.Permitted(netip.MustParseAddr(address), s.table.Now()) {
					t.Errorf("%s is not permitted", address)
				}
			}
			if len(test.want) == 0 {
				return
			}
			// A second one makes it last anew (RFC 8656 §9).
			s.clock.advance(allocation.PermissionLifetime - 1)
			wantCode(t, c.do(stun.MethodCreatePermission, test.peers...), 0)
			s.clock.advance(allocation.PermissionLifetime - 1)
			wantPermitted(t, s, a, test.want[0], true)
			s.clock.advance(1)
			wantPermitted(t, s, a, test.want[0], false)
		})
	}
}

func wantPermitted(t *testing.T, s *server, a *allocation.Allocation, address string, want bool) {
	t.Helper()
	if got := a.Permitted(netip.MustParseAddr(address), s.table.Now()); got != want {
		t.Errorf("%s permitted: %v, want %v", address, got, want)
	}
}

// relayPrefix gives a server more relay addresses than an allocation may permit.
func relayPrefix(o *allocation.Options, _ *authOptions, _ *Options) {
	o.Relay = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}
}

// What one allocation can hold is bounded: the request that would be too much gets
// 508 and installs nothing (RFC 8656 §10.2).
func TestTooManyPermissions(t *testing.T) {
	const batch = 100
	s := newServer(t, relayPrefix)
	c := s.client(alice, alicePassword)
	a := c.allocate()
	next := netip.MustParseAddr("10.20.1.0")
	peers := func(n int) (list []stun.Setter) {
		for range n {
			next = next.Next()
			list = append(list, peer(netip.AddrPortFrom(next, 50000)))
		}
		return list
	}
	held := 0
	for ; held+batch <= allocation.MaxPermissions; held += batch {
		wantCode(t, c.do(stun.MethodCreatePermission, peers(batch)...), 0)
	}
	wantCode(t, c.do(stun.MethodCreatePermission, peers(batch)...), 508)
	if got := len(a.Permissions(s.table.Now())); got != held {
		t.Fatalf("%d permissions after the refusal, want %d", got, held)
	}
	wantCode(t, c.do(stun.MethodCreatePermission, peers(allocation.MaxPermissions-held)...), 0)
	wantCode(t, c.do(stun.MethodCreatePermission, peers(1)...), 508)
	// What is there may be refreshed.
	wantCode(t, c.do(stun.MethodCreatePermission, peerAt("10.20.1.1:1")), 0)
}

// Permissions belong to one allocation (RFC 8656 §9).
func TestPermissionIsOwn(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	a, b := c.allocate(), c.nth(1).allocate()
	wantCode(t, c.do(stun.MethodCreatePermission, peerAt(fmt.Sprint(b.Relayed))), 0)
	if len(a.Permissions(s.table.Now())) != 1 || len(b.Permissions(s.table.Now())) != 0 {
		t.Error("a permission is not with the allocation that asked for it alone")
	}
}
