package quality

import "sync/atomic"

// inboxSlots is for how many packets there is room while the lock is taken. A holder has it for some ten nanoseconds,
// unless the kernel takes its processor away: then these are what arrives for one client in some milliseconds.
const inboxSlots = 8

// inbox is a bounded queue of packets.
//
//	put   any goroutine that found the Tracker's lock taken; never waits, and loses the packet if there is no room
//	take  the lock's holder
//
// A slot's turn says whose it is: its position's putter (turn = position), its taker (position + 1), or the putter of
// the next round (position + inboxSlots).
type inbox struct {
	end   atomic.Uint32 // position of the next put
	taken uint32        // position of the next take
	slots [inboxSlots]slot
}

type slot struct {
	turn atomic.Uint32
	packet
}

func newInbox() *inbox {
	b := &inbox{}
	for i := range b.slots {
		b.slots[i].turn.Store(uint32(i))
	}
	return b
}

// put leaves p; false means that there was no room.
func (b *inbox) put(p *packet) bool {
	for {
		at := b.end.Load()
		s := &b.slots[at%inboxSlots]
		switch turn := s.turn.Load(); {
		case turn == at:
			if b.end.CompareAndSwap(at, at+1) {
				s.packet = *p
				s.turn.Store(at + 1)
				return true
			}
		case int32(turn-at) < 0:
			return false
		}
	}
}

// take returns the next packet; false means that there is none.
func (b *inbox) take() (p packet, ok bool) {
	s := &b.slots[b.taken%inboxSlots]
	if s.turn.Load() != b.taken+1 {
		return packet{}, false
	}
	p = s.packet
	s.turn.Store(b.taken + inboxSlots)
	b.taken++
	return p, true
}
