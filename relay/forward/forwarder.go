package forward

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

const (
	queueMessages = 128 // datagrams a queue holds; two full receive batches
	queueStreams  = 64  // connections that one batch may touch before it flushes
	maxDataHeader = 48  // STUN header, IPv6 XOR-PEER-ADDRESS and DATA's header
)

// Options say what a Plane works on.
type Options struct {
	Table   *allocation.Table
	Sockets Sockets       // until SetSockets
	Peers   *peers.Policy // with whom clients may exchange packets; nil: with each other
	Quality quality.Mode  // whose media are looked at, until SetQuality
}

// Plane is what the forwarders of a server share.
type Plane struct {
	Options // immutable

	quality atomic.Uint32           // quality.Mode; read once a batch
	sockets atomic.Pointer[Sockets] // likewise

	mu         sync.Mutex
	forwarders []*Forwarder // every one that may be used; guarded by mu
	retired    Totals       // of all others; guarded by mu
}

// New makes a data plane.
func New(o Options) *Plane {
	if o.Peers == nil {
		o.Peers = peers.LoopOnly()
	}
	p := &Plane{Options: o}
	p.SetQuality(o.Quality)
	p.SetSockets(o.Sockets)
	return p
}

// SetQuality changes whose media are looked at, from each forwarder's next batch on. What was seen before stays.
func (p *Plane) SetQuality(m quality.Mode) { p.quality.Store(uint32(m)) }

// LooksAt returns whose media are looked at.
func (p *Plane) LooksAt() quality.Mode { return quality.Mode(p.quality.Load()) }

// Forwarder is one goroutine's part of the data plane. Between Begin and Flush it
// collects what goes out.
type Forwarder struct {
	plane  *Plane
	table  *allocation.Table
	policy *peers.Policy
	media  quality.Mode // of this batch
	now    allocation.Time
	rules  *peers.Set // of this batch

	client *allocation.Allocation // whose packet was the last; nil: none, or Forget
	route  route
	inward leg // of the last datagram that a peer sent

	worker  int          // which of each listener's sockets it sends by
	sockets *Sockets     // that conns are of
	conns   []*udp.Conn  // by listener, nil for stream listeners
	queues  []*udp.Queue // by listener; nil as long as nothing has been sent there
	outside outside
	streams []allocation.Stream
	heads   [][maxDataHeader]byte // headers that didn't fit into the received bytes
	used    int                   // of heads

	ids    *rand.ChaCha8 // transaction IDs of Data indications
	counts batchCounts
	stats  stats
}

// NewForwarder makes a forwarder that sends by the sockets of a worker, from 0.
func (p *Plane) NewForwarder(worker int) *Forwarder {
	var seed [32]byte
	crand.Read(seed[:]) // never fails (crypto/rand)
	f := &Forwarder{
		plane: p, table: p.Table, policy: p.Peers, worker: worker,
		streams: make([]allocation.Stream, 0, queueStreams),
		heads:   make([][maxDataHeader]byte, queueMessages),
		ids:     rand.NewChaCha8(seed),
	}
	f.takeSockets()
	p.mu.Lock()
	p.forwarders = append(p.forwarders, f)
	p.mu.Unlock()
	return f
}

// Retire ends the use of a forwarder, which has been flushed. What it counted stays.
func (p *Plane) Retire(f *Forwarder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.forwarders, f); i >= 0 {
		p.forwarders = slices.Delete(p.forwarders, i, i+1)
		p.retired.add(f.stats.totals())
	}
}

// Begin starts a batch that was received at now.
func (f *Forwarder) Begin(now allocation.Time) {
	f.now, f.rules, f.media = now, f.policy.Set(), quality.Mode(f.plane.quality.Load())
	if f.plane.sockets.Load() != f.sockets {
		f.takeSockets()
	}
}

// transactionID fills id with the next random transaction ID (RFC 8489 §5).
func (f *Forwarder) transactionID(id *[12]byte) {
	binary.LittleEndian.PutUint64(id[:8], f.ids.Uint64())
	binary.LittleEndian.PutUint32(id[8:], uint32(f.ids.Uint64()))
}
