package probe

import (
	"math"
	"slices"
	"sync"
	"time"
)

// tally counts a probe's packets. A's sender, A's reader and B's reader share it.
type tally struct {
	session uint64 // immutable
	size    int    // immutable, bytes

	mu       sync.Mutex
	sent     []time.Duration // by number: when, since the first packet
	reached  []bool          // by number: B has seen it
	returned []bool          // by number: A has it back
	trips    []time.Duration // round trip times in the order of arrival
	next     uint32          // one more than the highest number that came back
	jitter   float64         // ns
	counts   Counts
	sealed   bool          // nothing more will be sent
	complete chan struct{} // closed when sealed and everything sent is back
}

func newTally(session uint64, size int) *tally {
	return &tally{session: session, size: size, complete: make(chan struct{})}
}

// leaves notes the next packet and writes it into b; at is the time since the first one.
func (t *tally) leaves(b []byte, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	encode(b, t.session, uint32(t.counts.Sent), at)
	t.sent = append(t.sent, at)
	t.reached = append(t.reached, false)
	t.returned = append(t.returned, false)
	t.counts.Sent++
}

// reaches notes a packet at B; false is for what B should not return.
func (t *tally) reaches(b []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	number, _, ours, _ := decode(b, t.session, t.size)
	if !ours || int(number) >= len(t.sent) {
		return false
	}
	t.reached[number] = true
	return true
}

// returns notes a packet that is back at A; at is the time since the first one was sent.
func (t *tally) returns(b []byte, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number, sent, ours, intact := decode(b, t.session, t.size)
	switch {
	case !ours:
		return
	case !intact, int(number) >= len(t.sent), t.sent[number] != sent:
		t.counts.Corrupted++
		return
	case t.returned[number]:
		t.counts.Duplicates++
		return
	}
	t.returned[number], t.reached[number] = true, true
	t.counts.Received++
	if number < t.next {
		t.counts.Reordered++ // RFC 4737 §3
	} else {
		t.next = number + 1
	}

	trip := at - sent
	if n := len(t.trips); n > 0 {
		// RFC 3550 §6.4.1 with the round trip as the transit time
		t.jitter += (math.Abs(float64(trip-t.trips[n-1])) - t.jitter) / 16
	}
	t.trips = append(t.trips, trip)
	t.finishLocked()
}

// seal says that nothing more will be sent. It returns how many packets are
// back so far and the longest round trip of them.
func (t *tally) seal() (received int, longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
	t.finishLocked()
	for _, trip := range t.trips {
		longest = max(longest, trip)
	}
	return t.counts.Received, longest
}

func (t *tally) finishLocked() {
	if t.sealed && t.counts.Received == t.counts.Sent {
		select {
		case <-t.complete:
		default:
			close(t.complete)
		}
	}
}

// sum is the outcome so far.
func (t *tally) sum() (Counts, RoundTrip) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := t.counts
	for number := range t.sent {
		switch {
		case t.returned[number]:
		case t.reached[number]:
			counts.LostReturning++
		default:
			counts.LostOutward++
		}
	}
	counts.Lost = counts.LostOutward + counts.LostReturning
	if len(t.trips) == 0 {
		return counts, RoundTrip{}
	}
	sorted := slices.Sorted(slices.Values(t.trips))
	var total time.Duration
	for _, trip := range sorted {
		total += trip
	}
	return counts, RoundTrip{
		Min: sorted[0], Mean: total / time.Duration(len(sorted)), Max: sorted[len(sorted)-1],
		P50: quantile(sorted, 50), P90: quantile(sorted, 90), P99: quantile(sorted, 99),
		Jitter: time.Duration(t.jitter),
	}
}

// quantile is the nearest-rank percentile of a sorted, non-empty list: a value
// that was really measured, of which percent lie at or below.
func quantile(sorted []time.Duration, percent int) time.Duration {
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(rank, 1)-1]
}
