package quality

// RFC 3550 §A.1.
const (
	maxDropout  = 3000 // sequence numbers that may be skipped; further ahead is another sequence
	maxMisorder = 100  // by how many a packet may be late; further behind is another sequence
)

// window is which of the last 128 sequence numbers have arrived, the highest in bit 0 of low. It covers maxMisorder, so
// that every packet that is late and no restart is told from a duplicate.
type window struct{ low, high uint64 }

// shift makes room for n more numbers.
func (w *window) shift(n uint) {
	switch {
	case n < 64:
		w.high = w.high<<n | w.low>>(64-n) // n = 0: a shift by 64 is 0 in Go
		w.low <<= n
	case n < 128:
		w.high, w.low = w.low<<(n-64), 0
	default:
		*w = window{}
	}
}

// take marks the number that is age behind the highest; false means that it was marked before.
func (w *window) take(age uint) bool {
	word, bit := &w.low, uint64(1)<<(age&63)
	if age >= 64 {
		word = &w.high
	}
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// sequence counts what arrived against what was sent (RFC 3550 §A.1, §A.3).
//
//	             next, or up to maxDropout ahead: in order, the skipped are lost
//	           ┌─ up to maxMisorder behind: late, one less is lost; or a duplicate
//	number ────┤
//	           └─ elsewhere: stray ─── the next one follows it ──► a restart: both count, nothing between is lost
//
// Expected packets are those that arrived, each once, and those that are lost, over all restarts.
type sequence struct {
	lost       uint64
	duplicates uint64
	late       uint64 // arrived behind a higher number
	strays     uint64

	restarts    uint32
	longestLoss uint32 // most numbers that were skipped at once

	// Hot from here on: every packet's.
	highest uint32 // sequence number, extended by wraps
	follows uint16 // the number that would prove a stray to be a restart
	astray  bool   // there is such a stray
	span    uint8  // how many numbers of the window belong to this sequence, up to 128
	seen    window
}

// order says where a packet stands in its stream.
type order uint8

const (
	ahead   order = iota // in order, with or without loss before it
	behind               // late or a duplicate
	astray               // part of no sequence yet
	renewed              // it began the sequence anew
)

// begin starts with two packets that followed each other, of which the second is n.
func (s *sequence) begin(n uint16) {
	s.seen = window{low: 0b11}
	s.highest = uint32(n)
	s.span = 2
	s.astray = false
}

// add counts a packet.
func (s *sequence) add(n uint16) order {
	step := uint(n - uint16(s.highest))
	if step == 1 {
		s.seen.high = s.seen.high<<1 | s.seen.low>>63
		s.seen.low = s.seen.low<<1 | 1
		s.highest++
		s.span = min(s.span+1, 128)
		s.astray = false
		return ahead
	}
	return s.addUnexpected(n, step)
}

func (s *sequence) addUnexpected(n uint16, step uint) order {
	switch {
	case step > 0 && step < maxDropout:
		s.seen.shift(step)
		s.seen.low |= 1
		s.highest += uint32(step)
		s.span = uint8(min(uint(s.span)+step, 128))
		s.lost += uint64(step - 1)
		s.longestLoss = max(s.longestLoss, uint32(step-1))
		s.astray = false
		return ahead
	case step == 0 || step > 1<<16-maxMisorder:
		s.addLate((1<<16 - step) & 0xFFFF)
		s.astray = false
		return behind
	case s.astray && s.follows == n:
		s.strays-- // the one before was no stray
		s.restarts++
		s.begin(n)
		return renewed
	}
	s.strays++
	s.follows, s.astray = n+1, true
	return astray
}

// addLate counts a packet that is age behind the highest.
func (s *sequence) addLate(age uint) {
	switch {
	case !s.seen.take(age):
		s.duplicates++
	case age < uint(s.span):
		s.late++
		s.lost--
	default: // older than the first: the sequence began there
		s.late++
		s.lost += uint64(age - uint(s.span))
		s.span = uint8(age + 1)
	}
}
