package forward

import (
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// packet is application data on its way, in the bytes that it came in.
type packet struct {
	bytes  []byte // the whole frame, ours to write to
	offset int    // of the data in it
	length int    // of the data
	whole  bool   // it must not be fragmented: DONT-FRAGMENT
}

func (p *packet) data() []byte { return p.bytes[p.offset : p.offset+p.length] }

// ChannelData relays a ChannelData message that came from the client of tuple
// (RFC 8656 §12.6).
func (f *Forwarder) ChannelData(tuple *allocation.FiveTuple, b []byte) {
	number, data, ok := wire.ParseChannelData(b)
	if !ok {
		f.Drop(DropMalformed, 1)
		return
	}
	from := f.from(tuple, len(data))
	if from == nil {
		return
	}
	if f.route.client != from || f.route.number != number {
		half, channel := from.Bound(number, f.now)
		if channel == nil {
			f.dropUp(from, DropNoChannel, len(data))
			return
		}
		f.settle()
		f.route = route{client: from, from: half, number: number, peer: channel.Peer, via: channel}
	}
	f.relay(packet{bytes: b, offset: wire.ChannelHeaderSize, length: len(data)})
}

// Send relays a Send indication that came from the client of tuple
// (RFC 8656 §11.2). DONT-FRAGMENT asks for nothing where the peer is another client
// of this server: no datagram leaves towards it.
func (f *Forwarder) Send(tuple *allocation.FiveTuple, b []byte) {
	var s wire.Send
	if !wire.ParseSend(b, &s) {
		f.Drop(DropMalformed, 1)
		return
	}
	from := f.from(tuple, s.Length)
	if from == nil {
		return
	}
	if f.route.client != from || f.route.number != 0 || f.route.peer != s.Peer {
		half := from.Toward(s.Peer.Addr(), f.now)
		if !half.Permitted(s.Peer.Addr(), f.now) {
			f.dropUp(half, DropNoPermission, s.Length)
			return
		}
		if from.TCP() != nil { // it has connections, and no datagrams (RFC 6062 §3)
			f.dropUp(from, DropPeerNotAllowed, s.Length)
			return
		}
		f.settle()
		f.route = route{client: from, from: half, peer: s.Peer}
	}
	f.relay(packet{bytes: b, offset: s.Offset, length: s.Length, whole: s.DontFragment})
}

// from finds the allocation that a client's packet belongs to; it counts the
// packet as received or, when there is none, as dropped.
func (f *Forwarder) from(tuple *allocation.FiveTuple, length int) *allocation.Allocation {
	a := f.client
	if a == nil || a.FiveTuple != *tuple {
		if a = f.table.FindSender(tuple, f.now); a == nil {
			f.Drop(DropNoAllocation, 1)
			return nil
		}
		f.client = a
	}
	f.of(a.Client.Listener).clientIn.add(length)
	return a
}

func (f *Forwarder) dropUp(from *allocation.Allocation, why Drop, length int) {
	from.UpDropped.Add(1, length)
	f.Drop(why, 1)
}

func (f *Forwarder) dropDown(to *allocation.Allocation, why Drop, length int) {
	to.DownDropped.Add(1, length)
	f.Drop(why, 1)
}
