package control

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

const (
	ticketTag   = 12    // bytes: a guess succeeds once in 2^96
	ticketPlain = 8 + 4 // ID of the allocation, generation
	// ticketSize is 32 characters of base64url, as coturn's client has no room for more, and
	// takes a ticket for text.
	ticketSize = (ticketTag + ticketPlain) / 3 * 4
)

// tickets seals what a client takes its allocation to another five-tuple with
// (RFC 8016 §3.1.2), under keys that nobody but this process has and that end with it, as
// the allocations do. Whoever holds a ticket learns nothing from it, not even how many
// allocations there are, and can't make another one.
//
// It is the construction of RFC 5297 with HMAC-SHA-256 for both its parts: the tag is a MAC
// of what is sealed, and what is sealed is masked by a MAC of the tag. So it needs no
// random number, and the same ticket comes out the same again, as the answer to a
// retransmission has to.
type tickets struct {
	tag, mask [sha256.Size]byte
}

func newTickets() *tickets {
	k := &tickets{}
	rand.Read(k.tag[:]) // never fails (crypto/rand)
	rand.Read(k.mask[:])
	return k
}

// append appends a ticket to dst.
func (k *tickets) append(dst []byte, id uint64, generation uint32) []byte {
	var sealed [ticketTag + ticketPlain]byte
	tag, plain := sealed[:ticketTag], sealed[ticketTag:]
	binary.BigEndian.PutUint64(plain, id)
	binary.BigEndian.PutUint32(plain[8:], generation)
	prf(tag, &k.tag, plain)
	k.masked(plain, tag)
	return base64.RawURLEncoding.AppendEncode(dst, sealed[:])
}

// open reads a ticket; ok is false for what was never one of ours.
func (k *tickets) open(b []byte) (id uint64, generation uint32, ok bool) {
	var sealed [ticketTag + ticketPlain]byte
	var want [ticketTag]byte
	if len(b) != ticketSize {
		return 0, 0, false
	}
	if _, err := base64.RawURLEncoding.Decode(sealed[:], b); err != nil {
		return 0, 0, false
	}
	tag, plain := sealed[:ticketTag], sealed[ticketTag:]
	k.masked(plain, tag)
	if prf(want[:], &k.tag, plain); !hmac.Equal(tag, want[:]) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(plain), binary.BigEndian.Uint32(plain[8:]), true
}

// masked masks plain or takes the mask off.
func (k *tickets) masked(plain, tag []byte) {
	var mask [ticketPlain]byte
	prf(mask[:], &k.mask, tag)
	subtle.XORBytes(plain, plain, mask[:])
}

// prf fills dst with the first bytes of a MAC.
func prf(dst []byte, key *[sha256.Size]byte, b []byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write(b)
	copy(dst, h.Sum(nil))
}
