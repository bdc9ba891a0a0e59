package secure

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Tuning constants.
const (
	idleTimeout  = time.Minute // without a message and without an allocation, as for connections
	messageBytes = 8 << 10     // of one message from a client; pion reads no longer datagrams
	queueBytes   = 256 << 10   // queued towards one client, as for connections
	keptBytes    = 4 << 10     // of an empty queue

	maxPlaintext = 1 << 14 // bytes of one record (RFC 6347 §4.1)
)

var errEnded = errors.New("secure: the association has ended")

// Association is one client's DTLS association. Its exported methods may be called from any goroutine, also after its end.
//
//	cookie came back ──► handshake ──► open ──► ended
//	                         └── timed out, displaced, failed ──► ended
type Association struct {
	// Immutable.
	listener       *Associations
	client, server netip.AddrPort
	to             udp.Destination
	hello          [sha256.Size]byte // digest of the ClientHello that began it
	cookie         []byte
	shift          uint64 // between pion's record sequence numbers and ours
	ctx            context.Context
	cancel         context.CancelCauseFunc

	conn     *dtls.Conn  // set ahead of the handshake
	open     atomic.Bool // the handshake is done
	holds    atomic.Bool // one of the slots
	ended    atomic.Bool
	inbox    inbox
	datagram *udp.Queue // of one; owned by whoever is in packets.WriteTo, which pion serialises

	mu       sync.Mutex
	queue    []byte // messages, each with its length in two bytes ahead; guarded by mu
	spare    []byte // guarded by mu
	draining bool   // guarded by mu
	drains   sync.WaitGroup
}

// RemoteAddr is the client's address.
func (a *Association) RemoteAddr() netip.AddrPort { return a.client }

// LocalAddr is the address that the client sends to, also when the listener is bound to a wildcard.
func (a *Association) LocalAddr() netip.AddrPort { return a.server }

// end wakes whoever waits for the association. Its own goroutine does the rest.
func (a *Association) end(cause error) {
	a.ended.Store(true)
	a.cancel(cause)
	a.inbox.close()
}

// serve is the association's whole life.
func (a *Association) serve() {
	defer a.listener.forget(a)
	if a.handshake() {
		session := a.listener.handler.Opened(a)
		a.read(session)
		a.conn.Close() // which tells the client
		a.end(errEnded)
		a.drains.Wait()
		session.Closed()
	}
	a.end(errEnded)
}

// handshake tells whether it was done, and counts what came of it.
func (a *Association) handshake() bool {
	l := a.listener
	defer l.openings.end(l.openings.begin(a.client.Addr(), a.cancel))
	defer a.letGo()
	var err error
	a.conn, err = dtls.ServerWithOptions(packets{a}, net.UDPAddrFromAddrPort(a.client), append(l.options, dtls.WithGetCertificate(a.certificate))...)
	if err == nil {
		if err = a.conn.HandshakeContext(a.ctx); err == nil {
			a.open.Store(true)
			l.shared.Stats.add(DTLSCompleted)
			return true
		}
		a.conn.Close()
	}
	l.shared.Stats.add(outcome(a.ctx, DTLSFailed, DTLSTimedOut, DTLSDisplaced))
	return false
}

// certificate chooses one. From here on the handshake calculates, until its next flight leaves.
func (a *Association) certificate(hello *dtls.ClientHelloInfo) (*tls.Certificate, error) {
	if err := a.listener.shared.slots.acquire(a.ctx); err != nil {
		return nil, err
	}
	a.holds.Store(true)
	return a.listener.shared.Certificates.forDTLS(hello)
}

func (a *Association) letGo() {
	if a.holds.Swap(false) {
		a.listener.shared.slots.release()
	}
}

// read hands over messages until the association has to end.
func (a *Association) read(session stream.Session) {
	b := make([]byte, messageBytes)
	active := time.Now()
	a.conn.SetReadDeadline(active.Add(idleTimeout))
	for !a.ended.Load() {
		n, err := a.conn.Read(b)
		timeout, isNet := errors.AsType[net.Error](err)
		switch {
		case err == nil:
			active = time.Now()
			if wire.Classify(b[:n]) != wire.KindOther {
				session.Frame(b[:n:n])
				session.Flush()
			}
		case isNet && timeout.Timeout():
			// The deadline is only moved after it has passed: traffic never touches a timer.
			now := time.Now()
			if session.Busy() {
				active = now
			}
			if now.Sub(active) >= idleTimeout {
				return
			}
			a.conn.SetReadDeadline(active.Add(idleTimeout))
		case errors.Is(err, io.EOF), errors.Is(err, dtls.ErrConnClosed), errors.Is(err, net.ErrClosed):
			return
		} // else it is about one datagram, which may be anybody's
	}
}

var zeros [3]byte

// Send copies one message, head then body then pad zero bytes, into the association's queue; Flush has to follow. It is
// false when the queue is full, the message too long for a record, or the association at its end: then nothing is sent.
func (a *Association) Send(head, body []byte, pad int) bool {
	first := body
	if len(head) > 0 {
		first = head
	}
	if wire.Classify(first) == wire.KindChannelData {
		pad = 0 // a datagram needs none (RFC 8656 §12.5)
	}
	size := len(head) + len(body) + pad
	a.mu.Lock()
	defer a.mu.Unlock()
	if size > maxPlaintext || len(a.queue)+2+size > queueBytes || a.ended.Load() {
		return false
	}
	a.queue = append(a.queue, byte(size>>8), byte(size))
	a.queue = append(a.queue, head...)
	a.queue = append(a.queue, body...)
	a.queue = append(a.queue, zeros[:pad]...)
	return true
}

// Flush has what was sent encrypted and written by another goroutine: the caller serves other clients.
func (a *Association) Flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.draining && len(a.queue) > 0 && !a.ended.Load() {
		a.draining = true
		a.drains.Go(a.drain)
	}
}

// drain writes until the queue is empty.
func (a *Association) drain() {
	for {
		a.mu.Lock()
		full := a.queue
		a.queue, a.spare = a.spare[:0], nil
		if len(full) == 0 || a.ended.Load() {
			a.draining = false
			if cap(a.queue) > keptBytes {
				a.queue = nil
			}
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		for rest := full; len(rest) > 0; {
			size := int(rest[0])<<8 | int(rest[1])
			if _, err := a.conn.Write(rest[2 : 2+size]); err != nil {
				a.end(err)
				break
			}
			rest = rest[2+size:]
		}
		a.mu.Lock()
		a.spare = full[:0]
		a.mu.Unlock()
	}
}
