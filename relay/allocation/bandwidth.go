package allocation

import (
	"sync/atomic"
	"time"
)

const (
	// bandwidthBurst is for how long a client may save up bandwidth: long enough for a key frame of the video that fills
	// the rest, short enough that nobody else's queue grows by it.
	bandwidthBurst = 250 * time.Millisecond

	// leastPacket is what a packet counts at least, in bytes: it takes up as much of an Ethernet.
	leastPacket = 64

	// MaxBandwidth is the highest limit, in bits/s: beyond it a packet's time is rounded to nothing.
	MaxBandwidth = 100e9
)

// Bandwidth is what an allocation and its user may still relay. It is nil where neither has a limit, which a packet pays
// with one comparison. The allocation's part is its own, the user's is shared by all allocations of the account.
type Bandwidth struct {
	own  throttle
	user *throttle // nil: no limit

	upDropped, downDropped Counter // also in the allocation's counters of these names
}

// throttle holds both directions, each for itself, to a rate: one number each, the moment until which what was relayed
// uses the rate up (ITU-T I.371, generic cell rate algorithm).
type throttle struct {
	rate     int64 // bits/s; 0: no limit; immutable
	up, down atomic.Int64

	// Whose turn it is among streams, of which each holds a direction's while it waits. Immutable; nil: there are none.
	turns *[2]chan struct{}
}

func newTurns() *[2]chan struct{} {
	return &[2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
}

// admit counts bytes, unless the burst is used up. The packet that uses it up still passes, so that packets of any size
// do at any rate.
func (t *throttle) admit(due *atomic.Int64, bytes int, now Time) bool {
	if t.rate == 0 {
		return true
	}
	cost := int64(max(bytes, leastPacket)) * 8 * int64(time.Second) / t.rate
	for {
		until := due.Load()
		if until-int64(now) > int64(bandwidthBurst) {
			return false
		}
		if due.CompareAndSwap(until, max(until, int64(now))+cost) {
			return true
		}
	}
}

func (b *Bandwidth) admitUp(bytes int, now Time) bool {
	if b.own.admit(&b.own.up, bytes, now) && (b.user == nil || b.user.admit(&b.user.up, bytes, now)) {
		return true
	}
	b.upDropped.Add(1, bytes)
	return false
}

func (b *Bandwidth) admitDown(bytes int, now Time) bool {
	if b.own.admit(&b.own.down, bytes, now) && (b.user == nil || b.user.admit(&b.user.down, bytes, now)) {
		return true
	}
	b.downDropped.Add(1, bytes)
	return false
}

// AdmitUp says whether a packet with bytes of application data may go from the client to a peer, and counts it.
func (a *Allocation) AdmitUp(bytes int, now Time) bool {
	return a.rare == nil || a.rare.limit == nil || a.rare.limit.admitUp(bytes, now)
}

// AdmitDown says the same of a packet to the client.
func (a *Allocation) AdmitDown(bytes int, now Time) bool {
	return a.rare == nil || a.rare.limit == nil || a.rare.limit.admitDown(bytes, now)
}

// BandwidthDropped reads how much did not pass for want of bandwidth, from the client and to it; ok is false where there
// is no limit.
func (a *Allocation) BandwidthDropped() (up, down Count, ok bool) {
	if a.rare == nil || a.rare.limit == nil {
		return up, down, false
	}
	return a.rare.limit.upDropped.Read(), a.rare.limit.downDropped.Read(), true
}

// newBandwidthLocked makes the limits of a new allocation, which may be one of TCP; nil: it has none.
func (t *Table) newBandwidthLocked(account string, tcp bool) *Bandwidth {
	own, user := t.options.MaxBandwidth, t.options.UserBandwidth
	if own == 0 && user == 0 {
		return nil
	}
	b := &Bandwidth{own: throttle{rate: own}}
	if tcp && own > 0 {
		b.own.turns = newTurns()
	}
	if user > 0 {
		if b.user = t.throttles[account]; b.user == nil {
			b.user = &throttle{rate: user, turns: newTurns()}
			t.throttles[account] = b.user
		}
	}
	return b
}
