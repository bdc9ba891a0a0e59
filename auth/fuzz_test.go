package auth

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{"alice:secret", "a:0x0123456789abcdef0123456789abcdef", "a:0x", "a:0x7777777777777777777777777777777777777777777777777777777777777777", ":", "\xff:\u00ad", "e\u0301:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUser(s)
		if err != nil {
			return
		}
		a, err := New(Options{Realm: testRealm, Users: []User{u}})
		if err != nil {
			t.Fatalf("%q is parsed, but not accepted: %v", s, err)
		}
		password, ok := a.StaticUser(u.Name)
		if ok != (u.Key == nil && u.KeySHA256 == nil) || ok && (password == "" || !utf8.ValidString(password)) {
			t.Fatalf("%q: password %q, %v", s, password, ok)
		}
	})
}

func FuzzUsersFile(f *testing.F) {
	f.Add([]byte("# x\r\nalice:a\n\nbob:0x0123456789abcdef0123456789abcdef"))
	f.Add([]byte("\ufeffa:b\na:c"))
	f.Fuzz(func(t *testing.T, content []byte) {
		accounts, err := parseUsers("F", content, testRealm, nil)
		if (accounts == nil) != (err != nil) {
			t.Fatalf("%v and %v", accounts, err)
		}
		for name, acc := range accounts {
			if name != acc.name || name == "" || len(name) > MaxUsername || strings.Contains(name, ":") {
				t.Fatalf("name %q", name)
			}
		}
		parseSecrets("F", content, nil)
	})
}

// FuzzVerify: whatever the name, check is called once per secret, and a check that denies lets nobody in.
func FuzzVerify(f *testing.F) {
	a := newTest(f, Options{Users: []User{alice()}, Secrets: []string{"a", "b"}})
	for _, s := range []string{"alice", "nobody", "1735689600:x", "x:1735689600", "\xff", "1:\u00ad", "1:e\u0301"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, username []byte) {
		calls := 0
		if id, err := a.Verify(claim(string(username)), func([]byte) bool { calls++; return false }); err == nil || calls != 2 {
			t.Fatalf("%v, %v, %d calls", id, err, calls)
		}
		if id, err := a.Verify(claim(string(username)), accept); err == nil && (id.User != string(username) || !utf8.Valid(username) || len(username) > MaxUsername) {
			t.Fatalf("%q was let in as %q", username, id.User)
		}
	})
}

func FuzzCheckNonce(f *testing.F) {
	a := newTest(f, Options{Users: []User{alice()}})
	f.Add([]byte("AZQdQYAAxxxxxxxxxxxxxxxxxxxxxxxx"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, nonce []byte) {
		if a.CheckNonce(nonce, client) == nil {
			t.Fatalf("%q was accepted", nonce)
		}
	})
}
