package control

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// credentials builds an Allocate request that has only the given parts after it.
func (c *client) credentials(setters ...stun.Setter) *stun.Message {
	c.s.t.Helper()
	head := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport}
	return build(c.s.t, append(head, setters...)...)
}

// The long-term credential mechanism, check by check (RFC 8489 §9.2.4).
func TestAuthentication(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	user, realmAttr := stun.NewUsername(alice), stun.NewRealm(realm)
	key := c.key()
	old := c.nth(0)
	foreign := c.nth(1)
	elsewhere := s.clientAt(clientV6, serverV6, alice, alicePassword)
	s.clock.advance(auth.DefaultNonceLifetime) // old and foreign are stale now
	c.nonce = string(s.auth.AppendNonce(nil, clientV4))
	nonce := stun.NewNonce(c.nonce)
	foreign.nonce = string(s.auth.AppendNonce(nil, foreign.from.FiveTuple.Client))
	elsewhere.nonce = string(s.auth.AppendNonce(nil, clientV6))
	badKey := stun.NewLongTermIntegrity(alice, realm, "wrong")

	for _, test := range []struct {
		name string
		msg  *stun.Message
		code int
	}{
		{"no credentials", c.credentials(), 401},
		{"all but MESSAGE-INTEGRITY", c.credentials(user, realmAttr, nonce), 401},
		{"MESSAGE-INTEGRITY-SHA256 alone, made with no key", c.credentials(user, realmAttr, nonce, raw(attrIntegritySHA256, make([]byte, 32)...)), 401},
		{"neither USERNAME nor USERHASH", c.credentials(realmAttr, nonce, key), 400},
		{"no REALM", c.credentials(user, nonce, key), 400},
		{"no NONCE", c.credentials(user, realmAttr, key), 400},
		{"MESSAGE-INTEGRITY alone", c.credentials(key), 400},
		{"USERNAME behind MESSAGE-INTEGRITY", c.credentials(realmAttr, nonce, key, user), 400},
		{"NONCE behind MESSAGE-INTEGRITY", c.credentials(user, realmAttr, key, nonce), 400},
		{"another realm", c.credentials(user, stun.NewRealm("elsewhere"), nonce, stun.NewLongTermIntegrity(alice, "elsewhere", alicePassword)), 401},
		{"another realm, key of ours", c.credentials(user, stun.NewRealm("elsewhere"), nonce, key), 401},
		{"unknown user", c.credentials(stun.NewUsername("nobody"), realmAttr, nonce, stun.NewLongTermIntegrity("nobody", realm, "x")), 401},
		{"empty user", c.credentials(stun.NewUsername(""), realmAttr, nonce, stun.NewLongTermIntegrity("", realm, "")), 401},
		{"wrong password", c.credentials(user, realmAttr, nonce, badKey), 401},
		{"another user's password", c.credentials(user, realmAttr, nonce, stun.NewLongTermIntegrity(alice, realm, bobPassword)), 401},
		{"MESSAGE-INTEGRITY too short", c.credentials(user, realmAttr, nonce, raw(stun.AttrMessageIntegrity, make([]byte, 16)...)), 401},
		{"MESSAGE-INTEGRITY empty", c.credentials(user, realmAttr, nonce, raw(stun.AttrMessageIntegrity)), 401},
		{"stale nonce", c.credentials(user, realmAttr, stun.NewNonce(old.nonce), key), 438},
		{"nonce of another port", c.credentials(user, realmAttr, stun.NewNonce(foreign.nonce), key), 438},
		{"nonce of another address", c.credentials(user, realmAttr, stun.NewNonce(elsewhere.nonce), key), 438},
		{"nonce of nobody", c.credentials(user, realmAttr, stun.NewNonce("obMatJos2AAAAexample"), key), 438},
		{"nonce cut", c.credentials(user, realmAttr, stun.NewNonce(c.nonce[1:]), key), 438},
		{"nonce empty", c.credentials(user, realmAttr, stun.NewNonce(""), key), 438},
		// The user and the integrity come before the nonce.
		{"unknown user, stale nonce", c.credentials(stun.NewUsername("nobody"), realmAttr, stun.NewNonce(old.nonce), key), 401},
		{"wrong password, stale nonce", c.credentials(user, realmAttr, stun.NewNonce(old.nonce), badKey), 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := c.send(test.msg)
			wantCode(t, answer, test.code)
			wantSigned(t, answer, false)
			if s.table.Count() != 0 {
				t.Fatal("an allocation was made")
			}
			if test.code == 400 {
				wantAttributes(t, answer, stun.AttrErrorCode, stun.AttrFingerprint)
				return
			}
			wantAttributes(t, answer, stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce, attrPasswordAlgorithms, stun.AttrFingerprint)
			if got := string(value(t, answer, stun.AttrRealm)); got != realm {
				t.Errorf("REALM %q", got)
			}
			// The nonce that came with the refusal is good for this client.
			if err := s.auth.CheckNonce(value(t, answer, stun.AttrNonce), clientV4); err != nil {
				t.Errorf("NONCE of the answer: %v", err)
			}
		})
	}

	// The way every client goes.
	answer := c.send(c.credentials())
	wantCode(t, answer, 401)
	c.nonce = string(value(t, answer, stun.AttrNonce))
	s.clock.advance(auth.DefaultNonceLifetime)
	answer = c.do(stun.MethodAllocate, udpTransport)
	wantCode(t, answer, 438)
	c.nonce = string(value(t, answer, stun.AttrNonce))
	answer = c.do(stun.MethodAllocate, udpTransport)
	wantCode(t, answer, 0)
	wantSigned(t, answer, true)
}

