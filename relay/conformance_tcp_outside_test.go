package relay_test

import (
	"bufio"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/pion/stun/v2"
	"github.com/pion/turn/v3"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

// outgoingTCP is outgoing where TCP allocations have peers outside.
func outgoingTCP(t *testing.T, change func(*relay.Config)) *served {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("TCP allocations have peers outside on Linux only")
	}
	return outgoing(t, change)
}

// tcpHost is a peer outside that listens.
type tcpHost struct {
	t testing.TB
	*net.TCPListener
}

func newTCPHost(t testing.TB, v6 bool) *tcpHost {
	t.Helper()
	ip := netip.MustParseAddr("127.0.0.1")
	if v6 {
		ip = netip.IPv6Loopback()
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &tcpHost{t, l}
}

func (h *tcpHost) address() netip.AddrPort { return h.Addr().(*net.TCPAddr).AddrPort() }

// accept takes the relay's connection, which has to leave from the relayed transport address (RFC 6062 §5.2).
func (h *tcpHost) accept(from netip.AddrPort) *caller {
	h.t.Helper()
	h.SetDeadline(deadline())
	conn, err := h.Accept()
	if err != nil {
		h.t.Fatalf("no connection reached the peer: %v", err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if got := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); got != from {
		h.t.Errorf("the connection comes from %v, want %v", got, from)
	}
	return plainCaller(h.t, conn)
}

// Connections to peers outside and from them, over all kinds of connections and both families (RFC 6062 §5.2, §5.3).
func TestConformanceTCPOutside(t *testing.T) {
	s := outgoingTCP(t, nil)
	for _, w := range streams {
		for _, v6 := range []bool{false, true} {
			t.Run(w.String()+" "+familyName(v6), func(t *testing.T) {
				a, h := s.call(t, w), newTCPHost(t, v6)
				a.allocateTCP(familyOf(v6))
				for _, first := range []string{"server", "client"} { // who closes its stream first
					id := a.connect(h.address())
					a.request(stun.MethodConnect, peer(h.address())).want(t, 446)
					there := h.accept(a.relayed)
					there.send([]byte("early"))
					here := s.data(a, w, id)
					here.wantBytes([]byte("early"))
					exchange(t, here, there, first == "client")
					eventually(t, "the connection is forgotten", func() bool { return s.Snapshot().Connections == tcp.Counts{} })
				}

				a.permit(h.address())
				conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(a.relayed))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				there := plainCaller(t, conn)
				there.send([]byte("early"))
				here := s.data(a, w, a.attempt(there.local()))
				here.wantBytes([]byte("early"))
				exchange(t, here, there, true)
			})
		}
	}
}

// exchange passes bytes and closes both streams.
func exchange(t *testing.T, here, there *caller, clientFirst bool) {
	t.Helper()
	large := noise(1 << 20)
	go there.conn.Write(large)
	here.wantBytes(large)
	go here.conn.Write(large)
	there.wantBytes(large)
	one, other := here, there
	if !clientFirst {
		one, other = there, here
	}
	one.closeWrite()
	other.wantEnd()
	other.send([]byte("the answer"))
	one.wantBytes([]byte("the answer"))
	other.conn.Close()
	one.wantEnd()
}

// A peer without a permission, or that the rules don't allow, is not heard (RFC 6062 §5.3); who can't be reached, or must
// not, is told by the error code (RFC 6062 §5.2).
func TestConformanceTCPOutsideRefused(t *testing.T) {
	s := outgoingTCP(t, nil)
	a, h := s.call(t, overTCP), newTCPHost(t, false)
	a.allocateTCP()
	unwanted := func(says string) {
		t.Helper()
		conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(a.relayed))
		if err != nil {
			t.Fatal(err) // it has to be accepted
		}
		defer conn.Close()
		c := plainCaller(t, conn)
		c.closed()
		a.quiet()
	}
	unwanted("no permission")
	a.permit(netip.MustParseAddrPort("127.0.0.2:1"))
	unwanted("a permission for another one")
	a.permit(h.address())
	if err := s.Peers().Replace(peerRules(t, "loop", "127.0.0.0/8", "::1", "!127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	unwanted("the rules")
	a.request(stun.MethodConnect, peer(h.address())).want(t, 403)
	if err := s.Peers().Replace(peerRules(t, "loop", "127.0.0.0/8", "::1")); err != nil {
		t.Fatal(err)
	}
	a.request(stun.MethodConnect, peer(s.at(t, overTCP))).want(t, 403)
	h.Close()
	a.request(stun.MethodConnect, peer(h.address())).want(t, 447)
	a.request(stun.MethodConnect, peer(h.address())).want(t, 447) // not 446: it is over
}

// The ends of what belongs together (RFC 6062 §5.5), towards a peer outside.
func TestConformanceTCPOutsideEnds(t *testing.T) {
	for says, end := range map[string]func(s *served, a, here, there *caller){
		"the allocation is released": func(_ *served, a, _, _ *caller) { a.request(stun.MethodRefresh, lifetime(0)).want(a.t, 0) },
		"the server stops":           func(s *served, _, _, _ *caller) { s.Close() },
		"the peer resets": func(_ *served, _, _, there *caller) {
			there.conn.(*net.TCPConn).SetLinger(0)
			there.conn.Close()
		},
		"the client resets": func(_ *served, _, here, _ *caller) {
			here.conn.(*net.TCPConn).SetLinger(0)
			here.conn.Close()
		},
	} {
		t.Run(says, func(t *testing.T) {
			s := outgoingTCP(t, nil)
			a, h := s.call(t, overTCP), newTCPHost(t, false)
			a.allocateTCP()
			id := a.connect(h.address())
			there := h.accept(a.relayed)
			here := s.data(a, overTCP, id)
			here.send([]byte("before"))
			there.wantBytes([]byte("before"))
			end(s, a, here, there)
			if says != "the peer resets" {
				there.closed()
			}
			if says != "the client resets" {
				here.closed()
			}
			eventually(t, "nothing is left", func() bool { return s.Snapshot().Connections == tcp.Counts{} })
		})
	}
}

// The relayed transport address is bound while the allocation lives, to nobody else's port, and only where the rules
// lead outside.
func TestConformanceTCPOutsideBound(t *testing.T) {
	listens := func(at netip.AddrPort) bool {
		conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(at))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	s := outgoingTCP(t, nil)
	a := s.call(t, overTCP)
	a.allocateTCP()
	if !listens(a.relayed) {
		t.Errorf("%v is not listened on", a.relayed)
	}
	if l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a.relayed)); err == nil {
		l.Close()
		t.Errorf("%v can be taken by somebody else", a.relayed)
	}
	a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	eventually(t, "the port is free", func() bool { return !listens(a.relayed) })

	loop := conforming(t, func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	b := loop.call(t, overTCP)
	b.allocateTCP()
	if listens(b.relayed) {
		t.Errorf("%v is bound in loop mode", b.relayed)
	}
}

// Two clients of one server meet inside it, although their relayed transport addresses are bound.
func TestConformanceTCPOutsideHairpin(t *testing.T) {
	s := outgoingTCP(t, nil)
	a, b := s.tcpPair(t, overTCP)
	here, there := s.joined(a, b, overTCP, overTCP)
	here.send([]byte("inside"))
	there.wantBytes([]byte("inside"))
	if got, want := s.Snapshot().Connections, (tcp.Counts{Joined: 1}); got != want {
		t.Errorf("connections: %+v, want %+v", got, want)
	}
}

// Two servers, a client each: the relayed transport address of one is a peer outside for the other.
func TestConformanceTCPOutsideSiblings(t *testing.T) {
	s, other := outgoingTCP(t, nil), outgoingTCP(t, nil)
	a, b := s.call(t, overTCP), other.call(t, overTCP)
	a.allocateTCP()
	b.allocateTCP()
	b.permit(a.relayed)
	here := s.data(a, overTCP, a.connect(b.relayed))
	there := other.data(b, overTCP, b.attempt(a.relayed))
	exchange(t, here, there, true)
}

// plainCaller is the end of a connection that isn't the server's.
func plainCaller(t testing.TB, conn net.Conn) *caller {
	return &caller{t: t, conn: conn, stream: bufio.NewReader(conn)}
}

func familyName(v6 bool) string {
	if v6 {
		return "as IPv6"
	}
	return "as IPv4"
}

// pion's client dials and accepts. It brings the nonce of its control connection to its data connections.
func TestTCPAllocationsOfPion(t *testing.T) {
	s := start(t, nil)
	at := listener(t, s, "tcp", false)
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	client := func() *turn.Client {
		c, err := turn.NewClient(&turn.ClientConfig{
			STUNServerAddr: at.String(), TURNServerAddr: at.String(), Conn: turn.NewSTUNConn(connect()),
			Username: "alice", Password: "wonder", Realm: "hairpin",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if err := c.Listen(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca, cb := client(), client()
	a, err := ca.AllocateTCP()
	if err != nil {
		t.Fatal(err)
	}
	b, err := cb.AllocateTCP()
	if err != nil {
		t.Fatal(err)
	}
	if err := cb.CreatePermission(a.Addr()); err != nil {
		t.Fatal(err)
	}
	here, err := a.DialWithConn(connect(), "tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := b.AcceptTCPWithConn(connect())
	if err != nil {
		t.Fatal(err)
	}
	if got := there.RemoteAddr().String(); got != a.Addr().String() {
		t.Errorf("the connection comes from %s, want %s", got, a.Addr())
	}
	for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
		data := noise(100_000)
		go way[0].Write(data)
		plainCaller(t, way[1]).wantBytes(data)
	}
	here.Close()
	plainCaller(t, there).wantEnd()
}
