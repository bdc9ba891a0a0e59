package relay

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// bound is what a server listens on. It is immutable, and replaced as a whole (Server.publish).
type bound struct {
	serving []*listening // in the order of Config.Listeners
	leaving []*listening // removed, with clients that are still there
	sockets []*socket    // by allocation.Client.Listener; nil: nobody has that number
	dropped uint64       // datagrams by the kernel, of sockets that are closed
}

// listening is one of Config.Listeners.
//
//	bound ──publish──► serving ──no longer configured──► leaving ──empty──► closed
//	                      ▲                                 │ configured again (datagrams)
//	                      └─────────────────────────────────┘
type listening struct {
	// Immutable.
	Listener
	gate    control.Gate // closed while leaving
	sockets []*socket    // two where it takes both families and the host has both

	empty time.Time // since when nobody has been there; zero: somebody is; guarded by Server.reload
}

// socket is one bound address of a listener: of datagram sockets, one per loop, of
// a stream listener, of DTLS associations, or of flows through load balancers.
type socket struct {
	// Immutable once it is published.
	index  int32 // allocation.Client.Listener
	of     *listening
	local  netip.AddrPort
	public netip.AddrPort
	conns  []*udp.Conn
	loops  []*udpLoop // by allocation.Client.Loop
	place  uint8      // in Server.discovery; 0: it is no more than a listener
	stream *stream.Listener
	dtls   *secure.Associations
	flows  *secure.Flows
	before forward.ListenerTotals // what was counted under its index when that was another socket's
	tcp    tcp.Traffic            // likewise

	reading sync.WaitGroup // loops that end when it is closed

	live  atomic.Int64  // allocations
	total atomic.Uint64 // allocations since the start
}

// nowhere is what an index means that nobody has any longer.
var nowhere = &socket{of: new(listening)}

// socket returns the one of an index.
func (b *bound) socket(index int32) *socket {
	if int(index) < len(b.sockets) && b.sockets[index] != nil {
		return b.sockets[index]
	}
	return nowhere
}

// each yields the sockets that there are.
func (b *bound) each(yield func(*socket) bool) {
	for _, k := range b.sockets {
		if k != nil && !yield(k) {
			return
		}
	}
}

// add gives a socket the index that is free next; resting ones are not.
func (b *bound) add(k *socket, resting []restingIndex) {
	for i := range b.sockets {
		isResting := slices.ContainsFunc(resting, func(r restingIndex) bool { return r.index == i })
		if b.sockets[i] == nil && !isResting {
			k.index, b.sockets[i] = int32(i), k
			return
		}
	}
	k.index = int32(len(b.sockets))
	b.sockets = append(b.sockets, k)
}

func (b *bound) clone() *bound {
	return &bound{serving: slices.Clone(b.serving), leaving: slices.Clone(b.leaving), sockets: slices.Clone(b.sockets), dropped: b.dropped}
}

// all yields every listening, those that serve first.
func (b *bound) all(yield func(l *listening, leaving bool) bool) {
	for _, l := range b.serving {
		if !yield(l, false) {
			return
		}
	}
	for _, l := range b.leaving {
		if !yield(l, true) {
			return
		}
	}
}

// datagrams lists the sockets as the data plane has them.
func (b *bound) datagrams() forward.Sockets {
	all := make(forward.Sockets, len(b.sockets))
	for k := range b.each {
		all[k.index] = k.conns
	}
	return all
}

// socket returns where an allocation's client is.
func (s *Server) socket(a *allocation.Allocation) *socket {
	return s.bound.Load().socket(a.Client.Listener)
}

func (s *Server) listenerName(a *allocation.Allocation) string { return s.socket(a).of.Name }

// close ends what the socket has of the host, and whoever waits there.
func (k *socket) close() {
	for _, c := range k.conns {
		c.Close()
	}
	for _, l := range k.loops {
		if l.relayed != nil && !l.stays {
			l.relayed.poller.Close()
		}
	}
	if k.stream != nil {
		k.stream.Close()
	}
	if k.dtls != nil {
		k.dtls.Close()
	}
	if k.flows != nil {
		k.flows.Close()
	}
}
