package quality

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A sender sends a packet each step of its own clock; the network delays each by something.
type sender struct {
	rate      uint32 // Hz
	step      time.Duration
	perFrame  int // packets that share a timestamp; 0: 1
	sequence  uint16
	timestamp uint32
	sentAt    int64
	count     int
}

func (s *sender) send(tracker *Tracker, delay time.Duration) {
	if s.count%max(1, s.perFrame) == 0 {
		s.sentAt += int64(s.step)
		s.timestamp += uint32(int64(s.rate) * int64(s.step) / int64(time.Second))
	}
	s.count++
	s.sequence++
	tracker.Observe(rtp(1, s.sequence, s.timestamp), s.sentAt+int64(delay))
}

func (s *sender) seen(t *testing.T, tracker *Tracker) Stream {
	t.Helper()
	streams := tracker.Snapshot(s.sentAt, nil).Streams
	if len(streams) != 1 {
		t.Fatalf("%d streams", len(streams))
	}
	return streams[0]
}

func TestClockRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate    uint32
		step    time.Duration
		jitter  time.Duration // delays are up to that
		first   time.Duration // delay of the first packets
		after   time.Duration // known then
		unusual bool
	}{
		{rate: 8000, step: 20 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 16000, step: 20 * time.Millisecond, jitter: 20 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 24000, step: 20 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 32000, step: 20 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 44100, step: 20 * time.Millisecond, after: 4100 * time.Millisecond},
		{rate: 48000, step: 20 * time.Millisecond, jitter: 30 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 48000, step: 60 * time.Millisecond, jitter: 150 * time.Millisecond, after: 8200 * time.Millisecond},
		{rate: 48000, step: 20 * time.Millisecond, first: 300 * time.Millisecond, after: 9 * time.Second},
		{rate: 90000, step: 40 * time.Millisecond, jitter: 15 * time.Millisecond, after: 1100 * time.Millisecond},
		{rate: 90000, step: 200 * time.Millisecond, jitter: 100 * time.Millisecond, after: 8400 * time.Millisecond},
		{rate: 32000, step: 20 * time.Millisecond, first: 500 * time.Millisecond, after: 13 * time.Second}, // looks like 48,000 for a second
		{rate: 12000, step: 20 * time.Millisecond, after: 17 * time.Second, unusual: true},
		{rate: 250000, step: 20 * time.Millisecond, after: 17 * time.Second, unusual: true},
	} {
		r := rand.New(rand.NewPCG(uint64(c.rate), 1))
		tracker, s := &Tracker{}, &sender{rate: c.rate, step: c.step, timestamp: 0xFFFFF000}
		for s.sentAt < int64(c.after) {
			delay := time.Duration(r.Int64N(int64(c.jitter) + 1))
			if s.count < 2 {
				delay = c.first
			}
			s.send(tracker, delay)
		}
		got := s.seen(t, tracker)
		near := math.Abs(float64(got.ClockRate)-float64(c.rate)) <= float64(c.rate)/100
		if got.ClockRate != c.rate && !(c.unusual && near) || got.ClockUnusual != c.unusual {
			t.Errorf("%d Hz every %v, delayed by up to %v, is taken for %d Hz, unusual: %v",
				c.rate, c.step, c.jitter, got.ClockRate, got.ClockUnusual)
		}
	}
}

// A sender without a processor to spare sends packets of 20 ms every 21.8 ms: 44,100 ticks a second, and yet none of 44,100 Hz.
func TestClockOfASlowSender(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 100, 1000} { // packets in time
		tracker, s := &Tracker{}, &sender{rate: 48000, step: 20 * time.Millisecond}
		for range before {
			s.send(tracker, 0)
		}
		for s.count < before+2000 {
			s.send(tracker, 0)
			s.sentAt += int64(20*time.Millisecond) * (48000 - 44100) / 44100
		}
		slow := s.seen(t, tracker)
		for s.count < before+3000 {
			s.send(tracker, 0)
		}
		if got := s.seen(t, tracker); slow.ClockRate != 48000 || got.ClockRate != 48000 || got.ClockUnusual {
			t.Errorf("after %d packets in time and 2,000 slow ones the rate is %d Hz, and after 1,000 more %d Hz", before, slow.ClockRate, got.ClockRate)
		}
	}
}

