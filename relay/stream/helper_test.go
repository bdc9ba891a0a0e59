package stream

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// recorder is a Handler and, for each connection, a Session that writes down what it is told.
type recorder struct {
	onFrame func(s *recorded, frame []byte) // may be nil
	opened  chan *recorded
}

type recorded struct {
	conn    *Conn
	handler *recorder
	busy    atomic.Bool
	closed  chan struct{}

	// Written by the reader; read by the test after closed.
	frames    [][]byte
	flushes   int
	unflushed int
	closes    int
	sendable  bool // Conn.Send still took something when Closed was called
}

func newRecorder() *recorder { return &recorder{opened: make(chan *recorded, 100)} }

func (h *recorder) Opened(c *Conn) Session {
	s := &recorded{conn: c, handler: h, closed: make(chan struct{})}
	h.opened <- s

	return s
}

func (s *recorded) Frame(frame []byte) {
	s.frames = append(s.frames, append([]byte(nil), frame...))
	s.unflushed++
	if s.handler.onFrame != nil {
		s.handler.onFrame(s, frame)
	}
}

func (s *recorded) Flush() {
	s.flushes++
	s.unflushed = 0
	s.conn.Flush()
}

func (s *recorded) Busy() bool { return s.busy.Load() }

func (s *recorded) Closed() {
	s.closes++
	s.sendable = s.conn.Send([]byte{1}, nil, 0)
	close(s.closed)
}

func echo(s *recorded, frame []byte) { s.conn.Send(frame, nil, 0) }

// channelData is a padded ChannelData message whose payload is n bytes of fill.
func channelData(number uint16, n int, fill byte) []byte {
	b := make([]byte, 4+(n+3)/4*4)
	binary.BigEndian.PutUint16(b, number)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	for i := range n {
		b[4+i] = fill
	}

	return b
}

// binding is a STUN Binding request with a value of n bytes (a multiple of 4) in an unknown optional attribute.
func binding(n int) []byte {
	b := make([]byte, 20, 24+n)
	binary.BigEndian.PutUint16(b, 0x0001)
	binary.BigEndian.PutUint32(b[4:], 0x2112A442)
	copy(b[8:], "transaction!")
	if n > 0 {
		b = binary.BigEndian.AppendUint16(b, 0x8FFF)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, make([]byte, n)...)
		binary.BigEndian.PutUint16(b[2:], uint16(4+n))
	}

	return b
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// patient is limits for a slow machine, where a test doesn't say otherwise.
func patient(limits Limits) Limits {
	for _, d := range []*time.Duration{&limits.Handshake, &limits.Idle, &limits.WriteTimeout} {
		if *d == 0 {
			*d = time.Hour
		}
	}

	return limits
}

// start serves TCP on addr until the test ends.
func start(t testing.TB, addr netip.AddrPort, limits Limits, h Handler) *Listener {
	t.Helper()

	l, err := Listen(addr, patient(limits), h)
	if err != nil {
		t.Fatal(err)
	}
	go l.Serve()
	t.Cleanup(func() { _ = l.Close() })

	return l
}

// dial connects to l and gives the client's side, and the session on the server's.
func dial(t testing.TB, l *Listener, h *recorder) (*net.TCPConn, *recorded) {
	t.Helper()

	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute)) // a failing test ends

	return nc.(*net.TCPConn), <-h.opened
}

// pipes is a net.Listener of net.Pipe connections, for tests with a fake clock. A nil in the queue is an
// accept that fails for want of file descriptors.
type pipes struct {
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{queue: make(chan net.Conn, 100), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.queue:
		if nc == nil {
			return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}

		return nc, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.queue <- server

	return client
}

// startPipes is start over pipes.
func startPipes(t testing.TB, limits Limits, h Handler) (*Listener, *pipes) {
	t.Helper()

	p := newPipes()
	l, err := NewListener(p, patient(limits), h)
	if err != nil {
		t.Fatal(err)
	}
	go l.Serve()
	t.Cleanup(func() { _ = l.Close() })

	return l, p
}

// wantClosed checks that exactly these connections have ended, each for its reason.
func wantClosed(t testing.TB, l *Listener, want map[CloseReason]uint64) {
	t.Helper()

	for _, r := range CloseReasons() {
		if got := l.Stats().Closed(r); got != want[r] {
			t.Errorf("closed for %q: %d, want %d", r, got, want[r])
		}
	}
}

// readFull reads n bytes or ends the test.
func readFull(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()

	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}

	return b
}
