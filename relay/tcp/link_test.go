package tcp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/stream"
)

// The timers of RFC 6062, in a bubble where time passes by itself. Connections are pipes there; sockets are under test
// in the conformance tests of package relay.

// control is a client's control connection.
type control struct {
	mu   sync.Mutex
	sent [][]byte
	full bool
}

func (c *control) Send(head, body []byte, _ int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.full {
		c.sent = append(c.sent, append(bytes.Clone(head), body...))
	}
	return !c.full
}

func (c *control) Flush() {}

// half is an end of a pipe whose stream can be closed, as a socket's can.
type half struct {
	net.Conn
	closed chan struct{} // that of the stream to here
	other  *half
}

func pipe() (a, b *half) {
	x, y := net.Pipe()
	a, b = &half{Conn: x, closed: make(chan struct{})}, &half{Conn: y, closed: make(chan struct{})}
	a.other, b.other = b, a
	return a, b
}

func (h *half) CloseWrite() error {
	close(h.other.closed)
	return h.other.SetReadDeadline(time.Unix(1, 0))
}

func (h *half) Read(b []byte) (n int, err error) {
	if !h.over() { // a pipe holds nothing that came before
		n, err = h.Conn.Read(b)
	}
	if n == 0 && h.over() {
		err = io.EOF
	}
	return n, err
}

func (h *half) over() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// connection is what stream.Conn is otherwise: it runs the pipe that takes it over.
type connection struct {
	control
	nc    *half
	under net.Conn // what the pipe gets; nil: nc
	pipe  stream.Pipe
	done  chan struct{} // closed when the server has closed it
}

func (c *connection) TakeOver(p stream.Pipe) {
	c.pipe = p
	if c.under == nil {
		c.under = c.nc
	}
	go func() {
		p.Run(c.under, nil)
		c.nc.Close()
		close(c.done)
	}()
}

func (c *connection) Close() {
	c.pipe.Abort()
	c.nc.SetDeadline(time.Unix(1, 0))
}

type server struct {
	*Connections
	table *allocation.Table
	next  uint16
}

func newServer(t *testing.T, change ...func(*allocation.Options)) *server {
	o := allocation.Options{
		Relay: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Ports: allocation.PortRange{Min: 50000, Max: 59999},
	}
	for _, c := range change {
		c(&o)
	}
	table, err := allocation.NewTable(o)
	if err != nil {
		t.Fatal(err)
	}
	return &server{Connections: New(Options{Now: table.Now}), table: table}
}

func (s *server) allocate(t *testing.T, c *control) *allocation.Allocation {
	s.next++
	at := netip.MustParseAddr("192.0.2.1")
	a, err := s.table.Create(&allocation.Request{
		FiveTuple: allocation.FiveTuple{Client: netip.AddrPortFrom(at, s.next), Server: netip.AddrPortFrom(at, 3478), Transport: allocation.TCP},
		Client:    allocation.Client{Stream: c}, User: "alice", Family: allocation.IPv4, TCP: true, Lifetime: time.Hour,
	}, s.table.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(a)
	return a
}

// pair is two allocations of which the first has connected to the second.
func (s *server) pair(t *testing.T) (a, b *allocation.Allocation, id, attempt uint32) {
	other := new(control)
	a, b = s.allocate(t, new(control)), s.allocate(t, other)
	if err := b.Permit([]netip.Addr{a.Relayed.Addr()}, s.table.Now()); err != nil {
		t.Fatal(err)
	}
	id, err := s.Connect(a, b.Relayed, false, nil)
	if err != nil || len(other.sent) != 1 {
		t.Fatalf("Connect: %v, %d indications", err, len(other.sent))
	}
	return a, b, id, s.groups[b.Relayed].ends[a.Relayed].id
}

func (s *server) bind(t *testing.T, a *allocation.Allocation, id uint32) (*connection, *half) {
	server, client := pipe()
	c := &connection{nc: server, done: make(chan struct{})}
	if err := s.Bind(a, id, c); err != nil {
		t.Fatal(err)
	}
	return c, client
}

func isDone(done chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// A connection waits 30 s for its ConnectionBind requests, for both, and not longer (RFC 6062 §5.2, §5.3).
func TestBindTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		a, b, id, attempt := s.pair(t)
		time.Sleep(bindTimeout - time.Nanosecond)
		first, _ := s.bind(t, a, id)
		if s.Owner(attempt) != b || s.Owner(id) != nil {
			t.Error("the other end has to wait until the last moment, the first no longer")
		}
		time.Sleep(time.Nanosecond)
		if !isDone(first.done) {
			t.Error("a connection whose other end did not come is not closed after 30 s")
		}
		if s.Owner(attempt) != nil || s.Bind(b, attempt, nil) == nil || s.Counts() != (Counts{}) || s.Connected(a, b.Relayed) {
			t.Errorf("it is still there: %+v", s.Counts())
		}
		if _, err := s.Connect(a, b.Relayed, false, nil); err != nil {
			t.Errorf("a second try: %v", err)
		}
		s.End(a)
		s.End(b)
	})
}

