package auth

import (
	"crypto/md5" // the key derivation of RFC 8489 §9.2.2
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Algorithm is a password algorithm, by its number in the registry of RFC 8489 §18.5.
type Algorithm uint16

const (
	MD5    Algorithm = 1 // key of 16 bytes; what a client uses that speaks RFC 5389
	SHA256 Algorithm = 2 // key of 32 bytes
)

// String is the name in the registry; of other numbers the number.
func (a Algorithm) String() string {
	switch a {
	case MD5:
		return "MD5"
	case SHA256:
		return "SHA-256"
	}
	return fmt.Sprintf("algorithm %d", uint16(a))
}

// DefaultAlgorithms are those of a server whose Options.Algorithms is empty, the preferred one first.
var DefaultAlgorithms = []Algorithm{SHA256, MD5}

func checkAlgorithms(list []Algorithm) error {
	for i, a := range list {
		switch {
		case a != MD5 && a != SHA256:
			return fmt.Errorf("auth: password algorithm %d is not known; give MD5 (1), SHA-256 (2) or both", uint16(a))
		case slices.Contains(list[:i], a):
			return fmt.Errorf("auth: password algorithm %v is given twice; remove one", a)
		}
	}
	return nil
}

// An offer is what a challenge promises: the password algorithms, and whether USERHASH may be used. A nonce carries its
// offer, so that a request can be held against the challenge that it answers (RFC 8489 §9.2.4), whatever the server's
// files say by then. Its low bits are an index into offered.
type offer uint8

const (
	offerLists    offer = 0x03
	offerUserhash offer = 0x80
)

// offered are the values that PASSWORD-ALGORITHMS can have. MD5 alone is not worth an attribute: it is what a client
// without one uses.
var offered = [4][]uint16{nil, {uint16(SHA256), uint16(MD5)}, {uint16(MD5), uint16(SHA256)}, {uint16(SHA256)}}

func (o offer) algorithms() []uint16 { return offered[o&offerLists] }

// offerOf is the offer that lists these algorithms; ok is false when none does.
func offerOf[T ~uint16](list []T) (o offer, ok bool) {
	for o := range offer(len(offered)) {
		if slices.EqualFunc(o.algorithms(), list, func(a uint16, b T) bool { return a == uint16(b) }) {
			return o, true
		}
	}
	return 0, false
}

// maxKey is the longest key in bytes: that of an access token for HMAC-SHA-512. The password algorithms have 16 and 32.
const maxKey = 64

// Key is the key that a message's integrity is computed with. The zero value is no key.
type Key struct {
	bytes [maxKey]byte
	size  int
}

// Bytes are the key itself, within k.
func (k *Key) Bytes() []byte { return k.bytes[:k.size] }

// Set makes k the key b, of at most 64 bytes.
func (k *Key) Set(b []byte) { k.size = copy(k.bytes[:], b) }

// Clone is a copy of the key itself.
func (k *Key) Clone() []byte { return slices.Clone(k.Bytes()) }

// String, GoString, Format and LogValue hide the key.

func (k Key) String() string             { return fmt.Sprintf("(key of %d bytes, hidden)", k.size) }
func (k Key) GoString() string           { return "auth.Key" + k.String() }
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }
func (k Key) LogValue() slog.Value       { return slog.StringValue(k.String()) }

// keys are a user's keys by algorithm.
type keys struct {
	md5       [md5.Size]byte
	sha256    [sha256.Size]byte
	hasMD5    bool
	hasSHA256 bool
}

func (k *keys) has(a Algorithm) bool {
	return a == MD5 && k.hasMD5 || a == SHA256 && k.hasSHA256
}

func (k *keys) of(a Algorithm) []byte {
	if a == SHA256 {
		return k.sha256[:]
	}
	return k.md5[:]
}

// appendIdentityText appends username ":" realm ":" password, what both algorithms hash (RFC 8489 §9.2.2, §18.5.1).
func appendIdentityText[T, P string | []byte](dst []byte, username T, realm string, password P) []byte {
	dst = append(dst, username...)
	dst = append(dst, ':')
	dst = append(dst, realm...)
	dst = append(dst, ':')
	return append(dst, password...)
}

// longTermKey is MD5(username ":" OpaqueString(realm) ":" OpaqueString(password)), RFC 8489 §9.2.2. Realm and password
// come in their profile form already, the user name as it is on the wire.
func longTermKey[T, P string | []byte](username T, realm string, password P) [md5.Size]byte {
	return md5.Sum(appendIdentityText(make([]byte, 0, 256), username, realm, password))
}

// longTermKeySHA256 is the same with SHA-256, RFC 8489 §18.5.1.
func longTermKeySHA256[T, P string | []byte](username T, realm string, password P) [sha256.Size]byte {
	return sha256.Sum256(appendIdentityText(make([]byte, 0, 256), username, realm, password))
}

// userhash is the value of USERHASH: SHA-256(OpaqueString(username) ":" OpaqueString(realm)), RFC 8489 §14.4.
func userhash(username, realm string) [sha256.Size]byte {
	return sha256.Sum256([]byte(username + ":" + realm))
}

// checkKeys refuses users who could never log in. One who is known by an MD5 key only keeps SHA-256 from being offered,
// because the challenge is written before it is known who will answer it; without the offer nobody can use a SHA-256 key.
func checkKeys(s *snapshot, allowed []Algorithm) error {
	var only [SHA256 + 1]string // a user who has this key only
	for _, users := range []map[string]account{s.fixed, s.file} {
		for name, u := range users {
			switch {
			case !u.has(SHA256):
				only[MD5] = name
			case !u.has(MD5):
				only[SHA256] = name
			}
		}
	}
	switch {
	case only[MD5] != "" && !slices.Contains(allowed, MD5):
		return fmt.Errorf("auth: the password algorithms are SHA-256 alone, but user %q is configured by an MD5 key; give the password or a SHA-256 key (0x and 64 digits)", only[MD5])
	case only[SHA256] != "" && !slices.Contains(allowed, SHA256):
		return fmt.Errorf("auth: the password algorithms are MD5 alone, but user %q is configured by a SHA-256 key; give the password or an MD5 key (0x and 32 digits)", only[SHA256])
	case only[MD5] != "" && only[SHA256] != "":
		return fmt.Errorf("auth: user %q has an MD5 key only and user %q a SHA-256 key only, which no challenge can serve; give both keys (NAME:0xMD5:0xSHA256) or the password to one of them", only[MD5], only[SHA256])
	}
	s.offer = 0
	if only[MD5] == "" {
		s.offer, _ = offerOf(allowed)
	}
	return nil
}
