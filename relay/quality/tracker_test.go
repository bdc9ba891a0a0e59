package quality

import (
	"encoding/binary"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// rtp returns a packet with that header and nothing in it.
func rtp(ssrc uint32, sequence uint16, timestamp uint32) []byte {
	b := make([]byte, rtpHeader)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

const millisecond = int64(time.Millisecond)

func TestClassify(t *testing.T) {
	t.Parallel()
	want := func(first, second byte) Kind { // RFC 7983 §7, RFC 5761 §4
		switch {
		case first <= 3:
			return KindSTUN
		case first >= 16 && first <= 19:
			return KindZRTP
		case first >= 20 && first <= 63:
			return KindDTLS
		case first >= 64 && first <= 79:
			return KindChannel
		case first >= 128 && first <= 191 && second >= 192 && second <= 223:
			return KindRTCP
		case first >= 128 && first <= 191:
			return KindRTP
		}
		return KindOther
	}
	for first := range 256 {
		for second := range 256 {
			b := []byte{byte(first), byte(second)}
			if kind := Classify(b); kind != want(b[0], b[1]) {
				t.Fatalf("%v is %v, want %v", b, kind, want(b[0], b[1]))
			}
		}
	}
	if Classify(nil) != KindOther || Classify([]byte{128}) != KindRTP {
		t.Error("packets without a second byte")
	}
}

func TestKindsAreCountedOnce(t *testing.T) {
	t.Parallel()
	extended := func(words uint16, more int) []byte {
		b := append(rtp(1, 1, 1), 0xBE, 0xDE, 0, 0)
		b[0] |= 0x10
		binary.BigEndian.PutUint16(b[14:], words)
		return append(b, make([]byte, more)...)
	}
	sources := func(n byte, more int) []byte {
		b := append(rtp(1, 1, 1), make([]byte, more)...)
		b[0] |= n
		return b
	}
	for _, c := range []struct {
		name    string
		payload []byte
		kind    Kind
	}{
		{"nothing", nil, KindOther},
		{"HTTP", []byte("POST /"), KindOther},
		{"STUN", []byte{0, 1, 0, 0}, KindSTUN},
		{"DTLS", []byte{22, 254, 253}, KindDTLS},
		{"ZRTP", []byte{16, 0}, KindZRTP},
		{"ChannelData", []byte{0x40, 0, 0, 0}, KindChannel},
		{"RTP without payload", rtp(1, 1, 1), KindRTP},
		{"RTP of one byte", []byte{0x80}, KindMalformed},
		{"RTP that ends in its header", rtp(1, 1, 1)[:11], KindMalformed},
		{"RTP longer than a datagram", append(rtp(1, 1, 1), make([]byte, 1<<16)...), KindMalformed},
		{"sources", sources(15, 60), KindRTP},
		{"sources beyond the packet", sources(15, 59), KindMalformed},
		{"extension", extended(2, 8), KindRTP},
		{"empty extension", extended(0, 0), KindRTP},
		{"extension beyond the packet", extended(2, 7), KindMalformed},
		{"longest extension", extended(0xFFFF, 8), KindMalformed},
		{"extension's header beyond the packet", sources(0x10, 3), KindMalformed},
		{"extension's header behind sources", sources(0x11, 7), KindMalformed},
		{"encrypted padding", sources(0x20, 1), KindRTP},
		{"RTCP", []byte{0x80, 201, 0, 1, 0, 0, 0, 1}, KindRTCP},
		{"RTCP of seven bytes", []byte{0x80, 201, 0, 1, 0, 0, 0}, KindMalformed},
		{"RTCP longer than the packet", []byte{0x80, 201, 0, 2, 0, 0, 0, 1}, KindMalformed},
	} {
		tracker := &Tracker{}
		tracker.Observe(c.payload, 0)
		s := tracker.Snapshot(0, nil)
		want := Counts{}
		want[c.kind]++
		if s.Packets != want {
			t.Errorf("%s: %v, want %v", c.name, s.Packets, want)
		}
		if len(s.Streams) != 0 {
			t.Errorf("%s is a stream", c.name)
		}
	}
}

func TestRTCP(t *testing.T) {
	t.Parallel()
	part := func(kind byte, words uint16) []byte {
		b := make([]byte, 4+4*int(words))
		b[0], b[1] = 0x81, kind
		binary.BigEndian.PutUint16(b[2:], words)
		return b
	}
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	many := part(201, 1)
	for range maxInRTCP + 1 {
		many = append(many, part(203, 0)...)
	}
	ciphertext := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
	for _, c := range []struct {
		name    string
		payload []byte
		want    RTCPCounts
	}{
		{"alone", part(206, 2), RTCPCounts{RTCPPayloadFeedback: 1}},
		{"compound", join(part(200, 6), part(202, 3), part(205, 3), part(203, 0)), RTCPCounts{
			RTCPSenderReport: 1, RTCPSourceDescription: 1, RTCPTransportFeedback: 1, RTCPGoodbye: 1}},
		{"every type", join(part(201, 1), part(204, 2), part(207, 1), part(192, 1), part(223, 0), part(208, 0)), RTCPCounts{
			RTCPReceiverReport: 1, RTCPApplication: 1, RTCPExtendedReport: 1, RTCPOther: 3}},
		{"encrypted", join(part(200, 6), ciphertext), RTCPCounts{RTCPSenderReport: 1}},
		{"encrypted behind what looks like one more", join(part(200, 6), part(202, 1), ciphertext), RTCPCounts{RTCPSenderReport: 1}},
		{"more than anybody's", many, RTCPCounts{RTCPReceiverReport: 1}},
	} {
		tracker := &Tracker{}
		tracker.Observe(c.payload, 0)
		if s := tracker.Snapshot(0, nil); s.RTCP != c.want {
			t.Errorf("%s: %v, want %v", c.name, s.RTCP, c.want)
		}
	}
}

func TestProbation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		sequences []uint16
		packets   uint64 // of the stream; 0: there is none
	}{
		{"one packet", []uint16{7}, 0},
		{"two that follow", []uint16{7, 8}, 2},
		{"two that follow across the wrap", []uint16{0xFFFF, 0}, 2},
		{"the same again", []uint16{7, 7, 7}, 0},
		{"the same again, then the next", []uint16{7, 7, 8}, 2},
		{"backwards", []uint16{9, 8, 7, 6}, 0},
		{"every other", []uint16{1, 3, 5, 7}, 0},
		{"two that follow at last", []uint16{1, 3, 4, 5}, 3},
	} {
		tracker := &Tracker{}
		for i, n := range c.sequences {
			tracker.Observe(rtp(1, n, 0), int64(i))
		}
		s := tracker.Snapshot(0, nil)
		var packets uint64
		for _, stream := range s.Streams {
			packets += stream.Packets
		}
		if packets != c.packets || s.Unconfirmed != uint64(len(c.sequences))-c.packets {
			t.Errorf("%s: a stream of %d packets, %d unconfirmed, want %d", c.name, packets, s.Unconfirmed, c.packets)
		}
	}
}

