package relay

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// What becomes of allocations, as events for whoever bills or supports their users. None of it is on a packet's way.

// event says who an allocation belongs to.
func (s *Server) event(kind events.Type, a *allocation.Allocation) *events.Event {
	e := &events.Event{
		Type: kind, Time: time.Now(), Allocation: a.ID, User: a.User, Listener: s.listenerName(a),
		Transport: a.FiveTuple.Transport.String(), Client: a.FiveTuple.Client, Server: a.FiveTuple.Server,
	}
	e.Relay, e.AdditionalRelay = relayed(a)
	e.RelayTransport = relayTransport(a)
	if trail := a.Trail(); trail != nil {
		e.Moves = trail.Moves
		for _, p := range trail.Latest {
			e.Earlier = append(e.Earlier, events.Place(placeOf(&p)))
		}
	}
	return e
}

// Place is where the client of an allocation was before it moved (RFC 8016).
type Place struct {
	Transport      string // as AllocationInfo's
	Client, Server netip.AddrPort
}

func placeOf(p *allocation.FiveTuple) Place {
	return Place{Transport: p.Transport.String(), Client: p.Client, Server: p.Server}
}

// relayTransport is what an allocation's peers are reached over.
func relayTransport(a *allocation.Allocation) string {
	if a.TCP() != nil {
		return allocation.TCP.String()
	}
	return allocation.UDP.String()
}

// relayed returns the relayed transport addresses that an allocation was given; the second one is invalid but for a dual
// allocation's, for IPv6.
func relayed(a *allocation.Allocation) (first, second netip.AddrPort) {
	v4, v6 := a.Half(allocation.IPv4), a.Half(allocation.IPv6)
	if v4 == nil || v6 == nil {
		return a.Relayed, second
	}
	return v4.Relayed, v6.Relayed
}

// deathOf sums an allocation up.
func (s *Server) deathOf(a *allocation.Allocation, n allocation.Counts, lived time.Duration, up, down *quality.Snapshot) *events.Event {
	e := s.event(events.Death, a)
	e.Why, e.Duration = a.Why().String(), lived.Seconds()
	e.Traffic = &events.Traffic{
		FromClient: events.Count(n.Up), ToClient: events.Count(n.Down),
		FromClientDropped: events.Count(n.UpDropped), ToClientDropped: events.Count(n.DownDropped),
	}
	if tcp := a.TCP(); tcp != nil {
		e.Connections = tcp.Joined.Load()
	}
	if up != nil || down != nil {
		e.Quality = &events.Directed{FromClient: s.mediaOf(up), ToClient: s.mediaOf(down)}
	}
	return e
}

// together adds what was seen at one half of a dual allocation to what was seen at the other; either may be nil.
func together(a, b *quality.Snapshot) *quality.Snapshot {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	a.Add(b)
	return a
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
		var e events.Event
		if r.Allocation != nil {
			e = *s.event(events.Refusal, r.Allocation)
		}
		e.Type, e.Time, e.User = events.Refusal, time.Now(), r.User
		// Where the request came from, which need not be where the allocation is.
		e.Listener = s.bound.Load().socket(int32(r.Listener)).of.Name
		e.Transport, e.Client, e.Server = r.From.Transport.String(), r.From.Client, r.From.Server
		e.Method, e.Code, e.Reason = r.Method, r.Code, r.Reason
		s.config.Events.Emit(&e)
	}
}
