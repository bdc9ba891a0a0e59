package tcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/stream"
)

const (
	// bindTimeout is how long a connection waits for its ConnectionBind request, exactly
	// (RFC 6062 §5.2, §5.3).
	bindTimeout = 30 * time.Second
	// dialTimeout is how long a peer may take to accept: at least 30 s (RFC 6062 §5.2).
	dialTimeout = 30 * time.Second

	// MaxPending is how many connections of an allocation may wait, for a peer or for a
	// ConnectionBind request.
	MaxPending = 64
	// MaxConnections is how many it may have altogether.
	MaxConnections = 512
)

// What Connect may answer instead of a connection.
var (
	ErrDialing = errors.New("the answer will follow")
	ErrExists  = errors.New("there is a connection to this peer already")                     // 446
	ErrFailed  = errors.New("the peer does not accept the connection")                        // 447
	ErrTooMany = errors.New("the allocation has as many connections as it may")               // 508
	ErrUnknown = errors.New("no connection waits under this identifier, or not for a client") // 400
)

// Connection is a client's TCP or TLS connection.
type Connection interface {
	allocation.Stream
	// TakeOver has the connection handed to p after the answer to the request in hand.
	TakeOver(p stream.Pipe)
	// Close ends it without waiting.
	Close()
}

var _ Connection = (*stream.Conn)(nil)

// Options configure Connections. The zero value is for clients of this server alone.
type Options struct {
	Now func() allocation.Time // of the table; nil: permissions never end

	// Allows says whether a transport address may be a peer beyond the process.
	Allows func(netip.AddrPort) bool
	// Own says which transport address of this host stands for a relayed one; nil: itself.
	Own func(netip.AddrPort) netip.AddrPort

	// Joined is told of each connection that has come about, and Parted of each that has and is over, with all of its bytes,
	// once for each allocation that it belongs to. nil: nobody is. They are called without locks held.
	Joined, Parted func(*allocation.Allocation, Reading)

	Log logging.LeveledLogger // nil: silent
}

// Connections are those of all TCP allocations of a server. Its methods may be called
// from any goroutine.
type Connections struct {
	options Options
	traffic trafficTable
	running sync.WaitGroup

	mu     sync.Mutex
	groups map[netip.AddrPort]*group // by relayed transport address; guarded by mu
	ends   map[uint32]*end           // by CONNECTION-ID; guarded by mu
	counts Counts                    // guarded by mu
}

// Counts is how many connections there are now. One between two clients of this server
// is counted once.
type Counts struct {
	Pending int // waiting for a peer or a ConnectionBind request
	Joined  int
}

// group is what belongs to one TCP allocation.
type group struct {
	allocation *allocation.Allocation
	ctx        context.Context // ends with the allocation
	cancel     context.CancelFunc

	// Guarded by Connections.mu.
	ends    map[netip.AddrPort]*end // by peer: there is one to each (RFC 6062 §3)
	links   map[*link]struct{}      // with those that are over but not settled
	pending int
	over    bool
}

// New makes Connections of no allocation.
func New(o Options) *Connections {
	if o.Now == nil {
		o.Now = func() allocation.Time { return 0 }
	}
	if o.Own == nil {
		o.Own = func(a netip.AddrPort) netip.AddrPort { return a }
	}
	return &Connections{
		options: o,
		groups:  make(map[netip.AddrPort]*group), ends: make(map[uint32]*end),
	}
}

