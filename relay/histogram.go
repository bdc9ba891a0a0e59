package relay

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram is cumulative as Prometheus wants it: Buckets[i] counts what is up to Bounds[i].
type Histogram struct {
	Bounds  []float64
	Buckets []uint64
	Count   uint64
	Sum     float64
	// Exemplars are the last observations that named an allocation, one for each bucket at most.
	Exemplars []Exemplar
}

// Exemplar is an observation of an allocation.
type Exemplar struct {
	Value      float64
	Allocation uint64 // its ID
	At         time.Time
}

// histogram counts on whatever goroutine observes, so everything in it is atomic.
type histogram struct {
	bounds    []float64 // ascending; immutable
	counts    []atomic.Uint64
	sum       atomic.Uint64 // as the bits of a float64
	exemplars []atomic.Pointer[Exemplar]
}

func newHistogram(bounds ...float64) *histogram {
	return &histogram{
		bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1),
		exemplars: make([]atomic.Pointer[Exemplar], len(bounds)+1),
	}
}

// observe counts v; e, which may be nil, is kept as its bucket's exemplar.
func (h *histogram) observe(v float64, e *Exemplar) {
	bucket := 0
	for bucket < len(h.bounds) && v > h.bounds[bucket] {
		bucket++
	}
	h.counts[bucket].Add(1)
	if e != nil {
		e.Value = v
		h.exemplars[bucket].Store(e)
	}
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *histogram) read() Histogram {
	r := Histogram{Bounds: h.bounds, Buckets: make([]uint64, len(h.bounds))}
	for i := range h.counts {
		r.Count += h.counts[i].Load()
		if i < len(r.Buckets) {
			r.Buckets[i] = r.Count
		}
		if e := h.exemplars[i].Load(); e != nil {
			r.Exemplars = append(r.Exemplars, *e)
		}
	}
	r.Sum = math.Float64frombits(h.sum.Load())
	return r
}