// Retransmissions have the timestamps of what they repeat, and are nobody's media, even when there are none for long.
func TestRepairs(t *testing.T) {
	t.Parallel()
	const media, again, other, idle, twin = 1, 2, 3, 4, 5
	tracker := &Tracker{}
	repair := func(ssrc uint32, sequence uint16, timestamp uint32) []byte {
		b := rtp(ssrc, sequence, timestamp)
		b[1] = 97
		return b
	}
	step := func(n int) int64 { return int64(n) * int64(20*time.Millisecond) }
	repeated := uint16(0)
	for n := range 3000 {
		timestamp := 0xFFFFF000 + uint32(n)*1800
		tracker.Observe(rtp(media, uint16(n), timestamp), step(n))
		tracker.Observe(rtp(other, uint16(n), 77777+uint32(n)*1800), step(n))
		if n%10 == 9 && (n < 500 || n > 2900) { // 100 ms later
			repeated++
			tracker.Observe(repair(again, repeated, timestamp-5*1800), step(n))
		}
		if n%2 == 0 { // another camera, whose timestamps begin alike
			tracker.Observe(rtp(twin, uint16(n/2), timestamp), step(n))
		}
		if n < 30 {
			tracker.Observe(repair(idle, uint16(n), timestamp), step(n)+1)
		}
	}
	want := map[uint32]uint32{again: media, idle: media}
	for _, s := range tracker.Snapshot(step(3000), []Stream{{SSRC: media}}).Streams[1:] {
		if s.RepairOf != want[s.SSRC] {
			t.Errorf("%d is taken for repairs of %d, want %d", s.SSRC, s.RepairOf, want[s.SSRC])
		}
	}
}

// Retransmissions give way to new streams, being silent for longest, and are still told from media.
func TestEvictedRepairs(t *testing.T) {
	t.Parallel()
	tracker, at := &Tracker{}, int64(0)
	const media, again = 1, 2
	for n := range 1000 {
		at += int64(20 * time.Millisecond)
		tracker.Observe(rtp(media, uint16(n), uint32(n)*1800), at)
		if n < 200 && n%2 == 0 {
			b := rtp(again, uint16(n/2), uint32(n)*1800)
			b[1] = 97
			tracker.Observe(b, at)
		}
	}
	begin(tracker, 100, MaxStreams-1, at)
	ended := tracker.Ended(at, []Stream{{SSRC: 7}})
	if len(ended) != 2 || ended[1].SSRC != again || ended[1].RepairOf != media {
		t.Fatalf("evicted: %+v", ended)
	}
	if s := tracker.Snapshot(at, nil).Streams; s[0].SSRC != media || s[0].RepairOf != 0 {
		t.Errorf("%+v", s[0])
	}
}

