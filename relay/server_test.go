package relay_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// start runs a server on free ports of 127.0.0.1 and [::1] and stops it with the
// test.
func start(t *testing.T, change func(*relay.Config)) *relay.Server {
	t.Helper()
	c := relay.Config{
		Listeners: []relay.Listener{
			{Scheme: "udp", Address: "127.0.0.1:0"}, {Scheme: "tcp", Address: "127.0.0.1:0"},
			{Scheme: "udp", Address: "[::1]:0"}, {Scheme: "tcp", Address: "[::1]:0"},
		},
		Auth: auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		Log:  &logging.DefaultLoggerFactory{Writer: t.Output(), DefaultLogLevel: logging.LogLevelInfo},
	}
	if change != nil {
		change(&c)
	}
	s, err := relay.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "all goroutines run", s.Runs) // tests count them
	return s
}

// listener returns where clients of that scheme and family connect to.
func listener(t *testing.T, s *relay.Server, scheme string, v6 bool) netip.AddrPort {
	t.Helper()
	for _, l := range s.ListenerInfos() {
		if l.Scheme == scheme && l.Address.Addr().Is6() == v6 {
			return l.Address
		}
	}
	t.Fatalf("no %s listener", scheme)
	return netip.AddrPort{}
}

// client is pion's client with an allocation.
func client(t *testing.T, scheme string, server netip.AddrPort) (*turn.Client, net.PacketConn) {
	t.Helper()
	var conn net.PacketConn
	if scheme == "tcp" {
		c, err := net.Dial("tcp", server.String())
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(c)
	} else {
		c, err := net.ListenPacket("udp", netip.AddrPortFrom(server.Addr(), 0).String())
		if err != nil {
			t.Fatal(err)
		}
		conn = c
	}
	t.Cleanup(func() { conn.Close() })
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server.String(), TURNServerAddr: server.String(), Conn: conn,
		Username: "alice", Password: "wonder", Realm: "hairpin",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := c.Allocate()
	if err != nil {
		t.Fatalf("%s allocate: %v", scheme, err)
	}
	t.Cleanup(func() { relayed.Close() })
	return c, relayed
}

// Any client reaches any client, by Send and Data indications at first and by
// channels once they are bound (RFC 8656 §11, §12).
func TestAnyClientToAnyClient(t *testing.T) {
	s := start(t, nil)
	for _, way := range [][2]string{{"udp", "udp"}, {"udp", "tcp"}, {"tcp", "udp"}, {"tcp", "tcp"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			ca, a := client(t, way[0], listener(t, s, way[0], false))
			cb, b := client(t, way[1], listener(t, s, way[1], false))
			if err := ca.CreatePermission(b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := cb.CreatePermission(a.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			for i := range 100 { // pion binds a channel after the first write
				want := fmt.Sprintf("packet %d of a pair", i)
				if _, err := a.WriteTo([]byte(want), b.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				expect(t, b, want, a.LocalAddr())
				if _, err := b.WriteTo([]byte(want), a.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				expect(t, a, want, b.LocalAddr())
			}
		})
	}
}

func expect(t *testing.T, conn net.PacketConn, want string, from net.Addr) {
	t.Helper()
	buffer := make([]byte, 1500)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, peer, err := conn.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buffer[:n]); got != want || peer.String() != from.String() {
		t.Fatalf("got %q from %v, want %q from %v", got, peer, want, from)
	}
}
