package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/netip"
	"time"
)

// A nonce is the nonce cookie of RFC 8489 §9.2, the time of its making, the offer that went with it, and a code that only
// a holder of the nonce secret can make; the server keeps nothing.
//
//	obMatJos2 | 4 characters: security features │ 6 bytes: Unix time in ms | 1 byte: offer | 17 bytes: code
//	└──────────── nonce cookie ──────────────┘   └─ base64url ─────────────────────────────────────────────┘
//
// The code is HMAC-SHA256(key, time, offer, client's IP, client's port), cut off. It covers the cookie, too, as that
// follows from the offer. The key is derived from the nonce secret and the realm. Being bound to the client's transport
// address, a nonce that was overheard is worth nothing elsewhere.
const (
	nonceTime = 6
	nonceHead = nonceTime + 1
	nonceMAC  = 17
	nonceRaw  = nonceHead + nonceMAC

	cookieMark = "obMatJos2"
	cookieSize = len(cookieMark) + 4

	// NonceSize is the length of every nonce in bytes; below the 128 characters of RFC 8489 §14.10.
	NonceSize = cookieSize + nonceRaw/3*4

	// nonceSkew is how far ahead the clock of another server in a fleet may be.
	nonceSkew = 60 * time.Second
)

// The STUN Security Features of RFC 8489 §18.1, as they stand in the first of their three bytes: bit 0 is the most
// significant one.
const (
	featureAlgorithms = 0x80 // bit 0, Password algorithms
	featureUserhash   = 0x40 // bit 1, Username anonymity
)

func (o offer) features() byte {
	var b byte
	if o.algorithms() != nil {
		b |= featureAlgorithms
	}
	if o&offerUserhash != 0 {
		b |= featureUserhash
	}
	return b
}

// Nonce is what the NONCE of a request tells.
type Nonce struct {
	// HasAlgorithms: it starts with the nonce cookie whose bit "Password algorithms" is set, whoever wrote it.
	HasAlgorithms bool
	// Genuine: this server, or another of its fleet, made it for this client, however long ago.
	Genuine bool

	offer offer // where Genuine
}

// Matches tells whether a PASSWORD-ALGORITHMS is the one that was sent together with the nonce (RFC 8489 §9.2.4). Of a
// nonce that isn't genuine nobody knows what that was, as it may be from before the nonce secret was changed; then it is
// enough that it is one that this server could have sent. Such a nonce lets nobody in.
func (n Nonce) Matches(algorithms []uint16) bool {
	o, ok := offerOf(algorithms)
	return ok && o != 0 && (!n.Genuine || o == n.offer&offerLists)
}

// Challenge appends a new nonce for the client to dst, and tells the algorithms of the PASSWORD-ALGORITHMS that must
// stand beside it; nil: none must. It does not allocate when dst has NonceSize bytes of room.
func (a *Authenticator) Challenge(dst []byte, client netip.AddrPort) (nonce []byte, algorithms []uint16) {
	o := a.current.Load().offer
	dst = append(dst, cookieMark...)
	dst = base64.StdEncoding.AppendEncode(dst, []byte{o.features(), 0, 0})

	var raw [nonceRaw]byte
	ms := a.now().UnixMilli()
	for i := range nonceTime {
		raw[i] = byte(ms >> (8 * (nonceTime - 1 - i)))
	}
	raw[nonceTime] = byte(o)
	mac := a.nonces.mac(raw[:nonceHead], client)
	copy(raw[nonceHead:], mac[:nonceMAC])
	return base64.RawURLEncoding.AppendEncode(dst, raw[:]), o.algorithms()
}

// AppendNonce is Challenge without the algorithms.
func (a *Authenticator) AppendNonce(dst []byte, client netip.AddrPort) []byte {
	dst, _ = a.Challenge(dst, client)
	return dst
}

// ReadNonce tells about a nonce what can be told, and returns ErrStaleNonce unless it was made for this client, realm
// and secret within its lifetime. The fault is not told apart: the answer to each is 438 with a new nonce, RFC 8489
// §9.2.4.
func (a *Authenticator) ReadNonce(nonce []byte, client netip.AddrPort) (Nonce, error) {
	var n Nonce
	features, ok := readCookie(nonce)
	n.HasAlgorithms = features>>16&featureAlgorithms != 0
	if !ok || len(nonce) != NonceSize {
		return n, ErrStaleNonce
	}
	var raw [nonceRaw]byte
	// The decoder skips line ends, so a nonce that holds one comes out shorter.
	if size, err := base64.RawURLEncoding.Decode(raw[:], nonce[cookieSize:]); err != nil || size != len(raw) {
		return n, ErrStaleNonce
	}
	mac := a.nonces.mac(raw[:nonceHead], client)
	o := offer(raw[nonceTime])
	if subtle.ConstantTimeCompare(mac[:nonceMAC], raw[nonceHead:]) != 1 || features != uint32(o.features())<<16 {
		return n, ErrStaleNonce
	}
	n.Genuine, n.offer = true, o
	var ms int64
	for _, b := range raw[:nonceTime] {
		ms = ms<<8 | int64(b)
	}
	if age := a.now().Sub(time.UnixMilli(ms)); age >= a.lifetime || age < -nonceSkew {
		return n, ErrStaleNonce
	}
	return n, nil
}

// CheckNonce is ReadNonce for somebody who asks no more than whether the nonce is good.
func (a *Authenticator) CheckNonce(nonce []byte, client netip.AddrPort) error {
	_, err := a.ReadNonce(nonce, client)
	return err
}

// readCookie reads the 24 security feature bits of a nonce cookie; bit 0 is the most significant of the 24. ok is false when the nonce doesn't start with one.
func readCookie(nonce []byte) (features uint32, ok bool) {
	if len(nonce) < cookieSize || string(nonce[:len(cookieMark)]) != cookieMark {
		return 0, false
	}
	var b [3]byte
	if n, err := base64.StdEncoding.Decode(b[:], nonce[len(cookieMark):cookieSize]); err != nil || n != len(b) {
		return 0, false
	}
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), true
}

// nonceKey is a key of HMAC-SHA256 (RFC 2104), padded and mixed ahead of time. The standard library's hmac would
// allocate for each message, and a server answers a flood of unauthenticated requests with one nonce each.
type nonceKey struct{ inner, outer [sha256.BlockSize]byte }

func newNonceKey(secret []byte, realm string) (nonceKey, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "hairpin nonce 2\x00"+realm, sha256.Size)
	if err != nil {
		return nonceKey{}, fmt.Errorf("auth: deriving the nonce key: %w", err)
	}
	return padNonceKey(derived), nil
}

func padNonceKey(derived []byte) (k nonceKey) {
	copy(k.inner[:], derived)
	copy(k.outer[:], derived)
	for i := range k.inner {
		k.inner[i] ^= 0x36
		k.outer[i] ^= 0x5c
	}
	return k
}

func (k *nonceKey) mac(head []byte, client netip.AddrPort) [sha256.Size]byte {
	var in [sha256.BlockSize + nonceHead + 16 + 2]byte
	b := append(in[:0], k.inner[:]...)
	b = append(b, head...)
	ip := client.Addr().As16() // the same for an IPv4 address and its IPv4-mapped spelling
	b = append(b, ip[:]...)
	b = append(b, byte(client.Port()>>8), byte(client.Port()))
	sum := sha256.Sum256(b)

	var out [sha256.BlockSize + sha256.Size]byte
	b = append(out[:0], k.outer[:]...)
	b = append(b, sum[:]...)
	return sha256.Sum256(b)
}
