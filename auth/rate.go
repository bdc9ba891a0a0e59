package auth

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// rateSlots bounds the memory of a rate limit: 128 KiB. Sources that fall into one slot share its rate; which ones do is
// different in each process, so nobody can choose to be in somebody else's slot.
const rateSlots = 1 << 14

// burstSeconds is how many seconds' worth of requests a source may make at once.
const burstSeconds = 10

// rateLimit holds each source to a rate: the generic cell rate algorithm (ITU-T I.371), which needs one number for a
// source and no timer. A nil *rateLimit admits everything.
type rateLimit struct {
	interval int64 // nanoseconds that one request takes of the rate
	seed     maphash.Seed
	arrival  [rateSlots]atomic.Int64 // when a source that kept to the rate would make its next request, Unix nanoseconds
}

func newRateLimit(perSecond int) *rateLimit {
	if perSecond <= 0 {
		return nil
	}
	return &rateLimit{interval: int64(time.Second) / int64(perSecond), seed: maphash.MakeSeed()}
}

// admit counts a request, or says how long the source has to wait.
func (l *rateLimit) admit(source netip.Prefix, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	slot, at := &l.arrival[maphash.Comparable(l.seed, source)%rateSlots], now.UnixNano()
	for {
		due := slot.Load()
		next := max(due, at) + l.interval
		if ahead := next - at - burstSeconds*int64(time.Second); ahead > 0 {
			return time.Duration(ahead)
		}
		if slot.CompareAndSwap(due, next) {
			return 0
		}
	}
}
