package auth

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// An access token is what an authorization server, which shares a long-term key with this one, gives to a client: a key
// for the integrity of its messages, and until when (RFC 7635 §6.2).
//
//	| 2 bytes: length of the nonce | nonce | 2: length of mac_key | mac_key | 8: timestamp | 4: lifetime in s | 16: tag |
//	                                        └──────────── encrypted by AES-GCM ─────────────────────────────┘
//
// The timestamp counts 1/64000 s in its last 16 bits. The name of this server is authenticated along.
const (
	tokenNonce = 12 // bytes, of AES-GCM (RFC 5116 §5.1)
	tokenTag   = 16

	// minMACKey is the shortest mac_key in bytes that is taken: 128 bits are what a password should have at least
	// (RFC 8489 §9.2). HMAC-SHA-1 has 20 (RFC 7635 §6.2). The longest is maxKey.
	minMACKey = 16

	// maxToken is the longest token in bytes.
	maxToken = 2 + tokenNonce + 2 + maxKey + 8 + 4 + tokenTag

	// tokenDelta is by how much clocks and ways may lengthen a token's life: RFC 7635 §7.
	tokenDelta = 5 * time.Second
)

// tokenUser is how tokens' users are told apart, in quotas and to the operator: the key's identifier, which is all that a
// client says of itself, and which token it is.
func tokenUser(kid string, token []byte) string {
	sum := sha256.Sum256(token)
	return kid + "/" + hex.EncodeToString(sum[:8])
}

// ThirdParty tells whether access tokens are accepted, and the name of this server, which goes into
// THIRD-PARTY-AUTHORIZATION (RFC 7635 §6.1).
func (a *Authenticator) ThirdParty() (serverName string, ok bool) {
	return a.serverName, len(a.current.Load().tokenKeys) > 0
}

// VerifyToken checks an ACCESS-TOKEN and the integrity of its message, in the order of RFC 7635 §7. The claimed user name
// is the identifier of the key that the token is encrypted with. It returns ErrUnknownUser when there is no such key or
// its time is over, ErrToken when the token can't be opened with it, ErrTokenExpired when the token is not of now, and
// ErrWrongPassword when the message is not made with the token's mac_key.
//
// A mac_key of 20 bytes may be cut to 16 by the client, see below.
//
// The identity ends with the token, and Identity.Life is the whole of its life. A token may be used more than once while
// it lasts, as the RFC has it.
func (a *Authenticator) VerifyToken(c *Claim, token []byte, check func(key []byte) bool) (Identity, error) {
	now := a.now()
	k, ok := a.current.Load().tokenKeys[string(c.Username)]
	if !ok || !k.valid(now) {
		return Identity{}, ErrUnknownUser
	}
	if len(token) < 2+tokenNonce+tokenTag || len(token) > maxToken || binary.BigEndian.Uint16(token) != tokenNonce {
		return Identity{}, ErrToken
	}
	var room [maxToken]byte
	plain, err := k.aead.Open(room[:0], token[2:2+tokenNonce], token[2+tokenNonce:], []byte(a.serverName))
	if err != nil || len(plain) < 2 {
		return Identity{}, ErrToken
	}
	size := int(binary.BigEndian.Uint16(plain))
	if plain = plain[2:]; size < minMACKey || size > maxKey || len(plain) != size+8+4 {
		return Identity{}, ErrToken
	}
	c.candidate.Set(plain[:size])
	stamp := binary.BigEndian.Uint64(plain[size:])
	made := time.Unix(int64(stamp>>16), int64(stamp&0xFFFF)*int64(time.Second/64000))
	life := time.Duration(binary.BigEndian.Uint32(plain[size+8:])) * time.Second
	if now.Sub(made).Abs() >= life+tokenDelta {
		return Identity{}, ErrTokenExpired
	}
	if !check(c.candidate.Bytes()) {
		// coturn, up to 4.6 at least, takes no more of a key for HMAC-SHA-1 than MD5 has bytes.
		if size != sha1.Size {
			return Identity{}, ErrWrongPassword
		}
		if c.candidate.Set(plain[:md5.Size]); !check(c.candidate.Bytes()) {
			return Identity{}, ErrWrongPassword
		}
	}
	return Identity{User: tokenUser(k.kid, token), Key: c.candidate, Expires: made.Add(life + tokenDelta), Life: life, Token: true}, nil
}
