package tcp

import (
	"cmp"
	"crypto/rand"
	"net"
	"net/netip"
	"sort"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// link is a connection through the relay: between two TCP allocations, or between one
// and a peer outside.
//
//	dialing ──► pending ──both ends there──► joined ──┐
//	   │           └──────── 30 s ────────────────────┤
//	   └── failed, refused ───────────────────────────┴──► over
//
// Whatever else ends it, the allocation, a client, a fault, leads to over from anywhere.
type link struct {
	connections *Connections
	ends        [2]end // the first is that of who connected, or was connected to by a peer outside

	joined, closed chan struct{} // closed on entering these states, under Connections.mu
	settled        chan struct{} // closed when it is over and every byte that it relayed is counted

	since allocation.Time // when it was made

	// Guarded by Connections.mu.
	state state
	ways  int         // that bytes may still go, once it is joined
	timer *time.Timer // of pending
}

type state uint8

const (
	dialing state = iota
	pending
	joined
	over
)

// end is one of the two sides of a link: a client's, by a client data connection, or a
// peer's outside.
type end struct {
	link  *link
	group *group         // whose it is; nil: a peer outside
	peer  netip.AddrPort // what the group's client takes for the other end

	// Guarded by Connections.mu; conn is read without once the link is joined.
	id    uint32   // CONNECTION-ID; 0: none yet
	bound bool     // its ConnectionBind request was granted
	conn  net.Conn // nil: not there yet
	stop  func()   // ends conn without waiting

	ended   atomic.Bool   // nothing comes from it any longer
	relayed atomic.Uint64 // bytes that came from it and were passed on
}

func (e *end) other() *end {
	if e == &e.link.ends[0] {
		return &e.link.ends[1]
	}
	return &e.link.ends[0]
}

// newLinkLocked makes a link between the group's client and a peer: to's client or,
// when that is nil, somebody outside.
func (c *Connections) newLinkLocked(from *group, peer netip.AddrPort, to *group) *link {
	l := &link{
		connections: c, since: c.options.Now(),
		joined: make(chan struct{}), closed: make(chan struct{}), settled: make(chan struct{}),
	}
	l.ends[0].group, l.ends[0].peer = from, peer
	l.ends[1].group, l.ends[1].peer = to, from.allocation.Relayed
	for i := range l.ends {
		e := &l.ends[i]
		e.link = l
		if e.group != nil {
			e.group.ends[e.peer] = e
			e.group.links[l] = struct{}{}
			e.group.pending++
		}
	}
	c.counts.Pending++
	return l
}

// awaitLocked lets the link wait for its ConnectionBind requests.
func (l *link) awaitLocked() {
	l.state = pending
	l.timer = time.AfterFunc(bindTimeout, l.close)
}

// attempt tells an end's client of a connection (RFC 6062 §5.3).
func (c *Connections) attempt(e *end) {
	var id [12]byte
	rand.Read(id[:]) // never fails
	var m wire.Reply
	m.Indication(wire.MethodConnectionAttempt, id)
	m.AddAddress(wire.AttrXORPeerAddress, e.peer)
	m.AddUint32(wire.AttrConnectionID, e.id)
	if !e.group.send(m.Finish(nil, nil)) {
		e.link.close()
	}
}

// send queues a message on the control connection; false: it is full or over.
func (g *group) send(message []byte) bool {
	control := g.allocation.Client.Stream
	if control == nil || !control.Send(nil, message, 0) {
		return false
	}
	control.Flush()
	return true
}

// arrive enters an end's connection; false: too late.
func (l *link) arrive(e *end, conn net.Conn) bool {
	c := l.connections
	c.mu.Lock()
	if l.state == over {
		c.mu.Unlock()
		return false
	}
	e.conn = conn
	complete := e.other().conn != nil
	if complete {
		l.state, l.ways = joined, len(l.ends)
		l.leavePendingLocked()
		c.counts.Joined++
		for i := range l.ends {
			if g := l.ends[i].group; g != nil {
				g.allocation.TCP().Joined.Add(1)
			}
		}
	}
	c.mu.Unlock()
	if complete {
		l.tell(c.options.Joined)
		close(l.joined)
	}
	return true
}

// tell has a callback, which may be nil, told of a link once for each allocation that it belongs to.
func (l *link) tell(of func(*allocation.Allocation, Reading)) {
	if of == nil {
		return
	}
	for i := range l.ends {
		if e := &l.ends[i]; e.group != nil {
			of(e.group.allocation, e.reading(true))
		}
	}
}

// settle is due when no byte goes one way any longer. The last of the two tells.
func (l *link) settle() {
	c := l.connections
	c.mu.Lock()
	l.ways--
	last := l.ways == 0
	c.mu.Unlock()
	if !last {
		return
	}
	l.tell(c.options.Parted)
	close(l.settled)
	c.mu.Lock()
	l.forgetLocked()
	c.mu.Unlock()
}

// forgetLocked is due once the link is settled.
func (l *link) forgetLocked() {
	for i := range l.ends {
		if g := l.ends[i].group; g != nil {
			delete(g.links, l)
		}
	}
}

// Reading is a connection of a TCP allocation as it is at a moment.
type Reading struct {
	Peer   netip.AddrPort
	Joined bool // else it waits for the peer or a ConnectionBind request
	Since  allocation.Time
	// Bytes that were passed on from the client to the peer, and from the peer to the client.
	Up, Down uint64
}

func (e *end) reading(joined bool) Reading {
	return Reading{Peer: e.peer, Joined: joined, Since: e.link.since, Up: e.relayed.Load(), Down: e.other().relayed.Load()}
}

// Of lists the connections of an allocation, the oldest first.
func (c *Connections) Of(a *allocation.Allocation) []Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[a.Relayed]
	if g == nil || g.allocation != a {
		return nil
	}
	list := make([]Reading, 0, len(g.ends))
	for _, e := range g.ends {
		list = append(list, e.reading(e.link.state == joined))
	}
	sort.Slice(list, func(i, j int) bool { // sort's is one for all types, slices' 10 KB for each
		a, b := &list[i], &list[j]
		return cmp.Or(cmp.Compare(a.Since, b.Since), a.Peer.Compare(b.Peer)) < 0
	})
	return list
}

func (l *link) leavePendingLocked() {
	l.connections.counts.Pending--
	for i := range l.ends {
		if g := l.ends[i].group; g != nil {
			g.pending--
		}
	}
}

// close ends the link and both its connections. Once it has returned, closed is closed.
func (l *link) close() {
	c := l.connections
	c.mu.Lock()
	if l.state == over {
		c.mu.Unlock()
		return
	}
	if l.state == joined {
		c.counts.Joined--
	} else {
		l.leavePendingLocked()
		l.forgetLocked()
		close(l.settled)
	}
	l.state = over
	close(l.closed)
	if l.timer != nil {
		l.timer.Stop()
	}
	for i := range l.ends {
		e := &l.ends[i]
		if e.group != nil {
			delete(e.group.ends, e.peer)
			delete(c.ends, e.id) // 0 is nobody's
		}
	}
	stops := [...]func(){l.ends[0].stop, l.ends[1].stop}
	c.mu.Unlock()
	for _, stop := range stops {
		if stop != nil {
			stop()
		}
	}
}

func (l *link) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}
