package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Handler makes the Session of each new connection.
type Handler interface {
	// Opened is called once per connection, on its reader goroutine, before anything is read. It must not return nil.
	Opened(c *Conn) Session
}

// Session is what a connection's frames are given to. Every method is called on the connection's reader goroutine.
type Session interface {
	// Frame takes one whole STUN message, or one ChannelData message with its padding (RFC 8656 §12.5). The
	// session may change frame in place and keep references to it until its Flush returns.
	Frame(frame []byte)
	// Flush is called after the last Frame of each read; what was forwarded has to leave now.
	Flush()
	// Busy tells whether the client holds an allocation, so that Limits.Idle doesn't apply.
	Busy() bool
	// Closed is called exactly once and last. Conn.Send returns false by then.
	Closed()
}

// Limits bound what clients may cost. A zero field means its default.
type Limits struct {
	Handshake    time.Duration // from accept to the first whole frame; default 10 s
	Idle         time.Duration // without a frame begun or ended and without an allocation; default 60 s
	WriteTimeout time.Duration // without a byte taken by the client while some are queued; default 30 s
	Queue        int           // bytes queued per connection, beyond the kernel's own buffer; default 256 KiB
	Connections  int           // per listener; default 100,000

	// OpensWithSTUN closes a connection whose first byte doesn't begin a STUN message. A client has no channel before
	// it has asked for one, so that is HTTP or junk, although it may look like ChannelData.
	OpensWithSTUN bool
}

const (
	defaultHandshake    = 10 * time.Second
	defaultIdle         = 60 * time.Second
	defaultWriteTimeout = 30 * time.Second
	defaultQueue        = 256 << 10
	defaultConnections  = 100_000

	// After a failed accept (in practice: no file descriptor left) the loop pauses, twice as long each time.
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// withDefaults fills in the zero fields, or names every field that is wrong.
func (l Limits) withDefaults() (Limits, error) {
	var faults []error

	for _, d := range []struct {
		name    string
		value   *time.Duration
		initial time.Duration
	}{
		{"Handshake", &l.Handshake, defaultHandshake},
		{"Idle", &l.Idle, defaultIdle},
		{"WriteTimeout", &l.WriteTimeout, defaultWriteTimeout},
	} {
		switch {
		case *d.value < 0:
			faults = append(faults, fmt.Errorf("stream: Limits.%s is %v, want a positive duration, or 0 for %v", d.name, *d.value, d.initial))
		case *d.value == 0:
			*d.value = d.initial
		}
	}

	for _, n := range []struct {
		name    string
		value   *int
		initial int
	}{
		{"Queue", &l.Queue, defaultQueue},
		{"Connections", &l.Connections, defaultConnections},
	} {
		switch {
		case *n.value < 0:
			faults = append(faults, fmt.Errorf("stream: Limits.%s is %d, want a positive number, or 0 for %d", n.name, *n.value, n.initial))
		case *n.value == 0:
			*n.value = n.initial
		}
	}

	return l, errors.Join(faults...)
}

// Listener accepts connections and owns them until they end.
type Listener struct {
	// Immutable.
	inner   net.Listener
	limits  Limits
	handler Handler
	closing chan struct{} // closed by the first Retire or Close

	stats Stats

	running sync.WaitGroup // Serve and every reader; grows only under mu, while not closed

	mu      sync.Mutex
	conns   map[*Conn]struct{} // guarded by mu
	retired bool               // guarded by mu
	closed  bool               // guarded by mu
}

// Listen binds addr. An IPv6 address takes IPv6 clients only; port 0 picks a free one. Serve has to follow.
func Listen(addr netip.AddrPort, limits Limits, handler Handler) (*Listener, error) {
	inner, err := ListenTCP(addr)
	if err != nil {
		return nil, err
	}

	return NewListener(inner, limits, handler)
}

// ListenTCP binds addr as Listen does, for whoever puts something in between.
func ListenTCP(addr netip.AddrPort) (net.Listener, error) {
	network := "tcp6" // the digit also makes Go set IPV6_V6ONLY
	if addr.Addr().Unmap().Is4() {
		network = "tcp4"
	}

	// Accepted connections get TCP_NODELAY and keep-alive probes, both Go's defaults. One five-tuple is one
	// path, so multipath TCP would add nothing but its cost.
	var config net.ListenConfig
	config.SetMultipathTCP(false)

	inner, err := config.Listen(context.Background(), network, addr.String())
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}

	return inner, nil
}

// NewListener serves the connections of an existing listener, for example a TLS one, and owns it from then on.
func NewListener(inner net.Listener, limits Limits, handler Handler) (*Listener, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return nil, err
	}

	return &Listener{
		inner:   inner,
		limits:  limits,
		handler: handler,
		closing: make(chan struct{}),
		conns:   make(map[*Conn]struct{}),
	}, nil
}

// Addr is the bound address, with the port that was picked; the zero value when the inner listener isn't TCP.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.inner.Addr()) }

// Stats are this listener's counters.
func (l *Listener) Stats() *Stats { return &l.stats }

// Connections is how many connections are open now.
func (l *Listener) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()

	return len(l.conns)
}

// Serve accepts connections until Close. No failure of accept ends it: the causes are temporary or shared by
// the whole machine, so it counts, pauses and goes on.
func (l *Listener) Serve() {
	l.mu.Lock()
	if l.retired {
		l.mu.Unlock()

		return
	}
	l.running.Add(1)
	l.mu.Unlock()
	defer l.running.Done()

	pause := minAcceptPause

	for {
		nc, err := l.inner.Accept()
		if err == nil {
			pause = minAcceptPause
			l.admit(nc)

			continue
		}

		select {
		case <-l.closing:
			return
		case <-time.After(pause):
		}

		l.stats.AcceptErrors.Add(1)
		pause = min(2*pause, maxAcceptPause)
	}
}

// admit starts the reader of a new connection, or closes one that is too many.
func (l *Listener) admit(nc net.Conn) {
	c := newConn(nc, l)

	l.mu.Lock()
	full := len(l.conns) >= l.limits.Connections
	closed := l.closed
	if !full && !closed {
		l.stats.Accepted.Add(1)
		l.conns[c] = struct{}{}
		l.running.Go(c.serve)
	}
	l.mu.Unlock()

	if full && !closed {
		l.stats.Refused.Add(1)
	}
	if full || closed {
		_ = nc.Close()
	}
}

// forget is a connection's last act.
func (l *Listener) forget(c *Conn, why CloseReason) {
	l.stats.closed[why].Add(1)

	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// Retire stops accepting; what has been accepted goes on until it ends. Close is due all the same.
func (l *Listener) Retire() error {
	l.mu.Lock()
	first := !l.retired
	l.retired = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	close(l.closing)
	return l.inner.Close()
}

// Close stops accepting, ends every connection and returns when all goroutines of the listener are gone. It
// must not be called from within a Session. Calling it again waits the same way.
func (l *Listener) Close() error {
	l.mu.Lock()
	first := !l.retired
	l.retired, l.closed = true, true
	conns := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()

	var err error
	if first {
		close(l.closing)
		err = l.inner.Close()
	}

	for _, c := range conns {
		c.end(ClosedByShutdown)
	}

	l.running.Wait()

	return err
}

// addrPort is the netip form of a TCP address, IPv4 never as IPv4-mapped IPv6.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}

	ap := tcp.AddrPort()

	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
