// Package rate holds sources of requests to a rate, in memory that does not grow with their number.
//
// It refuses to know what a source or a request is, to read a clock, and to remember who was refused: it answers, and
// who asks counts.
package rate

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// slots is how many numbers a row has. A Limit takes 256 KiB, of which the kernel gives those pages that sources fall into.
const slots = 1 << 14

// rows is how many places a source has. It is refused where all of them are full, so a source shares the fate of
// another one only if the two meet in every row: of 1,000 sources that are over their rate, one innocent in 280 meets
// some in both rows, with a single row it were one in 17. Which ones meet is different in each Limit, so that
// nobody can choose to be in somebody else's place.
const rows = 2

// Limit holds each source to a rate, by the generic cell rate algorithm (ITU-T I.371), which needs one number for a
// source and no timer. It is safe for any number of goroutines; none waits for another, and nothing is allocated. A nil
// Limit admits everything.
type Limit[Source comparable] struct {
	perSecond int64
	burst     int64 // nanoseconds
	seed      maphash.Seed
	due       [rows][slots]atomic.Int64 // when a source that kept to the rate would come next
}

// New makes a limit of perSecond units, of which a burst's time may come at once. It is nil where perSecond is 0.
func New[Source comparable](perSecond int, burst time.Duration) *Limit[Source] {
	if perSecond <= 0 {
		return nil
	}
	return &Limit[Source]{perSecond: int64(perSecond), burst: int64(burst), seed: maphash.MakeSeed()}
}

// Admit counts units of a source, or says how long it has to wait for them. now is in nanoseconds since any moment that
// is the same for all calls.
//
// Goroutines that count for one source at the very end of its burst may together admit more, by at most one request each.
func (l *Limit[Source]) Admit(source Source, units int, now int64) (wait time.Duration) {
	if l == nil || units <= 0 {
		return 0
	}
	cost, hash := l.cost(units), maphash.Comparable(l.seed, source)
	admitted := false
	for i := range l.due {
		if ahead := l.charge(l.slot(i, hash), cost, now); ahead <= 0 {
			admitted = true
		} else if wait == 0 || time.Duration(ahead) < wait {
			wait = time.Duration(ahead)
		}
	}
	if admitted {
		return 0
	}
	return wait
}

// Exhausted says whether a source would have to wait for so many units. It counts nothing.
func (l *Limit[Source]) Exhausted(source Source, units int, now int64) bool {
	if l == nil {
		return false
	}
	cost, hash := l.cost(units), maphash.Comparable(l.seed, source)
	for i := range l.due {
		if max(l.slot(i, hash).Load(), now)+cost-now <= l.burst {
			return false
		}
	}
	return true
}

// cost is the time that units take of the rate, in nanoseconds.
func (l *Limit[Source]) cost(units int) int64 {
	return int64(units) * int64(time.Second) / l.perSecond
}

func (l *Limit[Source]) slot(row int, hash uint64) *atomic.Int64 {
	return &l.due[row][hash>>(32*row)%slots]
}

// charge counts a cost in a slot, unless that is full: then it says for how long.
func (l *Limit[Source]) charge(slot *atomic.Int64, cost, now int64) (ahead int64) {
	for {
		due := slot.Load()
		next := max(due, now) + cost
		if ahead = next - now - l.burst; ahead > 0 {
			return ahead
		}
		if slot.CompareAndSwap(due, next) {
			return 0
		}
	}
}

// Network is the network that an address belongs to, of so many bits. What one holder has counts as one source: an IPv4
// address, also in IPv6 clothes, and the /64 of an IPv6 address, which is a link.
func Network(ip netip.Addr, bits4, bits6 int) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := bits4
	if ip.Is6() {
		bits = bits6
	}
	network, _ := ip.Prefix(bits)
	return network
}

// Source is the network of one holder.
func Source(ip netip.Addr) netip.Prefix { return Network(ip, 32, 64) }