// Once joined a link may be silent for as long as it likes; with one stream closed, for a minute without bytes.
func TestHalfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		a, b, id, attempt := s.pair(t)
		here, client := s.bind(t, a, id)
		there, peer := s.bind(t, b, attempt)
		time.Sleep(24 * time.Hour)
		if isDone(here.done) || s.Counts() != (Counts{Joined: 1}) {
			t.Fatalf("silence ended the link: %+v", s.Counts())
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var one [1]byte
		if _, err := peer.Read(one[:]); err != io.EOF {
			t.Fatalf("the end of the stream does not arrive: %v", err)
		}
		for range 5 {
			time.Sleep(halfClosed - time.Nanosecond)
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(one[:]); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(halfClosed - time.Nanosecond)
		if isDone(here.done) || isDone(there.done) {
			t.Error("the link is over before its time")
		}
		time.Sleep(time.Nanosecond)
		if !isDone(here.done) || !isDone(there.done) || s.Counts() != (Counts{}) {
			t.Error("the link outlives a minute of silence")
		}
	})
}

// An allocation that ends wakes who waits and who relays.
func TestEnd(t *testing.T) {
	for _, joined := range []bool{false, true} {
		for _, which := range []int{0, 1} {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				a, b, id, attempt := s.pair(t)
				here, _ := s.bind(t, a, id)
				ends := []chan struct{}{here.done}
				if joined {
					there, _ := s.bind(t, b, attempt)
					ends = append(ends, there.done)
				}
				if isDone(here.done) {
					t.Fatal("too early")
				}
				s.End([]*allocation.Allocation{a, b}[which])
				for _, done := range ends {
					if !isDone(done) {
						t.Errorf("joined %v, allocation %d: a connection is left", joined, which)
					}
				}
				if s.Counts() != (Counts{}) {
					t.Errorf("%+v", s.Counts())
				}
			})
		}
	}
}

// A client that does not read its control connection loses its attempts, not the server its memory.
func TestAttemptLost(t *testing.T) {
	s := newServer(t)
	other := &control{full: true}
	a, b := s.allocate(t, new(control)), s.allocate(t, other)
	if err := b.Permit([]netip.Addr{a.Relayed.Addr()}, s.table.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect(a, b.Relayed, false, nil); err != nil {
		t.Fatal(err)
	}
	if s.Counts() != (Counts{}) {
		t.Errorf("%+v", s.Counts())
	}
}

// Connections are bounded in number, also those that are joined.
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		hub := s.allocate(t, new(control))
		for n := range MaxConnections + 1 {
			b := s.allocate(t, new(control))
			if err := b.Permit([]netip.Addr{hub.Relayed.Addr()}, s.table.Now()); err != nil {
				t.Fatal(err)
			}
			id, err := s.Connect(hub, b.Relayed, false, nil)
			if n == MaxConnections {
				if !errors.Is(err, ErrTooMany) {
					t.Errorf("connection %d: %v, want %v", n+1, err, ErrTooMany)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			s.bind(t, hub, id)
			s.bind(t, b, s.groups[b.Relayed].ends[hub.Relayed].id)
			synctest.Wait()
		}
		s.End(hub)
	})
}

// slow is a connection whose deadline for reading is set late, not before hold is closed once asked is, and which is
// read from later still, when gate is closed.
type slow struct {
	*half
	asked, hold, gate chan struct{}
}

func (s *slow) Read(b []byte) (int, error) {
	<-s.gate
	return s.half.Read(b)
}

func (s *slow) SetReadDeadline(at time.Time) error {
	if at.After(time.Now()) { // that of a stream whose other end has closed
		close(s.asked)
		<-s.hold
	}
	return s.half.SetReadDeadline(at)
}

// An end that comes while a stream's end is passed on wakes the other way's reader all the same.
func TestEndWhileOneStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		a, b, id, attempt := s.pair(t)
		_, client := s.bind(t, a, id)
		server, _ := pipe()
		held := &slow{half: server, asked: make(chan struct{}), hold: make(chan struct{}), gate: make(chan struct{})}
		there := &connection{nc: server, under: held, done: make(chan struct{})}
		if err := s.Bind(b, attempt, there); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-held.asked
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			s.End(a)
			close(ended)
		}()
		synctest.Wait()
		close(held.hold)
		synctest.Wait()
		close(held.gate)
		<-ended
		if took := time.Since(began); took > 0 || !isDone(there.done) {
			t.Errorf("it took %v", took)
		}
		s.End(b)
	})
}

// An allocation that ends awaits also what counts the last bytes of a link that is over already.
func TestEndAwaitsWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		parting, parted := make(chan struct{}), 0
		s.options.Parted = func(*allocation.Allocation, Reading) {
			<-parting
			parted++
		}
		a, b, id, attempt := s.pair(t)
		_, client := s.bind(t, a, id)
		_, peer := s.bind(t, b, attempt)
		synctest.Wait()
		client.Close()
		peer.Close()
		synctest.Wait()
		if s.Counts() != (Counts{}) || s.Connected(a, b.Relayed) {
			t.Fatal("the link is not over")
		}
		ended := make(chan struct{})
		go func() {
			s.End(a)
			close(ended)
		}()
		if isDone(ended) {
			t.Error("the allocation has not waited")
		}
		close(parting)
		if !isDone(ended) || parted != 2 {
			t.Errorf("told %d times", parted)
		}
		s.End(b)
		if g := s.groups; len(g) != 0 {
			t.Errorf("%v is left", g)
		}
	})
}
