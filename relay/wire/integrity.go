package wire

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// Both hashes work on blocks of this many bytes (FIPS 180-4), to which HMAC pads its key (RFC 2104).
const hashBlock = 64

var (
	_ [hashBlock]byte = [sha1.BlockSize]byte{}
	_ [hashBlock]byte = [sha256.BlockSize]byte{}
)

// hmacSHA1 and hmacSHA256 compute MESSAGE-INTEGRITY (RFC 8489 §14.5) and MESSAGE-INTEGRITY-SHA256 (§14.6).
type (
	hmacSHA1   struct{ hmacState }
	hmacSHA256 struct{ hmacState }
)

func (h *hmacSHA1) message(key, before []byte) []byte {
	if h.hash == nil {
		h.hash = sha1.New()
	}
	return h.hmacState.message(key, before)
}

func (h *hmacSHA256) message(key, before []byte) []byte {
	if h.hash == nil {
		h.hash = sha256.New()
	}
	return h.hmacState.message(key, before)
}

// hmacState computes an HMAC again and again for changing keys without garbage: crypto/hmac binds a state to one key,
// and pion/stun's own writes behind the message. The construction is RFC 2104's.
//
// Owned by one goroutine. The zero value is ready but for its hash.
type hmacState struct {
	hash  hash.Hash
	block [hashBlock]byte
	head  [HeaderSize]byte
	sum   [sha256.Size]byte // the longer one
}

// message is the HMAC of what stands before the integrity attribute in a message, with the header's length as if the
// message ended behind that attribute, whatever follows it (RFC 8489 §14.5, §14.6). The result is valid until the next
// call.
func (h *hmacState) message(key, before []byte) []byte {
	copy(h.head[:], before)
	binary.BigEndian.PutUint16(h.head[2:], uint16(len(before)-HeaderSize+attributeHeaderSize+h.hash.Size()))

	h.start(key, 0x36)
	h.hash.Write(h.head[:])
	h.hash.Write(before[HeaderSize:])
	inner := h.hash.Sum(h.sum[:0])

	h.start(key, 0x5C)
	h.hash.Write(inner)
	return h.hash.Sum(h.sum[:0])
}

// start begins a hash with the key's block, each byte XORed with pad.
func (h *hmacState) start(key []byte, pad byte) {
	clear(h.block[:])
	if len(key) > len(h.block) {
		h.hash.Reset()
		h.hash.Write(key)
		h.hash.Sum(h.block[:0])
	} else {
		copy(h.block[:], key)
	}
	for i := range h.block {
		h.block[i] ^= pad
	}
	h.hash.Reset()
	h.hash.Write(h.block[:])
}

// HasIntegrity tells whether there is a MESSAGE-INTEGRITY or a MESSAGE-INTEGRITY-SHA256 to check.
func (m *Message) HasIntegrity() bool { return m.Has(AttrMessageIntegrity) || m.HasSHA256() }

// HasSHA256 tells whether the message has a MESSAGE-INTEGRITY-SHA256, which is then the one that CheckIntegrity checks.
func (m *Message) HasSHA256() bool { return m.Has(AttrMessageIntegritySHA256) }

// CheckIntegrity tells whether MESSAGE-INTEGRITY-SHA256 or, where that is absent, MESSAGE-INTEGRITY was made with this
// key: the stronger one alone counts (RFC 8489 §9.2.4, §14.5, §14.6). The comparison takes the same time wherever the
// difference is. Without an attribute, with one of a wrong length, or with an empty key, which no credential has, it is
// false.
//
// MESSAGE-INTEGRITY-SHA256 must have all of its 32 bytes: it may be cut to 16 or more only where "the STUN Usage
// explicitly specifies that truncation is allowed" (RFC 8489 §14.6), and TURN doesn't.
func (m *Message) CheckIntegrity(key []byte) bool {
	if len(key) == 0 {
		return false
	}
	if value, ok := m.Get(AttrMessageIntegritySHA256); ok {
		return equal(value, m.hmac256.message(key, m.decoded.Raw[:m.sha256At]))
	}
	if value, ok := m.Get(AttrMessageIntegrity); ok {
		return equal(value, m.hmac.message(key, m.decoded.Raw[:m.integrityAt]))
	}
	return false
}

// equal compares in a time that depends on the lengths only.
func equal(a, b []byte) bool {
	return subtle.ConstantTimeCompare(a, b) == 1
}
