package quality

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// MaxStreams is how many streams a Tracker holds at a time. A camera in three layers with retransmissions and a
	// microphone are eight.
	MaxStreams = 16

	candidates = 4                      // SSRCs that are on probation at a time
	evictable  = int64(5 * time.Second) // of silence; a stream that lives is not given up for one that may be made up
	attempts   = 32                     // at a full inbox, below a microsecond: its taker is at work, or has no processor
)

// Tracker knows the streams of one direction of one allocation. Its zero value is ready. Any goroutine may call Observe,
// Snapshot and Ended at any time.
//
// A new SSRC is a candidate until two of its packets follow each other (RFC 3550 §A.1), and then a stream, if there is
// room or one can be evicted: the one that is silent the longest, for five seconds at least. So made-up SSRCs neither
// take memory nor push out streams that live; they cost those that begin in the same moment a few packets.
type Tracker struct {
	locked atomic.Uint32

	// Below, guarded by locked. The first line has what a packet of the same stream as the last one needs.
	current uint32                // SSRC of recent
	recent  *stream               // had the last packet; nil: none yet
	inbox   atomic.Pointer[inbox] // nil: the lock was never found taken
	rtp     uint64                // packets
	count   uint8                 // of streams
	next    uint8                 // candidate to give up
	ssrcs   [MaxStreams]uint32
	streams [MaxStreams]*stream
	trials  [candidates]packet // first packets of candidates; a size of 0 means none

	unconfirmed uint64
	ended       []*stream
	unreported  uint64

	// Counted without the lock.
	missed atomic.Uint64
	kinds  [Kinds]atomic.Uint64 // but KindRTP
	rtcp   [RTCPTypes]atomic.Uint64
}

// Observe counts a packet: payload is what a client or peer sent, without TURN's own header, now the moment of its
// arrival in nanoseconds of any monotonic clock. Nothing of payload is kept.
func (t *Tracker) Observe(payload []byte, now int64) {
	kind := Classify(payload)
	if kind == KindRTP {
		var p packet
		if p.parse(payload, now) {
			t.observeRTP(&p)
			return
		}
		kind = KindMalformed
	} else if kind == KindRTCP && !countRTCP(payload, &t.rtcp) {
		kind = KindMalformed
	}
	t.kinds[kind].Add(1)
}

func (t *Tracker) observeRTP(p *packet) {
	if !t.locked.CompareAndSwap(0, 1) && !t.leave(p) {
		return
	}
	if t.inbox.Load() != nil {
		t.takeIn()
	}
	t.add(p)
	t.locked.Store(0)
}

// leave hands p to whoever has the lock next. True means that it took the lock instead, because the inbox was full.
func (t *Tracker) leave(p *packet) (locked bool) {
	box := t.inbox.Load()
	if box == nil {
		t.inbox.CompareAndSwap(nil, newInbox())
		box = t.inbox.Load()
	}
	for range attempts {
		if box.put(p) {
			return false
		}
		if t.locked.CompareAndSwap(0, 1) {
			return true
		}
	}
	t.missed.Add(1)
	return false
}

// lock waits for the lock, as only readers may.
func (t *Tracker) lock() {
	for !t.locked.CompareAndSwap(0, 1) {
		runtime.Gosched()
	}
	if t.inbox.Load() != nil {
		t.takeIn()
	}
}

// takeIn counts the packets that were left in the inbox.
func (t *Tracker) takeIn() {
	box := t.inbox.Load()
	for p, ok := box.take(); ok; p, ok = box.take() {
		t.add(&p)
	}
}

// add counts a packet of any stream, under the lock.
func (t *Tracker) add(p *packet) {
	t.rtp++
	if t.current == p.ssrc && t.recent != nil {
		t.recent.add(p)
		return
	}
	for i, ssrc := range t.ssrcs[:t.count] {
		if ssrc == p.ssrc {
			t.current, t.recent = ssrc, t.streams[i]
			t.recent.add(p)
			return
		}
	}
	t.try(p)
}

// try takes a packet of an SSRC that has no stream.
func (t *Tracker) try(p *packet) {
	t.unconfirmed++
	for i := range t.trials {
		first := &t.trials[i]
		if first.size == 0 || first.ssrc != p.ssrc {
			continue
		}
		if first.sequence+1 == p.sequence && t.admit(first, p) {
			*first = packet{}
		} else {
			*first = *p
		}
		return
	}
	t.trials[t.next] = *p
	t.next = (t.next + 1) % candidates
}

// admit makes a stream of two packets; false means that there is no room.
func (t *Tracker) admit(first, second *packet) bool {
	at := int(t.count)
	if at == MaxStreams {
		if at = t.quietest(); second.at-t.streams[at].last < evictable {
			return false
		}
		t.retire(t.streams[at])
	} else {
		t.count++
	}
	t.ssrcs[at], t.streams[at] = second.ssrc, newStream(first, second)
	t.current, t.recent = second.ssrc, t.streams[at]
	t.unconfirmed -= 2
	return true
}

// quietest returns the stream whose last packet is the oldest.
func (t *Tracker) quietest() (at int) {
	for i, s := range t.streams {
		if s.last < t.streams[at].last {
			at = i
		}
	}
	return at
}

// retire keeps an evicted stream for Ended.
func (t *Tracker) retire(s *stream) {
	if len(t.ended) == MaxStreams {
		copy(t.ended, t.ended[1:])
		t.ended = t.ended[:MaxStreams-1]
		t.unreported++
	}
	t.ended = append(t.ended, s)
}
