package wire

import (
	"encoding/binary"
	"errors"
)

// Protocol constants.
const (
	HeaderSize        = 20 // bytes ahead of the first attribute of a STUN message (RFC 8489 §5)
	ChannelHeaderSize = 4  // bytes ahead of the application data of ChannelData (RFC 8656 §12.4)

	MinChannel = 0x4000 // RFC 8656 §12
	MaxChannel = 0x4FFF // RFC 8656 §12; 0x5000 to 0xFFFF are reserved
	// MaxLegacyChannel is where the range ended before (RFC 5766 §11). Frames are read up to here, because old clients
	// still draw from all of it; whether such a number may be bound is the control plane's to say.
	MaxLegacyChannel = 0x7FFF

	// MaxFrame is the longest frame that the two length fields can describe, in bytes: a STUN message of 65,532 bytes
	// of attributes. A padded ChannelData message is never longer than 65,540 bytes.
	MaxFrame = HeaderSize + 0xFFFC

	cookie              = 0x2112A442 // RFC 8489 §5
	attributeHeaderSize = 4          // RFC 8489 §14
)

// MaxMessage is a tuning constant: the longest STUN message that is read, in bytes, unless it is a Send or Data
// indication, which carries a payload and may be as long as [MaxFrame]. The longest attribute of a request is USERNAME
// with at most 763 bytes (RFC 8489 §14.3); REALM and NONCE are the server's own words sent back. So there is room to
// spare, while the attributes that a stranger can make us walk and list stay few.
const MaxMessage = 2048

var (
	// ErrNotTURN says that a stream carries neither STUN nor ChannelData, or has lost its framing: it must be closed.
	ErrNotTURN = errors.New("wire: neither STUN nor ChannelData")
	// ErrTooLarge says that a STUN message is longer than [MaxMessage] and no indication with a payload.
	ErrTooLarge = errors.New("wire: STUN message too large")
)

// Kind is what the first byte of a datagram or frame promises. The zero value is KindOther.
type Kind uint8

const (
	KindOther Kind = iota
	KindSTUN
	KindChannelData
)

// Classify tells STUN from ChannelData by the first two bits (RFC 8656 §12, RFC 5766 §11). It is a promise, not a
// verdict: the bytes may still turn out malformed. Nothing is KindOther too.
func Classify(b []byte) Kind {
	switch {
	case len(b) == 0:
		return KindOther
	case b[0]&0xC0 == 0:
		return KindSTUN
	case b[0]&0xC0 == MinChannel>>8:
		return KindChannelData
	}
	return KindOther
}

// ParseChannelData reads a whole ChannelData message. Whatever follows the data is padding and not returned: it is
// optional over UDP (RFC 8656 §12.5), and only a message that is too short for its own length is refused (RFC 8656
// §12.6). data is a part of b, with no capacity beyond its end; it may be empty.
func ParseChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if len(b) < ChannelHeaderSize {
		return 0, nil, false
	}
	number = binary.BigEndian.Uint16(b)
	end := ChannelHeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	if number < MinChannel || number > MaxLegacyChannel || end > len(b) {
		return 0, nil, false
	}
	return number, b[ChannelHeaderSize:end:end], true
}

// PutChannelHeader writes the head of a ChannelData message with length bytes of data into b[:4]. length must be at
// most 65,535. Padding is the caller's: required over a stream, optional over UDP (RFC 8656 §12.5).
func PutChannelHeader(b []byte, number uint16, length int) {
	_ = b[ChannelHeaderSize-1]
	binary.BigEndian.PutUint16(b, number)
	binary.BigEndian.PutUint16(b[2:], uint16(length))
}

// Padding is the number of bytes, 0 to 3, from n to the next multiple of four.
func Padding(n int) int {
	return -n & 3
}

// FrameSize says how many bytes the frame at the head of a stream takes, padding of ChannelData included (RFC 8656
// §12.5). b is what has been read so far; n may exceed len(b). n is 0 with no error while fewer than four bytes are
// there and those could still begin a frame.
//
// What cannot be a frame is refused as soon as the bytes show it: at the first byte, at the length, or within the
// cookie, which is compared as far as it has arrived. ErrNotTURN and ErrTooLarge are both final, since a stream has no
// place to resume.
func FrameSize(b []byte) (n int, err error) {
	kind := Classify(b)
	if kind == KindOther && len(b) > 0 {
		return 0, ErrNotTURN
	}
	if len(b) < 4 {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if kind == KindChannelData {
		n = ChannelHeaderSize + length
		return n + Padding(n), nil
	}
	if length%4 != 0 {
		return 0, ErrNotTURN
	}
	for i := 4; i < 8 && i < len(b); i++ {
		if b[i] != byte(uint32(cookie)>>(8*(7-i))) {
			return 0, ErrNotTURN
		}
	}
	n = HeaderSize + length
	if n > maxSize(binary.BigEndian.Uint16(b)) {
		return 0, ErrTooLarge
	}
	return n, nil
}

// maxSize is the longest STUN message of a type that is read, in bytes.
func maxSize(messageType uint16) int {
	if messageType == typeSend || messageType == typeData {
		return MaxFrame
	}
	return MaxMessage
}

// header checks the fixed part of a STUN message that must fill b exactly (RFC 8489 §5, §6.3).
func header(b []byte) error {
	if len(b) < HeaderSize ||
		b[0]&0xC0 != 0 ||
		len(b)%4 != 0 ||
		len(b) != HeaderSize+int(binary.BigEndian.Uint16(b[2:])) ||
		binary.BigEndian.Uint32(b[4:]) != cookie {
		return ErrMalformed
	}
	if len(b) > maxSize(binary.BigEndian.Uint16(b)) {
		return ErrTooLarge
	}
	return nil
}

// attribute reads the head of the attribute at b[at:] of a message whose header is checked. Its value begins at at+4
// and is length bytes long; the next attribute begins at next, which is len(b) after the last one. Not ok: the
// attribute or its padding does not fit into b (RFC 8489 §14).
func attribute(b []byte, at int) (kind Attr, length, next int, ok bool) {
	if len(b)-at < attributeHeaderSize {
		return 0, 0, 0, false
	}
	kind = Attr(binary.BigEndian.Uint16(b[at:]))
	length = int(binary.BigEndian.Uint16(b[at+2:]))
	next = at + attributeHeaderSize + length
	next += Padding(next)
	return kind, length, next, next <= len(b)
}
