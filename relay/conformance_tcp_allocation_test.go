package relay_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

// TCP allocations (RFC 6062) between clients of one server. Peers outside are in conformance_tcp_outside_test.go.

var tcpTransport = number32(stun.AttrRequestedTransport, 6<<24)

func connectionID(id uint32) stun.Setter { return number32(stun.AttrConnectionID, id) }

// allocateTCP makes a TCP allocation that the test stands on.
func (c *caller) allocateTCP(setters ...stun.Setter) answer {
	c.t.Helper()
	a := c.request(stun.MethodAllocate, append([]stun.Setter{tcpTransport}, setters...)...)
	a.want(c.t, 0)
	c.relayed = a.address(c.t, stun.AttrXORRelayedAddress)
	return a
}

// tcpPair is two clients with TCP allocations that permit each other.
func (s *served) tcpPair(t testing.TB, ways ...way) (a, b *caller) {
	t.Helper()
	a, b = s.call(t, ways[0]), s.call(t, ways[len(ways)-1])
	a.allocateTCP()
	b.allocateTCP()
	a.permit(b.relayed)
	b.permit(a.relayed)
	return a, b
}

// connect asks for a connection to a peer that has to succeed.
func (c *caller) connect(to netip.AddrPort) (id uint32) {
	c.t.Helper()
	a := c.request(stun.MethodConnect, peer(to))
	a.want(c.t, 0)
	if n := len(a.get(stun.AttrConnectionID)); n != 4 {
		c.t.Fatalf("CONNECTION-ID has %d bytes (RFC 6062 §6.2.1)", n)
	}
	return binary.BigEndian.Uint32(a.get(stun.AttrConnectionID))
}

// attempt reads a ConnectionAttempt indication (RFC 6062 §5.3).
func (c *caller) attempt(from netip.AddrPort) (id uint32) {
	c.t.Helper()
	b := c.receive()
	a, err := parseMessage(b)
	if err != nil {
		c.t.Fatalf("%v in %x", err, b)
	}
	if a.method != stun.MethodConnectionAttempt || a.class != stun.ClassIndication || len(a.get(stun.AttrConnectionID)) != 4 {
		c.t.Fatalf("want a ConnectionAttempt indication with CONNECTION-ID, got\n%x", b)
	}
	if got := a.address(c.t, stun.AttrXORPeerAddress); from.IsValid() && got != from {
		c.t.Errorf("XOR-PEER-ADDRESS is %v, want %v", got, from)
	}
	return binary.BigEndian.Uint32(a.get(stun.AttrConnectionID))
}

// data is a new connection of the caller's that has become the client data connection of an identifier.
func (s *served) data(c *caller, w way, id uint32) *caller {
	c.t.Helper()
	d := s.call(c.t, w).as(c.user, c.password)
	d.request(stun.MethodConnectionBind, connectionID(id)).want(c.t, 0)
	return d
}

// joined is both ends of a connection between two clients.
func (s *served) joined(a, b *caller, wa, wb way) (here, there *caller) {
	a.t.Helper()
	here = s.data(a, wa, a.connect(b.relayed))
	return here, s.data(b, wb, b.attempt(a.relayed))
}

// wantBytes reads a part of a stream.
func (c *caller) wantBytes(want []byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	c.conn.SetReadDeadline(deadline())
	if n, err := io.ReadFull(c.stream, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("%d bytes of %d came (%v), or others: %q", n, len(want), err, trim(got))
	}
}

// wantEnd waits for the end of the stream that the other one has closed.
func (c *caller) wantEnd() {
	c.t.Helper()
	c.conn.SetReadDeadline(deadline())
	if b, err := c.stream.ReadByte(); err != io.EOF {
		c.t.Fatalf("want the end of the stream, got %#x, %v", b, err)
	}
}

