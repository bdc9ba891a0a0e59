package allocation

import (
	"context"
	"time"
)

// Time is a moment: monotonic nanoseconds since the table was made. Readers of
// the data plane take it once per batch.
type Time int64

// Add returns t moved by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// clock turns a wall clock that carries a monotonic reading into Time.
type clock struct {
	now  func() time.Time
	base time.Time
}

func newClock(now func() time.Time) clock {
	if now == nil {
		now = time.Now
	}
	return clock{now: now, base: now()}
}

// Now returns the present moment.
func (t *Table) Now() Time { return Time(t.clock.now().Sub(t.clock.base)) }

// Wall returns m as wall-clock time.
func (t *Table) Wall(m Time) time.Time { return t.clock.base.Add(time.Duration(m)) }

// Run sweeps once a second until ctx ends. It is the only goroutine of this
// package; the caller owns it and waits for Run to return.
func (t *Table) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.Sweep(t.Now())
		}
	}
}
