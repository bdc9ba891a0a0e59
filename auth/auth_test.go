package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
)

const testRealm = "example.org"

func newTest(t testing.TB, o Options) *Authenticator {
	t.Helper()
	if o.Realm == "" {
		o.Realm = testRealm
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func alice() User { return User{Name: "alice", Password: "wonder:land"} }

func TestNewRefuses(t *testing.T) {
	one := []User{alice()}
	for _, c := range []struct {
		name    string
		options Options
		want    []string // each in the error's text
	}{
		{"nothing", Options{Realm: "r"}, []string{ErrNoCredentials.Error()}},
		{"no realm", Options{Users: one}, []string{"realm is empty"}},
		{"long realm", Options{Realm: strings.Repeat("r", 128), Users: one}, []string{"128 characters"}},
		{"quoted realm", Options{Realm: `a"b`, Users: one}, []string{"quotation mark"}},
		{"realm with control character", Options{Realm: "a\x00", Users: one}, []string{"not allowed"}},
		{"negative lifetime", Options{Realm: "r", Users: one, NonceLifetime: -1}, []string{"nonce lifetime"}},
		{"negative interval", Options{Realm: "r", Users: one, PollInterval: -1}, []string{"poll interval"}},
		{"user twice", Options{Realm: "r", Users: []User{alice(), alice()}}, []string{`user 2: "alice" is given twice`}},
		{"secret twice", Options{Realm: "r", Secrets: []string{"s1", "s1"}}, []string{"secret 2 is given twice"}},
		{"empty secret", Options{Realm: "r", Secrets: []string{""}}, []string{"secret 1 is empty"}},
		{"blank at the end of a secret", Options{Realm: "r", Secrets: []string{"s "}}, []string{"white space"}},
		{"neither password nor key", Options{Realm: "r", Users: []User{{Name: "a"}}}, []string{`"a": the password is empty`}},
		{"password and key", Options{Realm: "r", Users: []User{{Name: "a", Password: "b", Key: make([]byte, 16)}}}, []string{"give one of them"}},
		{"short key", Options{Realm: "r", Users: []User{{Name: "a", Key: make([]byte, 15)}}}, []string{"15 bytes, 16 are needed"}},
		{"colon in a name", Options{Realm: "r", Users: []User{{Name: "a:b", Password: "p"}}}, []string{"contains a ':'"}},
		{"missing files", Options{Realm: "r", UsersFile: "/nonexistent/users", SecretsFile: "/nonexistent/secrets"},
			[]string{"/nonexistent/users: no such file", "/nonexistent/secrets: no such file"}},
		{"everything at once", Options{Users: []User{{Name: ""}}, Secrets: []string{"\x01x"}},
			[]string{"realm is empty", "user name is empty", "secret 1 contains a control character"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := New(c.options)
			if err == nil || a != nil {
				t.Fatalf("got %v, %v, want an error", a, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
	if _, err := New(Options{Realm: "r"}); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("got %v, want ErrNoCredentials", err)
	}
}

func TestRealmIsSentInProfileForm(t *testing.T) {
	// U+00A0 becomes a space, and e with a combining acute accent becomes one character.
	a := newTest(t, Options{Realm: "cafe\u0301\u00a0bar", Users: []User{alice()}, EnforceExpiry: true})
	if got, want := a.Realm(), "caf\u00e9 bar"; got != want {
		t.Errorf("realm %q, want %q", got, want)
	}
	if !a.EnforceExpiry() {
		t.Error("EnforceExpiry got lost")
	}
}

// TestSecretsAreHidden prints everything that holds a secret in every way that logs and careless code do.
func TestSecretsAreHidden(t *testing.T) {
	const password, secret, nonceSecret = "pa55w0rd", "s3cr3t", "n0nc3"
	u := User{Name: "alice", Password: password}
	o := Options{Realm: testRealm, Users: []User{u}, Secrets: []string{secret}, NonceSecret: nonceSecret}
	a := newTest(t, o)
	config, err := a.ICE([]string{"turn:192.0.2.1"}, "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{User: "alice", Key: keyOf([]byte("0123456789abcdef"))}
	hashed := User{Name: "bob", Key: id.Key.Bytes(), KeySHA256: bytes.Repeat(id.Key.Bytes(), 2)}

	hidden := []string{password, secret, nonceSecret, string(id.Key.Bytes()), fmt.Sprintf("%x", id.Key.Bytes()), fmt.Sprintf("%d", id.Key.Bytes()[:4])[1:10]}
	for _, v := range []any{u, &u, hashed, &Claim{candidate: id.Key}, id.Key, &id.Key, []User{u, hashed}, o, &o, a, config, &config, config.ICEServers[0], id, &id, struct{ O Options }{o}} {
		var text bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&text, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "v", v)
		for _, h := range hidden {
			if strings.Contains(text.String(), h) {
				t.Errorf("%T shows %q:\n%s", v, h, &text)
			}
		}
	}
	for _, v := range []any{u, hashed, id} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(hidden, "Key", "MDEy") { // MDEy: the key in base64
			if strings.Contains(string(text), h) {
				t.Errorf("%T as JSON shows %q: %s", v, h, text)
			}
		}
	}
	if text := fmt.Sprint(o, a, u); !strings.Contains(text, "alice") || !strings.Contains(text, testRealm) {
		t.Errorf("what is no secret should be seen: %s", text)
	}
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// take returns what was logged since the last call.
func (b *logBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

func (b *logBuffer) logger() logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("auth", logging.LogLevelTrace, b)
}
