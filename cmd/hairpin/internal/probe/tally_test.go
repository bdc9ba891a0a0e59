package probe

import (
	"math"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// A script of one tally: packets leave at 0, 10, 20 … ms, then the events follow.
func TestTally(t *testing.T) {
	type event struct {
		number int
		at     time.Duration
		only   bool // reaches B and no more
		damage bool
	}
	for _, c := range []struct {
		name   string
		sent   int
		events []event
		counts Counts
		trip   RoundTrip
	}{
		{"nothing sent", 0, nil, Counts{}, RoundTrip{}},
		{"nothing back", 3, nil, Counts{Sent: 3, Lost: 3, LostOutward: 3}, RoundTrip{}},
		{"lost on both ways", 4, []event{{number: 0, at: 5 * ms}, {number: 2, only: true}},
			Counts{Sent: 4, Received: 1, Lost: 3, LostOutward: 2, LostReturning: 1},
			RoundTrip{Min: 5 * ms, Mean: 5 * ms, P50: 5 * ms, P90: 5 * ms, P99: 5 * ms, Max: 5 * ms}},
		{"a duplicate is no second arrival", 2, []event{{number: 0, at: 4 * ms}, {number: 0, at: 6 * ms}, {number: 1, at: 14 * ms}},
			Counts{Sent: 2, Received: 2, Duplicates: 1},
			RoundTrip{Min: 4 * ms, Mean: 4 * ms, P50: 4 * ms, P90: 4 * ms, P99: 4 * ms, Max: 4 * ms}},
		{"overtaken", 3, []event{{number: 2, at: 21 * ms}, {number: 0, at: 22 * ms}, {number: 1, at: 23 * ms}},
			Counts{Sent: 3, Received: 3, Reordered: 2},
			// trips 1, 22, 13: J = 21/16, then + (9 - 21/16)/16
			RoundTrip{Min: 1 * ms, Mean: 12 * ms, P50: 13 * ms, P90: 22 * ms, P99: 22 * ms, Max: 22 * ms, Jitter: 1792969}},
		{"damaged", 1, []event{{number: 0, at: 3 * ms, damage: true}},
			Counts{Sent: 1, Lost: 1, LostOutward: 1, Corrupted: 1}, RoundTrip{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := newTally(7, 40)
			packets := make([][]byte, c.sent)
			for i := range packets {
				packets[i] = make([]byte, 40)
				tally.leaves(packets[i], time.Duration(i)*10*ms)
			}
			for _, e := range c.events {
				b := slices.Clone(packets[e.number])
				if e.damage {
					b[39]++
				}
				if e.only {
					if !tally.reaches(b) {
						t.Errorf("B does not return packet %d", e.number)
					}
				} else {
					tally.returns(b, e.at)
				}
			}
			counts, trip := tally.sum()
			if counts != c.counts {
				t.Errorf("counts %+v, want %+v", counts, c.counts)
			}
			if math.Abs(float64(trip.Jitter-c.trip.Jitter)) > 1 { // rounding
				t.Errorf("jitter %v, want %v", trip.Jitter, c.trip.Jitter)
			}
			trip.Jitter = c.trip.Jitter
			if trip != c.trip {
				t.Errorf("round trip %+v, want %+v", trip, c.trip)
			}
		})
	}
}

func TestTallyIgnoresStrangers(t *testing.T) {
	tally := newTally(7, MinSize)
	b := make([]byte, MinSize)
	tally.leaves(b, 0)
	for name, change := range map[string]func([]byte) []byte{
		"short":             func(b []byte) []byte { return b[:MinSize-1] },
		"empty":             func([]byte) []byte { return nil },
		"other magic":       func(b []byte) []byte { b[0]++; return b },
		"other session":     func(b []byte) []byte { b[11]++; return b },
		"number never sent": func(b []byte) []byte { b[15]++; return b },
		"enormous number":   func(b []byte) []byte { b[12] = 0xff; return b },
	} {
		stranger := change(slices.Clone(b))
		if tally.reaches(stranger) {
			t.Errorf("%s: B returns it", name)
		}
		tally.returns(stranger, ms)
	}
	if counts, _ := tally.sum(); counts.Received != 0 {
		t.Errorf("strangers were received: %+v", counts)
	}
}

func TestTallyCompletes(t *testing.T) {
	tally := newTally(7, MinSize)
	b := make([]byte, MinSize)
	tally.leaves(b, 0)
	tally.returns(b, ms)
	select {
	case <-tally.complete:
		t.Fatal("complete although more may be sent")
	default:
	}
	if received, longest := tally.seal(); received != 1 || longest != ms {
		t.Errorf("sealed with %d received, longest %v", received, longest)
	}
	select {
	case <-tally.complete:
	default:
		t.Error("not complete although everything is back")
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		list    []time.Duration
		percent int
		want    time.Duration
	}{
		{hundred, 50, 50}, {hundred, 90, 90}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{hundred[:1], 99, 1}, {hundred[:10], 99, 10}, {hundred[:10], 50, 5}, {hundred[:3], 50, 2},
	} {
		if got := quantile(c.list, c.percent); got != c.want {
			t.Errorf("%d %% of %d: %d, want %d", c.percent, len(c.list), got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	r := Result{Counts: Counts{Sent: 200, Received: 199, Lost: 1}, RoundTrip: RoundTrip{P99: 20 * ms}}
	for _, c := range []struct {
		limits Thresholds
		faults int
	}{
		{Thresholds{}, 1},
		{Thresholds{Loss: 0.5}, 0},
		{Thresholds{Loss: 0.49}, 1},
		{Thresholds{Loss: 100, P99: 20 * ms}, 0},
		{Thresholds{Loss: 100, P99: 19 * ms}, 1},
		{Thresholds{P99: 19 * ms}, 2},
	} {
		if got := r.Faults(c.limits); len(got) != c.faults {
			t.Errorf("%+v: %q, want %d faults", c.limits, got, c.faults)
		}
	}
	r.Broken = "allocation A ended early"
	if got := r.Faults(Thresholds{Loss: 100}); len(got) != 1 {
		t.Errorf("a broken run has faults %q", got)
	}
}
