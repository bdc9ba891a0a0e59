package relay

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
)

// lives counts allocations from birth to death. The callbacks run on whatever
// goroutine made or ended the allocation, so everything in it is atomic.
type lives struct {
	sockets   []lifeCount // by allocation.Client.Listener
	durations [len(DurationBounds) + 1]atomic.Uint64
	seconds   atomic.Uint64 // sum of durations, as the bits of a float64
}

type lifeCount struct {
	live  atomic.Int64
	total atomic.Uint64
}

// DurationBounds are the upper bounds of Snapshot.Durations' buckets, in seconds.
var DurationBounds = [...]float64{1, 10, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400}

// born logs and counts a new allocation.
func (s *Server) born(a *allocation.Allocation) {
	n := &s.lives.sockets[a.Client.Listener]
	n.live.Add(1)
	n.total.Add(1)
	if a.Socket != nil {
		s.relayed.watch(a)
	}
	if a.TCP != nil {
		s.tcp.Begin(a)
	}
	s.log.Infof("allocation %d created: user=%q listener=%s client=%s relay=%s lifetime=%s",
		a.ID, a.User, s.listenerName(a), a.FiveTuple.Client, a.Relayed, a.Lifetime)
	if s.config.Events != nil {
		s.config.Events.Emit(s.event(events.Birth, a))
	}
}

// died logs and counts the end of one.
func (s *Server) died(a *allocation.Allocation) {
	if a.Socket != nil {
		s.relayed.forget(a)
	}
	if a.TCP != nil {
		s.tcp.End(a)
	}
	lived := s.table.Now().Sub(a.CreatedAt)
	s.lives.sockets[a.Client.Listener].live.Add(-1)
	s.lives.observe(lived)
	n := a.Counts()
	s.log.Infof("allocation %d ended: why=%q user=%q listener=%s client=%s relay=%s duration=%s from_client=%d/%dB to_client=%d/%dB dropped=%d",
		a.ID, a.Why(), a.User, s.listenerName(a), a.FiveTuple.Client, a.Relayed, lived.Round(time.Millisecond),
		n.Up.Packets, n.Up.Bytes, n.Down.Packets, n.Down.Bytes, n.UpDropped.Packets+n.DownDropped.Packets)
	if s.config.Events != nil {
		s.config.Events.Emit(s.deathOf(a, n, lived))
	}
}

func (s *Server) listenerName(a *allocation.Allocation) string {
	return s.config.Listeners[s.sockets[a.Client.Listener].listener].Name
}

func (l *lives) observe(d time.Duration) {
	seconds, bucket := d.Seconds(), 0
	for bucket < len(DurationBounds) && seconds > DurationBounds[bucket] {
		bucket++
	}
	l.durations[bucket].Add(1)
	for {
		old := l.seconds.Load()
		if l.seconds.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+seconds)) {
			return
		}
	}
}