// Begin is due when a TCP allocation was made. From then on clients and, where it
// listens, peers can connect to it.
func (c *Connections) Begin(a *allocation.Allocation) {
	g := &group{allocation: a, ends: make(map[netip.AddrPort]*end), links: make(map[*link]struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	c.mu.Lock()
	c.groups[a.Relayed] = g
	c.mu.Unlock()
	if a.TCP().Listener != nil {
		c.running.Go(func() { c.accept(g) })
	}
	if a.Expires() == 0 { // it ended before it was known here
		c.End(a)
	}
}

// End closes every connection of a TCP allocation that is over (RFC 6062 §5.5), and returns
// when all that they relayed is counted: their ends are awakened, so nobody else is waited
// for. The table has closed its listener. It is not for a goroutine that runs a Pipe.
func (c *Connections) End(a *allocation.Allocation) {
	c.mu.Lock()
	g := c.groups[a.Relayed]
	if g == nil || g.allocation != a {
		c.mu.Unlock()
		return
	}
	delete(c.groups, a.Relayed)
	g.over = true
	links := slices.Collect(maps.Keys(g.links))
	c.mu.Unlock()
	g.cancel()
	for _, l := range links {
		l.close()
	}
	for _, l := range links {
		<-l.settled
	}
}

// Wait returns when no goroutine of this package runs any longer; every allocation must
// have ended.
func (c *Connections) Wait() { c.running.Wait() }

// Connected says whether an allocation has a connection to a peer, or tries to.
func (c *Connections) Connected(a *allocation.Allocation, peer netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[a.Relayed]
	return g != nil && g.ends[peer] != nil
}

// Connect opens a connection from a's relayed transport address to a peer (RFC 6062
// §5.2), and returns its CONNECTION-ID: at once where the peer is another TCP
// allocation's relayed transport address. With outside it may be a peer beyond the
// process as well: then Connect returns ErrDialing, and what answer makes of the outcome
// is sent to the client later.
func (c *Connections) Connect(a *allocation.Allocation, peer netip.AddrPort, outside bool, answer func(id uint32, err error) []byte) (uint32, error) {
	c.mu.Lock()
	l, err := c.connectLocked(a, peer, outside)
	c.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case l.ends[1].group == nil:
		c.running.Go(func() { c.dial(l, peer, answer) })
		return 0, ErrDialing
	}
	c.attempt(&l.ends[1])
	return l.ends[0].id, nil
}

func (c *Connections) connectLocked(a *allocation.Allocation, peer netip.AddrPort, outside bool) (*link, error) {
	from, to := c.groups[a.Relayed], c.groups[peer]
	switch {
	case from == nil || from == to: // or a connection to itself
		return nil, ErrFailed
	case from.ends[peer] != nil:
		return nil, ErrExists
	case !from.hasRoom():
		return nil, ErrTooMany
	case to == nil && outside && a.TCP().Listener != nil:
		return c.newLinkLocked(from, peer, nil), nil
	case to == nil || !to.hasRoom() || !c.permits(to, a.Relayed.Addr()):
		return nil, ErrFailed
	}
	l := c.newLinkLocked(from, peer, to)
	c.identifyLocked(&l.ends[0])
	c.identifyLocked(&l.ends[1])
	l.awaitLocked()
	return l, nil
}

// permits says whether a peer may connect to the allocation: it lives and has a
// permission for it (RFC 6062 §5.3).
func (c *Connections) permits(g *group, peer netip.Addr) bool {
	now := c.options.Now()
	return g.allocation.Expires() > now && g.allocation.Permitted(peer, now)
}

// Owner returns the allocation that a connection belongs to which waits for a
// ConnectionBind request; nil: there is none of this CONNECTION-ID.
func (c *Connections) Owner(id uint32) *allocation.Allocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.ends[id]; e != nil && !e.bound {
		return e.group.allocation
	}
	return nil
}

// Bind makes conn the client data connection of the allocation's connection that waits
// under id (RFC 6062 §5.4), or returns ErrUnknown. It is for the goroutine that reads
// from conn.
func (c *Connections) Bind(a *allocation.Allocation, id uint32, conn Connection) error {
	c.mu.Lock()
	e := c.ends[id]
	if e == nil || e.bound || e.group.allocation != a {
		c.mu.Unlock()
		return ErrUnknown
	}
	e.bound, e.stop = true, conn.Close
	if other := e.other(); other.group == nil || other.bound {
		e.link.timer.Stop()
	}
	c.mu.Unlock()
	conn.TakeOver(e)
	return nil
}

// Counts tells how many connections there are.
func (c *Connections) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

func (g *group) hasRoom() bool {
	return !g.over && g.pending < MaxPending && len(g.ends) < MaxConnections
}

// identifyLocked gives an end a CONNECTION-ID that no other has and nobody can guess.
func (c *Connections) identifyLocked(e *end) {
	var b [4]byte
	for e.id == 0 || c.ends[e.id] != nil {
		rand.Read(b[:]) // never fails
		e.id = binary.BigEndian.Uint32(b[:])
	}
	c.ends[e.id] = e
}
