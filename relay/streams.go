package relay

import (
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// StreamTotals is how the RTP streams went that have ended: with their allocation, or because others took their place.
// Those that repair others are left out, whose times say nothing, and those of less than 50 packets.
type StreamTotals struct {
	Loss   Histogram // fraction of the packets that were sent, 0 to 1, on the way to the relay
	Jitter Histogram // mean interarrival jitter in seconds (RFC 3550 §A.8), where the clock rate is known
	Stalls Histogram // gaps of more than 500 ms
}

// evictionLook is how often evicted streams are looked for. A stream is evicted after five seconds of silence at the
// earliest (package quality), so no Tracker can have more of them within that time than it keeps.
const evictionLook = 5 * time.Second

// fewestPackets is what a stream must have been sent to be counted: of fewer, one lost packet is more than 2 %, and SSRCs of
// a few packets, padding and made-up ones, would outnumber what people hear and see.
const fewestPackets = 50

// streams counts ended streams.
type streams struct {
	loss, jitter, stalls *histogram

	mu     sync.Mutex
	looked time.Time // for evicted ones; guarded by mu
}

func newStreams() *streams {
	return &streams{
		loss:   newHistogram(0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
		jitter: newHistogram(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5),
		stalls: newHistogram(0, 1, 2, 5, 10, 20, 50),
	}
}

func (s *streams) read() StreamTotals {
	return StreamTotals{Loss: s.loss.read(), Jitter: s.jitter.read(), Stalls: s.stalls.read()}
}

// count counts streams that are over.
func (s *streams) count(over []quality.Stream, id uint64) {
	for i := range over {
		s.observe(&over[i], id)
	}
}

func (s *streams) observe(q *quality.Stream, id uint64) {
	if q.RepairOf != 0 || q.Expected < fewestPackets {
		return
	}
	exemplar := func() *Exemplar { return &Exemplar{Allocation: id, At: time.Now()} }
	s.loss.observe(q.Loss(), exemplar())
	if q.ClockRate != 0 {
		s.jitter.observe(q.MeanJitter.Seconds(), exemplar())
	}
	s.stalls.observe(float64(q.Stalls), exemplar())
}

// collectEvicted counts the streams that were evicted, of all allocations. Where there are events, these have them at
// the allocation's end, and they are counted then.
func (s *Server) collectEvicted() {
	if s.config.Events != nil {
		return
	}
	t := s.streams
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.looked) < evictionLook {
		return
	}
	t.looked = time.Now()
	now := int64(s.table.Now())
	s.table.Each(func(a *allocation.Allocation) bool {
		for h := range a.Halves(allocation.Time(now)) {
			for _, slot := range [...]*quality.Slot{&h.UpMedia, &h.DownMedia} {
				if tracker := slot.Tracker(); tracker != nil {
					t.count(tracker.Ended(now, nil), h.ID)
				}
			}
		}
		return true
	})
}
