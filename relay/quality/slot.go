package quality

import "sync/atomic"

// Slot is an allocation's place for a Tracker: one pointer, nil until there is RTP. Its zero value is ready; any
// goroutine may call its methods. It must not be copied.
type Slot struct {
	tracker atomic.Pointer[Tracker]
}

// Observe does what Tracker.Observe does, with a Tracker that the first RTP packet makes; packets before are not counted.
func (s *Slot) Observe(payload []byte, now int64) {
	t := s.tracker.Load()
	if t == nil {
		if t = s.open(payload); t == nil {
			return
		}
	}
	t.Observe(payload, now)
}

// open makes the Tracker if payload is RTP.
func (s *Slot) open(payload []byte) *Tracker {
	if Classify(payload) != KindRTP {
		return nil
	}
	if p := (packet{}); !p.parse(payload, 0) {
		return nil
	}
	s.tracker.CompareAndSwap(nil, &Tracker{})
	return s.tracker.Load()
}

// Tracker returns what has been observed; nil: there was no RTP packet.
func (s *Slot) Tracker() *Tracker { return s.tracker.Load() }

// Follow has s go on with what old has observed. There must be no Tracker of its own yet.
func (s *Slot) Follow(old *Slot) { s.tracker.Store(old.tracker.Load()) }
