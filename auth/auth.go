package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pion/logging"
)

// Limits and defaults.
const (
	// DefaultNonceLifetime is how long a nonce is accepted when Options.NonceLifetime is zero.
	DefaultNonceLifetime = time.Hour

	// DefaultPollInterval is how often Run looks at the files when Options.PollInterval is zero.
	DefaultPollInterval = time.Second

	// MaxUsername is the longest user name in bytes: "fewer than 509 bytes", RFC 8489 §14.3.
	MaxUsername = 508

	// maxRealm is the longest realm in characters: "fewer than 128 characters", RFC 8489 §14.9.
	maxRealm = 127
)

// Decisions. They carry no detail on purpose: a caller answers all refusals of a credential alike.
var (
	// ErrUnknownUser: no static user has this name, and it is not an ephemeral name (or there is no secret).
	ErrUnknownUser = errors.New("auth: unknown user")
	// ErrWrongPassword: the name is good, but no key of it fits the message.
	ErrWrongPassword = errors.New("auth: wrong password")
	// ErrAlgorithm: the server does not accept this password algorithm (Options.Algorithms).
	ErrAlgorithm = errors.New("auth: password algorithm is not accepted")
	// ErrToken: the access token is not one, or not encrypted with the key that is named.
	ErrToken = errors.New("auth: access token cannot be opened")
	// ErrTokenExpired: the access token's time is over, or has not come.
	ErrTokenExpired = errors.New("auth: access token has expired")
	// ErrStaleNonce: the nonce is expired, malformed, or was made for another client, realm or secret.
	ErrStaleNonce = errors.New("auth: stale nonce")
	// ErrNoCredentials: neither a user, a secret nor a token key is configured, so nobody could ever be let in.
	ErrNoCredentials = errors.New("auth: no credentials: give at least one user or one secret")
	// ErrNoSecret: an ephemeral credential is asked for, and there is no secret to sign it with.
	ErrNoSecret = errors.New("auth: no secret to sign an ephemeral credential with")
	// ErrNoPassword: the user is known by its keys alone, so there is no password to give out.
	ErrNoPassword = errors.New("auth: this user is configured by key (NAME:0xHEX), its password is not known")
)

// Options configures an Authenticator. The zero value is not valid: a realm and a user or a secret are needed.
type Options struct {
	// Realm is sent with each challenge and is part of every key; at most 127 characters, neither '"' nor '\'.
	Realm string

	Users     []User // static users
	UsersFile string // more of them; path, empty: none

	Secrets     []string // shared secrets of ephemeral credentials; the first one signs, all are accepted
	SecretsFile string   // more of them, after those of Secrets; path, empty: none

	// TokenKeysFile has the long-term keys of third-party authorization (RFC 7635), as JSON; path, empty: none.
	TokenKeysFile string
	// ServerName is the name that access tokens are made for; empty: the realm. At most 127 characters.
	ServerName string

	// Algorithms are the password algorithms that are accepted, in the order in which they are offered; empty:
	// DefaultAlgorithms. MD5 alone is RFC 5389's mechanism: nothing is offered. SHA256 alone refuses the clients that know
	// nothing else.
	Algorithms []Algorithm

	// NonceSecret keys the nonces, so that the servers of a fleet accept each other's. Empty: random at each start.
	NonceSecret   string
	NonceLifetime time.Duration // 0: DefaultNonceLifetime

	// EnforceExpiry is not acted on here but handed through by Authenticator.EnforceExpiry.
	EnforceExpiry bool

	PollInterval time.Duration         // of Run; 0: DefaultPollInterval
	Now          func() time.Time      // clock of nonces and expiries; nil: time.Now
	Log          logging.LeveledLogger // nil: silent
}

// Authenticator answers for one realm. Make it with New.
type Authenticator struct {
	// Immutable after New.
	realm       string // profile form
	serverName  string
	algorithms  []Algorithm
	lifetime    time.Duration // of nonces
	nonces      nonceKey
	nonceSecret [sha256.Size]byte // digest of Options.NonceSecret
	dummy       keys              // tried where there is no real key; random, never lets anybody in
	interval    time.Duration
	now         func() time.Time
	log         logging.LeveledLogger

	// Replaced by Run and Adopt, read by everybody.
	current       atomic.Pointer[snapshot]
	enforceExpiry atomic.Bool

	mu    sync.Mutex
	files sources // guarded by mu once New has returned
}

