package secure

import "sync/atomic"

// Event is something that happened to an opening. The enum is closed: each one is a metric series from the start.
type Event uint8

// The events.
const (
	ProxyCompleted Event = iota
	ProxyUntrusted       // not one of the trusted balancers
	ProxyMalformed       // no header of version 2
	ProxyTimedOut
	ProxyDisplaced // gave way to a newer one
	TLSCompleted
	TLSFailed
	TLSTimedOut
	TLSDisplaced
	DTLSChallenged // a ClientHello without a good cookie was answered with one; that leaves no state
	DTLSIgnored    // the first datagram of a stranger was no whole ClientHello
	DTLSCompleted
	DTLSFailed
	DTLSTimedOut
	DTLSDisplaced
	DTLSRefused // as many associations as there may be
	events
)

var eventNames = [events]struct{ protocol, outcome string }{
	ProxyCompleted: {"proxy", "completed"},
	ProxyUntrusted: {"proxy", "untrusted"},
	ProxyMalformed: {"proxy", "malformed"},
	ProxyTimedOut:  {"proxy", "timed_out"},
	ProxyDisplaced: {"proxy", "displaced"},
	TLSCompleted:   {"tls", "completed"},
	TLSFailed:      {"tls", "failed"},
	TLSTimedOut:    {"tls", "timed_out"},
	TLSDisplaced:   {"tls", "displaced"},
	DTLSChallenged: {"dtls", "challenged"},
	DTLSIgnored:    {"dtls", "ignored"},
	DTLSCompleted:  {"dtls", "completed"},
	DTLSFailed:     {"dtls", "failed"},
	DTLSTimedOut:   {"dtls", "timed_out"},
	DTLSDisplaced:  {"dtls", "displaced"},
	DTLSRefused:    {"dtls", "refused"},
}

// Stats count what happened to openings since the start. The zero value is ready; everything may be read at any time.
type Stats struct{ counts [events]atomic.Uint64 }

func (s *Stats) add(e Event) { s.counts[e].Add(1) }

// Count is how often e has happened.
func (s *Stats) Count(e Event) uint64 { return s.counts[e].Load() }

// Each yields every count in a fixed order.
func (s *Stats) Each(yield func(protocol, outcome string, count uint64)) {
	for e, n := range eventNames {
		yield(n.protocol, n.outcome, s.counts[e].Load())
	}
}