func (c *caller) closeWrite() {
	c.t.Helper()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// noise is bytes that no two of are alike.
func noise(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(b)
	return b
}

// streams are the ways over which there are TCP allocations.
var streams = []way{overTCP, overTCP6, overTLS}

// What an Allocate for TCP may and may not have (RFC 6062 §5.1).
func TestConformanceTCPAllocate(t *testing.T) {
	s := conforming(t, nil)
	for _, row := range []struct {
		says    string
		setters setters
		code    int
	}{
		{"nothing else", nil, 0},
		{"LIFETIME", setters{lifetime(1000)}, 0},
		{"IPv6", setters{wantIPv6}, 0},
		{"DONT-FRAGMENT", setters{raw(stun.AttrDontFragment)}, 400},
		{"EVEN-PORT", setters{evenPort}, 400},
		{"EVEN-PORT with R", setters{evenPair}, 400},
		{"RESERVATION-TOKEN", setters{raw(stun.AttrReservationToken, []byte("12345678")...)}, 400},
		{"an unknown family", setters{number32(stun.AttrRequestedAddressFamily, 3<<24)}, 440},
	} {
		t.Run(row.says, func(t *testing.T) {
			for _, w := range streams {
				c := s.call(t, w)
				a := c.request(stun.MethodAllocate, append(setters{tcpTransport}, row.setters...)...)
				a.want(t, row.code)
				if row.code != 0 {
					c.allocateTCP()
					continue
				}
				if a.has(stun.AttrReservationToken) || !a.has(stun.AttrXORRelayedAddress) || !a.has(stun.AttrLifetime) || !a.has(stun.AttrXORMappedAddress) {
					t.Errorf("%v: attributes of the success: %x", w, a.raw)
				}
				c.request(stun.MethodRefresh).want(t, 0)
				c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
				c.request(stun.MethodRefresh).want(t, 437)
			}
			for _, w := range []way{overUDP, overUDP6, overDTLS} { // item 2 goes ahead
				c := s.call(t, w)
				c.request(stun.MethodAllocate, append(setters{tcpTransport}, row.setters...)...).want(t, 400)
				c.allocate()
			}
		})
	}
}

// What a Connect request is refused for (RFC 6062 §5.2).
func TestConformanceConnect(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.tcpPair(t, overTCP)
	stranger, datagrams, udp := s.call(t, overTCP), s.call(t, overTCP), s.call(t, overUDP)
	stranger.allocateTCP()
	datagrams.allocate()
	udp.allocate()
	nobody := netip.AddrPortFrom(b.relayed.Addr(), b.relayed.Port()^1)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(b.relayed.Addr().As16()), b.relayed.Port())
	for _, row := range []struct {
		says    string
		caller  *caller
		setters setters
		code    int
	}{
		{"no allocation", s.call(t, overTCP), setters{peer(b.relayed)}, 437},
		{"no allocation, over UDP", s.call(t, overUDP), setters{peer(b.relayed)}, 437},
		{"another user's allocation", a.with("bob", "builder"), setters{peer(b.relayed)}, 441},
		{"an allocation of UDP", datagrams, setters{peer(b.relayed)}, 403},
		{"over UDP", udp, setters{peer(b.relayed)}, 403},
		{"no peer", a, nil, 400},
		{"a malformed peer", a, setters{raw(stun.AttrXORPeerAddress, 0, 7, 1, 2)}, 400},
		{"two peers", a, setters{peer(b.relayed), peer(nobody)}, 400},
		{"a peer of another family", a, setters{peer(netip.MustParseAddrPort("[2001:db8:77::1]:50000"))}, 443},
		{"IPv4-mapped", a, setters{peer(mapped)}, 443},
		{"a peer that no rule allows", a, setters{peer(netip.MustParseAddrPort("192.0.2.1:80"))}, 403},
		{"a port outside the range", a, setters{peer(netip.AddrPortFrom(b.relayed.Addr(), 80))}, 403},
		{"the server's listener", a, setters{peer(s.at(t, overTCP))}, 403},
		{"nobody there", a, setters{peer(nobody)}, 447},
		{"an allocation of UDP there", a, setters{peer(datagrams.relayed)}, 447},
		{"oneself", a, setters{peer(a.relayed)}, 447},
		{"who has no permission for us", a, setters{peer(stranger.relayed)}, 447},
		{"an unknown attribute", a, setters{peer(b.relayed), raw(0x7FFF)}, 420},
	} {
		t.Run(row.says, func(t *testing.T) {
			c := *row.caller
			c.t = t
			c.request(stun.MethodConnect, row.setters...).want(t, row.code)
		})
	}
	stranger.quiet() // no ConnectionAttempt without a permission (RFC 6062 §5.3)

	a.connect(b.relayed)
	a.request(stun.MethodConnect, peer(b.relayed)).want(t, 446) // it is pending
	b.attempt(a.relayed)
	b.request(stun.MethodConnect, peer(a.relayed)).want(t, 446) // for both
	b.quiet()
}

