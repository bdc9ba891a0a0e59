package forward

import (
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// route is the way that the last packet took. Packets come in bursts, and the
// next one of the same batch most often takes it too, at the price of a
// comparison instead of five lookups. Nothing expires within a batch: it has one
// moment, the batch's. What changes an allocation on this goroutine meanwhile
// calls Forget.
//
//	unset ──ChannelData, Send──► from, peer ──hairpin──► found: to, channel
//	  ▲                                                         │
//	  └─────────────── settle: another way, Forget, Flush ──────┘
type route struct {
	from   *allocation.Allocation // nil: unset
	number uint16                 // channel that from's client sends on; 0: Send indications
	peer   netip.AddrPort         // relayed transport address that it sends to
	via    *allocation.Channel    // by that channel; nil: by Send indications

	to      *allocation.Allocation // nil: not looked for, or not to be reached
	channel uint16                 // that to's client bound to from; 0: none

	up, down plainCount // not in from.Up and to.Down yet
}

// Forget drops what is remembered of the batch's earlier packets. It must be
// called after anything on this goroutine that may have changed an allocation.
func (f *Forwarder) Forget() {
	f.settle()
	f.client = nil
}

// settle ends a route and publishes its counts.
func (f *Forwarder) settle() {
	r := &f.route
	if r.to != nil {
		r.up.publish(&r.from.Up)
		r.down.publish(&r.to.Down)
	}
	r.from, r.to = nil, nil
}

// hairpin turns a packet of the route around to the client that has the peer as
// its relayed transport address, if that client permits the sender
// (RFC 8656 §11.3, §12.7).
func (f *Forwarder) hairpin(p packet) {
	r := &f.route
	if r.to == nil && !f.find(p.length) {
		return
	}
	r.up.add(p.length)
	f.counts.listeners[r.from.Client.Listener].peerOut.add(p.length)
	f.counts.listeners[r.to.Client.Listener].peerIn.add(p.length)
	f.toClient(p)
}

// find completes the route, or counts a packet of that length as dropped.
func (f *Forwarder) find(length int) bool {
	r := &f.route
	var to *allocation.Allocation
	if r.via != nil {
		to = f.table.Target(r.via, f.now)
	} else {
		to = f.table.FindRelayed(r.peer, f.now)
	}
	if to == nil {
		f.dropUp(r.from, DropNoPeer, length)
		return false
	}
	if !to.Permitted(r.from.Relayed.Addr(), f.now) {
		r.from.Up.Add(1, length)
		f.counts.listeners[r.from.Client.Listener].peerOut.add(length)
		f.counts.listeners[to.Client.Listener].peerIn.add(length)
		f.dropDown(to, DropPeerNoPermission, length)
		return false
	}
	r.to = to
	if channel := to.ChannelTo(r.from.Relayed, f.now); channel != nil {
		r.channel = channel.Number
	}
	return true
}