// A wrong password and an unknown user look the same, in what is answered and in how
// much is computed for it.
func TestUserIsNotRevealed(t *testing.T) {
	for _, secrets := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d secrets", secrets), func(t *testing.T) {
			s := newServer(t, func(_ *allocation.Options, o *authOptions, _ *Options) {
				o.Secrets = nil
				for n := range secrets {
					o.Secrets = append(o.Secrets, fmt.Sprint(secret, n))
				}
			})
			hmacs := 0
			check := s.worker.integrity
			s.worker.integrity = func(key []byte) bool { hmacs++; return check(key) }

			type seen struct {
				hmacs int
				bytes string
			}
			var first seen
			for i, user := range []string{alice, "nobody", "1900000000:alice", "1500000000:alice", "1900000000", "bobby", ""} {
				c := s.client(user, "certainly wrong")
				hmacs = 0
				m := c.request(stun.MethodAllocate, udpTransport)
				wantCode(t, c.send(m), 401)
				got := seen{hmacs, masked(t, c.lastBytes)}
				if i == 0 {
					first = got
				}
				if got.hmacs == 0 || got.hmacs != first.hmacs {
					t.Errorf("%q: %d HMACs, but %d for %q", user, got.hmacs, first.hmacs, alice)
				}
				if got.bytes != first.bytes {
					t.Errorf("%q: answer\n%x, but for %q\n%x", user, got.bytes, alice, first.bytes)
				}
			}

			// A right password costs as much.
			c := s.client(alice, alicePassword)
			hmacs = 0
			c.allocate()
			if hmacs != first.hmacs {
				t.Errorf("right password: %d HMACs, wrong one: %d", hmacs, first.hmacs)
			}
		})
	}
}

// masked is an answer without what is different each time: transaction ID, nonce and
// FINGERPRINT.
func masked(t *testing.T, answer []byte) string {
	t.Helper()
	b := bytes.Clone(answer)
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	clear(b[8:20])
	for _, a := range []stun.AttrType{stun.AttrNonce, stun.AttrFingerprint} {
		clear(value(t, m, a))
	}
	return string(b)
}

