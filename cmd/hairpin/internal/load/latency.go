package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latency is a distribution of times: 1 µs to a minute in microseconds would lose what a hairpin on one machine takes, so
// it is kept in nanoseconds, to three digits.
type latency struct{ h *hdrhistogram.Histogram }

const longest = int64(time.Minute)

func newLatency() latency { return latency{hdrhistogram.New(100, longest, 3)} }

// record adds a time in nanoseconds. What is longer than a minute counts as one.
func (l latency) record(ns int64) { _ = l.h.RecordValue(min(max(ns, 0), longest)) }

// Quantiles are of a distribution of times, to three digits.
type Quantiles struct {
	Count                                      int64
	Min, Mean, P50, P90, P99, P999, P9999, Max time.Duration
}

func (l latency) quantiles() Quantiles {
	at := func(p float64) time.Duration { return time.Duration(l.h.ValueAtPercentile(p)) }
	return Quantiles{
		Count: l.h.TotalCount(), Min: time.Duration(l.h.Min()), Mean: time.Duration(l.h.Mean()),
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99), Max: time.Duration(l.h.Max()),
	}
}
