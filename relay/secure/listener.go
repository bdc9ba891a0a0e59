package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/relay/proxy"
)

// protocolName is what both sides may agree on by ALPN; a client that offers no protocol is served as well (RFC 7443).
const protocolName = "stun.turn"

// firstOfTLS is the first byte of a TLS connection: the content type of a handshake record (RFC 7983 §7 keeps it apart
// from STUN's 0 to 3).
const firstOfTLS = 22

// Shared is what the listeners of a server have in common.
type Shared struct {
	Certificates *Certificates // immutable
	Stats        *Stats
	slots        slots
}

// NewShared makes the common part; certificates are NoCertificates if no listener needs them.
func NewShared(certificates *Certificates) *Shared {
	return &Shared{Certificates: certificates, Stats: new(Stats), slots: newSlots()}
}

// ListenerOptions say what stands ahead of TURN on the connections of a Listener.
type ListenerOptions struct {
	Proxy   bool          // a PROXY header is demanded, from one of Trusted
	Trusted proxy.Trusted // else the connection is closed
	TLS     bool          // TLS connections are taken
	Plain   bool          // with TLS: STUN is taken as well, told by the first byte
}

// Listener accepts connections that are past their opening. It is a net.Listener for package stream.
type Listener struct {
	// Immutable.
	inner    net.Listener
	options  ListenerOptions
	shared   *Shared
	config   *tls.Config // nil without TLS
	openings *Openings
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	opened  chan net.Conn // from openings to Accept
	failed  chan error    // from the accepting goroutine to Accept
	running sync.WaitGroup
}

// NewListener owns a TCP listener from then on.
func NewListener(inner net.Listener, options ListenerOptions, shared *Shared) *Listener {
	l := &Listener{
		inner: inner, options: options, shared: shared, openings: newOpenings(),
		opened: make(chan net.Conn), failed: make(chan error),
	}
	if options.TLS {
		l.config = newTLSConfig(shared.Certificates)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(l.accept)
	return l
}

// Openings are those under way.
func (l *Listener) Openings() *Openings { return l.openings }

// Addr is the bound address.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection whose opening is done, or a failure of the inner listener's.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.opened:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends all openings and waits for their goroutines. Connections that were accepted go on.
func (l *Listener) Close() error {
	l.cancel()
	err := l.inner.Close()
	l.running.Wait()
	return err
}

// accept hands each connection to a goroutine of its own. After a failure it waits for whoever calls Accept, who knows
// how long to pause.
func (l *Listener) accept() {
	for {
		c, err := l.inner.Accept()
		if err == nil {
			l.running.Go(func() { l.open(c.(*net.TCPConn)) })
			continue
		}
		select {
		case l.failed <- err:
		case <-l.ctx.Done():
			return
		}
	}
}

// open sees a connection through its opening, and hands it over or closes it.
func (l *Listener) open(tcp *net.TCPConn) {
	ctx, stop := context.WithTimeoutCause(l.ctx, openingTimeout, errTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unwatch := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) }) // wakes whoever reads

	c := &conn{TCPConn: tcp, slots: l.shared.slots, remote: tcp.RemoteAddr(), local: tcp.LocalAddr()}
	ready, err := l.preface(ctx, cancel, c)
	c.letGo()
	if err != nil || !unwatch() {
		tcp.Close()
		return
	}
	select {
	case l.opened <- ready:
	case <-l.ctx.Done():
		tcp.Close()
	}
}

// preface takes what stands ahead of TURN. It counts what comes of it.
func (l *Listener) preface(ctx context.Context, cancel context.CancelCauseFunc, c *conn) (net.Conn, error) {
	source := netip.MustParseAddrPort(c.remote.String()).Addr()
	if l.options.Proxy {
		if !l.options.Trusted.Contains(source) {
			l.shared.Stats.add(ProxyUntrusted)
			return nil, errors.New("secure: this source must not speak for others")
		}
		// Whatever comes over a balancer has its address, so that is no source to bound.
		place := l.openings.begin(netip.Addr{}, cancel)
		header, err := proxy.Read(c.TCPConn)
		l.openings.end(place)
		if err != nil {
			l.shared.Stats.add(outcome(ctx, ProxyMalformed, ProxyTimedOut, ProxyDisplaced))
			return nil, err
		}
		l.shared.Stats.add(ProxyCompleted)
		if !header.Local {
			c.remote, c.local = net.TCPAddrFromAddrPort(header.Source), net.TCPAddrFromAddrPort(header.Destination)
			source = header.Source.Addr()
		}
	}
	if !l.options.TLS {
		return c, nil
	}
	defer l.openings.end(l.openings.begin(source, cancel))
	ready, err := l.secure(ctx, c)
	if err != nil {
		l.shared.Stats.add(outcome(ctx, TLSFailed, TLSTimedOut, TLSDisplaced))
	}
	return ready, err
}

// secure tells TLS from STUN where both may come, and does TLS' handshake.
func (l *Listener) secure(ctx context.Context, c *conn) (net.Conn, error) {
	if l.options.Plain {
		first, err := c.peek()
		if err != nil || first != firstOfTLS {
			return c, err
		}
	}
	t := tls.Server(c, l.config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	l.shared.Stats.add(TLSCompleted)
	return &records{Conn: t, under: c}, nil
}

// newTLSConfig is the standard library's idea of a TLS server, no older than TLS 1.2.
func newTLSConfig(certificates *Certificates) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{protocolName},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			// From here on it calculates, until it waits for the client again.
			if err := hello.Conn.(*conn).hold(hello.Context()); err != nil {
				return nil, err
			}
			return certificates.forTLS(hello)
		},
	}
}

// outcome says why an opening failed.
func outcome(ctx context.Context, failed, timedOut, displaced Event) Event {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errDisplaced):
		return displaced
	case errors.Is(cause, errTimeout), errors.Is(cause, os.ErrDeadlineExceeded):
		return timedOut
	}
	return failed
}

// conn is a TCP connection with the addresses that a PROXY header gave it.
type conn struct {
	*net.TCPConn
	remote, local net.Addr
	ahead         []byte // bytes that were read too early
	cork          cork   // of what TLS writes
	slots         slots
	holds         bool // one of slots; owned by whoever handshakes
}

// RemoteAddr is the client's address.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is the address that the client connected to.
func (c *conn) LocalAddr() net.Addr { return c.local }

// Direct is the bare connection for whoever makes its system calls, nil when it is not at the beginning of the stream.
func (c *conn) Direct() *net.TCPConn {
	if len(c.ahead) > 0 {
		return nil
	}
	return c.TCPConn
}

// Read reads, and ends the time in which the handshake calculates.
func (c *conn) Read(b []byte) (int, error) {
	c.letGo()
	if len(c.ahead) > 0 {
		n := copy(b, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.TCPConn.Read(b)
}

// Write writes, or leaves it to whoever holds the cork.
func (c *conn) Write(b []byte) (int, error) {
	if c.cork.take(b) {
		return len(b), nil
	}
	return c.TCPConn.Write(b)
}

func (c *conn) hold(ctx context.Context) error {
	err := c.slots.acquire(ctx)
	c.holds = err == nil
	return err
}

func (c *conn) letGo() {
	if c.holds {
		c.holds = false
		c.slots.release()
	}
}
