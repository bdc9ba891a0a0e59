package secure

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// maxDatagram is what fits into a datagram over IPv4, in bytes.
const maxDatagram = 1<<16 - 1 - 20 - 8

// Flow is one client behind load balancers. Its exported methods may be called from any goroutine, also after its end.
type Flow struct {
	// Immutable.
	flows   *Flows
	at      pair
	session stream.Session

	// Owned by Flows.Serve.
	ways  []pair // by which the client came, the newest last
	by    pair   // the one of them that to is about; zero: none
	heard time.Time
	place *list.Element // in Flows.recent

	mu      sync.Mutex
	to      udp.Destination // zero: there is no way to the client; guarded by mu
	queue   []byte          // datagrams, each with its length in two bytes ahead; guarded by mu
	spare   []byte          // guarded by mu
	writing bool            // somebody does, and goes on until the queue is empty; guarded by mu
	ended   bool            // guarded by mu
}

// RemoteAddr is the client's address.
func (f *Flow) RemoteAddr() netip.AddrPort { return f.at.client }

// LocalAddr is the address that the client sends to: the balancer's.
func (f *Flow) LocalAddr() netip.AddrPort { return f.at.server }

// heardBy has everything for the client leave by the way that it was heard by.
func (f *Flow) heardBy(way pair, d *udp.Datagram) {
	if f.by != way {
		f.by = way
		f.lead(udp.NewDestination(d.Source, d.Local, d.Interface))
	}
}

// leave forgets a way of the client's.
func (f *Flow) leave(way pair) {
	f.ways = slices.DeleteFunc(f.ways, func(w pair) bool { return w == way })
	if f.by == way {
		f.by = pair{}
		f.lead(udp.Destination{})
	}
}

func (f *Flow) lead(to udp.Destination) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
}

func (f *Flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

// Send copies one message, head then body then pad zero bytes, into the flow's queue; Flush has to follow. It is false when
// the queue is full, the message too long, or there is no way to the client: then nothing is sent.
func (f *Flow) Send(head, body []byte, pad int) bool {
	first := body
	if len(head) > 0 {
		first = head
	}
	if wire.Classify(first) == wire.KindChannelData {
		pad = 0 // a datagram needs none (RFC 8656 §12.5)
	}
	size := len(head) + len(body) + pad
	f.mu.Lock()
	defer f.mu.Unlock()
	if size > maxDatagram || len(f.queue)+2+size > queueBytes || f.ended || f.to == (udp.Destination{}) {
		return false
	}
	f.queue = append(f.queue, byte(size>>8), byte(size))
	f.queue = append(f.queue, head...)
	f.queue = append(f.queue, body...)
	f.queue = append(f.queue, zeros[:pad]...)
	return true
}

// Flush writes what was sent, unless somebody else is about it: so each sender's messages stay in order.
func (f *Flow) Flush() {
	f.mu.Lock()
	if f.writing {
		f.mu.Unlock()
		return
	}
	f.writing = true
	for len(f.queue) > 0 {
		full, to := f.queue, f.to
		f.queue, f.spare = f.spare[:0], nil
		f.mu.Unlock()
		f.flows.write(&to, full)
		f.mu.Lock()
		f.spare = full[:0]
	}
	f.writing = false
	if cap(f.queue) > keptBytes {
		f.queue = nil
	}
	if cap(f.spare) > keptBytes {
		f.spare = nil
	}
	f.mu.Unlock()
}

// write sends datagrams, each with its length in two bytes ahead. What the kernel has no room for is lost, as in a router.
func (l *Flows) write(to *udp.Destination, datagrams []byte) {
	q := l.queues.Get().(*udp.Queue)
	flush := func() {
		queued := q.Len()
		sent, _ := l.conn.Flush(q)
		l.stats.drop(DropSendFailed, queued-sent)
	}
	for len(datagrams) > 0 {
		size := int(datagrams[0])<<8 | int(datagrams[1])
		if !q.Append(to, nil, datagrams[2:2+size], 0) {
			flush()
			continue
		}
		datagrams = datagrams[2+size:]
	}
	flush()
	l.queues.Put(q)
}
