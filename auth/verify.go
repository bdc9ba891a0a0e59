package auth

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// Identity is who sent a message, proven.
type Identity struct {
	User    string    // as sent; static names share the memory of the configuration
	Account string    // the part of User that is the same for all ephemeral credentials of an id; empty: User
	Key     Key       `json:"-" yaml:"-"` // for the integrity of the answer
	Expires time.Time // of an ephemeral credential or an access token; zero: static, never

	Token bool          // it came with an access token (RFC 7635)
	Life  time.Duration // of the token, from beginning to end
}

// Expired tells whether the credential's time is over. The caller asks when an allocation is made, and with
// Authenticator.EnforceExpiry at every request.
func (i Identity) Expired(now time.Time) bool {
	return !i.Expires.IsZero() && !now.Before(i.Expires)
}

// Claim is who a message says that it is from. It is owned by one goroutine and may be used again.
type Claim struct {
	Username  []byte    // of USERNAME; nil: Userhash counts
	Userhash  []byte    // of USERHASH, where there is no USERNAME
	Algorithm Algorithm // of PASSWORD-ALGORITHM; MD5 where there is none

	candidate Key // what check gets; here, because what is handed to a function that is not known lives on the heap
}

// Verify finds the keys that the claimed user may have and asks check, which compares one with the message in constant
// time. It returns ErrAlgorithm, ErrUnknownUser or ErrWrongPassword; an expired credential is no error here, see
// Identity.Expired. The name must be what the message carries: nothing is mapped, and a name that the OpaqueString
// profile would change or refuse is not that of a static user, RFC 8489 §14.3. Only static users are found by USERHASH:
// an ephemeral name is nowhere to be looked up.
//
// For an algorithm, and a name of a given length, the work does not depend on who exists: one key per secret (at least
// one) is derived and check is called for each, without an early end. Where there is no real key a random one takes its
// place.
func (a *Authenticator) Verify(c *Claim, check func(key []byte) bool) (Identity, error) {
	if !slices.Contains(a.algorithms, c.Algorithm) {
		return Identity{}, ErrAlgorithm
	}
	s := a.current.Load()
	static, known := s.find(c.Username)
	if c.Username == nil {
		static, known = s.findHash(c.Userhash)
	}
	expires, ephemeral := parseEphemeral(c.Username)
	ephemeral = ephemeral && !known && len(s.secrets) > 0

	var id Identity
	found := false
	for i := range max(1, len(s.secrets)) {
		genuine := false
		c.candidate.Set(a.dummy.of(c.Algorithm))
		if i < len(s.secrets) {
			// Derived for every name: a static user called like an expiry would be told by its speed otherwise.
			var derived keys
			password := ephemeralPassword(s.secrets[i], c.Username)
			if c.Algorithm == SHA256 {
				derived.sha256 = longTermKeySHA256(c.Username, a.realm, password)
			} else {
				derived.md5 = longTermKey(c.Username, a.realm, password)
			}
			if ephemeral {
				c.candidate.Set(derived.of(c.Algorithm))
				genuine = true
			}
		}
		if known && i == 0 && static.has(c.Algorithm) {
			c.candidate.Set(static.of(c.Algorithm))
			genuine = true
		}
		if check(c.candidate.Bytes()) && genuine && !found {
			found = true
			id.Key = c.candidate
		}
	}

	switch {
	case found && known:
		id.User = static.name
	case found:
		id.User, id.Expires = string(c.Username), expires
		id.Account = ephemeralAccount(id.User)
	case known || ephemeral:
		return Identity{}, ErrWrongPassword
	default:
		return Identity{}, ErrUnknownUser
	}
	return id, nil
}

// String, GoString, Format and LogValue show the name and hide the key.

func (i Identity) String() string             { return i.User }
func (i Identity) GoString() string           { return fmt.Sprintf("auth.Identity{%q, hidden}", i.User) }
func (i Identity) Format(f fmt.State, _ rune) { io.WriteString(f, i.String()) }
func (i Identity) LogValue() slog.Value       { return slog.StringValue(i.String()) }

// A field that is not exported is printed without asking it, so Claim hides its own.

func (c *Claim) String() string { return fmt.Sprintf("%s, %v", c.Username, c.Algorithm) }
func (c *Claim) GoString() string {
	return fmt.Sprintf("&auth.Claim{%q, %v, hidden}", c.Username, c.Algorithm)
}
func (c *Claim) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }
func (c *Claim) LogValue() slog.Value       { return slog.StringValue(c.String()) }
