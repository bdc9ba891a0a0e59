package metrics

import (
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// Stream is a live RTP stream on the way from its sender to the relay; what becomes of it behind the relay, only its
// receiver knows. A stream that another client of this server sends is one of that client's allocation.
type Stream struct {
	Direction   string   `json:"direction"` // "client_in", or "peer_in" from a peer outside
	SSRC        uint32   `json:"ssrc"`
	PayloadType uint8    `json:"payload_type"` // of the last packet
	RepairOf    uint32   `json:"repair_of"`    // SSRC of what is repeated or repaired, as far as timestamps tell; 0: it is media itself
	Packets     uint64   `json:"packets"`
	Bytes       uint64   `json:"bytes"`
	Bitrate     uint64   `json:"bitrate"` // bits per second over the last one to two seconds
	Expected    uint64   `json:"expected"`
	Lost        uint64   `json:"lost"`
	Loss        float64  `json:"loss"` // lost/expected, 0 to 1
	Duplicates  uint64   `json:"duplicates"`
	Reordered   uint64   `json:"reordered"`
	LongestLoss uint32   `json:"longest_loss"`        // packets in a row
	ClockRate   uint32   `json:"inferred_clock_rate"` // Hz; 0: not known, and then no jitter is
	Jitter      *float64 `json:"jitter_ms"`           // now; null: not known
	MeanJitter  *float64 `json:"mean_jitter_ms"`      // over the stream
	LongestGap  float64  `json:"longest_gap_ms"`
	Stalls      uint32   `json:"stalls"`     // gaps of more than 500 ms
	Stalled     float64  `json:"stalled_ms"` // their sum
	Silence     float64  `json:"silence_ms"` // since the last packet
}

// Media is what came in of all kinds since the first RTP packet, told apart by first bytes (RFC 7983 §7), with the types of
// RTCP packets as far as these are not encrypted; nil where there was no RTP. Streams are not in it.
type Media struct {
	ClientIn *events.Media `json:"client_in,omitempty"`
	PeerIn   *events.Media `json:"peer_in,omitempty"`
}

// eachMedia yields a reading for each of the relay's sides that media come in by, of both addresses of a dual allocation
// together. It is only good until the next.
func eachMedia(a *relay.AllocationInfo, yield func(direction string, s *quality.Snapshot)) {
	var room [2 * quality.MaxStreams]quality.Stream
	for _, side := range [...]struct {
		direction string
		trackers  [2]*quality.Tracker
	}{{clientIn, [2]*quality.Tracker{a.UpMedia, a.AlsoUpMedia}}, {peerIn, [2]*quality.Tracker{a.DownMedia, a.AlsoDownMedia}}} {
		var seen quality.Snapshot
		streams, any := room[:0], false
		for _, tracker := range side.trackers {
			if tracker != nil {
				read := tracker.Snapshot(int64(a.Read), streams)
				streams, read.Streams, any = read.Streams, nil, true
				seen.Add(&read)
			}
		}
		if seen.Streams = streams; any {
			yield(side.direction, &seen)
		}
	}
}

// eachStream yields an allocation's streams with the direction of the relay's side that they come in by.
func eachStream(a *relay.AllocationInfo, yield func(direction string, s *quality.Stream)) {
	eachMedia(a, func(direction string, seen *quality.Snapshot) {
		for i := range seen.Streams {
			if !elsewhere(seen.Streams, i) {
				yield(direction, &seen.Streams[i])
			}
		}
	})
}

// elsewhere says whether a stream has gone on by the other address of a dual allocation: then it is told as it is there.
func elsewhere(all []quality.Stream, one int) bool {
	for i := range all {
		if s := &all[i]; i != one && s.SSRC == all[one].SSRC && (s.Last > all[one].Last || s.Last == all[one].Last && i > one) {
			return true
		}
	}
	return false
}

func mediaOf(a *relay.AllocationInfo) (m Media) {
	eachMedia(a, func(direction string, seen *quality.Snapshot) {
		kinds := *seen
		kinds.Streams = nil
		if direction == clientIn {
			m.ClientIn = events.MediaOf(&kinds, nil)
		} else {
			m.PeerIn = events.MediaOf(&kinds, nil)
		}
	})
	return m
}

func streamsOf(a *relay.AllocationInfo) []Stream {
	streams := []Stream{}
	eachStream(a, func(direction string, s *quality.Stream) {
		out := Stream{
			Direction: direction, SSRC: s.SSRC, PayloadType: s.PayloadType, RepairOf: s.RepairOf, Packets: s.Packets, Bytes: s.Bytes,
			Bitrate: s.Bitrate, Expected: s.Expected, Lost: s.Lost, Loss: s.Loss(), Duplicates: s.Duplicates,
			Reordered: s.Reordered, LongestLoss: s.LongestLoss, ClockRate: s.ClockRate, LongestGap: milliseconds(s.LongestGap),
			Stalls: s.Stalls, Stalled: milliseconds(s.Stalled), Silence: milliseconds(s.Silence),
		}
		if s.ClockRate != 0 {
			now, mean := milliseconds(s.Jitter), milliseconds(s.MeanJitter)
			out.Jitter, out.MeanJitter = &now, &mean
		}
		streams = append(streams, out)
	})
	return streams
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