// A TCP allocation has no datagrams: no channels, no Send, no Data, and none of UDP reaches it.
func TestConformanceTCPNoDatagrams(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.tcpPair(t, overTCP)
	c := s.call(t, overTCP)
	c.allocate()
	for _, one := range []*caller{a, b} {
		one.permit(c.relayed)
		c.permit(one.relayed)
	}
	a.request(stun.MethodChannelBind, channel(0x4000), peer(b.relayed)).want(t, 403)
	a.sendTo(b.relayed, []byte("to TCP"))
	a.sendTo(c.relayed, []byte("to UDP"))
	c.bind(0x4000, a.relayed)
	c.sendTo(a.relayed, []byte("from UDP"))
	c.send(channelData(0x4000, []byte("from UDP"), true))
	for _, one := range []*caller{a, c} {
		one.settle()
	}
	for _, one := range []*caller{a, b, c} {
		one.quiet()
	}
	if n := s.Snapshot(); n.Hairpin != 0 {
		t.Errorf("%d packets were relayed", n.Hairpin)
	}
}

// Bytes pass as they are, both ways, over all kinds of connections (RFC 6062 §5.4); so do those that came before the
// other end was there, and the ends of streams (RFC 6062 §5.5).
func TestConformanceDataConnection(t *testing.T) {
	s := conforming(t, nil)
	for _, wa := range streams {
		for _, wb := range streams {
			t.Run(wa.String()+" to "+wb.String(), func(t *testing.T) {
				a, b := s.tcpPair(t, wa, wb)
				before := s.Snapshot().Connections

				// The first bytes come with the ConnectionBind request, more before the other end is there.
				here := s.call(t, wa)
				request := here.signed(stun.MethodConnectionBind, connectionID(a.connect(b.relayed)))
				here.send(append(bytes.Clone(request), "with the request, "...))
				here.answerTo(request).want(t, 0)
				here.send([]byte("before the other end, "))
				there := s.data(b, wb, b.attempt(a.relayed))
				here.send([]byte("after"))
				there.wantBytes([]byte("with the request, before the other end, after"))

				// Nothing of it is taken for TURN.
				for _, data := range [][]byte{{0}, request, channelData(0x4000, []byte("data"), false), bytes.Repeat([]byte{0}, 100_000)} {
					there.send(data)
					here.wantBytes(data)
					here.send(data)
					there.wantBytes(data)
				}
				large := noise(3 << 20)
				go here.conn.Write(large)
				there.wantBytes(large)

				// The end of one stream leaves the other one open.
				here.closeWrite()
				there.wantEnd()
				there.send([]byte("the answer"))
				here.wantBytes([]byte("the answer"))
				there.closeWrite()
				here.wantEnd()

				// Then there may be a new one.
				eventually(t, "the connection is forgotten", func() bool { return s.Snapshot().Connections == before })
				here, there = s.joined(a, b, wa, wb)
				here.send([]byte("again"))
				there.wantBytes([]byte("again"))
			})
		}
	}
}

