// Package probetest runs a TURN server inside a test: pion/turn's, an implementation that is not ours, on 127.0.0.1,
// with hooks that lose, repeat or watch what passes.
package probetest

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"
)

// Credentials of every server of this package.
const (
	User     = "alice"
	Password = "correct horse"
	Realm    = "probetest"
	Secret   = "north and south" // with Hooks.Ephemeral
)

// Hooks change a server's behaviour; the zero value changes nothing.
type Hooks struct {
	Ephemeral bool // credentials come from Secret instead of User and Password

	In  func(b []byte)                               // sees each datagram from a client
	Out func(b []byte, send func([]byte))            // sends each datagram to a client, or not, or twice
	TCP func(net.Conn) net.Conn                      // wraps each connection from a client
	May func(client net.Addr, peer net.IP) (ok bool) // permits a peer
}

// Server is a running TURN server.
type Server struct {
	Address netip.AddrPort // UDP and TCP
	turn    *turn.Server
}

// Allocations counts the live ones.
func (s *Server) Allocations() int { return s.turn.AllocationCount() }

// Close ends the server before the test does.
func (s *Server) Close() { _ = s.turn.Close() }

// Start runs a server until the test ends.
func Start(t testing.TB, h Hooks) *Server {
	t.Helper()
	packets, stream := listen(t)
	s := &Server{Address: netip.MustParseAddrPort(packets.LocalAddr().String())}

	silent := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	auth := func(user, realm string, _ net.Addr) ([]byte, bool) {
		return turn.GenerateAuthKey(User, realm, Password), user == User
	}
	if h.Ephemeral {
		auth = turn.LongTermTURNRESTAuthHandler(Secret, silent.NewLogger("auth"))
	}
	var err error
	relay := &turn.RelayAddressGeneratorNone{Address: "127.0.0.1"}
	s.turn, err = turn.NewServer(turn.ServerConfig{
		Realm: Realm, AuthHandler: auth, LoggerFactory: silent,
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: &hooked{packets, h}, RelayAddressGenerator: relay, PermissionHandler: h.May}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: &hookedListener{stream, h}, RelayAddressGenerator: relay, PermissionHandler: h.May}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// listen finds a port that is free for both transports.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp4", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		_ = packets.Close()
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

type hooked struct {
	net.PacketConn
	hooks Hooks
}

func (c *hooked) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if err == nil && c.hooks.In != nil {
		c.hooks.In(b[:n])
	}
	return n, from, err
}

func (c *hooked) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.hooks.Out == nil {
		return c.PacketConn.WriteTo(b, to)
	}
	c.hooks.Out(b, func(b []byte) { _, _ = c.PacketConn.WriteTo(b, to) })
	return len(b), nil
}

type hookedListener struct {
	net.Listener
	hooks Hooks
}

func (l *hookedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.hooks.TCP != nil {
		c = l.hooks.TCP(c)
	}
	return c, err
}
