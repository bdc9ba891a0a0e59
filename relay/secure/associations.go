package secure

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

const (
	maxAssociations = 20_000  // per listener
	socketBuffer    = 2 << 20 // bytes in each direction; the kernel may grant less
	maxSequence     = 1 << 32 // of a first record; nobody honest has sent so many before

	// receivePause keeps a socket that goes on failing from spinning.
	receivePause = 100 * time.Millisecond
)

// Handler makes the Session of each new association.
type Handler interface {
	// Opened is called once per association, on its own goroutine, when its handshake is done. It must not return nil.
	Opened(a *Association) stream.Session
}

// Associations are the DTLS associations at one UDP address.
type Associations struct {
	// Immutable.
	conn     *udp.Conn
	handler  Handler
	shared   *Shared
	openings *Openings
	cookies  *cookies
	options  []dtls.ServerOption
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	// Owned by Serve.
	queue   *udp.Queue
	scratch []byte

	running sync.WaitGroup // associations; grows only under mu, while not closed

	mu     sync.Mutex
	live   map[pair]*Association // guarded by mu
	closed bool                  // guarded by mu
}

// pair is what tells associations apart.
type pair struct{ client, server netip.AddrPort }

// ListenDTLS binds addr. Serve has to follow.
func ListenDTLS(addr netip.AddrPort, handler Handler, shared *Shared) (*Associations, error) {
	// The portable path waits in Go's poller, which leaves the processors to those who encrypt.
	conn, err := udp.Listen(addr, udp.Options{
		PacketInfo: addr.Addr().IsUnspecified(), ReceiveBuffer: socketBuffer, SendBuffer: socketBuffer, Portable: true,
	})
	if err != nil {
		return nil, err
	}
	l := &Associations{
		conn: conn, handler: handler, shared: shared, openings: newOpenings(), cookies: newCookies(),
		queue: udp.NewQueue(1), live: make(map[pair]*Association),
		options: []dtls.ServerOption{
			dtls.WithSupportedProtocols(protocolName),
			dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}),
			dtls.WithCipherSuites(
				dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
				dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
				dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, dtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
			),
		},
	}
	l.options = l.options[:len(l.options):len(l.options)] // each association appends its own
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Addr is the bound address, with the port that was picked.
func (l *Associations) Addr() netip.AddrPort { return l.conn.LocalAddr() }

// Openings are the handshakes under way.
func (l *Associations) Openings() *Openings { return l.openings }

// Len is how many associations there are, with those that are still handshaking.
func (l *Associations) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live)
}

// Serve receives until Close.
func (l *Associations) Serve() {
	batch := udp.NewBatch(1, messageBytes)
	for {
		err := l.conn.Receive(batch)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			select {
			case <-l.ctx.Done():
			case <-time.After(receivePause):
			}
			continue
		}
		for i := range batch.Len() {
			l.receive(batch.Datagram(i))
		}
	}
}

// receive gives a datagram to its association, or judges whether it may begin one.
func (l *Associations) receive(d udp.Datagram) {
	if d.Truncated {
		return
	}
	at := pair{client: d.Source, server: l.conn.LocalAddr()}
	if d.Local.IsValid() {
		at.server = netip.AddrPortFrom(d.Local, at.server.Port())
	}
	l.mu.Lock()
	a := l.live[at]
	l.mu.Unlock()
	if h, ok := parseClientHello(d.Bytes); ok && (a == nil || a.hello != h.digest()) {
		// Of a client that lost its association as well (RFC 6347 §4.2.8): it has to show that it is there before the old
		// one goes.
		l.greet(&h, at, &d)
		return
	}
	switch {
	case a == nil:
		l.shared.Stats.add(DTLSIgnored)
	case a.open.Load() && hasPlainAlert(d.Bytes):
	default:
		a.inbox.put(d.Bytes)
	}
}

// greet answers a ClientHello without a good cookie with one, and begins an association for one that has it.
func (l *Associations) greet(h *clientHello, at pair, d *udp.Datagram) {
	now := time.Now()
	digest := h.digest()
	to := udp.NewDestination(d.Source, d.Local, d.Interface)
	if h.message != 1 || h.sequence == 0 || h.sequence > maxSequence || !l.cookies.valid(h.cookie, at.client, at.server, digest, now) {
		l.shared.Stats.add(DTLSChallenged)
		l.scratch = l.cookies.challenge(l.scratch[:0], h, at.client, at.server, now)
		l.queue.Append(&to, nil, l.scratch, 0)
		l.conn.Flush(l.queue)
		return
	}
	a := &Association{
		listener: l, client: at.client, server: at.server, to: to, hello: digest,
		cookie: append([]byte(nil), h.cookie...), shift: h.sequence, datagram: udp.NewQueue(1),
	}
	a.inbox.init()
	a.inbox.put(h.without())
	a.inbox.put(h.record)
	l.begin(a, at)
}

// begin puts an association into the place of the one before, if there is room.
func (l *Associations) begin(a *Association, at pair) {
	l.mu.Lock()
	before := l.live[at]
	if l.closed || before == nil && len(l.live) >= maxAssociations {
		l.mu.Unlock()
		l.shared.Stats.add(DTLSRefused)
		return
	}
	ctx, stop := context.WithTimeoutCause(l.ctx, openingTimeout, errTimeout)
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(a.ctx, stop)
	l.live[at] = a
	l.running.Go(a.serve)
	l.mu.Unlock()
	if before != nil {
		before.end(errEnded)
	}
}

// forget is an association's last act.
func (l *Associations) forget(a *Association) {
	at := pair{client: a.client, server: a.server}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[at] == a {
		delete(l.live, at)
	}
}

// Close ends every association, tells its client so, and waits for their goroutines. It must not be called from within a
// Session. Calling it again waits the same way.
func (l *Associations) Close() error {
	l.mu.Lock()
	l.closed = true
	all := make([]*Association, 0, len(l.live))
	for _, a := range l.live {
		all = append(all, a)
	}
	l.mu.Unlock()
	l.cancel()
	for _, a := range all {
		a.end(net.ErrClosed)
	}
	l.running.Wait()
	return l.conn.Close()
}
