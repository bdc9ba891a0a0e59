package probe

import (
	"encoding/binary"
	"time"
)

// A probe packet:
//
//	 0  4 bytes   "hpin"
//	 4  8 bytes   session, random: a late packet of another probe is none of ours
//	12  4 bytes   number, from 0
//	16  8 bytes   when it was sent, ns since the first one
//	24  …         pattern made from the number, so that damage shows
//
// All integers big-endian.
const packetMagic = "hpin"

// MinSize is the size of a packet without pattern, in bytes.
const MinSize = 24

// encode fills b, at least MinSize long.
func encode(b []byte, session uint64, number uint32, sent time.Duration) {
	copy(b, packetMagic)
	binary.BigEndian.PutUint64(b[4:], session)
	binary.BigEndian.PutUint32(b[12:], number)
	binary.BigEndian.PutUint64(b[16:], uint64(sent))
	for i := MinSize; i < len(b); i++ {
		b[i] = byte(uint32(i) + number)
	}
}

// decode reads a packet of this session; ours is false for anybody else's,
// intact is false when size or pattern are not what was sent.
func decode(b []byte, session uint64, size int) (number uint32, sent time.Duration, ours, intact bool) {
	if len(b) < MinSize || string(b[:4]) != packetMagic || binary.BigEndian.Uint64(b[4:]) != session {
		return 0, 0, false, false
	}
	number, sent = binary.BigEndian.Uint32(b[12:]), time.Duration(binary.BigEndian.Uint64(b[16:]))
	if len(b) != size {
		return number, sent, true, false
	}
	for i := MinSize; i < len(b); i++ {
		if b[i] != byte(uint32(i)+number) {
			return number, sent, true, false
		}
	}
	return number, sent, true, true
}
