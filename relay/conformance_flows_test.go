package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/control"
)

// proxied is a PROXY header, version 2, written by hand: of a UDP flow from client to server, or a local one.
func proxied(client, server netip.AddrPort) []byte {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	if !client.IsValid() {
		return append(b, 0x20, 0, 0, 0)
	}
	family := byte(0x12)
	if client.Addr().Is6() {
		family = 0x22
	}
	addresses := slices.Concat(client.Addr().AsSlice(), server.Addr().AsSlice())
	addresses = binary.BigEndian.AppendUint16(addresses, client.Port())
	addresses = binary.BigEndian.AppendUint16(addresses, server.Port())
	const kind = "\x04\x00\x03abc" // an attribute that means nothing here
	b = binary.BigEndian.AppendUint16(append(b, 0x21, family), uint16(len(addresses)+len(kind)))
	return append(append(b, addresses...), kind...)
}

// balanced is one way of a load balancer to the server: a socket, and when it writes the header.
type balanced struct {
	*net.UDPConn
	header []byte
	when   string // "each", "first", or "alone" ahead of the first datagram
	begun  bool
}

func (b *balanced) Write(message []byte) (int, error) {
	switch {
	case b.when == "alone" && !b.begun:
		if _, err := b.UDPConn.Write(b.header); err != nil {
			return 0, err
		}
	case b.when == "each" || b.when == "first" && !b.begun:
		message = append(slices.Clip(b.header), message...)
	}
	b.begun = true
	return b.UDPConn.Write(message)
}

// behind starts a server whose listener "behind" is for load balancers at 127.0.0.1 and ::1.
func behind(t *testing.T, change func(*relay.Config)) *served {
	return conforming(t, func(c *relay.Config) {
		c.Listeners = append(c.Listeners,
			relay.Listener{Scheme: "udp", Address: "127.0.0.2:0", Proxy: true, Name: "behind"},
			relay.Listener{Scheme: "udp", Address: "[::]:0", Proxy: true, Name: "behind"})
		c.ProxyTrusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
		if change != nil {
			change(c)
		}
	})
}

// through is a client of that listener: what it sends goes by a socket of its own of the balancer's, at from.
func (s *served) through(t *testing.T, from, when string, client, server netip.AddrPort) *caller {
	t.Helper()
	local := netip.MustParseAddr(from)
	var at netip.AddrPort
	for _, l := range s.ListenerInfos() {
		if l.Name == "behind" && l.Address.Addr().Is6() == local.Is6() {
			at = l.Address
		}
	}
	if at.Addr().Is6() {
		at = netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
	}
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	return &caller{t: t, user: "alice", password: "wonder", realm: "hairpin", conn: &balanced{conn, proxied(client, server), when, false}}
}

// Some clients, and where they think that the server is.
var (
	client4, balancer4 = netip.MustParseAddrPort("192.0.2.7:12345"), netip.MustParseAddrPort("203.0.113.1:3478")
	client6, balancer6 = netip.MustParseAddrPort("[2001:db8::7]:12345"), netip.MustParseAddrPort("[2001:db8:1::1]:3478")
)

// Behind a load balancer for datagrams a client is who the header says, whenever that is written, and reaches and is reached
// by everybody else.
func TestFlows(t *testing.T) {
	s := behind(t, nil)
	port := uint16(20000)
	for _, from := range []string{"127.0.0.1", "::1"} {
		for _, addresses := range [][2]netip.AddrPort{{client4, balancer4}, {client6, balancer6}} {
			for _, when := range []string{"each", "first", "alone"} {
				port++
				client, server := netip.AddrPortFrom(addresses[0].Addr(), port), addresses[1]
				t.Run(fmt.Sprintf("%s by way of %s, %s", client, from, when), func(t *testing.T) {
					a := s.through(t, from, when, client, server)
					if got := a.binding().address(t, stun.AttrXORMappedAddress); got != client {
						t.Errorf("XOR-MAPPED-ADDRESS is %v, want %v", got, client)
					}
					a.allocate()
					found := false
					s.Allocations(-1, func(i relay.AllocationInfo) bool {
						if i.Relayed == a.relayed {
							found = i.Client == client && i.Server == server && i.Transport == "udp" && i.Listener == "behind"
						}
						return true
					})
					if !found {
						t.Error("the allocation is another's")
					}
					for _, w := range []way{overUDP, overTCP, overDTLS} {
						b := s.call(t, w)
						b.allocate()
						a.permit(b.relayed)
						b.permit(a.relayed)
						for _, size := range []int{0, 1, 2, 3, 4, 1200, 4000} {
							data := bytes.Repeat([]byte{'x'}, size)
							a.sendTo(b.relayed, data)
							b.wantData(a.relayed, data)
							b.sendTo(a.relayed, data)
							a.wantData(b.relayed, data)
						}
						number := uint16(0x4000 + int(b.relayed.Addr().AsSlice()[3]))
						a.bind(number, b.relayed)
						b.bind(0x4abc, a.relayed)
						for _, size := range []int{0, 1, 2, 3, 4, 1200, 4000} {
							data := bytes.Repeat([]byte{'y'}, size)
							a.send(channelData(number, data, false))
							b.wantChannel(0x4abc, data)
							b.send(channelData(0x4abc, data, w == overTCP))
							a.wantChannel(number, data)
						}
						b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
					}
					a.quiet()
					a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
				})
			}
		}
	}
	own := s.through(t, "127.0.0.1", "each", netip.AddrPort{}, netip.AddrPort{})
	if got := own.binding().address(t, stun.AttrXORMappedAddress); got != own.local() {
		t.Errorf("LOCAL: XOR-MAPPED-ADDRESS is %v, want %v", got, own.local())
	}
	for _, n := range s.Snapshot().Dropped {
		if n.Value > 0 {
			t.Errorf("dropped: %s %d", n.Name, n.Value)
		}
	}
}

