package forward

import "github.com/hairpin-turn/hairpin/relay/udp"

// Sockets are the datagram sockets of each listener, by allocation.Client.Listener: one for each worker, or fewer that
// they share; none for a listener of connections and where there is no listener (any longer). It is immutable.
type Sockets [][]*udp.Conn

func (s Sockets) of(listener, worker int) *udp.Conn {
	if listener >= len(s) || len(s[listener]) == 0 {
		return nil
	}
	return s[listener][worker%len(s[listener])]
}

// SetSockets changes the listeners. Every forwarder goes by it from its next batch on, and within a batch as soon as it
// meets a client of a listener that it does not know. So nobody may become a client of a listener before it is here, and
// a listener's number goes to another one only when no batch can be under way that began before the first one was gone.
// The list never gets shorter.
func (p *Plane) SetSockets(s Sockets) { p.sockets.Store(&s) }

// takeSockets learns new sockets and forgets those that are gone. What is queued for the others stays, as do all headers and
// received bytes, so it may be called in the middle of a batch.
func (f *Forwarder) takeSockets() {
	s := f.plane.sockets.Load()
	for i := range f.conns {
		if f.conns[i] != nil && f.conns[i] != s.of(i, f.worker) {
			f.flushQueue(i)
			f.conns[i], f.queues[i] = nil, nil
		}
	}
	for i := range *s {
		if i == len(f.conns) {
			f.conns, f.queues = append(f.conns, nil), append(f.queues, nil)
		}
		if conn := s.of(i, f.worker); conn != nil && f.conns[i] == nil {
			f.conns[i] = conn
		}
	}
	if more := len(f.conns) - len(f.counts.listeners); more > 0 {
		f.counts.listeners = append(f.counts.listeners, make([]listenerBatch, more)...)
		f.plane.mu.Lock()
		for range more {
			f.stats.listeners = append(f.stats.listeners, new(listenerStats))
		}
		f.plane.mu.Unlock()
	}
	f.sockets = s
}

// of returns the batch's counts of a listener.
func (f *Forwarder) of(listener int32) *listenerBatch {
	if int(listener) >= len(f.counts.listeners) {
		f.takeSockets()
	}
	return &f.counts.listeners[listener]
}

// queueOf returns the queue of a listener's socket; nil: it has none any longer. A queue is made for the first datagram: it
// takes some 70 KB, there is a forwarder for each socket of each listener, and most calls keep to one.
func (f *Forwarder) queueOf(listener int) *udp.Queue {
	if listener < len(f.queues) && f.queues[listener] != nil {
		return f.queues[listener]
	}
	f.takeSockets()
	if f.conns[listener] != nil && f.queues[listener] == nil {
		f.queues[listener] = udp.NewQueue(queueMessages)
	}
	return f.queues[listener]
}
