package relay_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
)

// A listener on all addresses answers, and relays, from the address that its client knows (RFC 8489 §6.3.1.2), and
// takes that address as part of the five-tuple (RFC 8656 §3.2). Callers' sockets are connected, so an answer from
// another address would not reach them.
func TestConformanceWildcard(t *testing.T) {
	own := ownAddresses(t)
	for _, listeners := range [][]relay.Listener{
		{{Scheme: "udp", Address: ":0"}, {Scheme: "tcp", Address: ":0"}},
		{{Scheme: "udp", Address: "0.0.0.0:0"}, {Scheme: "udp", Address: "[::]:0"}, {Scheme: "tcp", Address: "0.0.0.0:0"}, {Scheme: "tcp", Address: "[::]:0"}},
	} {
		eachPath(t, func(c *relay.Config) { c.Listeners = listeners }, func(t *testing.T, s *served) {
			at := func(scheme, ip string) netip.AddrPort {
				a := netip.MustParseAddr(ip)
				return netip.AddrPortFrom(a, s.at(t, way{scheme, a.Is6()}).Port())
			}
			var callers []*caller
			for _, scheme := range []string{"udp", "tcp"} {
				for _, ip := range append(own, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.255.255.254", "::1") {
					c := s.callAt(t, scheme, at(scheme, ip), netip.AddrPort{})
					want := netip.AddrPortFrom(c.local().Addr().WithZone(""), c.local().Port())
					if got := c.binding().address(t, stun.AttrXORMappedAddress); got != want {
						t.Errorf("%s at %s: XOR-MAPPED-ADDRESS is %v, want %v", scheme, ip, got, want)
					}
					c.allocate()
					callers = append(callers, c)
				}
			}
			for i, a := range callers {
				b := callers[(i+3)%len(callers)]
				a.permit(b.relayed)
				b.permit(a.relayed)
				a.sendTo(b.relayed, fmt.Append(nil, "Send ", i))
				b.wantData(a.relayed, fmt.Append(nil, "Send ", i))
				b.bind(uint16(0x4000+i), a.relayed)
				a.sendTo(b.relayed, fmt.Append(nil, "to a channel ", i))
				b.wantChannel(uint16(0x4000+i), fmt.Append(nil, "to a channel ", i))
			}

			// One client port at two addresses of the server: two five-tuples.
			a := s.callAt(t, "udp", at("udp", "127.0.0.2"), netip.AddrPort{})
			a.allocate()
			a.conn.Close()
			b := s.callAt(t, "udp", at("udp", "127.0.0.3"), a.local())
			b.nonce = a.nonce
			b.request(stun.MethodRefresh).want(t, 437)
			b.allocate()
			b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
			b.conn.Close()
			again := s.callAt(t, "udp", at("udp", "127.0.0.2"), a.local())
			again.nonce = a.nonce
			again.request(stun.MethodRefresh).want(t, 0)
		})
	}
}

// ownAddresses are those of the host's interfaces, link-local ones with their zones.
func ownAddresses(t *testing.T) (all []string) {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, a := range addresses {
			ip := netip.MustParsePrefix(a.String()).Addr()
			if ip.IsLinkLocalUnicast() && ip.Is6() {
				ip = ip.WithZone(i.Name)
			}
			if own, err := net.ListenPacket("udp", netip.AddrPortFrom(ip, 0).String()); err == nil { // not so while it is tentative
				own.Close()
				all = append(all, ip.String())
			}
		}
	}
	return all
}
