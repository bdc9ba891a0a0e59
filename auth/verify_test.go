package auth

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v3"
)

func accept([]byte) bool { return true }

// claim is that of a client that speaks RFC 5389.
func claim(username string) *Claim { return &Claim{Username: []byte(username), Algorithm: MD5} }

func keyOf(b []byte) (k Key) { k.Set(b); return k }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// knows is a check of a client that uses this password.
func knows(name, password string) func([]byte) bool {
	want := turn.GenerateAuthKey(name, testRealm, password)
	return func(key []byte) bool { return bytes.Equal(key, want) }
}

func TestVerify(t *testing.T) {
	hashed, _ := hex.DecodeString("ffeeddccbbaa99887766554433221100")
	a := newTest(t, Options{
		Users: []User{
			alice(),
			{Name: "keyed", Key: hashed},
			{Name: "1735689600", Password: "static"}, // looks ephemeral, but is found among the static users first
		},
		Secrets: []string{"first", "second"},
	})
	ephemeral := func(secret, name string) string { return ephemeralPassword([]byte(secret), name) }
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	long := func(n int) string { return "1:" + strings.Repeat("x", n-2) }

	for _, c := range []struct {
		name     string
		password string
		key      []byte // instead of the password
		expires  time.Time
		err      error
	}{
		{name: "alice", password: "wonder:land"},
		{name: "alice", password: "wonderland", err: ErrWrongPassword},
		{name: "alice", password: "", err: ErrWrongPassword},
		{name: "alice", password: ephemeral("first", "alice"), err: ErrWrongPassword},
		{name: "Alice", password: "wonder:land", err: ErrUnknownUser},
		{name: "alic", password: "wonder:land", err: ErrUnknownUser},
		{name: "alice\x00", password: "wonder:land", err: ErrUnknownUser},
		{name: "", password: "wonder:land", err: ErrUnknownUser},
		{name: "keyed", key: hashed},
		{name: "keyed", password: "guess", err: ErrWrongPassword},
		{name: "1735689600", password: "static"},
		{name: "1735689600", password: ephemeral("first", "1735689600"), err: ErrWrongPassword},
		{name: "1735689600", password: ephemeral("second", "1735689600"), err: ErrWrongPassword},

		{name: "1735689601", password: ephemeral("first", "1735689601"), expires: at(1735689601)},
		{name: "1735689600:bob", password: ephemeral("first", "1735689600:bob"), expires: at(1735689600)},
		{name: "1735689600:bob", password: ephemeral("second", "1735689600:bob"), expires: at(1735689600)},
		{name: "1735689600:bob", password: ephemeral("third", "1735689600:bob"), err: ErrWrongPassword},
		{name: "1735689600:bob", password: ephemeral("first", "1735689601:bob"), err: ErrWrongPassword},
		{name: "bob:1735689600", password: ephemeral("second", "bob:1735689600"), expires: at(1735689600)},
		{name: "bob", password: ephemeral("first", "bob"), err: ErrUnknownUser},
		{name: "bob:x", password: ephemeral("first", "bob:x"), err: ErrUnknownUser},
		{name: "1:b\xff", password: ephemeral("first", "1:b\xff"), err: ErrUnknownUser},
		{name: "1:b\n", password: ephemeral("first", "1:b\n"), err: ErrUnknownUser},
		{name: long(508), password: ephemeral("first", long(508)), expires: at(1)},
		{name: long(509), password: ephemeral("first", long(509)), err: ErrUnknownUser},
	} {
		check := knows(c.name, c.password)
		if c.key != nil {
			check = func(key []byte) bool { return bytes.Equal(key, c.key) }
		}
		var used []byte
		id, err := a.Verify(claim(c.name), func(key []byte) bool {
			ok := check(key)
			if ok {
				used = bytes.Clone(key)
			}
			return ok
		})
		if err != c.err {
			t.Errorf("%.30q %q: %v, want %v", c.name, c.password, err, c.err)
			continue
		}
		if err != nil {
			if id != (Identity{}) {
				t.Errorf("%.30q: an error and an identity %q", c.name, id)
			}
			continue
		}
		if id.User != c.name || !id.Expires.Equal(c.expires) || !bytes.Equal(id.Key.Bytes(), used) {
			t.Errorf("%.30q: user %q, expires %v, key of the check that held %v", c.name, id.User, id.Expires, bytes.Equal(id.Key.Bytes(), used))
		}
	}
}