// RFC 3550 §A.8 in floating point, with the rate known, beside what was inferred.
func TestJitter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		s     sender
		delay func(r *rand.Rand) time.Duration
	}{
		{"none", sender{rate: 48000, step: 20 * time.Millisecond}, func(*rand.Rand) time.Duration { return 0 }},
		{"even", sender{rate: 48000, step: 20 * time.Millisecond}, func(r *rand.Rand) time.Duration {
			return time.Duration(r.Int64N(int64(15 * time.Millisecond)))
		}},
		{"of a telephone", sender{rate: 8000, step: 30 * time.Millisecond}, func(r *rand.Rand) time.Duration {
			return time.Duration(r.ExpFloat64() * float64(4*time.Millisecond))
		}},
		{"of frames", sender{rate: 90000, step: 33_333_333, perFrame: 1}, func(r *rand.Rand) time.Duration {
			return time.Duration(math.Abs(r.NormFloat64()) * float64(6*time.Millisecond))
		}},
		{"slight", sender{rate: 44100, step: 20 * time.Millisecond}, func(r *rand.Rand) time.Duration {
			return time.Duration(r.Int64N(int64(time.Millisecond)))
		}},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		tracker, s := &Tracker{}, c.s
		var jitter, sum float64 // seconds
		var transit float64
		const packets = 6000
		for i := range packets {
			delay := c.delay(r)
			s.send(tracker, delay)
			at := float64(s.sentAt+int64(delay)) / 1e9
			if now := at - float64(s.timestamp)/float64(s.rate); i > 0 {
				jitter += (math.Abs(now-transit) - jitter) / 16
				transit = now
			} else {
				transit = now
			}
			sum += jitter
		}
		got := s.seen(t, tracker)
		for _, pair := range []struct {
			what      string
			got       time.Duration
			want      float64
			tolerance float64
		}{{"jitter", got.Jitter, jitter, 0.01}, {"mean jitter", got.MeanJitter, sum / packets, 0.03}} {
			if d := math.Abs(pair.got.Seconds() - pair.want); d > pair.tolerance*pair.want+5e-6 {
				t.Errorf("%s: %s %v, want %v", c.name, pair.what, pair.got, time.Duration(pair.want*1e9))
			}
		}
	}
}

// A frame's packets are spread by its sender; that is not jitter. A late packet is no sample.
func TestJitterIsOfFrames(t *testing.T) {
	t.Parallel()
	tracker, s := &Tracker{}, &sender{rate: 90000, step: 40 * time.Millisecond, perFrame: 8}
	for i := range 8000 {
		s.send(tracker, time.Duration(i%8)*time.Millisecond)
		if i%50 == 49 {
			tracker.Observe(rtp(1, s.sequence-20, s.timestamp-9000), s.sentAt)
		}
	}
	// The last packet of a frame to the first of the next: 7 ms of its spread.
	if got := s.seen(t, tracker); got.Jitter > 8*time.Millisecond || got.Reordered+got.Duplicates != 160 {
		t.Errorf("jitter %v, %+v", got.Jitter, got)
	}
}

