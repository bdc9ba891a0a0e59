package relay

import (
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// What becomes of allocations, as events for whoever bills or supports their users. None of it is on a packet's way.

// event says who an allocation belongs to.
func (s *Server) event(kind events.Type, a *allocation.Allocation) *events.Event {
	return &events.Event{
		Type: kind, Time: time.Now(), Allocation: a.ID, User: a.User, Listener: s.listenerName(a),
		Transport: a.FiveTuple.Transport.String(), Client: a.FiveTuple.Client, Server: a.FiveTuple.Server, Relay: a.Relayed,
	}
}

// deathOf sums an allocation up.
func (s *Server) deathOf(a *allocation.Allocation, n allocation.Counts, lived time.Duration, up, down *quality.Snapshot) *events.Event {
	e := s.event(events.Death, a)
	e.Why, e.Duration = a.Why().String(), lived.Seconds()
	e.Traffic = &events.Traffic{
		FromClient: events.Count(n.Up), ToClient: events.Count(n.Down),
		FromClientDropped: events.Count(n.UpDropped), ToClientDropped: events.Count(n.DownDropped),
	}
	if up != nil || down != nil {
		e.Quality = &events.Directed{FromClient: s.mediaOf(up), ToClient: s.mediaOf(down)}
	}
	return e
}

// lastReading reads one direction for the last time; nil: there was no RTP, or nobody looked.
func (s *Server) lastReading(slot *quality.Slot) *quality.Snapshot {
	tracker := slot.Tracker()
	if tracker == nil {
		return nil
	}
	now := int64(s.table.Now())
	read := tracker.Snapshot(now, tracker.Ended(now, nil))
	return &read
}

func (s *Server) mediaOf(read *quality.Snapshot) *events.Media {
	if read == nil {
		return nil
	}
	return events.MediaOf(read, func(at int64) time.Time { return s.table.Wall(allocation.Time(at)) })
}

// refusals returns what the control plane tells of refused requests; nil: nobody wants to know.
func (s *Server) refusals() func(*control.Refusal) {
	if s.config.Events == nil {
		return nil
	}
	return func(r *control.Refusal) {
		s.config.Events.Emit(&events.Event{
			Type: events.Refusal, Time: time.Now(), User: r.User,
			Listener:  s.bound.Load().socket(int32(r.Listener)).of.Name,
			Transport: r.From.Transport.String(), Client: r.From.Client, Server: r.From.Server,
			Method: r.Method, Code: r.Code, Reason: r.Reason,
		})
	}
}
