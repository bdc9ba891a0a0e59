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
//	unset ──ChannelData, Send──► from, peer ──relay──► found: onward, or outward
//	  ▲                                                         │
//	  └─────────────── settle: another way, Forget, Flush ──────┘
type route struct {
	client *allocation.Allocation // of the five-tuple; nil: unset
	from   *allocation.Allocation // the same or, to peers of the other family, its other half; nil: unset
	number uint16                 // channel that from's client sends on; 0: Send indications
	peer   netip.AddrPort         // transport address that it sends to
	via    *allocation.Channel    // by that channel; nil: by Send indications

	onward  leg     // to the client that has peer as its relayed transport address
	outward outward // to a peer that nobody here has

	up    plainCount // not in from.Up yet
	media bool       // from's media are looked at
}

// Forget drops what is remembered of the batch's earlier packets. It must be
// called after anything on this goroutine that may have changed an allocation.
func (f *Forwarder) Forget() {
	f.settle()
	f.inward.settle()
	f.client = nil
}

// settle ends a route and publishes its counts.
func (f *Forwarder) settle() {
	r := &f.route
	if r.from != nil {
		r.up.publish(&r.from.Up)
		r.onward.settle()
	}
	*r = route{}
}

// relay sends a packet of the route to the peer. A client that has the peer as its
// relayed transport address gets it at once, if it permits the sender
// (RFC 8656 §11.3, §12.7): that is the hairpin.
func (f *Forwarder) relay(p packet) {
	r := &f.route
	if r.onward.to == nil && !r.outward.found && !f.find(p.length) {
		return
	}
	if !r.from.AdmitUp(p.length, f.now) {
		f.dropUp(r.from, DropBandwidth, p.length)
		return
	}
	r.up.add(p.length)
	f.of(r.from.Client.Listener).peerOut.add(p.length)
	if r.media {
		r.from.UpMedia.Observe(p.data(), int64(f.now)) // before a header is written over it
	}
	if r.outward.found {
		f.toPeer(p)
		return
	}
	f.of(r.onward.to.Client.Listener).peerIn.add(p.length)
	if f.toClient(&r.onward, p) {
		f.counts.hairpin++
	}
}

// find completes the route, or counts a packet of that length as dropped.
func (f *Forwarder) find(length int) bool {
	r := &f.route
	r.media = f.media.Observes(r.from.ID)
	var to *allocation.Allocation
	if r.via != nil {
		to = f.table.Target(r.via, f.now)
	} else {
		to = f.table.FindRelayed(r.peer, f.now)
	}
	if to == nil {
		return f.findOutside(length)
	}
	if !f.rules.Loop() && !f.rules.Allows(r.peer) {
		f.dropUp(r.from, DropPeerNotAllowed, length)
		return false
	}
	if !to.Permitted(r.from.Relayed.Addr(), f.now) {
		r.from.Up.Add(1, length)
		f.of(r.from.Client.Listener).peerOut.add(length)
		f.of(to.Client.Listener).peerIn.add(length)
		f.dropDown(to, DropPeerNoPermission, length)
		return false
	}
	r.onward.aim(to, r.from.Relayed, f.now)
	return true
}
