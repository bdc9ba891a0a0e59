package quality

import "time"

const (
	stall          = int64(500 * time.Millisecond) // a gap longer than that is seen by who watches
	discontinuity  = int64(5 * time.Second)        // more against the clock is no jitter but another timeline
	clockBack      = int64(time.Second)            // a moment so far before the last one is a clock that was set
	bitrateWindow  = int64(time.Second)            // two of these make the current bitrate
	bitrateSilence = 2 * bitrateWindow             // after that without packets it is zero
)

// timing is when a stream's packets arrived. All times are in nanoseconds of the caller's clock.
type timing struct {
	// Hot up to clock.due: every packet's.
	last       int64 // packet, of any kind and order
	longestGap int64

	// Of the last packet in order.
	arrival   int64
	timestamp uint32

	jitterCount uint32
	jitter      int64  // RFC 3550 §A.8, in sixteenths of a nanosecond
	jitterSum   uint64 // of jitter after each sample, in units of 2¹⁴ of those, 1.024 µs

	// Bytes of two windows; start is the present one's.
	start                   int64
	bytesSince, bytesBefore uint32

	clock clock

	before  int64 // the window before start
	first   int64 // packet
	stalled int64 // in gaps longer than stall
	stalls  uint32
}

func (t *timing) begin(p *packet) {
	t.first, t.last, t.before, t.start = p.at, p.at, p.at, p.at
	t.timestamp, t.arrival = p.timestamp, p.at
	t.bytesSince = uint32(p.size)
	t.clock.begin(p)
}

// arrived counts a packet of any order: gaps and bitrate.
func (t *timing) arrived(p *packet) {
	if gap := p.at - t.last; gap > t.longestGap || gap > stall || gap < -clockBack {
		t.unusual(gap, p)
	}
	t.last = max(t.last, p.at) // another goroutine's moment may be a little older
	if since := p.at - t.start; since >= bitrateWindow {
		t.bytesBefore, t.before = t.bytesSince, t.start
		t.bytesSince, t.start = 0, p.at
	}
	t.bytesSince += uint32(p.size)
}

func (t *timing) unusual(gap int64, p *packet) {
	if gap < -clockBack {
		t.last, t.before, t.start = p.at, p.at, p.at
		t.bytesBefore, t.bytesSince = 0, 0
		t.follow(p)
		return
	}
	t.longestGap = max(t.longestGap, gap)
	if gap > stall {
		t.stalls++
		t.stalled += gap
	}
}

// follow begins a new timeline at p, whose jitter is none against the old one.
func (t *timing) follow(p *packet) {
	t.timestamp, t.arrival = p.timestamp, p.at
	t.clock.anchor(p)
}

// advanced counts a packet in order: clock rate and jitter. Packets of one frame share a timestamp, and only the first
// of them is a sample: how a sender spreads a frame is not the network's jitter. Browsers count alike.
func (t *timing) advanced(p *packet) {
	if step := int32(p.timestamp - t.timestamp); step != 0 {
		if t.clock.tick != 0 {
			t.sample(p.at - t.arrival - t.clock.duration(step))
		}
		if p.at >= t.clock.due && t.clock.check(p, step) {
			t.jitter, t.jitterSum, t.jitterCount = 0, 0, 0 // was in units of another clock
		}
		t.timestamp = p.timestamp
	}
	t.arrival = p.at
}

// sample takes the difference in spacing of two packets, at the receiver against at the sender (RFC 3550 §6.4.1, §A.8).
func (t *timing) sample(d int64) {
	if d < 0 {
		d = -d
	}
	if d < discontinuity {
		t.jitter += d - (t.jitter+8)>>4
		t.jitterSum += uint64(t.jitter) >> 14
		t.jitterCount++
	}
}

// continues tells whether p's timestamp is what the stream's clock would have made of the time since the last packet in
// order: that tells an outage from a restart.
func (t *timing) continues(p *packet) bool {
	if t.clock.tick == 0 || p.at-t.arrival > int64(time.Hour) {
		return false // nothing to compare with, or timestamps may have wrapped
	}
	d := p.at - t.arrival - t.clock.duration(int32(p.timestamp-t.timestamp))
	return max(d, -d) < int64(time.Second)
}

// bitrate returns bits per second over the last one to two windows.
func (t *timing) bitrate(now int64) uint64 {
	if now-t.last >= bitrateSilence {
		return 0
	}
	from, bytes := t.before, uint64(t.bytesBefore)+uint64(t.bytesSince)
	if t.start-t.before > bitrateSilence { // the window before the present one had a gap
		from, bytes = t.start, uint64(t.bytesSince)
	}
	span := max(now-from, t.last-from, bitrateWindow)
	return bytes * 8 * uint64(time.Second/time.Microsecond) / uint64(span/int64(time.Microsecond))
}
