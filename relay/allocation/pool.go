package allocation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// DefaultCooldown is how long a relayed transport address rests after its
	// allocation ended, so that packets under way and permissions of its last
	// peers don't meet a stranger there.
	DefaultCooldown = 30 * time.Second
	// ReservationLifetime is how long a reserved port waits for its token
	// (RFC 8656 §7.2 asks for at least 30 s).
	ReservationLifetime = 30 * time.Second

	// maxBlockAddresses bounds how many addresses of one prefix are drawn from:
	// more than allocations fit in memory.
	maxBlockAddresses = 1 << 24
	randomTries       = 32 // before looking for a free place in order
	scanSteps         = 1 << 16
)

// PortRange is an inclusive range of UDP ports.
type PortRange struct{ Min, Max uint16 }

func (r PortRange) size() int { return int(r.Max) - int(r.Min) + 1 }

// evens is how many even ports there are, pairs how many that have their next
// higher port beside them in the range.
func (r PortRange) evens() int { return int(r.Max)/2 - (int(r.Min)-1)/2 }
func (r PortRange) pairs() int { return (int(r.Max)-1)/2 - (int(r.Min)-1)/2 }

// Contains says whether port lies in the range.
func (r PortRange) Contains(port uint16) bool { return r.Min <= port && port <= r.Max }

// String returns MIN-MAX.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.Min, r.Max) }

// block is a run of addresses that relayed transport addresses are drawn from.
type block struct {
	first uint64 // index of its first address in the pool
	size  uint64
	base  netip.Addr // address of index first
	last  netip.Addr
}

func newBlock(p netip.Prefix, first uint64) block {
	p = p.Masked()
	bits := p.Addr().BitLen() - p.Bits()
	b := block{first: first, base: p.Addr(), size: maxBlockAddresses}
	if bits < 24 {
		b.size = 1 << bits
	}
	switch {
	case bits <= 1: // a single address or a point-to-point pair: all of it
	case p.Addr().Is4(): // not the network's nor the broadcast address
		b.base, b.size = b.base.Next(), b.size-2
	default: // not the subnet-router anycast address (RFC 4291 §2.6.1)
		b.base, b.size = b.base.Next(), b.size-1
	}
	b.last = offset(b.base, b.size-1)
	return b
}

func (b *block) contains(a netip.Addr) bool {
	return a.BitLen() == b.base.BitLen() && a.Zone() == "" && b.base.Compare(a) <= 0 && a.Compare(b.last) <= 0
}

// offset returns the address n after a.
func offset(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		v := a.As4()
		binary.BigEndian.PutUint32(v[:], binary.BigEndian.Uint32(v[:])+uint32(n))
		return netip.AddrFrom4(v)
	}
	v := a.As16()
	low := binary.BigEndian.Uint64(v[8:])
	binary.BigEndian.PutUint64(v[8:], low+n)
	return netip.AddrFrom16(v)
}

// distance is offset's inverse, for addresses of one block.
func distance(base, a netip.Addr) uint64 {
	x, y := base.As16(), a.As16()
	return binary.BigEndian.Uint64(y[8:]) - binary.BigEndian.Uint64(x[8:])
}

// place is one relayed transport address as a number: index of the address in the
// pool, times 2^16, plus the port.
type place uint64

func placeOf(address uint64, port uint16) place { return place(address<<16 | uint64(port)) }
func (p place) address() uint64                 { return uint64(p) >> 16 }
func (p place) port() uint16                    { return uint16(p) }

// pool draws relayed transport addresses of one family. Guarded by Table.mu.
//
//	free ──draw──► taken ──release──► cooling ──cool-down──► free
//	free ──draw with R──► reserved ──token──► taken
//	                         └── 30 s ──► free
type pool struct {
	blocks   []block
	size     uint64 // addresses in all blocks
	ports    PortRange
	cooldown time.Duration

	taken      map[place]struct{} // taken, reserved or cooling
	perAddress map[uint64]usage   // of the ports that are; absent: none is
	cooling    queue[place]
}

// usage counts what of an address's ports is taken: enough to know, without
// looking for one, that none of the wanted kind is free.
type usage struct {
	ports, evens uint16
	pairs        uint16 // of which at least one port is taken
}

func (p *pool) add(prefix netip.Prefix) error {
	b := newBlock(prefix, p.size)
	for i := range p.blocks {
		if p.blocks[i].contains(b.base) || b.contains(p.blocks[i].base) {
			return fmt.Errorf("relay address %s overlaps another one: leave one of them out", prefix)
		}
	}
	p.blocks = append(p.blocks, b)
	p.size += b.size
	return nil
}

func (p *pool) contains(a netip.Addr) bool {
	for i := range p.blocks {
		if p.blocks[i].contains(a) {
			return true
		}
	}
	return false
}

func (p *pool) addrPort(at place) netip.AddrPort {
	n := at.address()
	for i := range p.blocks {
		if b := &p.blocks[i]; n < b.first+b.size {
			return netip.AddrPortFrom(offset(b.base, n-b.first), at.port())
		}
	}
	return netip.AddrPort{} // draw never makes such a place
}

