package auth

import (
	"crypto/md5" // the key derivation of RFC 8489 §9.2.2
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// User is a static user, known by its password or by its keys, never both.
type User struct {
	Name     string // without ':'; at most MaxUsername bytes
	Password string `json:"-" yaml:"-"` // empty: a key is given
	// Key is HA1: MD5(name ":" realm ":" password), 16 bytes. It is good for one realm only.
	Key []byte `json:"-" yaml:"-"`
	// KeySHA256 is the same with SHA-256, 32 bytes. One who has it alone can't be served by MD5, and the reverse.
	KeySHA256 []byte `json:"-" yaml:"-"`
}

// ParseUser reads NAME:PASSWORD, NAME:0xHEX or NAME:0xHEX:0xHEX, where HEX is the 16 bytes of an HA1 key or the 32 of a
// SHA-256 key. The name ends at the first colon, the password may contain more of them. A password that really begins
// with 0x can be given by its keys only.
// No error quotes what stands behind the colon, or anything at all where there is no colon.
func ParseUser(s string) (User, error) {
	name, password, found := strings.Cut(s, ":")
	if !found {
		return User{}, errors.New("there is no ':'; write NAME:PASSWORD or NAME:0xHEX")
	}
	if _, err := checkName(name); err != nil {
		return User{}, err
	}
	u := User{Name: name}
	if _, ok := cutHexPrefix(password); ok {
		if err := u.parseKeys(password); err != nil {
			return User{}, err
		}
	} else {
		u.Password = password
	}
	if _, err := u.account(""); err != nil {
		return User{}, err
	}
	return u, nil
}

// parseKeys reads one or two keys, which their lengths tell apart.
func (u *User) parseKeys(text string) error {
	for part := range strings.SplitSeq(text, ":") {
		digits, ok := cutHexPrefix(part)
		key, err := hex.DecodeString(digits)
		switch {
		case ok && err == nil && len(key) == md5.Size && u.Key == nil:
			u.Key = key
		case ok && err == nil && len(key) == sha256.Size && u.KeySHA256 == nil:
			u.KeySHA256 = key
		default:
			return fmt.Errorf("user %q: after 0x exactly %d hexadecimal digits must follow, or %d of a SHA-256 key (a password that begins with 0x must be given as such a key)",
				u.Name, 2*md5.Size, 2*sha256.Size)
		}
	}
	return nil
}

func cutHexPrefix(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		return s[2:], true
	}
	return s, false
}

// account is a static user as a snapshot holds it: ready to be compared.
type account struct {
	name     string // profile form
	password string // profile form; empty when only keys are known. Kept because an ICE configuration must carry it
	keys
}

// checkName returns the name in its profile form, RFC 8489 §14.3.
func checkName(raw string) (string, error) {
	if len(raw) > MaxUsername { // first, so that no error quotes a long line
		return "", fmt.Errorf("the user name has %d bytes, at most %d are allowed (RFC 8489 §14.3)", len(raw), MaxUsername)
	}
	name, err := opaque(raw)
	switch {
	case raw == "":
		return "", errors.New("the user name is empty; write NAME:PASSWORD")
	case err != nil:
		return "", fmt.Errorf("user name %q %w", raw, err)
	case len(name) > MaxUsername: // normalization may lengthen
		return "", fmt.Errorf("the user name has %d bytes, at most %d are allowed (RFC 8489 §14.3)", len(name), MaxUsername)
	case strings.Contains(name, ":"):
		return "", fmt.Errorf("user name %q contains a ':', which only ephemeral names do", raw)
	case name != strings.TrimSpace(name):
		return "", fmt.Errorf("user name %q begins or ends with white space; remove it", raw)
	}
	return name, nil
}

// account checks the user and derives its key.
func (u User) account(realm string) (account, error) {
	name, err := checkName(u.Name)
	if err != nil {
		return account{}, err
	}
	acc := account{name: strings.Clone(name)}
	if u.Key != nil || u.KeySHA256 != nil {
		switch {
		case u.Password != "":
			return account{}, fmt.Errorf("user %q has a password and a key; give one of them", name)
		case u.Key != nil && len(u.Key) != md5.Size:
			return account{}, fmt.Errorf("user %q: the key has %d bytes, %d are needed", name, len(u.Key), md5.Size)
		case u.KeySHA256 != nil && len(u.KeySHA256) != sha256.Size:
			return account{}, fmt.Errorf("user %q: the SHA-256 key has %d bytes, %d are needed", name, len(u.KeySHA256), sha256.Size)
		}
		acc.hasMD5, acc.hasSHA256 = u.Key != nil, u.KeySHA256 != nil
		copy(acc.md5[:], u.Key)
		copy(acc.sha256[:], u.KeySHA256)
		return acc, nil
	}
	password, err := opaque(u.Password)
	switch {
	case u.Password == "":
		return account{}, fmt.Errorf("user %q: the password is empty", name)
	case err != nil:
		return account{}, fmt.Errorf("user %q: the password %w", name, err)
	case password != strings.TrimSpace(password):
		return account{}, fmt.Errorf("user %q: the password begins or ends with white space; remove it, or give the key (NAME:0xHEX) if it is meant", name)
	}
	acc.password = strings.Clone(password)
	acc.md5, acc.hasMD5 = longTermKey(name, realm, password), true
	acc.sha256, acc.hasSHA256 = longTermKeySHA256(name, realm, password), true
	return acc, nil
}

var (
	errNotUTF8   = errors.New("is not UTF-8 text")
	errProfile   = errors.New("contains a character that is not allowed (control, invisible or unassigned; RFC 8265 §4.2)")
	errEmptyText = errors.New("is empty")
)

// opaque applies the OpaqueString profile of RFC 8265 §4.2. Its errors don't quote the text.
func opaque(s string) (string, error) {
	if printableASCII(s) { // which the profile leaves alone
		return s, nil
	}
	switch {
	case s == "":
		return "", errEmptyText
	case !utf8.ValidString(s):
		return "", errNotUTF8
	}
	processed, err := precis.OpaqueString.String(s)
	if err != nil {
		return "", errProfile
	}
	return processed, nil
}

func printableASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > unicode.MaxASCII-1 {
			return false
		}
	}
	return len(s) > 0
}

// String, GoString, Format and LogValue show the name and hide the rest.

func (u User) String() string {
	switch {
	case u.Key != nil, u.KeySHA256 != nil:
		return u.Name + ":(key hidden)"
	case u.Password != "":
		return u.Name + ":(password hidden)"
	}
	return u.Name + ":(no password)"
}
func (u User) GoString() string           { return fmt.Sprintf("auth.User{%q, hidden}", u.Name) }
func (u User) Format(f fmt.State, _ rune) { io.WriteString(f, u.String()) }
func (u User) LogValue() slog.Value       { return slog.StringValue(u.String()) }
