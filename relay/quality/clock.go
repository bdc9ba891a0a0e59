package quality

import "time"

// clock infers the rate of a stream's timestamps from their progress against the time of arrival.
//
//	anchor ──1 s──► check ──2 s──► check ──4 s──► check ──8 s──► check, new anchor
//
// A late or early packet at either end of the span is an error of its delay over the span, so a rate is believed when it
// is near one that is in use, longer spans overrule shorter ones, and any other rate must be measured twice.
type clock struct {
	tick  int64  // length of a tick in 2⁻¹² ns; 0: rate not known yet
	due   int64  // when to check next
	rate  uint32 // Hz; 0: not known yet
	guess uint32 // Hz; what the last whole span said that was near no rate in use

	timestamp uint32 // of the anchor
	from      int64  // arrival of the anchor
	stage     uint8  // checks since the anchor
	odd       bool   // rate is near none in use
}

const (
	tickBits    = 12
	stages      = 4 // spans of 1, 2, 4, 8 s
	decisive    = 3 // from this stage on, a check overrules earlier ones
	firstSpan   = int64(time.Second)
	minimalRate = 1000    // Hz; less is no media's clock
	maximalRate = 1000000 // Hz
	nearby      = 25      // a rate within a 25th of one in use is that one: half of the way between 44,100 and 48,000 Hz
	opusStep    = 120     // ticks of 2.5 ms at 48,000 Hz, which all frames of Opus are multiples of (RFC 7587 §4.2)
)

// inUse are the rates of the payload types that are in use.
var inUse = [...]uint32{8000, 16000, 24000, 32000, 44100, 48000, 90000}

func (c *clock) begin(p *packet) {
	*c = clock{}
	c.anchor(p)
}

func (c *clock) anchor(p *packet) {
	c.from, c.timestamp, c.stage = p.at, p.timestamp, 0
	c.due = p.at + firstSpan
}

// duration converts ticks to nanoseconds.
func (c *clock) duration(ticks int32) int64 { return int64(ticks) * c.tick >> tickBits }

// check measures the rate since the anchor at p, which is step ticks after the packet before; true means that it is known
// now, or is another than before.
func (c *clock) check(p *packet, step int32) (changed bool) {
	span := p.at - c.from
	whole := firstSpan << (stages - 1)
	if span < firstSpan || span > 2*whole { // the clock was set, or it was silent meanwhile
		c.anchor(p)
		return false
	}
	for c.due <= p.at && c.stage < stages {
		c.stage++
		c.due = c.from + firstSpan<<c.stage
	}
	ticks := int64(int32(p.timestamp - c.timestamp))
	measured := max(0, ticks) * int64(time.Second) / span
	rate := c.nearest(measured, step)
	switch {
	case rate != 0:
		if changed = rate != c.rate && (c.rate == 0 || c.stage >= decisive); changed {
			c.set(rate, false)
		}
	case c.stage < stages || measured < minimalRate || measured > maximalRate || c.rate != 0 && !c.odd:
	case near(measured, c.guess):
		changed = !near(measured, c.rate)
		c.set(uint32(measured), true)
	default:
		c.guess = uint32(measured)
	}
	if c.stage >= stages {
		c.anchor(p)
	}
	return changed
}

func (c *clock) set(rate uint32, odd bool) {
	c.rate, c.odd = rate, odd
	c.tick = int64(time.Second) << tickBits / int64(rate)
}

// nearest returns the rate in use that measured is nearby, else 0. 44,100 Hz is rare and a neighbour of what is most
// often used, so it has to stand the longer spans; and if packets are as long as only those of its neighbour are, it is
// that one: the microphone of a host without a processor to spare gives a twelfth less than it should for seconds.
func (c *clock) nearest(measured int64, step int32) uint32 {
	for _, rate := range inUse {
		if !near(measured, rate) || rate == 44100 && c.stage < decisive {
			continue
		}
		if rate == 44100 && step%opusStep == 0 {
			return 48000
		}
		return rate
	}
	return 0
}

func near(measured int64, rate uint32) bool {
	d := measured - int64(rate)
	return max(d, -d) < int64(rate)/nearby
}