// What a ConnectionBind request is refused for (RFC 6062 §5.4), none of which harms the connection.
func TestConformanceConnectionBind(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.tcpPair(t, overTCP)
	id := a.connect(b.relayed)
	other := b.attempt(a.relayed)
	if id == other {
		t.Errorf("CONNECTION-ID %x twice", id)
	}
	held := s.call(t, overTCP)
	held.allocate()
	for _, row := range []struct {
		says    string
		caller  *caller
		setters setters
		code    int
	}{
		{"no CONNECTION-ID", s.call(t, overTCP), nil, 400},
		{"a malformed CONNECTION-ID", s.call(t, overTCP), setters{raw(stun.AttrConnectionID, 1, 2, 3)}, 400},
		{"an unknown CONNECTION-ID", s.call(t, overTCP), setters{connectionID(id ^ 0x5A5A5A5A)}, 400},
		{"CONNECTION-ID 0", s.call(t, overTCP), setters{connectionID(0)}, 400},
		{"over UDP", s.call(t, overUDP), setters{connectionID(id)}, 400},
		{"over DTLS", s.call(t, overDTLS), setters{connectionID(id)}, 400},
		{"another user", s.call(t, overTCP).as("bob", "builder"), setters{connectionID(id)}, 441},
		{"a wrong password", s.call(t, overTCP).as("alice", "wrong"), setters{connectionID(id)}, 401},
		{"on the control connection", a, setters{connectionID(id)}, 400},
		{"on another one", held, setters{connectionID(id)}, 400},
		{"an unknown attribute", s.call(t, overTCP), setters{connectionID(id), raw(0x7FFF)}, 420},
	} {
		t.Run(row.says, func(t *testing.T) {
			c := *row.caller
			c.t = t
			c.request(stun.MethodConnectionBind, row.setters...).want(t, row.code)
			c.quiet() // it is a connection for messages as before
		})
	}
	plain := s.call(t, overTCP)
	plain.ask(plain.unsigned(stun.MethodConnectionBind, connectionID(id))).want(t, 401)

	// The nonce of the control connection is good for its data connections, one of another client isn't.
	for _, row := range []struct {
		nonce string
		code  int
	}{{held.nonce, 438}, {a.nonce, 0}} {
		c := s.call(t, overTCP)
		c.nonce = row.nonce
		c.request(stun.MethodConnectionBind, connectionID(id)).want(t, row.code)
	}
	again := s.call(t, overTCP)
	again.request(stun.MethodConnectionBind, connectionID(id)).want(t, 400)
}

// Data connections end with their allocation, whichever, and however that ends (RFC 6062 §5.5); a lost one ends the other.
func TestConformanceDataConnectionEnds(t *testing.T) {
	for _, row := range []struct {
		says string
		end  func(s *served, a, b, here *caller)
	}{
		{"the connecting allocation is released", func(_ *served, a, _, _ *caller) { a.request(stun.MethodRefresh, lifetime(0)).want(a.t, 0) }},
		{"the other allocation is released", func(_ *served, _, b, _ *caller) { b.request(stun.MethodRefresh, lifetime(0)).want(b.t, 0) }},
		{"a control connection is closed", func(_ *served, _, b, _ *caller) { b.conn.Close() }},
		{"the server stops", func(s *served, _, _, _ *caller) { s.Close() }},
		{"a data connection is reset", func(_ *served, _, _, here *caller) {
			here.conn.(*net.TCPConn).SetLinger(0)
			here.conn.Close()
		}},
	} {
		t.Run(row.says, func(t *testing.T) {
			s := conforming(t, nil)
			a, b := s.tcpPair(t, overTCP)
			here, there := s.joined(a, b, overTCP, overTCP)
			here.send([]byte("before"))
			there.wantBytes([]byte("before"))
			row.end(s, a, b, here)
			there.closed()
			if row.says != "a data connection is reset" {
				here.closed()
			}
			eventually(t, "nothing is left", func() bool { return s.Snapshot().Connections == tcp.Counts{} })
		})
	}
	t.Run("while one waits", func(t *testing.T) {
		s := conforming(t, nil)
		a, b := s.tcpPair(t, overTCP)
		here := s.data(a, overTCP, a.connect(b.relayed))
		id := b.attempt(a.relayed)
		b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		here.closed()
		late := s.call(t, overTCP)
		late.request(stun.MethodConnectionBind, connectionID(id)).want(t, 400)
	})
	t.Run("one that waits is closed by its client", func(t *testing.T) {
		s := conforming(t, nil)
		a, b := s.tcpPair(t, overTCP)
		here := s.data(a, overTCP, a.connect(b.relayed))
		here.send([]byte("left behind"))
		here.conn.Close()
		there := s.data(b, overTCP, b.attempt(a.relayed))
		there.wantBytes([]byte("left behind"))
		there.wantEnd()
	})
}

