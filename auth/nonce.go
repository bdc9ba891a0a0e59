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

// A nonce is the time of its making and a code that only a holder of the nonce secret can make; the server keeps nothing.
//
//	| 6 bytes: Unix time in ms | 18 bytes: HMAC-SHA256(key, time, client's IP, client's port), cut off |  → base64url
//
// The key is derived from the nonce secret and the realm. Being bound to the client's transport address, a nonce that
// was overheard is worth nothing elsewhere. Its first character is 'A' for centuries, so it can't be mistaken for a
// nonce cookie ("obMatJos2", RFC 8489 §9.2): this server offers no security feature bits.
const (
	nonceTime = 6
	nonceMAC  = 18

	// NonceSize is the length of every nonce in bytes; below the 128 characters of RFC 8489 §14.10.
	NonceSize = (nonceTime + nonceMAC) / 3 * 4

	// nonceSkew is how far ahead the clock of another server in a fleet may be.
	nonceSkew = 60 * time.Second
)

// AppendNonce appends a new nonce for the client to dst. It does not allocate when dst has NonceSize bytes of room.
func (a *Authenticator) AppendNonce(dst []byte, client netip.AddrPort) []byte {
	var raw [nonceTime + nonceMAC]byte
	ms := a.now().UnixMilli()
	for i := range nonceTime {
		raw[i] = byte(ms >> (8 * (nonceTime - 1 - i)))
	}
	mac := a.nonces.mac(raw[:nonceTime], client)
	copy(raw[nonceTime:], mac[:nonceMAC])
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// CheckNonce returns ErrStaleNonce unless the nonce was made for this client, realm and secret within its lifetime.
// The fault is not told apart: the answer to each is 438 with a new nonce, RFC 8489 §9.2.4.
func (a *Authenticator) CheckNonce(nonce []byte, client netip.AddrPort) error {
	if len(nonce) != NonceSize {
		return ErrStaleNonce
	}
	var raw [nonceTime + nonceMAC]byte
	// The decoder skips line ends, so a nonce that holds one comes out shorter.
	if n, err := base64.RawURLEncoding.Decode(raw[:], nonce); err != nil || n != len(raw) {
		return ErrStaleNonce
	}
	mac := a.nonces.mac(raw[:nonceTime], client)
	if subtle.ConstantTimeCompare(mac[:nonceMAC], raw[nonceTime:]) != 1 {
		return ErrStaleNonce
	}
	var ms int64
	for _, b := range raw[:nonceTime] {
		ms = ms<<8 | int64(b)
	}
	if age := a.now().Sub(time.UnixMilli(ms)); age >= a.lifetime || age < -nonceSkew {
		return ErrStaleNonce
	}
	return nil
}

// nonceKey is a key of HMAC-SHA256 (RFC 2104), padded and mixed ahead of time. The standard library's hmac would
// allocate for each message, and a server answers a flood of unauthenticated requests with one nonce each.
type nonceKey struct{ inner, outer [sha256.BlockSize]byte }

func newNonceKey(secret []byte, realm string) (nonceKey, error) {
	derived, err := hkdf.Key(sha256.New, secret, nil, "hairpin nonce 1\x00"+realm, sha256.Size)
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

func (k *nonceKey) mac(stamp []byte, client netip.AddrPort) [sha256.Size]byte {
	var in [sha256.BlockSize + nonceTime + 16 + 2]byte
	b := append(in[:0], k.inner[:]...)
	b = append(b, stamp...)
	ip := client.Addr().As16() // the same for an IPv4 address and its IPv4-mapped spelling
	b = append(b, ip[:]...)
	b = append(b, byte(client.Port()>>8), byte(client.Port()))
	sum := sha256.Sum256(b)

	var out [sha256.BlockSize + sha256.Size]byte
	b = append(out[:0], k.outer[:]...)
	b = append(b, sum[:]...)
	return sha256.Sum256(b)
}
