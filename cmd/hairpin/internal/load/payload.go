package load

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// A payload tells everything about a packet that its receiver needs to know to judge it:
//
//	| 4: check | 4: flow | 8: sequence | 8: time of sending, ns | noise … |
//
// check is a hash of the three fields and of the run, so that a bit that was turned over in them, or a packet of another
// run, is noticed. The noise is a piece of a table that the same hash chooses: a payload, or a part of one, that belongs
// to another packet is noticed as well. Numbers are little-endian, as most machines have them.
//
// As RTP, a fixed header stands ahead of that (RFC 3550 §5.1), a stream for each flow: the flow is its SSRC, the time of
// sending its timestamp at 90 kHz.

// MinSize is the smallest payload in bytes: what stands ahead of the noise.
const MinSize = 24

// rtpHeader is the length of RTP's fixed header in bytes.
const rtpHeader = 12

// noisePeriod is how many pieces the table has, one beginning at each byte: few enough to stay in the processor's cache.
const noisePeriod = 4096

// pattern makes and judges the payloads of one run. It is immutable.
type pattern struct {
	run   uint64
	size  int
	skip  int // bytes ahead of the check: an RTP header's or none
	noise []byte
}

// newPattern makes payloads of size bytes, an RTP header included.
func newPattern(run uint64, size int, rtp bool) *pattern {
	skip := 0
	if rtp {
		skip = rtpHeader
	}
	p := &pattern{run: run, size: size, skip: skip, noise: make([]byte, noisePeriod+size)}
	source := rand.New(rand.NewPCG(run, 0x4a1a))
	for i := range p.noise {
		p.noise[i] = byte(source.Uint32())
	}
	return p
}

// put writes a payload into b, which has the pattern's size.
func (p *pattern) put(b []byte, flow uint32, sequence uint64, at int64) {
	h := p.hash(flow, sequence, at)
	if p.skip > 0 {
		putRTP(b, flow, sequence, at)
		b = b[rtpHeader:]
	}
	binary.LittleEndian.PutUint32(b, uint32(h))
	binary.LittleEndian.PutUint32(b[4:], flow)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	copy(b[MinSize:p.size-p.skip], p.noise[h>>52:])
}

// parse reads a payload; ok says that it is one of this run, undamaged to the last byte.
func (p *pattern) parse(b []byte) (flow uint32, sequence uint64, at int64, ok bool) {
	if len(b) != p.size {
		return 0, 0, 0, false
	}
	header := b[:p.skip]
	b = b[p.skip:]
	flow = binary.LittleEndian.Uint32(b[4:])
	sequence = binary.LittleEndian.Uint64(b[8:])
	at = int64(binary.LittleEndian.Uint64(b[16:]))
	h := p.hash(flow, sequence, at)
	from := h >> 52
	ok = binary.LittleEndian.Uint32(b) == uint32(h) && bytes.Equal(b[MinSize:], p.noise[from:from+uint64(len(b)-MinSize)])
	if ok && p.skip > 0 {
		var sent [rtpHeader]byte
		putRTP(sent[:], flow, sequence, at)
		ok = bytes.Equal(header, sent[:])
	}
	return flow, sequence, at, ok
}

// putRTP writes the header of an audio or video packet (RFC 3550 §5.1).
func putRTP(b []byte, flow uint32, sequence uint64, at int64) {
	b[0], b[1] = 2<<6, 111
	binary.BigEndian.PutUint16(b[2:], uint16(sequence))
	binary.BigEndian.PutUint32(b[4:], uint32(at/100*9/1000)) // 90 kHz
	binary.BigEndian.PutUint32(b[8:], flow)
}

// hash mixes like a block of MurmurHash3 and its end. The upper 12 bits choose among noisePeriod pieces of noise.
func (p *pattern) hash(flow uint32, sequence uint64, at int64) uint64 {
	h := p.run
	for _, v := range [...]uint64{uint64(flow), sequence, uint64(at)} {
		h ^= v
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
	}
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>29
}
