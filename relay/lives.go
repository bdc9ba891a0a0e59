package relay

import (
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// lives counts allocations from birth to death. The callbacks run on whatever
// goroutine made or ended the allocation, so everything in it is atomic.
type lives struct {
	sockets   []lifeCount // by allocation.Client.Listener
	durations *histogram  // in seconds
}

type lifeCount struct {
	live  atomic.Int64
	total atomic.Uint64
}

func newDurations() *histogram {
	return newHistogram(1, 10, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
}

// born logs and counts a new allocation.
func (s *Server) born(a *allocation.Allocation) {
	n := &s.lives.sockets[a.Client.Listener]
	n.live.Add(1)
	n.total.Add(1)
	s.history.add(deed{allocation: a.ID, what: "created", lifetime: a.Lifetime}, a.CreatedAt)
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
	s.lives.durations.observe(lived.Seconds(), nil)
	up, down := s.lastReading(&a.UpMedia), s.lastReading(&a.DownMedia)
	for _, read := range [...]*quality.Snapshot{up, down} {
		if read != nil {
			s.streams.count(read.Streams, a.ID)
		}
	}
	s.history.add(deed{allocation: a.ID, what: "ended", cause: a.Why().String()}, s.table.Now())
	n := a.Counts()
	s.log.Infof("allocation %d ended: why=%q user=%q listener=%s client=%s relay=%s duration=%s from_client=%d/%dB to_client=%d/%dB dropped=%d",
		a.ID, a.Why(), a.User, s.listenerName(a), a.FiveTuple.Client, a.Relayed, lived.Round(time.Millisecond),
		n.Up.Packets, n.Up.Bytes, n.Down.Packets, n.Down.Bytes, n.UpDropped.Packets+n.DownDropped.Packets)
	if s.config.Events != nil {
		s.config.Events.Emit(s.deathOf(a, n, lived, up, down))
	}
}

func (s *Server) listenerName(a *allocation.Allocation) string {
	return s.config.Listeners[s.sockets[a.Client.Listener].listener].Name
}
