package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // the password of draft-uberti-behave-turn-rest-00 §2.2
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxExpiry is the last second of the year 9999 in Unix time. What is greater was counted in milliseconds, and would
// make a credential that never ends.
const maxExpiry = 253402300799

// parseEphemeral reads the expiry out of <expiry>, <expiry>:<id> or <id>:<expiry>, where it is Unix time in decimal
// digits and an id may contain colons. When both sides are digits the first is the expiry. ok is false when the name
// can't be an ephemeral one, which includes those that are too long or that the OpaqueString profile refuses.
func parseEphemeral(name []byte) (expires time.Time, ok bool) {
	if len(name) > MaxUsername {
		return time.Time{}, false
	}
	if !printableASCII(name) {
		if _, err := opaque(string(name)); err != nil {
			return time.Time{}, false
		}
	}
	digits := name
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		digits = name[:i]
		if !allDigits(digits) {
			digits = name[bytes.LastIndexByte(name, ':')+1:]
		}
	}
	seconds, ok := parseExpiry(digits)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}

// ephemeralAccount is ":<id>" or "<id>:" of an ephemeral name, the part that is the same in all of an id, and empty where
// there is no id.
// The colon sets it apart from a static user of that name: an ICE service may sign any id that it is asked for.
func ephemeralAccount(name string) string {
	first, last := strings.IndexByte(name, ':'), strings.LastIndexByte(name, ':')
	switch {
	case first < 0 || first == len(name)-1 || last == 0:
		return ""
	case allDigits(name[:first]):
		return name[first:]
	}
	return name[:last+1]
}

func allDigits[T string | []byte](b T) bool {
	for _, c := range []byte(b) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

func parseExpiry(digits []byte) (seconds int64, ok bool) {
	if !allDigits(digits) {
		return 0, false
	}
	for _, c := range digits {
		seconds = seconds*10 + int64(c-'0')
		if seconds > maxExpiry {
			return 0, false
		}
	}
	return seconds, true
}

// ephemeralPassword is base64(HMAC-SHA1(secret, username)).
func ephemeralPassword[T string | []byte](secret []byte, username T) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Issue makes an ephemeral credential for id that is valid for ttl (at least one second, counted in whole seconds),
// signed by the first secret: user name <unix expiry>:<id>, or <unix expiry> when id is empty. The id is put into its
// OpaqueString form. Without a secret the error is ErrNoSecret.
func (a *Authenticator) Issue(id string, ttl time.Duration) (username, password string, err error) {
	return a.issue(a.current.Load(), id, ttl)
}

func (a *Authenticator) issue(s *snapshot, id string, ttl time.Duration) (username, password string, err error) {
	if len(s.secrets) == 0 {
		return "", "", ErrNoSecret
	}
	if ttl < time.Second {
		return "", "", fmt.Errorf("auth: a credential's lifetime of %v is too short; give 1s or more", ttl)
	}
	expiry := a.now().Add(ttl).Unix()
	if expiry < 0 || expiry > maxExpiry {
		return "", "", fmt.Errorf("auth: a credential's lifetime of %v ends outside the years 1970 to 9999", ttl)
	}
	username = strconv.FormatInt(expiry, 10)
	if id != "" {
		if id, err = opaque(id); err != nil {
			return "", "", fmt.Errorf("auth: the user name %w", err)
		}
		username += ":" + id
	}
	if len(username) > MaxUsername {
		return "", "", fmt.Errorf("auth: the user name has %d bytes with its expiry, at most %d are allowed (RFC 8489 §14.3)", len(username), MaxUsername)
	}
	return username, ephemeralPassword(s.secrets[0], username), nil
}