// placeOf is addrPort's inverse.
func (p *pool) placeOf(a netip.AddrPort) place {
	for i := range p.blocks {
		if b := &p.blocks[i]; b.contains(a.Addr()) {
			return placeOf(b.first+distance(b.base, a.Addr()), a.Port())
		}
	}
	panic("allocation: relayed transport address " + a.String() + " is not from this pool")
}

// draw takes a random free place: on an address of its own as long as there is
// one, so that a permission, which is per IP address, names one peer.
// With even, the port is even; with pair, the next higher port is taken as well.
func (p *pool) draw(even, pair bool) (place, bool) {
	address, ok := p.drawAddress()
	if ok {
		if at, ok := p.drawPort(address, even, pair); ok {
			return at, true
		}
	}
	// Every address has somebody: share one, beginning anywhere.
	start := rand.Uint64N(max(p.size, 1))
	for i := range min(p.size, scanSteps) {
		if at, ok := p.drawPort((start+i)%p.size, even, pair); ok {
			return at, true
		}
	}
	return 0, false
}

// drawAddress finds an address that nobody has.
func (p *pool) drawAddress() (uint64, bool) {
	if uint64(len(p.perAddress)) >= p.size {
		return 0, false
	}
	for range randomTries {
		n := rand.Uint64N(p.size)
		if _, used := p.perAddress[n]; !used {
			return n, true
		}
	}
	start := rand.Uint64N(p.size)
	for i := range min(p.size, scanSteps) {
		n := (start + i) % p.size
		if _, used := p.perAddress[n]; !used {
			return n, true
		}
	}
	return 0, false
}

func (p *pool) drawPort(address uint64, even, pair bool) (place, bool) {
	if p.exhausted(address, even, pair) {
		return 0, false
	}
	size := p.ports.size()
	fits := func(i int) (place, bool) {
		port := int(p.ports.Min) + i
		if even && port&1 == 1 || pair && port == int(p.ports.Max) {
			return 0, false
		}
		at := placeOf(address, uint16(port))
		if p.isTaken(at) || pair && p.isTaken(at+1) {
			return 0, false
		}
		p.take(at)
		if pair {
			p.take(at + 1)
		}
		return at, true
	}
	for range randomTries {
		if at, ok := fits(rand.IntN(size)); ok {
			return at, true
		}
	}
	start := rand.IntN(size)
	for i := range size {
		if at, ok := fits((start + i) % size); ok {
			return at, true
		}
	}
	return 0, false
}

// exhausted says whether an address has no free port of the kind that drawPort
// looks for.
func (p *pool) exhausted(address uint64, even, pair bool) bool {
	used := p.perAddress[address]
	switch {
	case pair:
		return int(used.pairs) >= p.ports.pairs()
	case even:
		return int(used.evens) >= p.ports.evens()
	}
	return int(used.ports) >= p.ports.size()
}

func (p *pool) isTaken(at place) bool {
	_, taken := p.taken[at]
	return taken
}

func (p *pool) take(at place) {
	ports, evens, pairs := p.weight(at)
	p.taken[at] = struct{}{}
	used := p.perAddress[at.address()]
	p.perAddress[at.address()] = usage{used.ports + ports, used.evens + evens, used.pairs + pairs}
}

// free makes a place drawable at once.
func (p *pool) free(at place) {
	ports, evens, pairs := p.weight(at)
	delete(p.taken, at)
	used := p.perAddress[at.address()]
	if used = (usage{used.ports - ports, used.evens - evens, used.pairs - pairs}); used != (usage{}) {
		p.perAddress[at.address()] = used
	} else {
		delete(p.perAddress, at.address())
	}
}

// weight is what taking or freeing a place changes in its address's usage.
func (p *pool) weight(at place) (ports, evens, pairs uint16) {
	evens = 1 - at.port()&1
	if p.ports.Contains(at.port()^1) && !p.isTaken(at^1) {
		pairs = 1
	}
	return 1, evens, pairs
}

// release lets a place cool down.
func (p *pool) release(at place, now Time) { p.cooling.push(at, now.Add(p.cooldown)) }

// cool frees up to sweepChunk places whose cool-down is over, and says whether
// there may be more.
func (p *pool) cool(now Time) (more bool) {
	for range sweepChunk {
		at, ok := p.cooling.pop(now)
		if !ok {
			return false
		}
		p.free(at)
	}
	return true
}

// queue holds things that fall due in the order in which they came.
type queue[T any] struct {
	items []queued[T]
	head  int
}

type queued[T any] struct {
	item T
	due  Time
}

func (q *queue[T]) push(item T, due Time) { q.items = append(q.items, queued[T]{item, due}) }

// pop returns the next thing that is due at now.
func (q *queue[T]) pop(now Time) (item T, ok bool) {
	if q.head == len(q.items) || q.items[q.head].due > now {
		return item, false
	}
	item = q.items[q.head].item
	q.head++
	if q.head*2 >= len(q.items) { // amortised: each element is moved at most once a halving
		n := copy(q.items, q.items[q.head:])
		q.items, q.head = q.items[:n], 0
	}
	return item, true
}

var errNoRelay = errors.New("no relay address given: name at least one IP address or prefix")
