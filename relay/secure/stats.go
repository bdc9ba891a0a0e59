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

// Drop says why a datagram at a listener for load balancers was dropped. The enum is closed: each one is a metric series
// from the start.
type Drop uint8

// The reasons. Those that the data plane has as well have its names.
const (
	DropUntrusted       Drop = iota // not from one of the trusted balancers
	DropMalformedHeader             // its PROXY header is none that can be understood
	DropNoHeader                    // nor has any other that came by this way
	DropNoRoom                      // as many flows as there may be, all with allocations
	DropNotTURN                     // neither STUN nor ChannelData behind the header
	DropTruncated                   // larger than any datagram may be
	DropSendFailed                  // the kernel refused the datagram
	drops
)

var dropNames = [drops]string{
	DropUntrusted:       "proxy_untrusted",
	DropMalformedHeader: "proxy_malformed",
	DropNoHeader:        "proxy_no_header",
	DropNoRoom:          "proxy_no_room",
	DropNotTURN:         "not_turn",
	DropTruncated:       "truncated",
	DropSendFailed:      "send_failed",
}

// Stats count what happened to openings since the start. The zero value is ready; everything may be read at any time.
type Stats struct {
	counts  [events]atomic.Uint64
	dropped [drops]atomic.Uint64
}

func (s *Stats) drop(why Drop, packets int) { s.dropped[why].Add(uint64(packets)) }

// EachDrop yields the count of every reason in a fixed order.
func (s *Stats) EachDrop(yield func(reason string, count uint64)) {
	for d, reason := range dropNames {
		yield(reason, s.dropped[d].Load())
	}
}

func (s *Stats) add(e Event) { s.counts[e].Add(1) }

// Count is how often e has happened.
func (s *Stats) Count(e Event) uint64 { return s.counts[e].Load() }

// Each yields every count in a fixed order.
func (s *Stats) Each(yield func(protocol, outcome string, count uint64)) {
	for e, n := range eventNames {
		yield(n.protocol, n.outcome, s.counts[e].Load())
	}
}
