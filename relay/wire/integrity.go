package wire

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

const integritySize = attributeHeaderSize + sha1.Size // MESSAGE-INTEGRITY with its head, in bytes

// hmacSHA1 computes MESSAGE-INTEGRITY (RFC 8489 §14.5) again and again for changing keys without garbage: crypto/hmac
// binds a state to one key, and pion/stun's own writes behind the message. The construction is RFC 2104's.
//
// Owned by one goroutine. The zero value is ready.
type hmacSHA1 struct {
	hash  hash.Hash
	block [sha1.BlockSize]byte
	head  [HeaderSize]byte
	sum   [sha1.Size]byte
}

// message is the HMAC of what stands before MESSAGE-INTEGRITY in a message, with the header's length as if the message
// ended behind that attribute, whatever follows it (RFC 8489 §14.5). The result is valid until the next call.
func (h *hmacSHA1) message(key, before []byte) []byte {
	if h.hash == nil {
		h.hash = sha1.New()
	}
	copy(h.head[:], before)
	binary.BigEndian.PutUint16(h.head[2:], uint16(len(before)-HeaderSize+integritySize))

	h.start(key, 0x36)
	h.hash.Write(h.head[:])
	h.hash.Write(before[HeaderSize:])
	inner := h.hash.Sum(h.sum[:0])

	h.start(key, 0x5C)
	h.hash.Write(inner)
	return h.hash.Sum(h.sum[:0])
}

// start begins a hash with the key's block, each byte XORed with pad.
func (h *hmacSHA1) start(key []byte, pad byte) {
	clear(h.block[:])
	if len(key) > len(h.block) {
		digest := sha1.Sum(key)
		key = digest[:]
	}
	copy(h.block[:], key)
	for i := range h.block {
		h.block[i] ^= pad
	}
	h.hash.Reset()
	h.hash.Write(h.block[:])
}

// equal compares in a time that depends on the lengths only.
func equal(a, b []byte) bool {
	return subtle.ConstantTimeCompare(a, b) == 1
}
