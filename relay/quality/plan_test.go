package quality

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// A plan is what a network does to the packets of one sender. What the relay must find follows from it by counting, with
// no sequence arithmetic: truth knows which packet is which.
type plan []sent

type sent struct {
	restart bool  // numbers and timestamps begin elsewhere
	lost    bool  // the packet never arrives
	delay   uint8 // by how many packets it comes late, below maxMisorder
	copies  uint8 // it arrives so many times more
	spread  uint8 // how far apart
}

// arrival is one packet at the relay.
type arrival struct {
	index, epoch int // of the packet in the plan; how many restarts were before it
	moment       int // in packets sent
	sequence     uint16
	timestamp    uint32
}

const (
	ticks    = 960              // 20 ms of 48,000 Hz
	interval = 20 * millisecond // between packets
)

// arrivals returns what arrives, in order. The two packets that begin an epoch are left alone, because RFC 3550 §A.1 asks
// for them, and none is late past its epoch's end.
func (p plan) arrivals(first uint16, timestamp uint32) (all []arrival) {
	ends := make([]int, len(p)) // of each packet's epoch
	for i := range slices.Backward(p) {
		ends[i] = i
		if i+1 < len(p) && !p[i+1].restart {
			ends[i] = ends[i+1]
		}
	}
	sequence, epoch, since := first, 0, 0
	for i, s := range p {
		if s.restart && i > 0 {
			epoch++
			since = 0
			sequence += maxDropout + maxMisorder + uint16(i)%50_000
			timestamp += 1 << 31
		}
		a := arrival{index: i, epoch: epoch, moment: i, sequence: sequence, timestamp: timestamp}
		switch {
		case since < 2:
			all = append(all, a)
		case !s.lost:
			for copy := range int(s.copies%3) + 1 {
				a.moment = min(i+(int(s.delay)+copy*int(s.spread))%maxMisorder, ends[i])
				all = append(all, a)
			}
		}
		since++
		sequence++
		timestamp += ticks
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.moment, b.moment) })
	return all
}

// truth counts.
func truth(all []arrival) (want Stream) {
	type span struct{ first, last, distinct int }
	epochs, seen := map[int]*span{}, map[int]bool{}
	for _, a := range all {
		want.Packets++
		want.Bytes += rtpHeader
		e := epochs[a.epoch]
		if e == nil {
			e = &span{first: a.index, last: a.index}
			epochs[a.epoch] = e
		}
		switch {
		case seen[a.index]:
			want.Duplicates++
			continue
		case a.index < e.last:
			want.Reordered++
		case a.index > e.last:
			want.LongestLoss = max(want.LongestLoss, uint32(a.index-e.last-1))
		}
		seen[a.index] = true
		e.first, e.last = min(e.first, a.index), max(e.last, a.index)
		e.distinct++
	}
	for _, e := range epochs {
		want.Expected += uint64(e.last - e.first + 1)
		want.Lost += uint64(e.last - e.first + 1 - e.distinct)
	}
	want.Restarts = uint32(len(epochs) - 1)
	return want
}

// counted is the part of a Stream that truth knows.
func counted(s Stream) Stream {
	return Stream{Packets: s.Packets, Bytes: s.Bytes, Expected: s.Expected, Lost: s.Lost, Duplicates: s.Duplicates,
		Reordered: s.Reordered, Stray: s.Stray, Restarts: s.Restarts, LongestLoss: s.LongestLoss}
}

// follow has a relay see a plan, and compares.
func (p plan) follow(t *testing.T, first uint16, timestamp uint32) Stream {
	t.Helper()
	all := p.arrivals(first, timestamp)
	tracker := &Tracker{}
	for _, a := range all {
		tracker.Observe(rtp(1, a.sequence, a.timestamp), int64(a.moment)*interval)
	}
	streams := tracker.Snapshot(int64(len(p))*interval, nil).Streams
	if len(streams) != 1 {
		t.Fatalf("%d streams", len(streams))
	}
	if got, want := counted(streams[0]), truth(all); got != want {
		t.Fatalf("of a plan of %d packets from %d on the relay saw\n\t%+v, the truth is\n\t%+v", len(p), first, got, want)
	}
	return streams[0]
}

func TestPlans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		packets int
		network func(i int, r *rand.Rand) sent
	}{
		{"nothing happens", 70_000, func(int, *rand.Rand) sent { return sent{} }},
		{"every tenth is lost", 5000, func(i int, _ *rand.Rand) sent { return sent{lost: i%10 == 0} }},
		{"every other is lost", 10_000, func(i int, _ *rand.Rand) sent { return sent{lost: i%2 == 0} }},
		{"bursts are lost", 20_000, func(i int, _ *rand.Rand) sent { return sent{lost: i%5000 > 2100} }},
		{"all twice", 10_000, func(int, *rand.Rand) sent { return sent{copies: 1} }},
		{"all three times, far apart", 10_000, func(int, *rand.Rand) sent { return sent{copies: 2, spread: 45} }},
		{"neighbours change places", 10_000, func(i int, _ *rand.Rand) sent { return sent{delay: uint8(i % 2 * 2)} }},
		{"some are very late", 20_000, func(i int, r *rand.Rand) sent {
			return sent{delay: uint8(r.IntN(maxMisorder)) * uint8(i%7/6)}
		}},
		{"restarts", 20_000, func(i int, r *rand.Rand) sent { return sent{restart: r.IntN(1000) == 0} }},
		{"everything", 100_000, func(_ int, r *rand.Rand) sent {
			return sent{restart: r.IntN(5000) == 0, lost: r.IntN(20) == 0, delay: uint8(max(0, r.IntN(400)-300)),
				copies: uint8(r.IntN(100) / 98), spread: uint8(r.IntN(40))}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				r := rand.New(rand.NewPCG(seed, 1))
				p := make(plan, c.packets)
				for i := range p {
					p[i] = c.network(i, r)
				}
				p.follow(t, uint16(r.Uint32()), r.Uint32())
			}
		})
	}
}

