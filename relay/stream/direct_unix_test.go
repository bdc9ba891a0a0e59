//go:build unix

package stream

import (
	"syscall"
	"testing"
)

// TestQuietConnectionHoldsNoBuffer asks for a read as the poller does when nothing has come.
func TestQuietConnectionHoldsNoBuffer(t *testing.T) {
	client, c := tcpPair(t, Limits{})

	try := func() (done bool) {
		if err := c.direct.raw.Control(func(fd uintptr) { done = c.direct.readNow(fd) }); err != nil {
			t.Fatal(err)
		}

		return done
	}

	if try() {
		t.Fatal("something was read")
	}
	if c.in.buffer != nil {
		t.Errorf("%d bytes of buffer are held for nothing", len(c.in.buffer.data))
	}

	// With three bytes of a frame, the next try keeps them, in the smallest buffer.
	frame := channelData(0x4000, 4, 'x')
	_, _ = client.Write(frame[:3])
	if n, err := c.fill(); n != 3 || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if try() {
		t.Fatal("something was read")
	}
	if got := c.in.bytes(); string(got) != string(frame[:3]) || len(c.in.buffer.data) != bufferSizes[0] {
		t.Errorf("%x is held in %d bytes", got, len(c.in.buffer.data))
	}
}

// TestSocketOptions: small ChannelData isn't held back (TCP_NODELAY), and vanished clients are noticed.
func TestSocketOptions(t *testing.T) {
	h := newRecorder()
	_, s := dial(t, start(t, loopback, Limits{}, h), h)

	for _, tc := range []struct {
		name          string
		level, option int
	}{
		{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY},
		{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
	} {
		if err := s.conn.direct.raw.Control(func(fd uintptr) {
			if on, err := syscall.GetsockoptInt(int(fd), tc.level, tc.option); on == 0 || err != nil {
				t.Errorf("%s is %d, %v", tc.name, on, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}
