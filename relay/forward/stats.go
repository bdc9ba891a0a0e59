package forward

import (
	"sync/atomic"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// Direction is a side of the relay, seen from it. A packet between two clients of
// this server is counted in all four: client_in and peer_out at the sender's
// listener, peer_in and client_out at the receiver's.
type Direction uint8

// The directions.
const (
	ClientIn  Direction = iota // from clients, dropped ones included
	ClientOut                  // to clients
	PeerIn                     // from peers, dropped ones included
	PeerOut                    // to peers
	Directions
)

// String returns the direction as the metrics spell it.
func (d Direction) String() string {
	return [Directions]string{"client_in", "client_out", "peer_in", "peer_out"}[d]
}

// batchCounts are the counts of the current batch: plain numbers of one
// goroutine, added to stats once a batch.
type batchCounts struct {
	listeners []listenerBatch
	dropped   [drops]uint64
	hairpin   uint64
}

type listenerBatch struct {
	clientIn, clientOut, peerIn, peerOut plainCount
}

type plainCount struct{ packets, bytes uint64 }

func (c *plainCount) add(bytes int) {
	c.packets++
	c.bytes += uint64(bytes)
}

// stats are what others may read of a forwarder. One writer each, so that no
// cache line is fought over.
type stats struct {
	listeners []*listenerStats // grows under Plane.mu
	dropped   [drops]atomic.Uint64
	hairpin   atomic.Uint64
}

type listenerStats [Directions]allocation.Counter

func (s *stats) publish(b *batchCounts) {
	for i := range b.listeners {
		l := &b.listeners[i]
		if *l == (listenerBatch{}) {
			continue
		}
		to := s.listeners[i]
		l.clientIn.publish(&to[ClientIn])
		l.clientOut.publish(&to[ClientOut])
		l.peerIn.publish(&to[PeerIn])
		l.peerOut.publish(&to[PeerOut])
	}
	for i, n := range b.dropped {
		if n > 0 {
			s.dropped[i].Add(n)
			b.dropped[i] = 0
		}
	}
	if b.hairpin > 0 {
		s.hairpin.Add(b.hairpin)
		b.hairpin = 0
	}
}

// publish moves c to to.
func (c *plainCount) publish(to *allocation.Counter) {
	if c.packets > 0 {
		to.Add(int(c.packets), int(c.bytes))
		*c = plainCount{}
	}
}

// Totals are the counts of all forwarders since the start.
type Totals struct {
	Listeners []ListenerTotals // by listener, of all that there have been
	Dropped   [drops]uint64    // by Drop
	Hairpin   uint64           // packets turned around inside the process
}

// ListenerTotals counts by Direction.
type ListenerTotals [Directions]allocation.Count

// Totals sums up what the forwarders have published, also those that were retired.
func (p *Plane) Totals() Totals {
	t := Totals{Listeners: make([]ListenerTotals, len(*p.sockets.Load()))}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.add(&p.retired)
	for _, f := range p.forwarders {
		t.add(f.stats.totals())
	}
	return t
}

func (t *Totals) add(n *Totals) {
	if more := len(n.Listeners) - len(t.Listeners); more > 0 {
		t.Listeners = append(t.Listeners, make([]ListenerTotals, more)...)
	}
	for i := range n.Listeners {
		for d, c := range n.Listeners[i] {
			t.Listeners[i][d].Packets += c.Packets
			t.Listeners[i][d].Bytes += c.Bytes
		}
	}
	for i, v := range n.Dropped {
		t.Dropped[i] += v
	}
	t.Hairpin += n.Hairpin
}

func (s *stats) totals() *Totals {
	t := &Totals{Listeners: make([]ListenerTotals, len(s.listeners)), Hairpin: s.hairpin.Load()}
	for i := range s.listeners {
		for d := range s.listeners[i] {
			t.Listeners[i][d] = s.listeners[i][d].Read()
		}
	}
	for i := range s.dropped {
		t.Dropped[i] = s.dropped[i].Load()
	}
	return t
}