// Ephemeral credentials are judged when an allocation is made; an established one
// goes on, unless expiry is enforced.
func TestExpiry(t *testing.T) {
	const life = 20 * time.Minute
	for _, enforced := range []bool{false, true} {
		t.Run(fmt.Sprintf("enforced=%v", enforced), func(t *testing.T) {
			s := newServer(t, func(_ *allocation.Options, o *authOptions, _ *Options) { o.EnforceExpiry = enforced })
			user, password, err := s.auth.Issue("carol", life)
			if err != nil {
				t.Fatal(err)
			}
			c := s.client(user, password)
			first := c.request(stun.MethodAllocate, udpTransport, lifetime(3600))
			answer := c.send(first)
			wantCode(t, answer, 0)
			want := time.Hour
			if enforced {
				want = life
			}
			if got := lifetimeOf(t, answer); got != want {
				t.Errorf("LIFETIME %v, want %v", got, want)
			}
			if got := c.allocation().Expires().Sub(s.table.Now()); got != want {
				t.Errorf("allocation lives %v, want %v", got, want)
			}

			// What is left is less than the default lifetime, and not whole seconds.
			s.clock.advance(life - 500*time.Millisecond)
			answer = c.do(stun.MethodRefresh)
			wantCode(t, answer, 0)
			want, left := 600*time.Second, 600*time.Second
			if enforced {
				want, left = time.Second, 500*time.Millisecond
			}
			if got := lifetimeOf(t, answer); got != want {
				t.Errorf("LIFETIME after Refresh %v, want %v", got, want)
			}
			if got := c.allocation().Expires().Sub(s.table.Now()); got != left {
				t.Errorf("allocation lives %v after Refresh, want %v", got, left)
			}

			s.clock.advance(500 * time.Millisecond)
			old, other := 0, 437
			if enforced {
				old, other = 401, 401
			}
			for _, r := range requests[1:] {
				wantCode(t, c.do(r.method, r.setters...), old)
				wantCode(t, c.nth(1).do(r.method, r.setters...), other)
			}
			// The Allocate that made it, and any other on its five-tuple, make nothing new.
			again := 437
			if enforced {
				again = 401
			}
			wantCode(t, c.send(first), old)
			wantCode(t, c.do(stun.MethodAllocate, udpTransport), again)
			// A new allocation is refused in any case, with a challenge and unsigned.
			answer = c.nth(1).do(stun.MethodAllocate, udpTransport)
			wantCode(t, answer, 401)
			wantSigned(t, answer, false)
			var expired uint64
			s.stats.EachAuthFailure(func(reason string, n uint64) {
				if reason == "expired" {
					expired = n
				}
			})
			if expired == 0 {
				t.Error("no failure is counted as expired")
			}
			// A static user never expires.
			s.client(bob, bobPassword).nth(2).allocate()
		})
	}
}

// An expired user gets nothing on a five-tuple that is somebody else's.
func TestExpiredOnForeignFiveTuple(t *testing.T) {
	s := newServer(t)
	user, password, err := s.auth.Issue("carol", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c := s.client(alice, alicePassword)
	c.allocate()
	s.clock.advance(time.Minute)
	wantCode(t, c.as(user, password).do(stun.MethodAllocate, udpTransport), 401)
	wantCode(t, c.as(user, password).do(stun.MethodRefresh), 441)
}

// memoryLog keeps every line.
type memoryLog struct {
	logging.LeveledLogger
	lines *[]string
}

func (l memoryLog) Debugf(format string, args ...interface{}) {
	*l.lines = append(*l.lines, fmt.Sprintf(format, args...))
}

func (l memoryLog) Errorf(format string, args ...interface{}) {
	l.Debugf("ERROR "+format, args...)
}

// The log tells an operator why a known user was refused. It has no secret, and no
// line for a stranger.
func TestLog(t *testing.T) {
	var lines []string
	s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Log = memoryLog{lines: &lines} })
	c := s.client(alice, alicePassword)
	c.send(c.credentials())
	c.as("nobody", "x").do(stun.MethodAllocate, udpTransport)
	c.as(bob, "x").do(stun.MethodAllocate, udpTransport)
	c.send(build(t, stun.TransactionID, stun.BindingRequest, unknownAttr))
	if len(lines) > 0 {
		t.Errorf("strangers are logged: %q", lines)
	}
	c.do(stun.MethodAllocate)
	want := []string{`allocate from 198.51.100.7:40000, user "alice": 400 Bad Request: REQUESTED-TRANSPORT is missing`}
	if !slices.Equal(lines, want) {
		t.Errorf("log %q, want %q", lines, want)
	}
	key := c.key()
	for _, word := range []string{alicePassword, c.nonce, secret, string(key), fmt.Sprintf("%x", []byte(key))} {
		if strings.Contains(strings.Join(lines, "\n"), word) {
			t.Errorf("the log has a secret: %q", lines)
		}
	}
}
