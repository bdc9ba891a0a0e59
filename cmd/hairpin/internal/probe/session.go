package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"
	"github.com/pion/turn/v3"
)

// maxAttempts bounds how often one request is built: once without credentials,
// once after the challenge, and twice more after 438 (Stale Nonce).
const maxAttempts = 4

// errReleased is the failure of a session that was ended on purpose.
var errReleased = errors.New("released")

// credentials are long-term credentials (RFC 8489 §9.2), prepared per RFC 8265.
// The zero value means none.
type credentials struct {
	username, password string
	realm              string // overrides the server's unless empty
	ephemeral          bool
}

// session is one client of the server: a socket, its reader, its requests and,
// once made, its allocation.
//
// It ends by fail: the first caller's reason counts, the socket is closed, and
// with it the reader and every request under way. Nothing reopens it.
type session struct {
	// immutable
	name        string // "A" or "B"
	transport   Transport
	server      netip.AddrPort
	serverAddr  net.Addr // the same for pion, which calls its String
	conn        net.PacketConn
	client      *turn.Client
	credentials credentials
	timeout     time.Duration
	done        chan struct{} // closed when the reader is gone
	failed      chan struct{} // closed by fail

	answered atomic.Bool          // the server has said something
	link     atomic.Pointer[link] // where data goes to and comes from; nil until there is an agreement

	// owned by the goroutine that sets up the probe
	relayed, mapped netip.AddrPort
	allocation      time.Duration // how long Allocate took, challenge included
	lifetime        time.Duration // as granted
	software        string

	// owned by the session's one sender of data
	frame []byte

	mu      sync.Mutex
	failure error // guarded by mu; set once
	realm   string
	nonce   string
	key     stun.MessageIntegrity // nil until the server has asked for credentials
}

// connected makes a connected UDP socket the unconnected one that pion writes
// to. It is connected because only then the kernel reports that nobody listens.
type connected struct{ net.Conn }

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }
func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

// open connects to the server and starts the reader. The caller releases it.
func (o Options) open(ctx context.Context, name string, transport Transport, server netip.AddrPort, c credentials) (*session, error) {
	timeout := o.Timeout
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	raw, err := o.dial(limited, transport, server)
	if ctx.Err() != nil {
		if err == nil {
			_ = raw.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, unreachable(server.String(), err)
	}
	s := &session{
		name: name, transport: transport, server: server, serverAddr: raw.RemoteAddr(),
		credentials: c, timeout: timeout,
		done: make(chan struct{}), failed: make(chan struct{}),
	}
	config := &turn.ClientConfig{LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}}
	if transport.network() == string(TCP) {
		s.conn = turn.NewSTUNConn(raw)
		config.RTO = maxTimeout // a stream is reliable: no retransmission (RFC 8489 §6.2.2)
	} else {
		s.conn = connected{raw}
	}
	config.Conn = s.conn
	if s.client, err = turn.NewClient(config); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TURN client: %w", err)
	}
	go s.read() // ends by fail; release waits for it
	return s, nil
}

func (s *session) local() netip.AddrPort { return addrPort(s.conn.LocalAddr()) }

// fail ends the session for a reason; only the first one counts.
func (s *session) fail(reason error) {
	s.mu.Lock()
	first := s.failure == nil
	if first {
		s.failure = reason
	}
	s.mu.Unlock()
	if first {
		// In this order: a request that starts in between cannot write any
		// more, and one that has written is woken by the client's Close.
		_ = s.conn.Close()
		s.client.Close()
		close(s.failed)
	}
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// read hands data to the link and everything else to pion's transactions.
func (s *session) read() {
	defer close(s.done)
	b := make([]byte, 1<<16)
	for {
		n, _, err := s.conn.ReadFrom(b)
		at := time.Now()
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) && s.answered.Load() {
				continue // an ICMP error about one datagram; the loss shows in the figures
			}
			s.fail(err)
			return
		}
		if s.receiveData(b[:n], at) {
			continue
		}
		if stun.IsMessage(b[:n]) {
			s.answered.Store(true)
			_, _ = s.client.HandleInbound(b[:n], s.serverAddr) // its errors are about messages that nobody waits for
		}
	}
}