// A reader that stops stops its writer and nobody else; nothing is lost, and the server holds nothing (RFC 6062 §3).
func TestConformanceDataConnectionFlow(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.tcpPair(t, overTCP)
	here, there := s.joined(a, b, overTCP, overTCP)
	c, d := s.tcpPair(t, overTCP)
	beside, other := s.joined(c, d, overTCP, overTCP)

	before, block := heap(), noise(1<<20)
	sent := 0
	for ; sent < 256; sent++ {
		here.conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := here.conn.Write(block)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			sent = sent<<20 + n
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if sent < 1<<20 {
		t.Fatal("the writer was never stopped: the server reads without bound")
	}
	beside.send([]byte("undisturbed"))
	other.wantBytes([]byte("undisturbed"))
	there.send([]byte("and the other way"))
	here.wantBytes([]byte("and the other way"))
	if grown := int64(heap() - before); grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	here.closeWrite()
	for ; sent > 0; sent -= len(block) {
		there.wantBytes(block[:min(sent, len(block))])
	}
	there.wantEnd()
}

// Bytes are counted for both allocations and for the listener.
func TestConformanceDataConnectionCounted(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.Listeners = []relay.Listener{{Scheme: "tcp", Address: "127.0.0.1:0"}} })
	a, b := s.tcpPair(t, overTCP)
	here, there := s.joined(a, b, overTCP, overTCP)
	large := noise(5 << 20)
	go here.conn.Write(large)
	there.wantBytes(large)
	there.send([]byte("back"))
	here.wantBytes([]byte("back"))
	if got, want := s.Snapshot().Connections, (tcp.Counts{Joined: 1}); got != want {
		t.Errorf("connections: %+v, want %+v", got, want)
	}
	total := uint64(len(large) + len("back"))
	eventually(t, "each byte is counted once on each of four legs", func() bool {
		for _, n := range s.Snapshot().Listeners[0].Traffic {
			if n.Bytes != total {
				return false
			}
		}
		return true
	})
	s.Allocations(-1, func(i relay.AllocationInfo) bool {
		up, down := uint64(len(large)), uint64(len("back"))
		if i.Relayed == b.relayed {
			up, down = down, up
		}
		if i.Counts.Up.Bytes != up || i.Counts.Down.Bytes != down {
			t.Errorf("allocation %d: %+v, want %d up, %d down", i.ID, i.Counts, up, down)
		}
		return true
	})
}

// What waits is bounded, for who connects and for who is connected to.
func TestConformanceDataConnectionLimits(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = relays16 })
	hub := s.call(t, overTCP)
	hub.allocateTCP()
	spokes := make([]*caller, tcp.MaxPending+1)
	for i := range spokes {
		spokes[i] = s.call(t, overTCP)
		spokes[i].allocateTCP()
		spokes[i].permit(hub.relayed)
		hub.permit(spokes[i].relayed)
	}
	for _, spoke := range spokes[:tcp.MaxPending] {
		hub.connect(spoke.relayed)
	}
	last := spokes[tcp.MaxPending]
	hub.request(stun.MethodConnect, peer(last.relayed)).want(t, 508)
	last.request(stun.MethodConnect, peer(hub.relayed)).want(t, 447)
	hub.quiet()
	// One that ends makes room.
	spokes[0].attempt(hub.relayed)
	spokes[0].request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	hub.connect(last.relayed)
	last.attempt(hub.relayed)
}
