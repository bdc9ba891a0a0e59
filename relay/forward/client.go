package forward

import (
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// maxMessage is what a STUN message's length field can say, alignment included.
const maxMessage = 0xFFFC

// toClient queues a packet of the route for the client at its end: as ChannelData
// where that bound a channel to the sender, else as a Data indication
// (RFC 8656 §11.3, §12.7). The new header overwrites the old one; only where it is
// longer, it goes into an array of its own, to be gathered by the kernel.
func (f *Forwarder) toClient(p packet) {
	to, peer := f.route.to, f.route.from.Relayed
	var head, body []byte
	pad := 0
	if f.route.channel != 0 {
		body = p.bytes[p.offset-wire.ChannelHeaderSize : p.offset+p.length]
		wire.PutChannelHeader(body, f.route.channel, p.length)
		if to.Client.Stream != nil {
			pad = wire.Padding(p.length) // a stream pads, a datagram need not (RFC 8656 §12.5)
		}
	} else {
		size := wire.DataHeaderSize(peer.Addr())
		pad = wire.Padding(p.length)
		if size-wire.HeaderSize+p.length+pad > maxMessage {
			f.dropDown(to, DropTooLarge, p.length)
			return
		}
		if p.offset >= size {
			body = p.bytes[p.offset-size : p.offset+p.length]
			head = body[:size]
			f.putDataHeader(head, peer, p.length)
			head = nil
		} else {
			head, body = f.head()[:size], p.data()
			f.putDataHeader(head, peer, p.length)
		}
	}
	if f.queue(&to.Client, head, body, pad) {
		f.route.down.add(p.length)
		f.counts.listeners[to.Client.Listener].clientOut.add(p.length)
		f.counts.hairpin++
	} else {
		f.dropDown(to, DropQueueFull, p.length)
	}
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
	f.Reply(to.Listener, &to.Destination, head, body, pad)
	return true
}

// Reply queues a datagram made of head, body and pad zero bytes on a listener's
// socket. Both slices must stay as they are until Flush.
func (f *Forwarder) Reply(listener int, to *udp.Destination, head, body []byte, pad int) {
	q := f.queues[listener]
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