// begin has n streams begin with SSRCs from first on.
func begin(tracker *Tracker, first uint32, n int, at int64) {
	for i := range uint32(n) {
		tracker.Observe(rtp(first+i, 1, 0), at)
		tracker.Observe(rtp(first+i, 2, 0), at)
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	tracker := &Tracker{}
	begin(tracker, 0, MaxStreams, 0)
	tracker.Observe(rtp(0, 3, 0), 1) // so 1 is the oldest
	begin(tracker, 100, 1, evictable-1)
	if s := tracker.Snapshot(0, nil); len(s.Streams) != MaxStreams || s.Unconfirmed != 2 || tracker.Ended(0, nil) != nil {
		t.Errorf("a stream was evicted that may live: %+v", s)
	}
	tracker.Observe(rtp(100, 3, 0), evictable)
	ended := tracker.Ended(evictable, nil)
	if len(ended) != 1 || ended[0].SSRC != 1 || ended[0].Packets != 2 || ended[0].Silence != time.Duration(evictable) {
		t.Fatalf("evicted: %+v", ended)
	}
	if tracker.Ended(evictable, nil) != nil {
		t.Error("it was evicted twice")
	}
	s := tracker.Snapshot(evictable, nil)
	if len(s.Streams) != MaxStreams || s.Streams[1].SSRC != 100 || s.Streams[1].Packets != 2 {
		t.Errorf("the new one: %+v", s.Streams)
	}
	for round := range int64(4) {
		begin(tracker, uint32(1000*(round+1)), MaxStreams, (round+2)*evictable)
	}
	s, ended = tracker.Snapshot(0, nil), tracker.Ended(0, nil)
	if len(ended) != MaxStreams || s.Unreported != 3*MaxStreams || ended[MaxStreams-1].SSRC < 3000 {
		t.Errorf("%d ended, %d given up; the last of them %d", len(ended), s.Unreported, ended[MaxStreams-1].SSRC)
	}
}

// Whatever is made up, memory stays, and the stream that lives is counted right.
func TestFloodDoesNotGrow(t *testing.T) {
	tracker, sequence, at := &Tracker{}, uint16(0), int64(0)
	ssrc := uint32(1000)
	flood := func() {
		for range 1000 {
			at += millisecond
			sequence++
			tracker.Observe(rtp(7, sequence, 0), at)
			tracker.Observe(rtp(ssrc, 1, 0), at)
			tracker.Observe(rtp(ssrc, 2, 0), at)
			ssrc++
		}
	}
	tracker.Observe(rtp(7, sequence, 0), at)
	for range 50 {
		flood()
	}
	s := tracker.Snapshot(at, nil)
	if len(s.Streams) != MaxStreams || len(tracker.ended) > MaxStreams || s.Packets[KindRTP] != 150_001 {
		t.Errorf("%d streams, %d ended, %d packets", len(s.Streams), len(tracker.ended), s.Packets[KindRTP])
	}
	if live := s.Streams[0]; live.SSRC != 7 || live.Packets != 50_001 || live.Lost != 0 {
		t.Errorf("the stream that lives: %+v", live)
	}
}

func TestNoHeapAllocation(t *testing.T) {
	tracker, p, now := &Tracker{}, media(1, 200), int64(0)
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 1}
	into := make([]Stream, 0, MaxStreams)
	packet := func() {
		now += 20 * millisecond
		next(p, 960)
		tracker.Observe(p, now)
		tracker.Observe(report, now)
		if now%(100*millisecond) == 0 {
			next(p, 960) // one is lost
			tracker.Snapshot(now, into)
		}
	}
	packet()
	packet()
	if n := testing.AllocsPerRun(1000, packet); n != 0 {
		t.Errorf("%v heap allocations per packet", n)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name string
		size uintptr
		most uintptr
	}{
		{"stream", reflect.TypeFor[stream]().Size(), 256},
		{"Tracker", reflect.TypeFor[Tracker]().Size(), 512},
		{"inbox", reflect.TypeFor[inbox]().Size(), 288},
		{"Slot", reflect.TypeFor[Slot]().Size(), 8},
	} {
		if c.size > c.most {
			t.Errorf("a %s takes %d bytes, more than %d", c.name, c.size, c.most)
		}
		t.Logf("a %s takes %d bytes", c.name, c.size)
	}

	// Objects of 256 bytes begin at multiples of that.
	s := stream{}
	from := unsafe.Offsetof(s.highest)
	to := unsafe.Offsetof(s.clock) + unsafe.Offsetof(s.clock.rate)
	if from%64 != 0 || to-from > 2*64 || reflect.TypeFor[stream]().Size() <= 240 {
		t.Errorf("the hot part of a stream's %d bytes is from %d to %d", reflect.TypeFor[stream]().Size(), from, to)
	}
	if end := unsafe.Offsetof(Tracker{}.ssrcs); end > 64 {
		t.Errorf("the hot part of a Tracker ends at byte %d, in the second line", end)
	}
}

