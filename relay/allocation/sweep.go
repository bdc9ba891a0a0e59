package allocation

import (
	"runtime"
	"time"
)

const (
	sweepInterval = time.Second
	// wheelSeconds is one turn of the wheel: more than the longest wait, so that a
	// sweeper that keeps up meets each allocation when it is due and not before.
	wheelSeconds = 512
	// visitInterval is the longest that an allocation goes unvisited: the life of
	// a permission, whose memory is given back then.
	visitInterval = PermissionLifetime
	// sweepChunk bounds how long the lock is held for what is over, allocations and
	// places, at a time: with about 1 µs each, a quarter of a millisecond.
	sweepChunk = 256
	// peersPerVisit is how many permissions and channels cost as much as an allocation.
	peersPerVisit = 8
)

// wheel lists allocations by the second in which the sweeper shall look at them.
// Guarded by Table.mu. An allocation is in exactly one list from Create to its
// end; a list is doubly linked through the allocations themselves, so that an
// ended one leaves at once.
type wheel struct {
	seconds [wheelSeconds]*Allocation
	swept   int64 // every second before this one has been swept
}

func second(m Time) int64 { return int64(m / Time(time.Second)) }

// put enters a at its next visit: when it expires, or earlier when its
// permissions and channels want a look.
func (w *wheel) put(a *Allocation, now Time) {
	due := second(min(a.Expires(), now.Add(visitInterval))) + 1 // not before the deadline
	// Within this turn, even when the sweeper has fallen behind: an early visit
	// costs little, while an entry of the next turn would be met again and again.
	a.due = min(max(due, w.swept), w.swept+wheelSeconds-1)
	head := &w.seconds[a.due%wheelSeconds]
	a.prev, a.next = nil, *head
	if *head != nil {
		(*head).prev = a
	}
	*head = a
}

// take removes a.
func (w *wheel) take(a *Allocation) {
	if a.prev != nil {
		a.prev.next = a.next
	} else if head := &w.seconds[a.due%wheelSeconds]; *head == a {
		*head = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	}
	a.prev, a.next = nil, nil
}

// Sweep gives back everything that is over at now: allocations, permissions,
// channels past their cool-down, reservations, and places past theirs. The lock is
// let go between chunks, so that nobody waits for a whole sweep. Only one
// goroutine may sweep at a time.
func (t *Table) Sweep(now Time) {
	for t.cool(now) {
		runtime.Gosched()
	}
	t.mu.Lock()
	last := second(now)
	if last-t.wheel.swept > wheelSeconds { // slept for more than a turn: once round is enough
		t.wheel.swept = last - wheelSeconds
	}
	t.mu.Unlock()

	for t.sweepChunk(now, last) {
		runtime.Gosched() // packets first: a receive loop may be waiting for this processor
	}
}

// cool frees some of the places that are over and says whether there may be more.
func (t *Table) cool(now Time) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.coolLocked(now)
}

func (t *Table) coolLocked(now Time) (more bool) {
	more = t.reservations.expire(now)
	for i := range t.pools {
		more = t.pools[i].cool(now) || more
	}
	return more
}

// sweepChunk visits up to sweepChunk allocations, fewer if they have many peers, and
// says whether more are due.
func (t *Table) sweepChunk(now Time, last int64) (more bool) {
	var dead [sweepChunk]*Allocation
	ended := 0
	t.mu.Lock()
	for visited := 0; visited < sweepChunk && t.wheel.swept <= last; {
		a := t.wheel.seconds[t.wheel.swept%wheelSeconds]
		if a == nil {
			t.wheel.swept++
			continue
		}
		visited++
		if a.expired(now) {
			t.endLocked(a, Expired, now)
			dead[ended] = a
			ended++
			continue
		}
		visited += a.sweepPeers(now) / peersPerVisit
		t.wheel.take(a)
		t.wheel.put(a, now)
	}
	more = t.wheel.swept <= last
	t.mu.Unlock()

	for _, a := range dead[:ended] {
		t.died(a)
	}
	return more
}

// sweepPeers returns how many permissions and channels it looked at.
func (a *Allocation) sweepPeers(now Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sweepPermissionsLocked(now) + a.sweepChannelsLocked(now)
}
