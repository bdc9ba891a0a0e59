package quality

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// media returns a packet of a stream, whose header next can be called for.
func media(ssrc uint32, size int) []byte {
	b := make([]byte, size)
	b[0], b[1] = 0x90, 96 // with an extension, as WebRTC's all have
	binary.BigEndian.PutUint32(b[8:], ssrc)
	binary.BigEndian.PutUint32(b[12:], 0xBEDE0001)
	return b
}

func next(b []byte, ticks uint32) {
	binary.BigEndian.PutUint16(b[2:], binary.BigEndian.Uint16(b[2:])+1)
	binary.BigEndian.PutUint32(b[4:], binary.BigEndian.Uint32(b[4:])+ticks)
}

// bare is what a benchmark's own loop costs.
func BenchmarkBare(b *testing.B) {
	p := media(1, 200)
	for range b.N {
		next(p, 960)
	}
}

func BenchmarkOneStream(b *testing.B) {
	t, p, now := &Tracker{}, media(1, 200), int64(0)
	b.ReportAllocs()
	for range b.N {
		next(p, 960)
		now += int64(20 * time.Millisecond)
		t.Observe(p, now)
	}
}

// As many streams as do not fit the processor's nearer caches, each with a packet in turn, as 65,000 calls have them.
func BenchmarkColdStreams(b *testing.B) {
	trackers := make([]*Tracker, 1<<17)
	order := rand.Perm(len(trackers))
	p := media(1, 200)
	for i := range trackers {
		trackers[i] = &Tracker{}
	}
	now := int64(0)
	for i := range b.N {
		if i%len(trackers) == 0 {
			next(p, 960)
			now += int64(20 * time.Millisecond)
		}
		trackers[order[i%len(trackers)]].Observe(p, now)
	}
}

// Frames of eight packets share a timestamp.
func BenchmarkVideo(b *testing.B) {
	t, p, now := &Tracker{}, media(1, 1200), int64(0)
	for i := range b.N {
		next(p, 0)
		if i%8 == 0 {
			now += int64(33 * time.Millisecond)
			next(p, 2970)
		}
		t.Observe(p, now)
	}
}

func BenchmarkFourStreams(b *testing.B) {
	t, now := &Tracker{}, int64(0)
	var p [4][]byte
	for i := range p {
		p[i] = media(uint32(i), 200)
	}
	for i := range b.N {
		next(p[i%4], 960)
		now += int64(5 * time.Millisecond)
		t.Observe(p[i%4], now)
	}
}

func BenchmarkDTLS(b *testing.B) {
	t, p := &Tracker{}, []byte{20: 0, 0: 23}
	for range b.N {
		t.Observe(p, 0)
	}
}

// Nothing but made-up SSRCs.
func BenchmarkFlood(b *testing.B) {
	t, p, now := &Tracker{}, media(1, 200), int64(0)
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint32(p[8:], uint32(i/2))
		next(p, 960)
		now += int64(time.Millisecond)
		t.Observe(p, now)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	for _, streams := range []int{1, 4, MaxStreams} {
		b.Run("", func(b *testing.B) {
			t := &Tracker{}
			for i := range streams {
				p := media(uint32(i), 200)
				for range 3 {
					next(p, 960)
					t.Observe(p, 0)
				}
			}
			var into []Stream
			b.ReportAllocs()
			for range b.N {
				into = t.Snapshot(0, into[:0]).Streams
			}
		})
	}
}

// Goroutines with packets for one client, at full speed and with a relay's other work between two packets.
func BenchmarkContended(b *testing.B) {
	for _, work := range []int{0, 500} {
		b.Run(fmt.Sprint("work=", work), func(b *testing.B) {
			t := &Tracker{}
			var streams atomic.Uint32
			b.RunParallel(func(pb *testing.PB) {
				p, now, x := media(streams.Add(1), 200), int64(0), uint64(1)
				for pb.Next() {
					for range work {
						x = mix(x)
					}
					next(p, 960)
					now += int64(20 * time.Millisecond)
					t.Observe(p, now)
				}
				runtime.KeepAlive(x)
			})
			b.ReportMetric(1e6*float64(t.missed.Load())/float64(b.N), "missed/million")
		})
	}
}
