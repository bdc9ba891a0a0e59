package allocation

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

const (
	indexShards    = 64 // growing one shard copies 1/64 of the table
	minShardSlots  = 8
	shardShift     = 64 - 6 // top six bits choose the shard
	maxLoadPercent = 75     // occupied slots, tombstones included
)

// index maps a 64-bit hash to allocations: open addressing with linear probing,
// one 16-byte slot an entry. Readers take no lock; writers hold Table.mu.
//
//	insert: tag, then pointer       read: pointer, then tag
//	remove: pointer = tombstone     grow: fill a new array, then publish it
//
// So a reader that sees the pointer sees its tag, and a reader that holds an old
// array sees the table as it was when it began.
type index struct {
	shards [indexShards]indexShard
}

type indexShard struct {
	slots atomic.Pointer[[]slot]

	// guarded by Table.mu
	live, occupied int

	_ [40]byte // one shard, one cache line
}

type slot struct {
	tag        atomic.Uint64
	allocation atomic.Pointer[Allocation]
}

// tombstone marks a slot whose entry was removed: probing goes on past it.
var tombstone = new(Allocation)

func (x *index) init() {
	for i := range x.shards {
		s := make([]slot, minShardSlots)
		x.shards[i].slots.Store(&s)
	}
}

// probe walks the entries of one hash.
type probe struct {
	slots []slot
	at    uint64
	hash  uint64
}

func (x *index) probe(hash uint64) probe {
	return probe{slots: *x.shards[hash>>shardShift].slots.Load(), at: hash, hash: hash}
}

// next returns the next allocation whose hash is the probe's, nil at the end.
// The caller compares the key.
func (p *probe) next() *Allocation {
	mask := uint64(len(p.slots) - 1)
	for {
		s := &p.slots[p.at&mask]
		p.at++
		a := s.allocation.Load()
		if a == nil {
			return nil
		}
		if s.tag.Load() == p.hash && a != tombstone {
			return a
		}
	}
}

// insert adds a; the caller knows that its key isn't there yet.
func (x *index) insert(hash uint64, a *Allocation) {
	s := &x.shards[hash>>shardShift]
	slots := *s.slots.Load()
	if (s.occupied+1)*100 > len(slots)*maxLoadPercent {
		slots = s.rebuild(slots)
	}
	if store(slots, hash, a) {
		s.occupied++
	}
	s.live++
}

// remove takes a out; it does nothing when a isn't there.
func (x *index) remove(hash uint64, a *Allocation) {
	s := &x.shards[hash>>shardShift]
	slots := *s.slots.Load()
	mask := uint64(len(slots) - 1)
	for at := hash; ; at++ {
		switch e := &slots[at&mask]; e.allocation.Load() {
		case nil:
			return
		case a:
			e.allocation.Store(tombstone)
			s.live--
			return
		}
	}
}

// replace puts b in a's place, whose key it has; it does nothing when a isn't there.
func (x *index) replace(hash uint64, a, b *Allocation) {
	slots := *x.shards[hash>>shardShift].slots.Load()
	mask := uint64(len(slots) - 1)
	for at := hash; ; at++ {
		switch e := &slots[at&mask]; e.allocation.Load() {
		case nil:
			return
		case a:
			e.allocation.Store(b)
			return
		}
	}
}

// rebuild publishes a copy without tombstones, with room for the live entries
// to double.
func (s *indexShard) rebuild(old []slot) []slot {
	size := minShardSlots
	for size < 2*(s.live+1) {
		size *= 2
	}
	slots := make([]slot, size)
	for i := range old {
		if a := old[i].allocation.Load(); a != nil && a != tombstone {
			store(slots, old[i].tag.Load(), a)
		}
	}
	s.occupied = s.live
	s.slots.Store(&slots)
	return slots
}

// store writes an entry into the first slot that is empty or a tombstone and
// says whether it took an empty one.
func store(slots []slot, hash uint64, a *Allocation) (fresh bool) {
	mask := uint64(len(slots) - 1)
	for at := hash; ; at++ {
		e := &slots[at&mask]
		old := e.allocation.Load()
		if old != nil && old != tombstone {
			continue
		}
		e.tag.Store(hash)
		e.allocation.Store(a)
		return old == nil
	}
}

// hashKey makes hashes unpredictable, so that nobody can choose source addresses
// that all fall into one slot.
type hashKey [3]uint64

func newHashKey() (k hashKey) {
	for i := range k {
		k[i] = rand.Uint64() | 1
	}
	return k
}

func (k *hashKey) tuple(t *FiveTuple) uint64 {
	h := k.address(uint64(t.Transport), t.Client)
	return k.address(h, t.Server)
}

func (k *hashKey) relayed(a netip.AddrPort) uint64 { return k.address(0, a) }

// address folds a transport address into h by two 64×64→128-bit multiplications
// with secret operands.
func (k *hashKey) address(h uint64, a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	low, high := binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])
	h = fold(h^low^k[0], high^k[1])
	return fold(h^uint64(a.Port()), k[2])
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