// What arrives while the lock is taken is counted later, in its place.
func TestInbox(t *testing.T) {
	t.Parallel()
	tracker := &Tracker{}
	begin(tracker, 1, 1, 0)
	for round := range uint16(5) {
		tracker.lock()
		for n := range uint16(inboxSlots) {
			tracker.Observe(rtp(1, 3+round*inboxSlots+n, 0), int64(round))
		}
		if tracker.streams[0].packets != 2+uint64(round)*inboxSlots {
			t.Fatal("the lock was not held")
		}
		tracker.locked.Store(0)
		tracker.lock()
		tracker.locked.Store(0)
	}
	s := tracker.Snapshot(0, nil)
	if got := s.Streams[0]; got.Packets != 2+5*inboxSlots || got.Lost+got.Reordered+got.Duplicates != 0 || s.Missed != 0 {
		t.Errorf("%+v, %d missed", got, s.Missed)
	}
	tracker.lock()
	for n := range uint16(inboxSlots + 3) {
		tracker.Observe(rtp(1, 100+n, 0), 9)
	}
	tracker.locked.Store(0)
	s = tracker.Snapshot(0, nil)
	if s.Missed != 3 || s.Packets[KindRTP] != 2+6*inboxSlots+3 || s.Streams[0].HighestSequence != 100+inboxSlots-1 {
		t.Errorf("a full inbox: %+v", s)
	}
}