// FuzzPlan reads a plan from bytes, two for each packet.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0}, uint16(0xFFFE), uint32(0xFFFFFFF0))
	f.Add([]byte{0, 0, 0, 0, 2, 5, 0, 0, 3, 9, 0, 0, 4, 0, 0, 0, 0, 0, 3, 1, 1, 0, 5, 40}, uint16(7), uint32(7))
	f.Add(make([]byte, 2*300), uint16(65500), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, first uint16, timestamp uint32) {
		var p plan
		for ; len(b) >= 2 && len(p) < 4000; b = b[2:] {
			s, arg := sent{}, b[1]
			switch b[0] % 8 {
			case 1:
				s.lost = true
			case 2:
				s.delay = arg % maxMisorder
			case 3:
				s.copies, s.spread = 1+arg%2, arg/2
			case 4:
				s.restart = len(p) > 3 && !p[len(p)-1].restart // an epoch has two packets at least
			case 5:
				s.delay, s.copies, s.spread = arg%50, 2, 30
			case 6: // many are lost at once
				for range int(arg) {
					p = append(p, sent{lost: true})
				}
			}
			p = append(p, s)
		}
		if len(p) < 3 || p[len(p)-1].restart {
			t.Skip()
		}
		p.follow(t, first, timestamp)
	})
}

// FuzzSequence has any numbers follow each other, and compares with a set of numbers: RFC 3550 §A.1 said with as few
// thoughts as possible.
func FuzzSequence(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 2, 0, 2, 255, 255, 20, 0, 20, 1, 20, 2, 19, 170})
	f.Add([]byte{12, 27, 23, 211, 35, 140}) // 2,999 ahead of 100, 3,000 ahead, 3,001 ahead
	f.Add([]byte{12, 28, 12, 29, 11, 186, 11, 187})
	f.Add([]byte{0, 1, 255, 250, 255, 251, 0, 2, 0, 0, 255, 240})
	f.Fuzz(func(t *testing.T, b []byte) {
		const first = 100
		var s sequence
		s.begin(first)
		lowest, highest := first-1, first
		set := map[int]bool{lowest: true, highest: true}
		last, strays, duplicates, late, lost, restarts := -1, 0, 0, 0, 0, 0
		for ; len(b) >= 2; b = b[2:] {
			n := binary.BigEndian.Uint16(b)
			s.add(n)
			near := highest + int(int16(n-uint16(highest))) // the number that n may stand for
			switch {
			case near > highest-maxMisorder && near < highest+maxDropout:
				switch {
				case set[near]:
					duplicates++
				case near < highest:
					late++
				}
				set[near] = true
				lowest, highest = min(lowest, near), max(highest, near)
				last = -1
			case last >= 0 && uint16(last+1) == n:
				strays--
				restarts++
				lost += highest - lowest + 1 - len(set)
				lowest, highest = int(n)+1<<16-1, int(n)+1<<16
				set = map[int]bool{lowest: true, highest: true}
				last = -1
			default:
				strays++
				last = int(n)
			}
		}
		lost += highest - lowest + 1 - len(set)
		if s.lost != uint64(lost) || s.duplicates != uint64(duplicates) || s.late != uint64(late) ||
			s.strays != uint64(strays) || s.restarts != uint32(restarts) || uint16(s.highest) != uint16(highest) {
			t.Fatalf("%+v, want lost %d, duplicates %d, late %d, strays %d, restarts %d, highest %d",
				s, lost, duplicates, late, strays, restarts, highest)
		}
	})
}

// FuzzObserve has anything arrive at any time: nothing panics or grows, and the sums hold.
func FuzzObserve(f *testing.F) {
	f.Add([]byte{12, 1, 0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 12, 1, 0x80, 96, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1}, int64(1e9))
	f.Add([]byte{12, 255, 0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 12, 0, 0x80, 96, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1}, int64(-1<<63))
	f.Add([]byte{8, 3, 0x80, 201, 0, 1, 0, 0, 0, 1, 2, 2, 0x90, 0xFF}, int64(1<<62))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		tracker, packets := &Tracker{}, uint64(0)
		for len(b) >= 2 {
			length, step := min(int(b[0])%64, len(b)-2), int64(int8(b[1]))
			now += step * step * step * step * step * 997 // up to some 30 s, either way
			if b[1] == 0x80 {
				now = -now
			}
			tracker.Observe(b[2:2+length], now)
			packets++
			b = b[2+length:]
		}
		s := tracker.Snapshot(now, nil)
		ended := tracker.Ended(now, nil)
		var sum uint64
		for _, n := range s.Packets {
			sum += n
		}
		if sum != packets || s.Missed != 0 || len(s.Streams) > MaxStreams || len(ended) > MaxStreams {
			t.Fatalf("%d of %d packets are counted, %d missed; %d streams, %d ended", sum, packets, s.Missed, len(s.Streams), len(ended))
		}
		inStreams := s.Unconfirmed
		for _, stream := range append(s.Streams, ended...) {
			inStreams += stream.Packets
			if stream.Expected < stream.Lost || stream.Duplicates+stream.Reordered+stream.Stray > stream.Packets ||
				stream.Jitter < 0 || stream.MeanJitter < 0 || stream.LongestGap < 0 || stream.Loss() > 1 {
				t.Fatalf("%+v", stream)
			}
		}
		if s.Unreported == 0 && inStreams != s.Packets[KindRTP] {
			t.Fatalf("%d RTP packets, %d in streams and beside them", s.Packets[KindRTP], inStreams)
		}
	})
}
