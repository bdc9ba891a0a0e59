package forward

import (
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Peers beyond the process: what goes to them leaves by the socket of the sender's
// relayed transport address, and what they send comes in by it.

const (
	outsideSockets  = 64 // relayed transport addresses that one batch may send from before it flushes
	outsideMessages = 32 // datagrams that wait for each of them
)

// outward is the end of a route to a peer that is not a client of this server.
type outward struct {
	found bool
	to    udp.Destination
	queue int // in outside where the route's packets went last
}

// outside holds what a batch sends to such peers, a queue for each socket. Queues are
// made when they are first needed.
type outside struct {
	queues []outsideQueue
	used   int
}

type outsideQueue struct {
	socket *udp.Conn
	queue  *udp.Queue
}

// findOutside completes the route to a peer that nobody here has as relayed transport
// address, or counts a packet of that length as dropped.
func (f *Forwarder) findOutside(length int) bool {
	r := &f.route
	switch {
	case f.rules.Allows(r.peer) && r.from.Socket != nil:
		r.outward.to = udp.NewDestination(r.peer, netip.Addr{}, 0)
		r.outward.found = true
		return true
	case f.table.RelaysPort(r.peer):
		f.dropUp(r.from, DropNoPeer, length)
	default:
		f.dropUp(r.from, DropPeerNotAllowed, length)
	}
	return false
}

// toPeer queues a packet of the route for a peer outside.
func (f *Forwarder) toPeer(p packet) {
	o := &f.route.outward
	q := f.outsideQueue(f.route.from.Socket, o)
	if p.whole {
		f.sendWhole(q, p)
		return
	}
	if !q.queue.Append(&o.to, nil, p.data(), 0) {
		f.flushOutsideQueue(q)
		q.queue.Append(&o.to, nil, p.data(), 0)
	}
}

// sendWhole sends a packet that must not be fragmented (RFC 8656 §14). The kernel
// knows this of a socket, not of a datagram, so it goes alone.
func (f *Forwarder) sendWhole(q *outsideQueue, p packet) {
	f.flushOutsideQueue(q)
	if q.socket.SetDontFragment(true) != nil {
		f.Drop(DropSendFailed, 1)
		return
	}
	q.queue.Append(&f.route.outward.to, nil, p.data(), 0)
	f.flushOutsideQueue(q)
	_ = q.socket.SetDontFragment(false) // fails if the socket is closed, as it may be by now
}

// outsideQueue returns the queue of a socket.
func (f *Forwarder) outsideQueue(socket *udp.Conn, o *outward) *outsideQueue {
	s := &f.outside
	if o.queue < s.used && s.queues[o.queue].socket == socket {
		return &s.queues[o.queue]
	}
	for i := range s.queues[:s.used] {
		if s.queues[i].socket == socket {
			o.queue = i
			return &s.queues[i]
		}
	}
	if s.used == outsideSockets {
		f.send()
	}
	if s.used == len(s.queues) {
		s.queues = append(s.queues, outsideQueue{queue: udp.NewQueue(outsideMessages)})
	}
	o.queue = s.used
	s.used++
	s.queues[o.queue].socket = socket
	return &s.queues[o.queue]
}

func (f *Forwarder) flushOutside() {
	s := &f.outside
	for i := range s.queues[:s.used] {
		f.flushOutsideQueue(&s.queues[i])
		s.queues[i].socket = nil
	}
	s.used = 0
}

func (f *Forwarder) flushOutsideQueue(q *outsideQueue) {
	queued := q.queue.Len()
	sent, _ := q.socket.Flush(q.queue) // why not all is told by ICMP, if by anything
	f.Drop(DropSendFailed, queued-sent)
}

// FromPeer relays a datagram that a peer sent to the relayed transport address of to
// (RFC 8656 §11.3).
func (f *Forwarder) FromPeer(to *allocation.Allocation, peer netip.AddrPort, b []byte) {
	f.of(to.Client.Listener).peerIn.add(len(b))
	l := &f.inward
	if l.to != to || l.sender != peer {
		l.settle()
		if to = to.Current(f.now); to == nil {
			f.Drop(DropNoAllocation, 1)
			return
		}
		switch {
		case !f.rules.Allows(peer):
			f.dropDown(to, DropPeerNotAllowed, len(b))
			return
		case !to.Permitted(peer.Addr(), f.now):
			f.dropDown(to, DropPeerNoPermission, len(b))
			return
		}
		l.aim(to, peer, f.now)
		l.media = f.media.Observes(to.ID)
	}
	if l.media {
		to.DownMedia.Observe(b, int64(f.now))
	}
	f.toClient(l, packet{bytes: b, length: len(b)})
}

// ICMP tells a client what the network says of a datagram that it sent to a peer
// (RFC 8656 §11.5).
func (f *Forwarder) ICMP(to *allocation.Allocation, m *udp.ICMP) {
	if to = to.Current(f.now); to == nil || !reported(m) || !to.Permitted(m.To.Addr(), f.now) {
		return
	}
	var id [12]byte
	f.transactionID(&id)
	f.queue(&to.Client, nil, wire.AppendICMP(nil, &id, m.To, m.Type, m.Code, m.MTU), 0)
}

// reported says whether RFC 8656 §11.5 has the server pass a message on: that a
// destination can't be reached, a packet was too big, or its time was exceeded.
func reported(m *udp.ICMP) bool {
	if m.To.Addr().Is4() {
		return m.Type == 3 || m.Type == 11
	}
	return m.Type >= 1 && m.Type <= 3
}
