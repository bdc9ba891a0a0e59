package relay

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

const (
	batchMessages = 64      // datagrams taken from the kernel at a time
	batchBytes    = 1 << 16 // room for each: the largest datagram there is
	replyBytes    = 1 << 16 // answers of one batch
	maxReply      = 2048    // more than any answer takes

	// receivePause keeps a socket that goes on failing from spinning.
	receivePause = 100 * time.Millisecond
)

// udpLoop is the packet path of one CPU at one UDP socket. Everything in it
// belongs to its goroutine.
type udpLoop struct {
	conn  *udp.Conn
	local netip.AddrPort // where it is bound; the address is unspecified for a wildcard
	table *allocation.Table
	log   logging.LeveledLogger
	stop  <-chan struct{}

	batch     *udp.Batch
	stays     bool    // when its listener is removed, because it reads relayed sockets of others; immutable once it runs
	relayed   *polled // sockets of relayed transport addresses that this loop reads as well; nil: none
	forwarder *forward.Forwarder
	control   *control.Worker
	origin    control.Origin // of the datagram in hand
	replies   []byte         // answers of the batch, until Flush

	tuples  [batchMessages]allocation.FiveTuple // scratch of warm
	scratch [batchMessages]*allocation.Allocation
}

// run relays until the socket is closed.
func (l *udpLoop) run() {
	if l.relayed != nil {
		l.poll()
		return
	}
	for {
		if err := l.conn.Receive(l.batch); err != nil {
			if errors.Is(err, net.ErrClosed) || !l.pause(err) {
				return
			}
			continue
		}
		l.forwarder.Begin(l.table.Now())
		if l.batch.Len() > 1 && l.table.Cold() {
			l.warm()
		}
		for i := range l.batch.Len() {
			l.datagram(l.batch.Datagram(i))
		}
		l.flush()
	}
}

// warm has what the batch is going to look up fetched from memory.
func (l *udpLoop) warm() {
	for i := range l.batch.Len() {
		l.receivedFrom(l.batch.Datagram(i))
		l.tuples[i] = l.origin.FiveTuple
	}
	l.table.Warm(l.tuples[:l.batch.Len()], l.scratch[:])
}

// receivedFrom sets the five-tuple in hand.
func (l *udpLoop) receivedFrom(d udp.Datagram) {
	l.origin.FiveTuple.Client = d.Source
	if d.Local.IsValid() {
		l.origin.FiveTuple.Server = netip.AddrPortFrom(d.Local, l.local.Port())
	}
}

// datagram takes one message of the kernel's, which is several datagrams of equal
// size, the last perhaps smaller, where the kernel joined them.
func (l *udpLoop) datagram(d udp.Datagram) {
	if d.Truncated {
		l.forwarder.Drop(forward.DropTruncated, 1)
		return
	}
	l.receivedFrom(d)
	for rest := d.Bytes; len(rest) > 0; {
		n := min(d.Segment, len(rest))
		l.packet(rest[:n:n], &d)
		rest = rest[n:]
	}
}

// packet sends one datagram its way.
func (l *udpLoop) packet(b []byte, d *udp.Datagram) {
	switch wire.Classify(b) {
	case wire.KindChannelData:
		l.forwarder.ChannelData(&l.origin.FiveTuple, b)
	case wire.KindSTUN:
		if wire.IsSend(b) {
			l.forwarder.Send(&l.origin.FiveTuple, b)
		} else {
			l.answer(b, d)
		}
	default:
		l.forwarder.Drop(forward.DropNotTURN, 1)
	}
}

// answer lets the control plane answer a message and queues the reply.
func (l *udpLoop) answer(b []byte, d *udp.Datagram) {
	if cap(l.replies)-len(l.replies) < maxReply {
		l.flush()
	}
	l.origin.Client.Destination = udp.NewDestination(d.Source, d.Local, d.Interface)
	start := len(l.replies)
	l.replies = l.control.Handle(b, &l.origin, l.replies)
	l.forwarder.Forget()
	if reply := l.replies[start:]; len(reply) > 0 {
		l.forwarder.Reply(l.route(d), &l.origin.Client.Destination, nil, reply, 0)
	}
}

// flush ends a batch: what was queued leaves, its bytes are free again.
func (l *udpLoop) flush() {
	l.forwarder.Flush()
	l.replies = l.replies[:0]
}

// pause waits a moment after a failed receive; false means stop.
func (l *udpLoop) pause(err error) bool {
	l.log.Warnf("udp://%s: receiving failed, trying again: %v", l.local, err)
	select {
	case <-l.stop:
		return false
	case <-time.After(receivePause):
		return true
	}
}
