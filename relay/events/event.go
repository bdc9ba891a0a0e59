package events

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hairpin-turn/hairpin/relay/quality"
)

// Type is what happened.
type Type string

// The types.
const (
	Birth   Type = "birth"   // an allocation was made
	Refusal Type = "refusal" // a request was answered with an error
	Move    Type = "move"    // an allocation's client has moved (RFC 8016): it is at client now, and was at the last of earlier
	Death   Type = "death"   // an allocation ended
	Lost    Type = "lost"    // events before this line are missing; the Writer's own
)

// Event is one line. Fields that have nothing to say are left out. More fields may come; none changes its meaning.
// Durations are seconds where their name says nothing else.
type Event struct {
	// The Writer's own. A line with the same two is the same event, delivered again.
	Instance string `json:"instance,omitempty"` // of the server that writes
	Number   uint64 `json:"number"`             // from 1, ascending

	Type Type      `json:"type"`
	Time time.Time `json:"time"` // to the nanosecond

	// Who, from where, over what. A refusal has what was known by then.
	Allocation uint64         `json:"allocation,omitempty"` // unique in a process
	User       string         `json:"user,omitempty"`       // as the client wrote it
	Listener   string         `json:"listener,omitempty"`
	Transport  string         `json:"transport,omitempty"` // between client and server
	Client     netip.AddrPort `json:"client,omitzero"`
	Server     netip.AddrPort `json:"server,omitzero"`
	Relay      netip.AddrPort `json:"relay,omitzero"` // the relayed transport address; of a dual allocation that for IPv4
	// Of a dual allocation (RFC 8656 §7.2) the relayed transport address for IPv6; both stand in its death, though one may
	// have ended before.
	AdditionalRelay netip.AddrPort `json:"additional_relay,omitzero"`
	RelayTransport  string         `json:"relay_transport,omitempty"` // to the peers: "udp", or "tcp" of a TCP allocation (RFC 6062)

	// Of a client that has moved: how often, and where it was before, in that order, of many moves the latest eight.
	Moves   uint64  `json:"moves,omitempty"`
	Earlier []Place `json:"earlier,omitempty"`

	// Of a refusal.
	Method string `json:"method,omitempty"` // "allocate", "refresh", …
	Code   int    `json:"code,omitempty"`   // STUN error code
	Reason string `json:"reason,omitempty"` // as the metrics spell it

	// Of a death.
	Why      string    `json:"why,omitempty"`
	Duration float64   `json:"duration,omitempty"`
	Traffic  *Traffic  `json:"traffic,omitempty"`
	Quality  *Directed `json:"quality,omitempty"` // where the media was observed

	// Of the death of a TCP allocation: how many connections to peers it had. Their bytes are in Traffic, without packets,
	// and none was dropped.
	Connections uint64 `json:"connections,omitempty"`

	Missing uint64 `json:"missing,omitempty"` // of Lost: how many events since the last such line
}

// Place is where a client was.
type Place struct {
	Transport string         `json:"transport"`
	Client    netip.AddrPort `json:"client"`
	Server    netip.AddrPort `json:"server"`
}

// Traffic is what was relayed, and what was dropped instead.
type Traffic struct {
	FromClient        Count `json:"from_client"`
	ToClient          Count `json:"to_client"`
	FromClientDropped Count `json:"from_client_dropped"`
	ToClientDropped   Count `json:"to_client_dropped"`
}

// Count counts application data, without TURN's own headers.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Directed is what was seen of the media, nil in a direction without RTP.
type Directed struct {
	FromClient *Media `json:"from_client,omitempty"`
	ToClient   *Media `json:"to_client,omitempty"`
}

// Media is a reading of one direction.
type Media struct {
	Packets     map[string]uint64 `json:"packets"`               // by kind, those that there were
	RTCP        map[string]uint64 `json:"rtcp,omitempty"`        // by type, those that there were
	Unconfirmed uint64            `json:"unconfirmed,omitempty"` // RTP packets of no stream
	Missed      uint64            `json:"missed,omitempty"`      // RTP packets that were not looked at
	Unreported  uint64            `json:"unreported,omitempty"`  // streams that are missing here
	Streams     []Stream          `json:"streams,omitempty"`
}

// Stream is an RTP stream on the way from its sender to the relay.
type Stream struct {
	SSRC        uint32    `json:"ssrc"`
	PayloadType uint8     `json:"payload_type"` // of the last packet
	Packets     uint64    `json:"packets"`
	Bytes       uint64    `json:"bytes"`
	Expected    uint64    `json:"expected"`
	Lost        uint64    `json:"lost"`
	Loss        float64   `json:"loss"` // lost/expected, 0 to 1
	Duplicates  uint64    `json:"duplicates"`
	Reordered   uint64    `json:"reordered"`
	Restarts    uint32    `json:"restarts,omitempty"`
	LongestLoss uint32    `json:"longest_loss"`        // packets in a row
	ClockRate   uint32    `json:"inferred_clock_rate"` // Hz; 0: not known, and then no jitter is
	Jitter      *float64  `json:"jitter_ms,omitempty"` // average over the stream
	LongestGap  float64   `json:"longest_gap_ms"`      //
	Stalls      uint32    `json:"stalls"`              // gaps of more than 500 ms
	Stalled     float64   `json:"stalled_ms"`          // their sum
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// MediaOf converts a reading. wall turns the moments of its clock into time.
func MediaOf(s *quality.Snapshot, wall func(nanoseconds int64) time.Time) *Media {
	m := &Media{
		Packets: map[string]uint64{}, RTCP: map[string]uint64{},
		Unconfirmed: s.Unconfirmed, Missed: s.Missed, Unreported: s.Unreported,
	}
	for k, n := range s.Packets {
		if n > 0 {
			m.Packets[quality.Kind(k).String()] = n
		}
	}
	for k, n := range s.RTCP {
		if n > 0 {
			m.RTCP[quality.RTCPType(k).String()] = n
		}
	}
	for i := range s.Streams {
		m.Streams = append(m.Streams, streamOf(&s.Streams[i], wall))
	}
	return m
}

func streamOf(s *quality.Stream, wall func(int64) time.Time) Stream {
	r := Stream{
		SSRC: s.SSRC, PayloadType: s.PayloadType, Packets: s.Packets, Bytes: s.Bytes,
		Expected: s.Expected, Lost: s.Lost, Loss: s.Loss(), Duplicates: s.Duplicates, Reordered: s.Reordered,
		Restarts: s.Restarts, LongestLoss: s.LongestLoss, ClockRate: s.ClockRate,
		LongestGap: milliseconds(s.LongestGap), Stalls: s.Stalls, Stalled: milliseconds(s.Stalled),
		First: wall(s.First), Last: wall(s.Last),
	}
	if s.ClockRate != 0 {
		jitter := milliseconds(s.MeanJitter)
		r.Jitter = &jitter
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// harmless spells in a line of JSON what is not to be seen by its number, as JSON allows everywhere in a text: who is
// refused chooses a user name, and whoever looks at the stream in a terminal is neither to be commanded by it (U+009B) nor
// misled (U+202E). encoding/json does that for the control characters of ASCII.
func harmless(line []byte) []byte {
	unseen := func(r rune) bool { return r >= utf8.RuneSelf-1 && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(line, unseen) {
		return line
	}
	var out []byte
	for _, r := range string(line) {
		switch high, low := utf16.EncodeRune(r); {
		case !unseen(r):
			out = utf8.AppendRune(out, r)
		case high != utf8.RuneError:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
