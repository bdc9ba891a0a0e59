package quality

import "time"

// stream is one SSRC's state, written under its Tracker's lock. What every packet needs lies within two cache lines of
// 64 bytes: with thousands of streams it is memory that a packet waits for. TestSizes holds it to that.
type stream struct {
	_ [24]byte // moves the hot part to a line's beginning

	sequence        // ends with what is hot
	packets  uint64 // all that carried the SSRC
	bytes    uint64
	ssrc     uint32
	pt       uint8
	timing   // begins with what is hot
}

// newStream begins with two packets that followed each other (RFC 3550 §A.1).
func newStream(first, second *packet) *stream {
	s := &stream{packets: 2, bytes: uint64(first.size) + uint64(second.size), ssrc: second.ssrc, pt: second.pt}
	s.sequence.begin(second.sequence)
	s.timing.begin(first)
	s.arrived(second)
	s.advanced(second)
	return s
}

// add counts a packet.
func (s *stream) add(p *packet) {
	s.packets++
	s.bytes += uint64(p.size)
	s.pt = p.pt
	s.arrived(p)
	before := s.highest
	switch s.sequence.add(p.sequence) {
	case ahead:
		s.advanced(p)
	case renewed:
		if step := p.sequence - uint16(before); step < 1<<15 && s.continues(p) {
			s.outage(before, uint32(step))
			s.advanced(p)
		} else {
			s.follow(p)
		}
	}
}

// outage takes a restart back: the timestamps went on, so what was skipped before the last two packets is lost.
func (s *stream) outage(before, step uint32) {
	s.restarts--
	s.highest = before + step
	s.lost += uint64(step - 2)
	s.longestLoss = max(s.longestLoss, step-2)
}

// Stream is what is known of an RTP stream: one SSRC in one direction. Its zero value is no stream.
type Stream struct {
	SSRC        uint32
	PayloadType uint8 // of the last packet

	// RepairOf is the SSRC that the stream shares its timestamps with while it has fewer packets: what it carries are
	// retransmissions of that one (RFC 4588 §4) or what repairs it, so its times are not a sender's rhythm. Inferred, among
	// the streams of one Snapshot, or of one evicted stream among those that there are when Ended tells of it; 0: none.
	RepairOf uint32

	Packets uint64 // that carried the SSRC, in any order and number
	Bytes   uint64 // of these, with RTP's header, without TURN's

	// RFC 3550 §A.3. Expected are the packets that were sent as far as sequence numbers tell, Lost those of them that did
	// not arrive: up to now, because one that is late arrives yet.
	Expected, Lost  uint64
	Duplicates      uint64 // arrived before
	Reordered       uint64 // arrived behind a higher number, not counted in Lost
	Stray           uint64 // far from the others' numbers, and nothing followed
	Restarts        uint32 // numbers and timestamps began elsewhere
	LongestLoss     uint32 // most packets missing in a row when the next arrived
	HighestSequence uint32 // extended by wraps (RFC 3550 §6.4.1)

	// Interarrival jitter (RFC 3550 §A.8) now and on average over the stream; known once ClockRate, which is inferred from
	// the timestamps' progress, is not 0. A rate that no usual payload type has is ClockUnusual.
	Jitter, MeanJitter time.Duration
	ClockRate          uint32 // Hz
	ClockUnusual       bool

	LongestGap time.Duration // between packets
	Stalls     uint32        // gaps of more than 500 ms
	Stalled    time.Duration // their sum
	Silence    time.Duration // since the last packet, in neither of the above yet

	Bitrate     uint64 // bits per second over the last one to two seconds
	First, Last int64  // arrivals, in nanoseconds of the clock that Observe's moments are of

	timestamp uint32 // of the last packet in order
	arrival   int64
}

// Loss returns the fraction of expected packets that were lost, from 0 to 1.
func (s *Stream) Loss() float64 { return s.LossSince(&Stream{}) }

// LossSince returns the fraction of the packets expected since an earlier reading that were lost, from 0 to 1; late ones
// of the time before count as 0 (RFC 3550 §A.3).
func (s *Stream) LossSince(earlier *Stream) float64 {
	if s.Expected <= earlier.Expected || s.Lost <= earlier.Lost {
		return 0
	}
	return min(1, float64(s.Lost-earlier.Lost)/float64(s.Expected-earlier.Expected))
}

// sameTimeline is how far, in seconds, two streams' timestamps may be apart: what is sent again is old. That those of two
// senders are so by chance happens to one pair of 12,000.
const sameTimeline = 2

// repairs tells whether s has the timestamps of other, fewer packets, and another payload type: what repairs a stream is
// of a payload type of its own (RFC 4588 §4), while two cameras or microphones whose timestamps begin alike share theirs.
func (s *Stream) repairs(other *Stream) bool {
	if s.PayloadType == other.PayloadType {
		return false
	}
	if other.ClockRate == 0 || s.ClockRate != 0 && s.ClockRate != other.ClockRate || s.Packets >= other.Packets {
		return false
	}
	between := (s.arrival - other.arrival) / int64(time.Microsecond) * int64(other.ClockRate) / int64(time.Second/time.Microsecond)
	apart := int64(int32(s.timestamp - other.timestamp - uint32(between)))
	return max(apart, -apart) < sameTimeline*int64(other.ClockRate)
}

// findRepairs tells streams that carry media from those that repair one of media.
func findRepairs(streams, media []Stream) {
	for i := range streams {
		s := &streams[i]
		var most uint64
		for j := range media {
			if other := &media[j]; other.Packets > most && s.repairs(other) {
				s.RepairOf, most = other.SSRC, other.Packets
			}
		}
	}
}

// report returns what is known at a moment.
func (s *stream) report(now int64) Stream {
	r := Stream{
		SSRC: s.ssrc, PayloadType: s.pt, Packets: s.packets, Bytes: s.bytes,
		Expected: s.packets - s.duplicates - s.strays + s.lost, Lost: s.lost,
		Duplicates: s.duplicates, Reordered: s.late, Stray: s.strays,
		Restarts: s.restarts, LongestLoss: s.longestLoss, HighestSequence: s.highest,
		Jitter: time.Duration(s.jitter >> 4), ClockRate: s.clock.rate, ClockUnusual: s.clock.odd,
		LongestGap: time.Duration(s.longestGap), Stalls: s.stalls, Stalled: time.Duration(s.stalled),
		Silence: time.Duration(max(0, now-s.last)), Bitrate: s.bitrate(now), First: s.first, Last: s.last,
		timestamp: s.timestamp, arrival: s.arrival,
	}
	if s.jitterCount > 0 {
		r.MeanJitter = time.Duration(s.jitterSum / uint64(s.jitterCount) << 10)
	}
	return r
}
