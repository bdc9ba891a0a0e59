package events

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/rate"
)

const (
	// Refusals and moves, of which clients can bring about as many as packets: what is written of either is enough to see who
	// is refused and why, or who moves, and fills a disk in weeks and not in hours.
	sourceEvents = 5                // a second, of an IPv4 address or an IPv6 /64
	allEvents    = 100              // a second
	eventsBurst  = 10 * time.Second // of either may come at once
)

// restraint holds events of one type to a rate, by the client that they are about and of all.
type restraint struct {
	bySource *rate.Limit[netip.Prefix]
	byAll    *rate.Limit[struct{}]
	excess   atomic.Uint64 // events that were too many
}

func newRestraint() *restraint {
	return &restraint{bySource: rate.New[netip.Prefix](sourceEvents, eventsBurst), byAll: rate.New[struct{}](allEvents, eventsBurst)}
}

// admit counts an event, now in nanoseconds; false: it is one too many.
func (r *restraint) admit(e *Event, now int64) bool {
	if r.bySource.Admit(rate.Source(e.Client.Addr()), 1, now) > 0 || r.byAll.Admit(struct{}{}, 1, now) > 0 {
		r.excess.Add(1)
		return false
	}
	return true
}
