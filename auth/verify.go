package auth

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Identity is who sent a message, proven.
type Identity struct {
	User    string    // as sent; static names share the memory of the configuration
	Key     [16]byte  `json:"-" yaml:"-"` // for the MESSAGE-INTEGRITY of the answer
	Expires time.Time // of an ephemeral credential; zero: static, never
}

// Expired tells whether the credential's time is over. The caller asks when an allocation is made, and with
// Authenticator.EnforceExpiry at every request.
func (i Identity) Expired(now time.Time) bool {
	return !i.Expires.IsZero() && !now.Before(i.Expires)
}

// Verify finds the keys that username may have and asks check, which compares one with the message in constant time.
// It returns ErrUnknownUser or ErrWrongPassword; an expired credential is no error here, see Identity.Expired. The name
// must be what the message carries: nothing is mapped, and a name that the OpaqueString profile would change or refuse
// is not that of a static user, RFC 8489 §14.3.
//
// For a name of a given length the work does not depend on who exists: one key per secret (at least one) is derived and
// check is called for each, without an early end. Where there is no real key a random one takes its place.
func (a *Authenticator) Verify(username []byte, check func(key []byte) bool) (Identity, error) {
	s := a.current.Load()
	static, known := s.find(username)
	expires, ephemeral := parseEphemeral(username)
	ephemeral = ephemeral && !known && len(s.secrets) > 0

	var id Identity
	found := false
	for i := range max(1, len(s.secrets)) {
		candidate, genuine := a.dummy, false
		if i < len(s.secrets) {
			// Derived for every name: a static user called like an expiry would be told by its speed otherwise.
			derived := longTermKey(username, a.realm, ephemeralPassword(s.secrets[i], username))
			if ephemeral {
				candidate, genuine = derived, true
			}
		}
		if known && i == 0 {
			candidate, genuine = static.key, true
		}
		if check(candidate[:]) && genuine && !found {
			found = true
			id.Key = candidate
		}
	}

	switch {
	case found && known:
		id.User = static.name
	case found:
		id.User, id.Expires = string(username), expires
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
