package relay

import (
	"fmt"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// lives counts allocations from birth to death, beside the counts of each socket. The callbacks run on whatever
// goroutine made or ended the allocation, so everything in it is atomic.
type lives struct {
	durations *histogram // in seconds
}

func newDurations() *histogram {
	return newHistogram(1, 10, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
}

// born logs and counts a new allocation.
func (s *Server) born(a *allocation.Allocation) {
	n := s.socket(a)
	n.live.Add(1)
	n.total.Add(1)
	s.history.add(deed{allocation: a.ID, what: "created", lifetime: a.Lifetime}, a.CreatedAt)
	for h := range a.Halves(a.CreatedAt) {
		if h.Socket != nil {
			s.relayed.watch(h)
		}
	}
	if a.TCP() != nil {
		s.tcp.Begin(a)
	}
	s.log.Infof("allocation %d created: user=%q listener=%s client=%s relay=%s lifetime=%s",
		a.ID, a.User, s.listenerName(a), a.FiveTuple.Client, relays(a), a.Lifetime)
	if s.config.Events != nil {
		s.config.Events.Emit(s.event(events.Birth, a))
	}
}

// relays is how a log line names the relayed transport addresses of an allocation, "/tcp" behind that of a TCP allocation.
func relays(a *allocation.Allocation) string {
	first, second := relayed(a)
	if a.TCP() != nil {
		return first.String() + "/tcp"
	}
	if !second.IsValid() {
		return first.String()
	}
	return first.String() + "," + second.String()
}

// moved logs and records that an allocation's client is at another five-tuple, and counts it there.
func (s *Server) moved(from, to *allocation.Allocation) {
	s.socket(to).live.Add(1)
	defer s.socket(from).live.Add(-1)
	if s.relayed != nil {
		s.relayed.follow(from, to)
	}
	was, is := &from.FiveTuple, &to.FiveTuple
	s.history.add(deed{allocation: to.ID, what: "moved", cause: fmt.Sprintf("from %s %s to %s %s", was.Transport, was.Client, is.Transport, is.Client)}, s.table.Now())
	s.log.Infof("allocation %d moved: user=%q from=%s listener=%s client=%s relay=%s moves=%d",
		to.ID, to.User, was.Client, s.listenerName(to), is.Client, relays(to), to.Trail().Moves)
	if s.config.Events != nil {
		s.config.Events.Emit(s.event(events.Move, to))
	}
}

// second is the other half of a dual allocation; nil: there never was one.
func second(a *allocation.Allocation) *allocation.Allocation {
	return a.Half(allocation.IPv4 + allocation.IPv6 - a.Family())
}

// closed has a half's socket polled no longer, and records that one of two has ended.
func (s *Server) closed(a *allocation.Allocation) {
	if a.Socket != nil {
		s.relayed.forget(a)
	}
	if h := second(a); h != nil && h.Expires() != 0 {
		s.history.add(deed{allocation: a.ID, what: "reduced", peer: a.Relayed, cause: a.Why().String()}, s.table.Now())
		s.log.Infof("allocation %d reduced: why=%q user=%q relay=%s", a.ID, a.Why(), a.User, a.Relayed)
	}
}

// died logs and counts the end of one.
func (s *Server) died(a *allocation.Allocation) {
	if a.TCP() != nil {
		s.tcp.End(a)
	}
	lived := s.table.Now().Sub(a.CreatedAt)
	defer s.socket(a).live.Add(-1) // last, because the listener may be given up then
	s.lives.durations.observe(lived.Seconds(), nil)
	up, down := s.lastReading(&a.UpMedia), s.lastReading(&a.DownMedia)
	s.countStreams(a.ID, up, down)
	if h := second(a); h != nil {
		alsoUp, alsoDown := s.lastReading(&h.UpMedia), s.lastReading(&h.DownMedia)
		s.countStreams(a.ID, alsoUp, alsoDown)
		up, down = together(up, alsoUp), together(down, alsoDown)
	}
	s.history.add(deed{allocation: a.ID, what: "ended", cause: a.Why().String()}, s.table.Now())
	n := a.Counts()
	s.log.Infof("allocation %d ended: why=%q user=%q listener=%s client=%s relay=%s duration=%s from_client=%d/%dB to_client=%d/%dB dropped=%d%s",
		a.ID, a.Why(), a.User, s.listenerName(a), a.FiveTuple.Client, relays(a), lived.Round(time.Millisecond),
		n.Up.Packets, n.Up.Bytes, n.Down.Packets, n.Down.Bytes, n.UpDropped.Packets+n.DownDropped.Packets, rarer(a))
	if s.config.Events != nil {
		s.config.Events.Emit(s.deathOf(a, n, lived, up, down))
	}
}

// rarer is what the last log line of few allocations has besides.
func rarer(a *allocation.Allocation) string {
	if trail := a.Trail(); trail != nil {
		return fmt.Sprintf(" moves=%d", trail.Moves)
	}
	if tcp := a.TCP(); tcp != nil { // which never moves
		return fmt.Sprintf(" connections=%d", tcp.Joined.Load())
	}
	return ""
}

func (s *Server) countStreams(id uint64, readings ...*quality.Snapshot) {
	for _, read := range readings {
		if read != nil {
			s.streams.count(read.Streams, id)
		}
	}
}
