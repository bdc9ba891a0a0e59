package allocation

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Allocation is what a client holds on the server (RFC 8656 §3): its five-tuple,
// its relayed transport address, and the peers that it talks with.
//
// Life cycle:
//
//	Create ──► live ──Refresh──► live
//	             │
//	             ├── deadline passed      ──► expired (readers no longer find it)
//	             ├── Refresh to zero      ──► ended
//	             ├── its connection ended ──► ended (one that may move waits: mobility.go)
//	             ├── the operator says so ──► ended
//	             └── server stops         ──► ended
//
// An ended allocation's relayed transport address cools down before it can be
// drawn again.
type Allocation struct {
	// Read by the data plane, of sender and receiver, for each packet; written by
	// the control plane. They share the first cache line.
	expires     atomic.Int64 // Time; 0 once ended
	permissions atomic.Pointer[permissionSet]
	channels    atomic.Pointer[channelSet]
	rare        *rare          // nil for most; immutable
	Relayed     netip.AddrPort // the relayed transport address; immutable

	// Immutable, read by the data plane.
	FiveTuple FiveTuple
	Client    Client
	Socket    *udp.Conn // what is bound to Relayed; nil in loop mode

	// Written by the data plane, by whoever relays packets from this client, and
	// in the next line by whoever relays packets to it.
	Up        Counter      // client → peers, relayed
	UpDropped Counter      // client → peers, dropped
	UpMedia   quality.Slot // client → peers, what was relayed

	// Immutable.
	ID            uint64 // unique in this process, from 1
	User          string
	Lifetime      time.Duration // as first granted
	CreatedAt     Time
	TransactionID [12]byte // of the Allocate request that made it (RFC 8656 §7.2)

	cut int8 // of User, to get the account; immutable

	// Guarded by Table.mu; here they fill up the transaction ID's last word, and the whole the allocator's 384 bytes.
	why   Reason
	ended bool
	last  bool // nothing of it goes on now that it has ended

	// Credential is nil but for a client that came with an access token.
	Credential atomic.Pointer[Credential]

	mu sync.Mutex // guards replacing permissions and channels

	// Guarded by Table.mu.
	due        int64 // second of the wheel in which it waits
	next, prev *Allocation

	Down        Counter      // peers → client, relayed
	DownDropped Counter      // peers → client, dropped
	DownMedia   quality.Slot // peers outside → client; what another client sends is in its UpMedia
}

// Counter counts relayed packets and the bytes of application data in them.
type Counter struct {
	Packets, Bytes atomic.Uint64
}

// Add counts packets with bytes of application data.
func (c *Counter) Add(packets, bytes int) {
	c.Packets.Add(uint64(packets))
	c.Bytes.Add(uint64(bytes))
}

// Count is a reading of a Counter.
type Count struct {
	Packets uint64
	Bytes   uint64 // of application data, without TURN's own headers
}

// Read returns the counts as they are.
func (c *Counter) Read() Count { return Count{c.Packets.Load(), c.Bytes.Load()} }

// Counts is a reading of an allocation's counters: Up is client to peers, Down is
// peers to client; what was dropped is not in Up or Down.
type Counts struct {
	Up, UpDropped     Count
	Down, DownDropped Count
}

func (c *Count) add(d Count) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
}

func (c *Counts) add(d Counts) {
	c.Up.add(d.Up)
	c.UpDropped.add(d.UpDropped)
	c.Down.add(d.Down)
	c.DownDropped.add(d.DownDropped)
}

// Counts reads the counters, of all relayed transport addresses of the allocation and
// of all places that its client has been at.
func (a *Allocation) Counts() Counts {
	if a.rare == nil {
		return a.counted()
	}
	var sum Counts
	for i, h := range a.rare.halves {
		if h != nil {
			sum.add(a.rare.counts(i))
		}
	}
	return sum
}

// counted reads a's own counters.
func (a *Allocation) counted() Counts {
	return Counts{
		Up: a.Up.Read(), UpDropped: a.UpDropped.Read(),
		Down: a.Down.Read(), DownDropped: a.DownDropped.Read(),
	}
}

// Expires returns the moment at which the allocation is over unless it is
// refreshed.
func (a *Allocation) Expires() Time { return Time(a.expires.Load()) }

// Family returns the family of the relayed transport address.
func (a *Allocation) Family() Family { return FamilyOf(a.Relayed.Addr()) }

// Why returns why the allocation ended; it is meant for Options.Died and Options.Closed.
func (a *Allocation) Why() Reason { return a.why }

func (a *Allocation) expired(now Time) bool { return Time(a.expires.Load()) <= now }

// Reason says why an allocation ended.
type Reason uint8

// The reasons. The zero value is a live allocation.
const (
	Live             Reason = iota
	Expired                 // its lifetime passed without a Refresh
	Released                // the client refreshed it to zero
	ConnectionClosed        // the client's connection ended (RFC 8656 §7.1 ties the two)
	Shutdown                // the server stops
	Ended                   // whoever looks after the server wanted it
	Moved                   // its client is at another five-tuple now, and so is the allocation
)

// String returns the reason in words fit for a log line.
func (r Reason) String() string {
	switch r {
	case Live:
		return "live"
	case Expired:
		return "expired"
	case Released:
		return "released by the client"
	case ConnectionClosed:
		return "connection closed"
	case Ended:
		return "ended by the operator"
	case Shutdown:
		return "server shutdown"
	case Moved:
		return "moved"
	}
	return "unknown"
}
