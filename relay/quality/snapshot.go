package quality

import "slices"

// Snapshot is a reading of a Tracker.
type Snapshot struct {
	Packets     Counts // by Kind, since the Tracker was made
	RTCP        RTCPCounts
	Unconfirmed uint64 // RTP packets of SSRCs that are no stream: on probation, or without room
	Missed      uint64 // RTP packets that were not looked at because the Tracker was busy; streams count them as lost
	Unreported  uint64 // streams that were evicted and that nobody took by Ended in time
	Streams     []Stream
}

// Add adds what another Tracker saw.
func (s *Snapshot) Add(other *Snapshot) {
	for i, n := range other.Packets {
		s.Packets[i] += n
	}
	for i, n := range other.RTCP {
		s.RTCP[i] += n
	}
	s.Unconfirmed += other.Unconfirmed
	s.Missed += other.Missed
	s.Unreported += other.Unreported
	s.Streams = append(s.Streams, other.Streams...)
}

// Snapshot reads everything at a moment, which is on the clock of Observe's. Each stream is read as of one packet,
// different streams may be some packets apart. The streams are appended to streams, which may be nil.
func (t *Tracker) Snapshot(now int64, streams []Stream) Snapshot {
	s := Snapshot{Missed: t.missed.Load()}
	for i := range t.kinds {
		s.Packets[i] = t.kinds[i].Load()
	}
	for i := range t.rtcp {
		s.RTCP[i] = t.rtcp[i].Load()
	}
	t.lock()
	count := int(t.count)
	rtp := t.rtp
	s.Unconfirmed, s.Unreported = t.unconfirmed, t.unreported
	t.locked.Store(0)
	s.Packets[KindRTP] = rtp + s.Missed
	earlier := len(streams)
	streams = t.read(count, now, streams)
	findRepairs(streams[earlier:], streams[earlier:])
	s.Streams = streams
	return s
}

// read appends the first streams to others.
func (t *Tracker) read(count int, now int64, streams []Stream) []Stream {
	for i := range count { // never fewer than before
		t.lock()
		read := *t.streams[i]
		t.locked.Store(0)
		streams = append(streams, read.report(now))
	}
	return streams
}

// Ended returns the final figures of the streams that were evicted since the last call, appended to streams. Up to
// MaxStreams wait to be taken, then the oldest are given up and counted as Unreported. Streams that are left when an
// allocation ends are in its last Snapshot.
func (t *Tracker) Ended(now int64, streams []Stream) []Stream {
	t.lock()
	ended, count := t.ended, int(t.count)
	t.ended = nil
	t.locked.Store(0)
	if len(ended) == 0 {
		return streams
	}
	earlier := len(streams)
	for _, s := range ended {
		streams = append(streams, s.report(now))
	}
	// Retransmissions are what is silent for longest, and so are evicted while that lives which they repeat.
	media := t.read(count, now, slices.Clone(streams[earlier:]))
	findRepairs(streams[earlier:], media)
	return streams
}
