package stream

import (
	"bytes"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// TestAddresses: a connection knows its own local address, wherever its listener is bound, unmapped.
func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ bind, connect string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.2"},
		{"[::1]:0", "::1"},
		{"[::]:0", "::1"},
	} {
		t.Run(tc.bind+" "+tc.connect, func(t *testing.T) {
			h := newRecorder()
			l := start(t, netip.MustParseAddrPort(tc.bind), Limits{}, h)
			to := netip.AddrPortFrom(netip.MustParseAddr(tc.connect), l.Addr().Port())
			client, err := net.Dial("tcp", to.String())
			if err != nil {
				if runtime.GOOS != "linux" {
					t.Skip(err) // not every system has all of 127.0.0.0/8
				}
				t.Fatal(err)
			}
			defer client.Close()

			c := (<-h.opened).conn
			if c.LocalAddr() != to {
				t.Errorf("LocalAddr is %v, want %v", c.LocalAddr(), to)
			}
			if want := client.LocalAddr().(*net.TCPAddr).AddrPort(); c.RemoteAddr() != want {
				t.Errorf("RemoteAddr is %v, want %v", c.RemoteAddr(), want)
			}
		})
	}
}

// TestUnmapped: on a socket for both families, which Listen never makes, IPv4 addresses are still IPv4's.
func TestUnmapped(t *testing.T) {
	inner, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newRecorder()
	l, err := NewListener(inner, Limits{}, h)
	if err != nil {
		t.Fatal(err)
	}
	go l.Serve()
	defer l.Close()

	to := netip.AddrPortFrom(loopback.Addr(), l.Addr().Port())
	client, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if c := (<-h.opened).conn; c.LocalAddr() != to || !c.RemoteAddr().Addr().Is4() {
		t.Errorf("addresses are %v and %v", c.LocalAddr(), c.RemoteAddr())
	}
}

// TestWildcardsSideBySide: an IPv6 listener leaves IPv4's port alone, because it is V6ONLY.
func TestWildcardsSideBySide(t *testing.T) {
	six := start(t, netip.MustParseAddrPort("[::]:0"), Limits{}, newRecorder())
	four, err := Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), six.Addr().Port()), Limits{}, newRecorder())
	if err != nil {
		t.Fatal(err)
	}
	_ = four.Close() // also without Serve
}

func TestPortInUse(t *testing.T) {
	l := start(t, loopback, Limits{}, newRecorder())
	if second, err := Listen(l.Addr(), Limits{}, newRecorder()); err == nil {
		_ = second.Close()
		t.Error("the port was bound twice")
	}
}

// TestClose: nothing of a listener is left when Close returns, whatever its connections were doing.
func TestClose(t *testing.T) {
	h := newRecorder()
	l := start(t, loopback, Limits{}, h)

	var sessions []*recorded
	for i := range 16 {
		client, s := dial(t, l, h)
		sessions = append(sessions, s)
		switch i % 4 {
		case 0: // silent
		case 1: // within a frame
			_, _ = client.Write(channelData(0x4000, 100, 'x')[:50])
		case 2: // with a stalled drain
			for s.conn.Send(make([]byte, 10_000), nil, 0) {
				s.conn.Flush()
			}
		case 3: // with a frame that nobody flushed
			s.conn.Send(make([]byte, 100), nil, 0)
		}
	}

	done := make(chan struct{})
	go func() { _ = l.Close(); close(done) }()
	_ = l.Close()
	<-done

	for i, s := range sessions {
		select {
		case <-s.closed:
		default:
			t.Errorf("session %d wasn't closed", i)
		}
		if s.closes != 1 || s.sendable {
			t.Errorf("session %d was closed %d times, Send took frames then: %v", i, s.closes, s.sendable)
		}
		s.conn.out.mu.Lock()
		if o := &s.conn.out; o.queued != 0 || o.queue != (chain{}) || s.conn.in.buffer != nil {
			t.Errorf("session %d holds memory", i)
		}
		s.conn.out.mu.Unlock()
	}
	wantClosed(t, l, map[CloseReason]uint64{ClosedByShutdown: 16})
	if n := l.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the port still takes connections")
	}
	l.Serve() // returns at once

	// A goroutine's last instruction comes after the Done that Close waits for, so give them a turn.
	var left string
	for range 1000 {
		if left = goroutines(); left == "" {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("left running:\n%s", left)
}

// goroutines are the stacks that run a connection's methods.
func goroutines() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]

	var ours []string
	for _, g := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(g, "stream.(*Conn)") || strings.Contains(g, "stream.(*Listener).Serve") {
			ours = append(ours, g)
		}
	}

	return strings.Join(ours, "\n\n")
}

// TestCloseFromSession: a session may end its connection within Frame; what follows isn't delivered, what was
// sent before is.
func TestCloseFromSession(t *testing.T) {
	h := newRecorder()
	h.onFrame = func(s *recorded, frame []byte) {
		s.conn.Send(frame, nil, 0)
		s.conn.Flush()
		s.conn.Close()
		s.conn.Close()
	}
	l := start(t, loopback, Limits{}, h)
	client, s := dial(t, l, h)

	first := channelData(0x4000, 4, '1')
	if _, err := client.Write(append(first[:len(first):len(first)], channelData(0x4000, 4, '2')...)); err != nil {
		t.Fatal(err)
	}
	if got := readFull(t, client, len(first)); !bytes.Equal(got, first) {
		t.Errorf("got %x", got)
	}
	<-s.closed
	if len(s.frames) != 1 {
		t.Errorf("%d frames were delivered", len(s.frames))
	}
	_ = l.Close()
	wantClosed(t, l, map[CloseReason]uint64{ClosedByServer: 1})
}

func TestCloseReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range append(CloseReasons(), closeReasons) {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("reason %d is called %q", r, name)
		} else {
			seen[name] = true
		}
	}
}
