package quality

import "encoding/binary"

// rtpHeader is the length of RTP's fixed header in bytes (RFC 3550 §5.1).
const rtpHeader = 12

// packet is what is kept of an RTP packet's header.
type packet struct {
	at        int64 // arrival, in nanoseconds
	ssrc      uint32
	timestamp uint32
	sequence  uint16
	size      uint16 // of the whole packet in bytes
	pt        uint8  // payload type
}

// parse reads the header of a packet that Classify promised to be RTP. False means that it is none: too short for its
// fixed header, its CSRCs or its extension (RFC 3550 §5.1, §5.3.1). Padding is not looked at, because its length is
// encrypted by SRTP (RFC 3711 §3.1).
//
// It fills p in place: to return it would be a copy that has to wait for the narrower writes before it, a quarter of
// Observe's time.
func (p *packet) parse(b []byte, at int64) bool {
	if len(b) < rtpHeader || len(b) > 0xFFFF || b[0]&0x1F != 0 && !optionalFit(b) {
		return false
	}
	p.at = at
	p.ssrc = binary.BigEndian.Uint32(b[8:])
	p.timestamp = binary.BigEndian.Uint32(b[4:])
	p.sequence = binary.BigEndian.Uint16(b[2:])
	p.size = uint16(len(b))
	p.pt = b[1] & 0x7F
	return true
}

// optionalFit tells whether the CSRCs and the extension that the first byte announces end within the packet.
func optionalFit(b []byte) bool {
	end := rtpHeader + 4*int(b[0]&0x0F)
	if b[0]&0x10 != 0 {
		if len(b) < end+4 {
			return false
		}
		end += 4 + 4*int(binary.BigEndian.Uint16(b[end+2:]))
	}
	return end <= len(b)
}