// TestVerifyTakesOneWay counts what a request costs: it must not tell whether a name exists.
func TestVerifyTakesOneWay(t *testing.T) {
	names := []string{"alice", "keyed", "nobody", "", "1735689600:bob", "bob:1735689600", "1735689600", "nobody:at all", "\xff", strings.Repeat("x", 600)}
	for n := range 4 {
		o := Options{Users: []User{alice(), {Name: "keyed", Key: make([]byte, 16)}}}
		for i := range n {
			o.Secrets = append(o.Secrets, fmt.Sprintf("secret%d", i))
		}
		a := newTest(t, o)
		want := max(1, n)
		for _, name := range names {
			for _, answer := range []bool{false, true} {
				calls := 0
				a.Verify(claim(name), func(key []byte) bool {
					if len(key) != 16 {
						t.Errorf("key of %d bytes", len(key))
					}
					calls++
					return answer
				})
				if calls != want {
					t.Errorf("%d secrets, %.20q, check says %v: %d calls, want %d", n, name, answer, calls, want)
				}
			}
		}
	}
}

// TestDummyNeverLetsIn: even a check that agrees with every key does not make a user of nobody.
func TestDummyNeverLetsIn(t *testing.T) {
	for _, secrets := range [][]string{nil, {"s"}} {
		a := newTest(t, Options{Users: []User{alice()}, Secrets: secrets})
		for _, name := range []string{"nobody", "", "x:y", "99999999999999999999", "\xff"} {
			if id, err := a.Verify(claim(name), accept); err != ErrUnknownUser {
				t.Errorf("%q with %d secrets: %v, %v", name, len(secrets), id, err)
			}
		}
	}
	// With three secrets the static key is one of three candidates; the others must not count.
	a := newTest(t, Options{Users: []User{alice()}, Secrets: []string{"a", "b", "c"}})
	calls := 0
	if _, err := a.Verify(claim("alice"), func([]byte) bool { calls++; return calls > 1 }); err != ErrWrongPassword {
		t.Errorf("a random key stood in for alice's: %v", err)
	}
	// Without a secret an ephemeral name is unknown.
	a = newTest(t, Options{Users: []User{alice()}})
	if _, err := a.Verify(claim("1735689600:bob"), accept); err != ErrUnknownUser {
		t.Errorf("ephemeral name without a secret: %v", err)
	}
}

func TestExpired(t *testing.T) {
	end := time.Unix(1735689600, 0)
	for _, c := range []struct {
		expires, now time.Time
		want         bool
	}{
		{end, end.Add(-time.Nanosecond), false},
		{end, end, true},
		{end, end.Add(time.Hour), true},
		{time.Unix(0, 0), end, true},
		{time.Time{}, end, false},
	} {
		if got := (Identity{Expires: c.expires}).Expired(c.now); got != c.want {
			t.Errorf("expires %v, now %v: %v", c.expires, c.now, got)
		}
	}
}

// TestVerifyConcurrently is for the race detector: lookups while the snapshot is replaced.
func TestVerifyConcurrently(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice()}, Secrets: []string{"s"}})
	check := knows("alice", "wonder:land")
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 500 {
				if _, err := a.Verify(claim("alice"), check); err != nil {
					t.Error(err)
				}
				a.Verify(claim("1735689600:zo\u00eb"), check)
			}
		})
	}
	for range 500 {
		a.current.Store(must(a.snapshot()))
	}
	readers.Wait()
}

func BenchmarkVerify(b *testing.B) {
	a := newTest(b, Options{Users: []User{alice()}, Secrets: []string{"one", "two"}})
	for _, algorithm := range []Algorithm{MD5, SHA256} {
		for _, name := range []string{"alice", "nobody", "1735689600:bob"} {
			b.Run(fmt.Sprintf("%v/%s", algorithm, name), func(b *testing.B) {
				c := &Claim{Username: []byte(name), Algorithm: algorithm}
				deny := func([]byte) bool { return false }
				b.ReportAllocs()
				for b.Loop() {
					a.Verify(c, deny)
				}
			})
		}
	}
}

// Without a secret nothing is derived, and a request of a static user leaves no garbage.
func TestVerifyAllocatesNothing(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice()}})
	hash := userhash("alice", testRealm)
	for _, c := range []*Claim{
		{Username: []byte("alice"), Algorithm: MD5}, {Username: []byte("alice"), Algorithm: SHA256},
		{Userhash: hash[:], Algorithm: SHA256}, {Username: []byte("nobody"), Algorithm: SHA256},
	} {
		if n := testing.AllocsPerRun(100, func() { a.Verify(c, accept) }); n != 0 {
			t.Errorf("%v: %v allocations", c, n)
		}
	}
}
