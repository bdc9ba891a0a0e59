package load

import (
	"fmt"
	"testing"
)

func TestPatternRoundTrip(t *testing.T) {
	for size, rtp := range map[int]bool{MinSize: false, MinSize + 1: false, MinSize + rtpHeader: true, 200: true, 1200: false, maxSize: true} {
		p := newPattern(7, size, rtp)
		b := make([]byte, size)
		for i := range 100 {
			flow, sequence, at := uint32(i), uint64(i)*1e9, int64(i)*12345
			p.put(b, flow, sequence, at)
			f, s, a, ok := p.parse(b)
			if !ok || f != flow || s != sequence || a != at {
				t.Fatalf("%d bytes: %d, %d, %d is read as %d, %d, %d, %v", size, flow, sequence, at, f, s, a, ok)
			}
		}
	}
}

// Each single bit counts, and so do the length and the run.
func TestPatternNoticesDamage(t *testing.T) {
	for size, rtp := range map[int]bool{MinSize: false, 200: false, 201: true} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p, other := newPattern(7, size, rtp), newPattern(8, size, rtp)
			b := make([]byte, size+1)
			p.put(b[:size], 3, 4, 5)
			for bit := range 8 * size {
				b[bit/8] ^= 1 << (bit % 8)
				if _, _, _, ok := p.parse(b[:size]); ok {
					t.Errorf("bit %d may be wrong", bit)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
			for _, wrong := range [][]byte{nil, b[:size-1], b} {
				if _, _, _, ok := p.parse(wrong); ok {
					t.Errorf("%d bytes are taken for %d", len(wrong), size)
				}
			}
			if _, _, _, ok := other.parse(b[:size]); ok {
				t.Error("a packet of another run is taken for one of this")
			}
		})
	}
}

// The end of one packet behind the beginning of another is noticed unless both have the same noise, which of 4096 pieces
// is rare.
func TestPatternNoticesMixture(t *testing.T) {
	p := newPattern(7, 200, false)
	a, b := make([]byte, 200), make([]byte, 200)
	same := 0
	for i := range uint64(200) {
		p.put(a, 1, i, 0)
		p.put(b, 1, i+1, 0)
		copy(a[MinSize:], b[MinSize:])
		if _, _, _, ok := p.parse(a); ok {
			same++
		}
	}
	if same > 3 {
		t.Errorf("%d of 200 mixtures go unnoticed", same)
	}
}
