package forward

import (
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// maxMessage is what a STUN message's length field can say, alignment included.
const maxMessage = 0xFFFC

// leg is the way from the relay to a client.
type leg struct {
	to      *allocation.Allocation // nil: not looked for, or not to be reached
	sender  netip.AddrPort         // the peer that the client gets the packets from
	channel uint16                 // that the client bound to it; 0: none
	also    *allocation.Allocation // where the client is expected as well; nil: nowhere
	down    plainCount             // not in to.Down yet
	media   bool                   // what comes from outside is looked at
}

// aim completes a leg to a client.
func (l *leg) aim(to *allocation.Allocation, sender netip.AddrPort, now allocation.Time) {
	l.to, l.sender, l.also = to, sender, to.Expected()
	if channel := to.ChannelTo(sender, now); channel != nil {
		l.channel = channel.Number
	}
}

// settle ends a leg and publishes its counts.
func (l *leg) settle() {
	if l.to != nil {
		l.down.publish(&l.to.Down)
	}
	*l = leg{}
}

// toClient queues a packet for the client at the end of a leg: as ChannelData where
// that bound a channel to the sender, else as a Data indication (RFC 8656 §11.3,
// §12.7). The new header overwrites the old one; only where it is longer, it goes
// into an array of its own, to be gathered by the kernel.
func (f *Forwarder) toClient(l *leg, p packet) bool {
	to := l.to
	if !to.AdmitDown(p.length, f.now) {
		f.dropDown(to, DropBandwidth, p.length)
		return false
	}
	var head, body []byte
	pad := 0
	if l.channel != 0 {
		if p.offset >= wire.ChannelHeaderSize {
			body = p.bytes[p.offset-wire.ChannelHeaderSize : p.offset+p.length]
			wire.PutChannelHeader(body, l.channel, p.length)
		} else {
			head, body = f.head()[:wire.ChannelHeaderSize], p.data()
			wire.PutChannelHeader(head, l.channel, p.length)
		}
		if to.Client.Stream != nil {
			pad = wire.Padding(p.length) // a stream pads, a datagram need not (RFC 8656 §12.5)
		}
	} else {
		size := wire.DataHeaderSize(l.sender.Addr())
		pad = wire.Padding(p.length)
		if size-wire.HeaderSize+p.length+pad > maxMessage {
			f.dropDown(to, DropTooLarge, p.length)
			return false
		}
		if p.offset >= size {
			body = p.bytes[p.offset-size : p.offset+p.length]
			head = body[:size]
			f.putDataHeader(head, l.sender, p.length)
			head = nil
		} else {
			head, body = f.head()[:size], p.data()
			f.putDataHeader(head, l.sender, p.length)
		}
	}
	queued := f.queue(&to.Client, head, body, pad)
	if queued {
		f.of(to.Client.Listener).clientOut.add(p.length)
	}
	if l.also != nil && f.queue(&l.also.Client, head, body, wire.Padding(p.length)) {
		f.of(l.also.Client.Listener).clientOut.add(p.length)
		queued = true
	}
	if !queued {
		f.dropDown(to, DropQueueFull, p.length)
		return false
	}
	l.down.add(p.length)
	return true
}

func (f *Forwarder) putDataHeader(b []byte, peer netip.AddrPort, length int) {
	var id [12]byte
	f.transactionID(&id)
	wire.PutDataHeader(b, &id, peer, length)
}

// head returns room for a header that lasts until Flush.
func (f *Forwarder) head() []byte {
	if f.used == len(f.heads) {
		f.send()
	}
	f.used++
	return f.heads[f.used-1][:]
}

// queue adds one message to the client's datagram queue or stream; false means
// that the stream's queue is full.
func (f *Forwarder) queue(to *allocation.Client, head, body []byte, pad int) bool {
	if to.Stream != nil {
		if !to.Stream.Send(head, body, pad) {
			return false
		}
		f.touch(to.Stream)
		return true
	}
	f.Reply(int(to.Listener), &to.Destination, head, body, pad)
	return true
}

// Reply queues a datagram made of head, body and pad zero bytes on a listener's
// socket. Both slices must stay as they are until Flush.
func (f *Forwarder) Reply(listener int, to *udp.Destination, head, body []byte, pad int) {
	q := f.queueOf(listener)
	if q == nil { // the listener has been closed since
		f.Drop(DropSendFailed, 1)
		return
	}
	if !q.Append(to, head, body, pad) {
		f.flushQueue(listener)
		q.Append(to, head, body, pad)
	}
}

// touch remembers a stream that Flush has to write.
func (f *Forwarder) touch(s allocation.Stream) {
	for _, t := range f.streams {
		if t == s {
			return
		}
	}
	if len(f.streams) == cap(f.streams) {
		f.flushStreams()
	}
	f.streams = append(f.streams, s)
}
