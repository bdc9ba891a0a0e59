package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// collector is a receiver that keeps what it gets.
type collector struct {
	batches int
	got     []parcel
	broke   []error
}

func (c *collector) batch()                    { c.batches++ }
func (c *collector) broken(_ int32, err error) { c.broke = append(c.broke, err) }
func (c *collector) message(client int32, b []byte) {
	c.got = append(c.got, parcel{client, bytes.Clone(b)})
}

// networks are all ways to reach a server.
var networks = []struct {
	name     string
	portable bool
	from     netip.Prefix
	own      bool
}{
	{"shared", false, loopback, false},
	{"own", false, netip.Prefix{}, true},
	{"own, with addresses", false, loopback, true},
	{"portable", true, netip.Prefix{}, false},
	{"portable, with addresses", true, netip.MustParsePrefix("127.0.0.1/32"), false},
}

func eachNetwork(t *testing.T, f func(t *testing.T, open func(server netip.AddrPort) (network, *collector))) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			if n.from == loopback && !hasFastNetwork {
				t.Skip("not every address of 127.0.0.0/8 is this host's")
			}
			f(t, func(server netip.AddrPort) (network, *collector) {
				c := &collector{}
				o := networkOptions{server: server, from: n.from, own: n.own, gro: true, message: 66_000, received: 2048}
				if n.portable || !hasFastNetwork {
					p := newPortable(o, c)
					t.Cleanup(p.shutdown)
					return p, c
				}
				e, err := newNetwork(o, c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(e.shutdown)
				return e, c
			})
		})
	}
}

// until receives until a condition holds.
func until(t *testing.T, n network, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for %s", what)
		}
		n.receive(10 * time.Millisecond)
	}
}

// put writes a ChannelData message of a client.
func put(n network, client int32, payload string, pad int) {
	b := n.room(client, 4+len(payload)+pad, 0)
	wire.PutChannelHeader(b, 0x4000, len(payload))
	copy(b[4:], payload)
}

func TestNetworkUDP(t *testing.T) {
	eachNetwork(t, func(t *testing.T, open func(netip.AddrPort) (network, *collector)) {
		server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if err := server.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		address := server.LocalAddr().(*net.UDPAddr).AddrPort()
		n, c := open(address)
		b := make([]byte, 2048)
		from := map[netip.AddrPort]int32{}
		hear := func(want string) netip.AddrPort {
			t.Helper()
			size, source, err := server.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:size]) != want {
				t.Fatalf("%q, %v; want %q", b[:size], err, want)
			}
			return source
		}

		// Each client has a five-tuple, and gets what is sent there.
		const clients = 3
		for i := range int32(clients) {
			if err := n.open(i, UDP); err != nil {
				t.Fatal(err)
			}
			copy(n.room(i, 6, 0), fmt.Sprintf("\x00from%d", i))
			n.flush()
			from[hear(fmt.Sprintf("\x00from%d", i))] = i
		}
		if len(from) != clients {
			t.Fatalf("%d five-tuples of %d clients", len(from), clients)
		}
		for address, i := range from {
			if _, err := server.WriteToUDPAddrPort([]byte{'t', 'o', byte(i)}, address); err != nil {
				t.Fatal(err)
			}
		}
		until(t, n, "a message for each client", func() bool { return len(c.got) == clients })
		for _, p := range c.got {
			if string(p.bytes) != string([]byte{'t', 'o', byte(p.client)}) {
				t.Errorf("client %d got %q", p.client, p.bytes)
			}
		}
		if c.batches == 0 {
			t.Error("no batch was announced")
		}

		// A burst is so many datagrams, whatever it left as, and the last one may be shorter.
		copy(n.room(1, 8, 3), "abcdefgh")
		copy(n.room(2, 3, 3), "xyz")
		n.flush()
		for _, want := range []string{"abc", "def", "gh", "xyz"} {
			hear(want)
		}

		// What doesn't leave is counted, and the rest leaves.
		n.room(1, 65_600, 0)
		copy(n.room(1, 2, 0), "ok")
		n.flush()
		hear("ok")
		if counts := n.counts(); counts.unsent != 1 || counts.failure == nil {
			t.Errorf("%+v", counts)
		}

		// A five-tuple that was given up is nobody's, and its successor another one.
		for address, i := range from {
			if i != 0 {
				continue
			}
			if err := n.open(0, UDP); err != nil {
				t.Fatal(err)
			}
			_, _ = server.WriteToUDPAddrPort([]byte("late"), address)
			copy(n.room(0, 3, 0), "new")
			n.flush()
			again := hear("new")
			if again == address {
				t.Errorf("%v again", again)
			}
			_, _ = server.WriteToUDPAddrPort([]byte("now"), again)
		}
		c.got = nil
		until(t, n, "the answer to the new five-tuple", func() bool { return len(c.got) > 0 })
		if len(c.got) != 1 || string(c.got[0].bytes) != "now" || c.got[0].client != 0 {
			t.Errorf("%q", c.got)
		}
	})
}

func TestNetworkTCP(t *testing.T) {
	eachNetwork(t, func(t *testing.T, open func(netip.AddrPort) (network, *collector)) {
		server, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		n, c := open(netip.MustParseAddrPort(server.Addr().String()))
		if err := n.open(0, TCP); err != nil {
			t.Fatal(err)
		}
		put(n, 0, "hello", 3)
		n.flush()
		conn, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 12)
		heard := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(conn, b)
			heard <- err
		}()
		until(t, n, "the connection", func() bool {
			select {
			case err = <-heard:
				return true
			default:
				return false
			}
		})
		if err != nil || string(b[4:9]) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}

		// Frames arrive whole, however the stream is cut.
		frames := []byte("\x40\x00\x00\x02ab\x00\x00" + "\x40\x01\x00\x04wxyz" + "\x40\x02\x00\x00" + "\x40\x03\x00\x01q\x00\x00\x00")
		for at, size := 0, 1; at < len(frames); at, size = at+size, size+2 {
			size = min(size, len(frames)-at)
			if _, err := conn.Write(frames[at : at+size]); err != nil {
				t.Fatal(err)
			}
			n.receive(20 * time.Millisecond)
		}
		until(t, n, "four frames", func() bool { return len(c.got) == 4 })
		whole := []byte(nil)
		for _, p := range c.got {
			whole = append(whole, p.bytes...)
		}
		if !bytes.Equal(whole, frames) {
			t.Errorf("%q, want %q", whole, frames)
		}

		// The end is told, and what is no TURN is one.
		if _, err := conn.Write([]byte("\xffSSH-2.0")); err != nil {
			t.Fatal(err)
		}
		until(t, n, "the end", func() bool { return len(c.broke) > 0 })
		if !errors.Is(c.broke[0], errNotTURN) {
			t.Errorf("%v", c.broke)
		}
		n.close(0)
		if err := n.open(0, TCP); err != nil {
			t.Fatal(err)
		}
		other, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		until(t, n, "the other end", func() bool { return len(c.broke) > 1 })
		if !errors.Is(c.broke[1], errClosed) && !errors.Is(c.broke[1], syscall.ECONNRESET) {
			t.Errorf("%v", c.broke[1])
		}
	})
}
