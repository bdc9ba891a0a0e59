package auth

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/turn/v3"
)

func TestParseEphemeral(t *testing.T) {
	for _, c := range []struct {
		name    string
		expires int64
		ok      bool
	}{
		{"1735689600", 1735689600, true},
		{"1735689600:alice", 1735689600, true},
		{"1735689600:", 1735689600, true},
		{"1735689600:a:b:7", 1735689600, true},
		{"alice:1735689600", 1735689600, true},
		{"a:b:1735689600", 1735689600, true},
		{":1735689600", 1735689600, true},
		{"42:1735689600", 42, true}, // both are digits: the first is the expiry
		{"1735689600:42", 1735689600, true},
		{"0", 0, true},
		{"253402300799:last second of 9999", 253402300799, true},
		{"1735689600:zo\u00eb", 1735689600, true},

		{"253402300800", 0, false},
		{"1735689600000:milliseconds", 0, false},
		{"1735689600000:1735689600", 0, false}, // the first counts, and it is no time
		{"9223372036854775807:x", 0, false},
		{"9223372036854775808:x", 0, false},
		{"99999999999999999999999999:x", 0, false},
		{"", 0, false},
		{":", 0, false},
		{"alice", 0, false},
		{"alice:bob", 0, false},
		{"alice:1735689600:bob", 0, false},
		{"+1735689600:alice", 0, false},
		{"-1:alice", 0, false},
		{"1735689600 :alice", 0, false},
		{"0x67748580:alice", 0, false},
		{"1_000:alice", 0, false},
		{"\u0661\u0662:alice", 0, false}, // Arabic digits
		{"1735689600:\x7f", 0, false},
	} {
		expires, ok := parseEphemeral([]byte(c.name))
		if ok != c.ok || ok && expires.Unix() != c.expires {
			t.Errorf("%q: %v, %v", c.name, expires.Unix(), ok)
		}
	}
}

func TestEphemeralAccount(t *testing.T) {
	for name, want := range map[string]string{
		"1735689600:alice":    ":alice",
		"1735689601:alice":    ":alice",
		"alice:1735689600":    "alice:",
		"1735689600:a:b:7":    ":a:b:7",
		"a:b:1735689600":      "a:b:",
		"42:1735689600":       ":1735689600",
		"1735689600":          "",
		"1735689600:":         "",
		":1735689600":         "",
		"1735689600::":        "::",
		"1735689600:zo\u00eb": ":zo\u00eb",
	} {
		if got := ephemeralAccount(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestIssueIsWhatPionMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that both see the same second
		const secret = "a secret"
		a := newTest(t, Options{Secrets: []string{secret, "an older one"}})
		for _, ttl := range []time.Duration{time.Second, 90 * time.Minute, 24 * time.Hour} {
			plainName, plainPassword, err1 := turn.GenerateLongTermCredentials(secret, ttl)
			restName, restPassword, err2 := turn.GenerateLongTermTURNRESTCredentials(secret, "alice", ttl)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ id, username, password string }{
				{"", plainName, plainPassword},
				{"alice", restName, restPassword},
			} {
				username, password, err := a.Issue(c.id, ttl)
				if err != nil || username != c.username || password != c.password {
					t.Errorf("%q for %v: %q, %q, %v; want %q, %q", c.id, ttl, username, password, err, c.username, c.password)
				}
				id, err := a.Verify(claim(c.username), knows(c.username, c.password))
				if err != nil || !id.Expires.Equal(time.Now().Add(ttl)) {
					t.Errorf("%q: %v, expires %v", c.username, err, id.Expires)
				}
			}
		}
	})
}

func TestIssueRefuses(t *testing.T) {
	signed := newTest(t, Options{Secrets: []string{"s"}})
	unsigned := newTest(t, Options{Users: []User{alice()}})
	for _, c := range []struct {
		name string
		a    *Authenticator
		id   string
		ttl  time.Duration
		want string
	}{
		{"no secret", unsigned, "x", time.Hour, ErrNoSecret.Error()},
		{"no time", signed, "x", 0, "too short"},
		{"negative time", signed, "x", -time.Hour, "too short"},
		{"less than the unit", signed, "x", 999 * time.Millisecond, "too short"},
		{"control character", signed, "x\n", time.Hour, "not allowed"},
		{"not UTF-8", signed, "\xff", time.Hour, "not UTF-8"},
		{"long", signed, strings.Repeat("x", 498), time.Hour, "509 bytes"},
	} {
		username, password, err := c.a.Issue(c.id, c.ttl)
		if err == nil || !strings.Contains(err.Error(), c.want) || username != "" || password != "" {
			t.Errorf("%s: %q, %v, want %q", c.name, username, err, c.want)
		}
	}
	if _, _, err := unsigned.Issue("x", time.Hour); !errors.Is(err, ErrNoSecret) {
		t.Errorf("got %v, want ErrNoSecret", err)
	}
	if username, _, err := signed.Issue(strings.Repeat("x", 497), time.Hour); err != nil || len(username) != MaxUsername {
		t.Errorf("longest name: %d bytes, %v", len(username), err)
	}
}
