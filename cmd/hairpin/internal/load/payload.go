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

// MinSize is the smallest payload in bytes: what stands ahead of the noise.
const MinSize = 24

// noisePeriod is how many pieces the table has, one beginning at each byte: few enough to stay in the processor's cache.
const noisePeriod = 4096

// pattern makes and judges the payloads of one run. It is immutable.
type pattern struct {
	run   uint64
	size  int
	noise []byte
}

func newPattern(run uint64, size int) *pattern {
	p := &pattern{run: run, size: size, noise: make([]byte, noisePeriod+size)}
	source := rand.New(rand.NewPCG(run, 0x4a1a))
	for i := range p.noise {
		p.noise[i] = byte(source.Uint32())
	}
	return p
}

// put writes a payload into b, which has the pattern's size.
func (p *pattern) put(b []byte, flow uint32, sequence uint64, at int64) {
	h := p.hash(flow, sequence, at)
	binary.LittleEndian.PutUint32(b, uint32(h))
	binary.LittleEndian.PutUint32(b[4:], flow)
	binary.LittleEndian.PutUint64(b[8:], sequence)
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	copy(b[MinSize:p.size], p.noise[h>>52:])
}

// parse reads a payload; ok says that it is one of this run, undamaged to the last byte.
func (p *pattern) parse(b []byte) (flow uint32, sequence uint64, at int64, ok bool) {
	if len(b) != p.size {
		return 0, 0, 0, false
	}
	flow = binary.LittleEndian.Uint32(b[4:])
	sequence = binary.LittleEndian.Uint64(b[8:])
	at = int64(binary.LittleEndian.Uint64(b[16:]))
	h := p.hash(flow, sequence, at)
	from := h >> 52
	ok = binary.LittleEndian.Uint32(b) == uint32(h) && bytes.Equal(b[MinSize:], p.noise[from:from+uint64(p.size-MinSize)])
	return flow, sequence, at, ok
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
