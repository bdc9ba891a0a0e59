package allocation

import (
	"sync/atomic"
	"time"
)

// A stream is held to a bandwidth by reading it no faster: nothing of it may be dropped. It can wait, and packets can't,
// so streams leave packets half of the burst.

const (
	streamBurst = bandwidthBurst / 2
	// A stream goes on in pieces that take up a limit for about this time, so that packets don't wait for it; but they
	// have some bytes, or very low limits would cost more than they save.
	pieceTime  = 25 * time.Millisecond
	leastPiece = 512
)

// Pace is one limit that a stream to or from a client has to keep: its allocation's, or its user's.
type Pace struct {
	throttle *throttle
	due      *atomic.Int64
	turn     chan struct{}
}

// Paces returns what a stream from the client of a TCP allocation (up), or to it, has to keep; none where nothing limits it.
func (a *Allocation) Paces(up bool) []Pace {
	if a.rare == nil || a.rare.limit == nil {
		return nil
	}
	var paces []Pace
	for _, t := range [...]*throttle{&a.rare.limit.own, a.rare.limit.user} {
		switch {
		case t == nil || t.turns == nil:
		case up:
			paces = append(paces, Pace{t, &t.up, t.turns[0]})
		default:
			paces = append(paces, Pace{t, &t.down, t.turns[1]})
		}
	}
	return paces
}

// Piece is how many bytes may go on at a time, most at most.
func (p Pace) Piece(most int) int {
	piece := float64(p.throttle.rate) / 8 * pieceTime.Seconds()
	return int(min(max(piece, leastPiece), float64(most)))
}

// Turn holds the only place for who may call Admit: it is taken by sending, and given back by receiving. Those who wait
// get it in the order in which they came.
func (p Pace) Turn() chan struct{} { return p.turn }

// Admit counts bytes and returns 0, or counts nothing and returns how long to wait at least before it is called again:
// longer, if packets go ahead.
func (p Pace) Admit(bytes int, now Time) time.Duration {
	cost := int64(float64(bytes) * 8 * float64(time.Second) / float64(p.throttle.rate))
	for {
		until := p.due.Load()
		if wait := time.Duration(until-int64(now)) - streamBurst; wait > 0 {
			return wait
		}
		if p.due.CompareAndSwap(until, max(until, int64(now))+cost) {
			return 0
		}
	}
}