// Several goroutines, and readers all the while: nothing is counted twice, forgotten or torn.
func TestTogether(t *testing.T) {
	t.Parallel()
	const writers, packets = 4, 20_000
	slot := &Slot{}
	var wait sync.WaitGroup
	var stop atomic.Bool
	for w := range uint32(writers) {
		wait.Go(func() {
			p := media(w, 100)
			for i := range int64(packets) {
				next(p, 960)
				slot.Observe(p, i*20*millisecond)
			}
		})
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		var into []Stream
		for !stop.Load() {
			tracker := slot.Tracker()
			if tracker == nil {
				continue
			}
			into = tracker.Snapshot(0, into[:0]).Streams
			for _, s := range into {
				if s.Bytes != 100*s.Packets || s.Expected != s.Packets-s.Duplicates-s.Stray+s.Lost {
					t.Errorf("torn: %+v", s)
					return
				}
			}
		}
	})
	wait.Wait()
	stop.Store(true)
	readers.Wait()
	s := slot.Tracker().Snapshot(0, nil)
	seen := s.Unconfirmed + s.Missed
	for _, stream := range s.Streams {
		seen += stream.Packets
		if stream.Lost > s.Missed {
			t.Errorf("%d of stream %d are lost, and only %d were missed", stream.Lost, stream.SSRC, s.Missed)
		}
	}
	if s.Packets[KindRTP] != writers*packets || seen != writers*packets {
		t.Errorf("%d packets, %d in streams and beside them, want %d", s.Packets[KindRTP], seen, writers*packets)
	}
	t.Logf("%d missed", s.Missed)
}

func TestSlot(t *testing.T) {
	t.Parallel()
	slot := &Slot{}
	for _, payload := range [][]byte{nil, {0, 1}, {22}, {0x80, 201, 0, 1, 0, 0, 0, 1}, {0x80, 96, 0}, rtp(1, 1, 1)[:11]} {
		slot.Observe(payload, 0)
		if slot.Tracker() != nil {
			t.Fatalf("%v made a tracker", payload)
		}
	}
	slot.Observe(rtp(1, 1, 0), 0)
	slot.Observe([]byte{22}, 0)
	if s := slot.Tracker().Snapshot(0, nil); s.Packets != (Counts{KindRTP: 1, KindDTLS: 1}) {
		t.Errorf("%v", s.Packets)
	}
}

func TestMode(t *testing.T) {
	t.Parallel()
	for _, m := range []Mode{Off, Sampled, Full} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
	for _, name := range []string{"", "on", "FULL", "unknown"} {
		if _, err := ParseMode(name); err == nil || !strings.Contains(err.Error(), "sampled") {
			t.Errorf("%q: %v", name, err)
		}
	}
	var observed, pairs [3]int
	const allocations = 160_000
	for id := range uint64(allocations) {
		for _, m := range []Mode{Off, Sampled, Full} {
			if m.Observes(id) {
				observed[m]++
				if m.Observes(id + 1) {
					pairs[m]++
				}
			}
		}
	}
	if observed[Off] != 0 || observed[Full] != allocations {
		t.Errorf("off observes %d, full %d of %d", observed[Off], observed[Full], allocations)
	}
	if n := observed[Sampled]; n < allocations/SampleEvery*95/100 || n > allocations/SampleEvery*105/100 {
		t.Errorf("sampled observes %d of %d", n, allocations)
	}
	if n := pairs[Sampled]; n < 450 || n > 800 { // 625 if neighbours are independent
		t.Errorf("sampled observes %d pairs of neighbours", n)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for k := range Kinds + 1 {
		seen["kind "+k.String()] = true
	}
	for k := range RTCPTypes + 1 {
		seen["rtcp "+k.String()] = true
	}
	if len(seen) != int(Kinds+1)+int(RTCPTypes)+1 || Mode(9).String() != "unknown" {
		t.Errorf("names: %v", seen)
	}
	if s := (Stream{}); s.Loss() != 0 || !reflect.DeepEqual(s, Stream{}) {
		t.Error("the zero Stream")
	}
}