// New checks the options, reads the files and returns an Authenticator that is ready to use. Its error joins all faults,
// one line each; a fault in a file is a *FileError. Without any user and any secret it is ErrNoCredentials.
func New(o Options) (*Authenticator, error) {
	a := &Authenticator{
		algorithms:  slices.Clone(o.Algorithms),
		lifetime:    o.NonceLifetime,
		nonceSecret: digestOf(o.NonceSecret),
		interval:    o.PollInterval,
		now:         o.Now,
		log:         o.Log,
	}
	a.enforceExpiry.Store(o.EnforceExpiry)
	if len(a.algorithms) == 0 {
		a.algorithms = DefaultAlgorithms
	}
	if a.lifetime == 0 {
		a.lifetime = DefaultNonceLifetime
	}
	if a.interval == 0 {
		a.interval = DefaultPollInterval
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = silent()
	}

	var faults []error
	if err := checkAlgorithms(a.algorithms); err != nil {
		faults = append(faults, err)
	}
	if a.lifetime < 0 {
		faults = append(faults, fmt.Errorf("auth: nonce lifetime %v is negative; give a duration such as 1h", o.NonceLifetime))
	}
	if a.interval < 0 {
		faults = append(faults, fmt.Errorf("auth: poll interval %v is negative; give a duration such as 1s", o.PollInterval))
	}
	realm, err := checkRealm(o.Realm)
	if err != nil {
		faults = append(faults, err)
	}
	a.realm, a.serverName = realm, realm
	if o.ServerName != "" {
		a.serverName = o.ServerName
		if !utf8.ValidString(o.ServerName) || utf8.RuneCountInString(o.ServerName) > maxRealm {
			faults = append(faults, fmt.Errorf("auth: server name is not UTF-8 or has more than %d characters; shorten it", maxRealm))
		}
	}

	a.files.fixedUsers, err = fixedUsers(o.Users, a.realm)
	faults = append(faults, err)
	a.files.fixedSecrets, err = fixedSecrets(o.Secrets)
	faults = append(faults, err)
	if o.UsersFile != "" {
		a.files.usersFile = &watched{path: o.UsersFile}
		faults = append(faults, a.loadUsers())
	}
	if o.SecretsFile != "" {
		a.files.secretsFile = &watched{path: o.SecretsFile}
		faults = append(faults, a.loadSecrets())
	}
	if o.TokenKeysFile != "" {
		a.files.tokenKeysFile = &watched{path: o.TokenKeysFile}
		faults = append(faults, a.loadTokenKeys())
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	s, err := a.snapshot()
	if err != nil {
		return nil, err
	}
	a.current.Store(s)

	secret := []byte(o.NonceSecret)
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails, crypto/rand
	}
	if a.nonces, err = newNonceKey(secret, a.realm); err != nil {
		return nil, err
	}
	rand.Read(a.dummy.md5[:])
	rand.Read(a.dummy.sha256[:])
	return a, nil
}

// Realm is the realm as it is to be sent: in the form that the OpaqueString profile gives it, RFC 8489 §14.9.
func (a *Authenticator) Realm() string { return a.realm }

// EnforceExpiry tells whether an ephemeral credential's expiry ends an established allocation, too.
func (a *Authenticator) EnforceExpiry() bool { return a.enforceExpiry.Load() }

func checkRealm(realm string) (string, error) {
	if realm == "" {
		return "", errors.New("auth: realm is empty; give a name such as hairpin or example.org")
	}
	processed, err := opaque(realm)
	switch {
	case err != nil:
		return "", fmt.Errorf("auth: realm %q %w", realm, err)
	case utf8.RuneCountInString(processed) > maxRealm:
		return "", fmt.Errorf("auth: realm has %d characters, at most %d are allowed (RFC 8489 §14.9)", utf8.RuneCountInString(processed), maxRealm)
	case strings.ContainsAny(processed, `"\`): // the attribute's grammar is that of a quoted string without its quotes
		return "", fmt.Errorf("auth: realm %q contains a quotation mark or a backslash (RFC 8489 §14.9)", realm)
	}
	return processed, nil
}

func silent() logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("auth", logging.LogLevelDisabled, io.Discard)
}

// String, GoString, Format and LogValue tell how many credentials there are, never which.

func (o Options) String() string {
	return fmt.Sprintf("auth.Options{Realm: %q, %d users, UsersFile: %q, %d secrets, SecretsFile: %q, TokenKeysFile: %q}",
		o.Realm, len(o.Users), o.UsersFile, len(o.Secrets), o.SecretsFile, o.TokenKeysFile)
}
func (o Options) GoString() string           { return o.String() }
func (o Options) Format(f fmt.State, _ rune) { io.WriteString(f, o.String()) }
func (o Options) LogValue() slog.Value       { return slog.StringValue(o.String()) }

func (a *Authenticator) String() string {
	if a == nil {
		return "auth.Authenticator(nil)"
	}
	s := a.current.Load()
	return fmt.Sprintf("auth.Authenticator{realm: %q, %d users, %d secrets}", a.realm, s.count(), len(s.secrets))
}
func (a *Authenticator) GoString() string           { return a.String() }
func (a *Authenticator) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }
func (a *Authenticator) LogValue() slog.Value       { return slog.StringValue(a.String()) }