// request performs one request with credentials as the server asks for them
// and returns the success response. A refusal comes back as *Refusal.
func (s *session) request(ctx context.Context, name string, method stun.Method, peer netip.AddrPort, attributes ...stun.Setter) (*stun.Message, error) {
	var refusal *Refusal
	for range maxAttempts {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
		s.mu.Lock()
		key := s.key
		if key != nil {
			setters = append(setters, stun.NewUsername(s.credentials.username), stun.NewRealm(s.realm), stun.NewNonce(s.nonce), key)
		}
		s.mu.Unlock()
		msg, err := stun.Build(append(setters, stun.Fingerprint)...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		response, err := s.transact(ctx, msg)
		if err != nil {
			return nil, err
		}
		if response.Type.Class == stun.ClassSuccessResponse {
			return response, nil
		}

		refusal = s.refusal(response, name, peer, key != nil)
		challenge := refusal.Code == int(stun.CodeUnauthorized) && key == nil && s.credentials.username != ""
		stale := refusal.Code == int(stun.CodeStaleNonce)
		if !(challenge || stale) || !s.learn(response) {
			break
		}
	}
	return nil, refusal
}

// learn takes realm and nonce from a 401 or 438 (RFC 8489 §9.2.5).
func (s *session) learn(response *stun.Message) bool {
	var nonce stun.Nonce
	var realm stun.Realm
	if nonce.GetFrom(response) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonce = string(nonce)
	if s.credentials.realm != "" {
		s.realm = s.credentials.realm
	} else if realm.GetFrom(response) == nil {
		s.realm = string(realm)
	}
	if s.realm == "" {
		return false
	}
	s.key = stun.NewLongTermIntegrity(s.credentials.username, s.realm, s.credentials.password)
	return true
}

func (s *session) refusal(response *stun.Message, name string, peer netip.AddrPort, authenticated bool) *Refusal {
	r := &Refusal{Side: s.name, Request: name, Peer: peer, Credentials: authenticated, Ephemeral: s.credentials.ephemeral}
	var code stun.ErrorCodeAttribute
	if code.GetFrom(response) == nil {
		r.Code, r.Reason = int(code.Code), printable(code.Reason)
	}
	var realm stun.Realm
	if realm.GetFrom(response) == nil {
		r.Realm = printable(realm)
	}
	var alternate stun.AlternateServer
	if v, err := response.Get(stun.AttrAlternateServer); err == nil && len(v) >= 8 && alternate.GetFrom(response) == nil {
		r.Alternate = s.transport.scheme() + net.JoinHostPort(alternate.IP.String(), fmt.Sprint(alternate.Port)) + "?transport=" + s.transport.network()
	}
	return r
}

// transact sends one request and waits for its response, at most the session's
// timeout. A request without an answer ends the session: there is nobody to
// talk to, or nobody who waits any more.
func (s *session) transact(ctx context.Context, msg *stun.Message) (*stun.Message, error) {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	stop := context.AfterFunc(limited, func() { s.fail(limited.Err()) })
	defer stop()
	result, err := s.client.PerformTransaction(msg, s.serverAddr, false)
	if err == nil {
		return result.Msg, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	waited := time.Since(start).Round(100 * time.Millisecond)
	if reason := s.reason(); errors.Is(reason, context.DeadlineExceeded) {
		return nil, &Unreachable{Address: s.server.String(), Reason: fmt.Sprintf("no answer over %s within %v", s.transport, s.timeout), Err: reason}
	} else if reason != nil {
		return nil, unreachable(s.server.String(), reason)
	}
	if errors.As(err, new(*net.OpError)) {
		return nil, unreachable(s.server.String(), err)
	}
	return nil, &Unreachable{Address: s.server.String(), Reason: fmt.Sprintf("no answer over %s within %v", s.transport, waited), Err: err}
}

// addrPort converts what the standard library and pion force on us.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// printable keeps a server's text from steering the user's terminal.
func printable(b []byte) string {
	text := make([]rune, 0, len(b))
	for _, r := range string(b) {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			r = '?'
		}
		text = append(text, r)
	}
	return string(text)
}