// What is not from a trusted balancer, or not understood, is counted and nothing else.
func TestFlowsDrop(t *testing.T) {
	s := behind(t, nil)
	count := func(reason string) uint64 {
		for _, n := range s.Snapshot().Dropped {
			if n.Name == reason {
				return n.Value
			}
		}
		t.Fatalf("no %q", reason)
		return 0
	}
	binding := "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"
	good := string(proxied(client4, balancer4))
	for _, test := range []struct{ name, from, datagram, reason string }{
		{"a stranger", "127.0.0.3", good + binding, "proxy_untrusted"},
		{"a stranger without a header", "127.0.0.3", binding, "proxy_untrusted"},
		{"no header", "127.0.0.1", binding, "proxy_no_header"},
		{"version 1", "127.0.0.1", "PROXY UDP4 192.0.2.7 203.0.113.1 12345 3478\r\n" + binding, "proxy_no_header"},
		{"of a TCP connection", "127.0.0.1", good[:13] + "\x11" + good[14:] + binding, "proxy_malformed"},
		{"cut", "127.0.0.1", good[:20], "proxy_malformed"},
		{"not TURN", "127.0.0.1", good + "\xff\xff\xff\xff", "not_turn"},
		{"an empty datagram", "127.0.0.1", "", "proxy_no_header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := count(test.reason)
			c := s.through(t, test.from, "never", client4, balancer4)
			c.send([]byte(test.datagram))
			eventually(t, "it is counted", func() bool { return count(test.reason) == before+1 })
		})
	}
	noise := rand.New(rand.NewPCG(1, 2))
	c := s.through(t, "127.0.0.1", "never", client4, balancer4)
	for range 2000 {
		b := []byte(good + binding)
		for range 1 + noise.IntN(3) {
			b[noise.IntN(len(b))] = byte(noise.Uint32())
		}
		c.send(b[:noise.IntN(len(b)+1)])
	}
	a := s.through(t, "127.0.0.1", "each", client4, balancer4)
	a.allocate()
}

// A client that comes by another way keeps what it has, and gets everything there. A way that became another client's
// carries nothing for the one before.
func TestFlowsWays(t *testing.T) {
	s := behind(t, nil)
	a, peer := s.through(t, "127.0.0.1", "each", client4, balancer4), s.call(t, overUDP)
	a.allocate()
	peer.allocate()
	a.permit(peer.relayed)
	peer.permit(a.relayed)
	peer.sendTo(a.relayed, []byte("the first way"))
	a.wantData(peer.relayed, []byte("the first way"))

	b := s.through(t, "127.0.0.1", "each", client4, balancer4)
	b.nonce, b.relayed = a.nonce, a.relayed
	b.request(stun.MethodRefresh).want(t, 0)
	peer.sendTo(a.relayed, []byte("the second way"))
	b.wantData(peer.relayed, []byte("the second way"))
	a.request(stun.MethodRefresh).want(t, 0)
	peer.sendTo(a.relayed, []byte("the first one again"))
	a.wantData(peer.relayed, []byte("the first one again"))
	b.sendTo(peer.relayed, []byte("from the second"))
	peer.wantData(a.relayed, []byte("from the second"))

	// The balancer gives that way to another client.
	other := netip.AddrPortFrom(client4.Addr(), client4.Port()+1)
	way := b.conn.(*balanced)
	way.header = proxied(other, balancer4)
	if got := b.binding().address(t, stun.AttrXORMappedAddress); got != other {
		t.Errorf("XOR-MAPPED-ADDRESS is %v, want %v", got, other)
	}
	peer.sendTo(a.relayed, []byte("for nobody"))
	peer.settle()
	b.quiet()
	b.nonce = ""
	b.allocate()
	peer.permit(b.relayed)
	b.permit(peer.relayed)
	peer.sendTo(b.relayed, []byte("for the other"))
	b.wantData(peer.relayed, []byte("for the other"))
	a.request(stun.MethodRefresh).want(t, 0)
	peer.sendTo(a.relayed, []byte("for the first"))
	a.wantData(peer.relayed, []byte("for the first"))
	a.quiet()
	b.quiet()

	// More ways than are remembered.
	for i := range 10 {
		c := s.through(t, "127.0.0.1", "each", client4, balancer4)
		c.nonce = a.nonce
		c.request(stun.MethodRefresh).want(t, 0)
		data := fmt.Append(nil, "way ", i)
		peer.sendTo(a.relayed, data)
		c.wantData(peer.relayed, data)
	}
}

// What strangers may ask for is limited by their own addresses, which a balancer need not have proved, and not by the
// balancer's.
func TestFlowsLimits(t *testing.T) {
	s := behind(t, func(c *relay.Config) { c.Limits = control.Limits{Bytes: 600} })
	discarded := func() (n uint64) {
		for _, c := range s.Snapshot().Discarded {
			n += c.Value
		}
		return n
	}
	a := s.through(t, "127.0.0.1", "each", client4, balancer4)
	request := a.unsigned(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}})
	const flood = 200
	for range flood {
		a.send(request)
	}
	eventually(t, "the flood is limited", func() bool { return discarded() > flood/2 })
	b := s.through(t, "127.0.0.1", "each", netip.MustParseAddrPort("198.51.100.7:12345"), balancer4)
	b.allocate()
}