func TestTimelinesThatJump(t *testing.T) {
	t.Parallel()
	steady := func(tracker *Tracker, s *sender) {
		for range 500 {
			s.send(tracker, 0)
		}
	}
	for _, c := range []struct {
		name string
		jump func(s *sender)
	}{
		{"timestamps ahead", func(s *sender) { s.timestamp += 1 << 30 }},
		{"timestamps back", func(s *sender) { s.timestamp -= 1 << 29 }},
		{"clock ahead", func(s *sender) { s.sentAt += int64(time.Hour) }},
		{"clock back", func(s *sender) { s.sentAt -= int64(8 * time.Second) }},
		{"another sequence", func(s *sender) { s.timestamp += 1 << 30; s.sequence += 20_000 }},
		{"a pause of a day", func(s *sender) { s.sentAt += 24 * int64(time.Hour); s.timestamp += 24 * 3600 * 48000 % (1 << 32) }},
	} {
		tracker, s := &Tracker{}, &sender{rate: 48000, step: 20 * time.Millisecond}
		steady(tracker, s)
		c.jump(s)
		steady(tracker, s)
		got := s.seen(t, tracker)
		if got.ClockRate != 48000 || got.Jitter > 100*time.Microsecond || got.MeanJitter > 100*time.Microsecond {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got.Lost != 0 || got.Silence != 0 || got.Bitrate < 4500 || got.Bitrate > 5100 { // 50 packets of 12 bytes
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// An outage of more packets than RFC 3550 §A.1 takes for lost is told from a restart by its timestamps.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		missing  uint16
		shift    uint32 // of the timestamps
		lost     uint64
		restarts uint32
	}{
		{"short", 2000, 0, 2000, 0},
		{"longer", 3500, 0, 3500, 0},
		{"long", 5000, 0, 5000, 0},
		{"a restart", 5000, 1 << 31, 0, 1},
		{"a restart backwards", 50_000, 0, 0, 1},
	} {
		tracker, s := &Tracker{}, &sender{rate: 90000, step: 10 * time.Millisecond, perFrame: 10}
		for range 3000 {
			s.send(tracker, 0)
		}
		s.sequence += c.missing
		s.timestamp += 900*uint32(c.missing/10) + c.shift
		s.sentAt += 10 * millisecond * int64(c.missing/10)
		for range 3000 {
			s.send(tracker, 0)
		}
		got := s.seen(t, tracker)
		if got.Lost != c.lost || got.Restarts != c.restarts || got.Expected != 6000+c.lost || got.Stray != 0 ||
			uint64(got.LongestLoss) != c.lost || got.MeanJitter > time.Millisecond || got.Stalls != 1 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestGapsAndStalls(t *testing.T) {
	t.Parallel()
	tracker, at, n := &Tracker{}, int64(0), uint16(0)
	for _, gap := range []int64{0, 20, 20, 499, 500, 501, 20, 2000, 20, 600} {
		at += gap * millisecond
		n++
		tracker.Observe(rtp(1, n, 0), at)
	}
	tracker.Observe(rtp(1, n, 0), at-5*millisecond) // another goroutine's moment
	got := tracker.Snapshot(at+3*int64(time.Second), nil).Streams[0]
	if got.LongestGap != 2*time.Second || got.Stalls != 3 || got.Stalled != 3101*time.Millisecond ||
		got.Silence != 3*time.Second || got.First != 0 || got.Last != at || got.Bitrate != 0 || got.ClockRate != 0 {
		t.Errorf("%+v", got)
	}
}

func TestBitrate(t *testing.T) {
	t.Parallel()
	tracker, now := &Tracker{}, int64(0)
	p := media(1, 1250)
	flow := func(d time.Duration, interval int64) {
		for end := now + int64(d); now < end; {
			now += interval
			next(p, 960)
			tracker.Observe(p, now)
		}
	}
	check := func(when string, at int64, low, high uint64) {
		t.Helper()
		if got := tracker.Snapshot(at, nil).Streams[0].Bitrate; got < low || got > high {
			t.Errorf("%s: %d bit/s, want %d to %d", when, got, low, high)
		}
	}
	flow(100*time.Millisecond, 10*millisecond)
	check("at first", now, 90_000, 110_000) // of a whole second
	flow(10*time.Second, 10*millisecond)
	check("1 Mbit/s", now, 980_000, 1_020_000)
	flow(3*time.Second, millisecond)
	check("10 Mbit/s", now, 9_800_000, 10_200_000)
	check("10 Mbit/s, a second ago", now+int64(time.Second), 4_000_000, 9_000_000)
	check("10 Mbit/s, two seconds ago", now+2*int64(time.Second), 0, 0)
	now += int64(time.Minute)
	flow(500*time.Millisecond, 10*millisecond)
	check("again", now, 450_000, 550_000)
	check("of a reader that is behind", now-int64(time.Hour), 450_000, 550_000)
}

func TestLossSince(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, now Stream
		want        float64
	}{
		{Stream{}, Stream{}, 0},
		{Stream{}, Stream{Expected: 100, Lost: 25}, 0.25},
		{Stream{Expected: 100, Lost: 25}, Stream{Expected: 200, Lost: 35}, 0.1},
		{Stream{Expected: 100, Lost: 25}, Stream{Expected: 200, Lost: 20}, 0}, // late ones have come
		{Stream{Expected: 100, Lost: 25}, Stream{Expected: 100, Lost: 24}, 0},
		{Stream{Expected: 100, Lost: 1}, Stream{Expected: 101, Lost: 9}, 1},
	} {
		if got := c.now.LossSince(&c.before); got != c.want {
			t.Errorf("%+v after %+v: %v, want %v", c.now, c.before, got, c.want)
		}
	}
}
