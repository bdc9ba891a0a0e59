package control

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// The messages here are signed by the standard library alone, as pion/stun knows none
// of what RFC 8489 added.

const algMD5, algSHA256 = uint16(1), uint16(2)

func algorithms(numbers ...uint16) stun.Setter {
	return stun.RawAttribute{Type: attrPasswordAlgorithms, Value: algorithmList(numbers...)}
}

func algorithm(n uint16) stun.Setter {
	return stun.RawAttribute{Type: attrPasswordAlgorithm, Value: algorithmList(n)}
}

func algorithmList(numbers ...uint16) (b []byte) {
	for _, n := range numbers {
		b = append(binary.BigEndian.AppendUint16(b, n), 0, 0)
	}
	return b
}

func keyMD5(user, password string) []byte {
	k := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return k[:]
}

func keySHA256(user, password string) []byte {
	k := sha256.Sum256([]byte(user + ":" + realm + ":" + password))
	return k[:]
}

func hashOf(user string) stun.Setter {
	h := sha256.Sum256([]byte(user + ":" + realm))
	return raw(attrUserhash, h[:]...)
}

// mac is MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 of what is before it, or a part
// of it.
type mac struct {
	kind stun.AttrType
	key  []byte
	cut  int
}

func sha1By(key []byte) stun.Setter   { return mac{kind: stun.AttrMessageIntegrity, key: key} }
func sha256By(key []byte) stun.Setter { return mac{kind: attrIntegritySHA256, key: key} }

func (i mac) AddTo(m *stun.Message) error {
	h := hmac.New(sha1.New, i.key)
	if i.kind == attrIntegritySHA256 {
		h = hmac.New(sha256.New, i.key)
	}
	size := h.Size() - i.cut
	before := slices.Clone(m.Raw)
	binary.BigEndian.PutUint16(before[2:], uint16(len(before)-20+4+size))
	h.Write(before)
	m.Add(i.kind, h.Sum(nil)[:size])
	return nil
}

// wantMAC checks which integrity an answer carries, and that it is right; no key: none.
func wantMAC(t *testing.T, answer *stun.Message, kind stun.AttrType, key []byte) {
	t.Helper()
	for _, k := range []stun.AttrType{stun.AttrMessageIntegrity, attrIntegritySHA256} {
		got, err := answer.Get(k)
		if present, want := err == nil, key != nil && k == kind; present != want {
			t.Errorf("%v in %s: %v, want %v", k, describe(answer), present, want)
			continue
		} else if !want {
			continue
		}
		again := &stun.Message{Raw: slices.Clone(answer.Raw[:len(answer.Raw)-8-4-len(got)])}
		if err := (mac{kind: k, key: key}).AddTo(again); err != nil {
			t.Fatal(err)
		}
		if !hmac.Equal(again.Raw[len(again.Raw)-len(got):], got) {
			t.Errorf("%v of the answer is wrong", k)
		}
	}
}

// onlyStatic takes the secret away, so that USERHASH is announced.
func onlyStatic(_ *allocation.Options, o *authOptions, _ *Options) { o.Secrets = nil }

func accepting(list ...auth.Algorithm) func(*allocation.Options, *authOptions, *Options) {
	return func(_ *allocation.Options, o *authOptions, _ *Options) { o.Algorithms = list }
}

// What a challenge offers, by configuration (RFC 8489 §9.2, §9.2.4, §18.1).
func TestOffer(t *testing.T) {
	md5Only := func(_ *allocation.Options, o *authOptions, _ *Options) {
		o.Users = append(o.Users, auth.User{Name: "keyed", Key: keyMD5("keyed", "x")})
	}
	shaOnly := func(_ *allocation.Options, o *authOptions, _ *Options) {
		o.Users = append(o.Users, auth.User{Name: "keyed", KeySHA256: keySHA256("keyed", "x")})
	}
	for _, test := range []struct {
		name   string
		change func(*allocation.Options, *authOptions, *Options)
		bits   string
		list   []uint16
	}{
		{"default, with a secret", accepting(), "gAAA", []uint16{algSHA256, algMD5}},
		{"default, static users only", onlyStatic, "wAAA", []uint16{algSHA256, algMD5}},
		{"MD5 preferred", accepting(auth.MD5, auth.SHA256), "gAAA", []uint16{algMD5, algSHA256}},
		{"SHA-256 alone", accepting(auth.SHA256), "gAAA", []uint16{algSHA256}},
		{"MD5 alone", accepting(auth.MD5), "AAAA", nil},
		{"a user with an MD5 key", md5Only, "AAAA", nil},
		{"a user with a SHA-256 key", shaOnly, "gAAA", []uint16{algSHA256, algMD5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newServer(t, test.change).client(alice, alicePassword)
			answer := c.send(c.credentials())
			wantCode(t, answer, 401)
			nonce := string(value(t, answer, stun.AttrNonce))
			if want := "obMatJos2" + test.bits; len(nonce) < 30 || len(nonce) >= 128 || nonce[:13] != want {
				t.Errorf("NONCE %q, want one that starts with %q", nonce, want)
			}
			if got, err := answer.Get(attrPasswordAlgorithms); (err == nil) != (test.list != nil) || err == nil && !slices.Equal(got, algorithmList(test.list...)) {
				t.Errorf("PASSWORD-ALGORITHMS %x, %v; want %v", got, err, test.list)
			}
			for _, a := range []stun.AttrType{stun.AttrUsername, attrUserhash, stun.AttrMessageIntegrity, attrIntegritySHA256, attrPasswordAlgorithm} {
				if answer.Contains(a) {
					t.Errorf("the challenge contains %v", a)
				}
			}
		})
	}
}

// RFC 8489 §9.2.4 branch by branch, for a nonce with the bit "Password algorithms" and
// without it. RFC 5389's part of it is TestAuthentication.
func TestPasswordAlgorithms(t *testing.T) {
	bothOf, sha, md := algorithms(algSHA256, algMD5), algorithm(algSHA256), algorithm(algMD5)
	user, realmAttr := stun.NewUsername(alice), stun.NewRealm(realm)
	k1, k2 := keyMD5(alice, alicePassword), keySHA256(alice, alicePassword)
	wrong := keySHA256(alice, "wrong")

	for _, test := range []struct {
		name   string
		change func(*allocation.Options, *authOptions, *Options)
		nonce  string // in place of the server's; a prefix ahead of its rest when it is 13 bytes long
		age    time.Duration
		head   []stun.Setter
		macs   []stun.Setter
		code   int
		kind   stun.AttrType // of the answer's integrity
		key    []byte
	}{
		// The two ways that everybody should go.
		{name: "SHA-256 chosen", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "neither attribute: MD5", head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, kind: stun.AttrMessageIntegrity, key: k1},

		// The answer's integrity depends on the algorithms, not on the request's own.
		{name: "MD5 chosen", head: []stun.Setter{user, bothOf, md}, macs: []stun.Setter{sha256By(k1)}, kind: attrIntegritySHA256, key: k1},
		{name: "SHA-256 chosen, MESSAGE-INTEGRITY", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha1By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "MD5 chosen, MESSAGE-INTEGRITY", head: []stun.Setter{user, bothOf, md}, macs: []stun.Setter{sha1By(k1)}, kind: attrIntegritySHA256, key: k1},
		{name: "neither, MESSAGE-INTEGRITY-SHA256", head: []stun.Setter{user}, macs: []stun.Setter{sha256By(k1)}, kind: stun.AttrMessageIntegrity, key: k1},

		// PASSWORD-ALGORITHM and PASSWORD-ALGORITHMS must be there both and fit.
		{name: "list alone", head: []stun.Setter{user, bothOf}, macs: []stun.Setter{sha256By(k1)}, code: 400},
		{name: "choice alone", head: []stun.Setter{user, sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "list in another order", head: []stun.Setter{user, algorithms(algMD5, algSHA256), sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "list cut to MD5 by somebody", head: []stun.Setter{user, algorithms(algMD5), md}, macs: []stun.Setter{sha256By(k1)}, code: 400},
		{name: "list cut to SHA-256", head: []stun.Setter{user, algorithms(algSHA256), sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "list longer", head: []stun.Setter{user, algorithms(algSHA256, algMD5, 3), sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "choice not in the list", head: []stun.Setter{user, bothOf, algorithm(3)}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "list empty", head: []stun.Setter{user, algorithms(), sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "list malformed", head: []stun.Setter{user, raw(attrPasswordAlgorithms, 0, 2, 0), sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "choice malformed", head: []stun.Setter{user, bothOf, raw(attrPasswordAlgorithm, 0, 2)}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "choice with parameters", head: []stun.Setter{user, bothOf, raw(attrPasswordAlgorithm, 0, 2, 0, 1, 7)}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		// That check stands ahead of user and password.
		{name: "list wrong, user unknown", head: []stun.Setter{stun.NewUsername("nobody"), algorithms(algMD5), md}, macs: []stun.Setter{sha256By(k1)}, code: 400},
		{name: "list wrong, password wrong", head: []stun.Setter{user, algorithms(algMD5), md}, macs: []stun.Setter{sha256By(wrong)}, code: 400},
		{name: "list wrong, nonce old", age: auth.DefaultNonceLifetime, head: []stun.Setter{user, algorithms(algMD5), md}, macs: []stun.Setter{sha256By(k1)}, code: 400},

		// User, then integrity.
		{name: "user unknown", head: []stun.Setter{stun.NewUsername("nobody"), bothOf, sha}, macs: []stun.Setter{sha256By(keySHA256("nobody", "x"))}, code: 401},
		{name: "password wrong", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(wrong)}, code: 401},
		{name: "key of the other algorithm", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k1)}, code: 401},
		{name: "key of the other algorithm, MD5", head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k2)}, code: 401},
		{name: "both integrities right", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha1By(k2), sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "SHA-256 right, SHA-1 wrong", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha1By(wrong), sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "SHA-256 wrong, SHA-1 right", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha1By(k2), sha256By(wrong)}, code: 401},
		{name: "SHA-256 truncated", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{mac{attrIntegritySHA256, k2, 16}}, code: 401},
		{name: "SHA-256 truncated by a word", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{mac{attrIntegritySHA256, k2, 4}}, code: 401},
		{name: "SHA-256 truncated, SHA-1 right", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha1By(k2), mac{attrIntegritySHA256, k2, 16}}, code: 401},

		// USERHASH.
		{name: "USERHASH", change: onlyStatic, head: []stun.Setter{hashOf(alice), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "USERHASH, MD5", change: onlyStatic, head: []stun.Setter{hashOf(alice)}, macs: []stun.Setter{sha1By(k1)}, kind: stun.AttrMessageIntegrity, key: k1},
		{name: "USERHASH that was not asked for", head: []stun.Setter{hashOf(alice), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "USERNAME although USERHASH was asked for", change: onlyStatic, head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "USERHASH beside USERNAME", head: []stun.Setter{user, hashOf(bob), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "USERHASH of nobody", head: []stun.Setter{hashOf("nobody"), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 401},
		{name: "USERHASH of an ephemeral user", head: []stun.Setter{hashOf("1900000000:alice"), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 401},
		{name: "USERHASH too short", head: []stun.Setter{raw(attrUserhash, make([]byte, 31)...), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 401},
		{name: "USERHASH empty", head: []stun.Setter{raw(attrUserhash), bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 401},
		{name: "USERHASH, wrong password", head: []stun.Setter{hashOf(alice), bothOf, sha}, macs: []stun.Setter{sha256By(wrong)}, code: 401},
		{name: "neither USERNAME nor USERHASH", head: []stun.Setter{bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "USERHASH, RFC 5389 only", change: accepting(auth.MD5), head: []stun.Setter{hashOf(alice)}, macs: []stun.Setter{sha1By(k1)}, code: 401},

		// The nonce is last.
		{name: "nonce old", age: auth.DefaultNonceLifetime, head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "nonce old, password wrong", age: auth.DefaultNonceLifetime, head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(wrong)}, code: 401},
		// A nonce of another server start: what was offered with it is not known.
		{name: "foreign nonce, our list", nonce: "obMatJos2gAAAsomething", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "foreign nonce, a list that we could have sent", nonce: "obMatJos2gAAAsomething", head: []stun.Setter{user, algorithms(algMD5, algSHA256), sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "foreign nonce, a list that we never send", nonce: "obMatJos2gAAAsomething", head: []stun.Setter{user, algorithms(algMD5), md}, macs: []stun.Setter{sha256By(k1)}, code: 400},
		{name: "foreign nonce, choice alone", nonce: "obMatJos2gAAAsomething", head: []stun.Setter{user, sha}, macs: []stun.Setter{sha256By(k2)}, code: 400},
		{name: "foreign nonce, neither", nonce: "obMatJos2gAAAsomething", head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, code: 438},
		// Somebody changed the cookie on the way to the client; the rest is genuine.
		{name: "bit cleared", nonce: "obMatJos2AAAA", head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, code: 438},
		{name: "bit cleared, list left", nonce: "obMatJos2AAAA", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "another bit set", nonce: "obMatJos2wAAA", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "unassigned bit set", nonce: "obMatJos2gAAB", head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},
		{name: "cookie gone", nonce: "xbMatJos2gAAA", head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, code: 438},
		{name: "cookie not base64", nonce: "obMatJos2gA*A", head: []stun.Setter{user, sha}, macs: []stun.Setter{sha256By(k2)}, code: 438},

		// A server that offers nothing.
		{name: "MD5 alone", change: accepting(auth.MD5), head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, kind: stun.AttrMessageIntegrity, key: k1},
		{name: "MD5 alone, SHA-256 chosen", change: accepting(auth.MD5), head: []stun.Setter{user, bothOf, sha}, macs: []stun.Setter{sha256By(k2)}, code: 401},
		{name: "MD5 alone, choice malformed", change: accepting(auth.MD5), head: []stun.Setter{user, raw(attrPasswordAlgorithm, 7)}, macs: []stun.Setter{sha256By(k1)}, kind: attrIntegritySHA256, key: k1},
		// A server that takes SHA-256 only.
		{name: "SHA-256 alone", change: accepting(auth.SHA256), head: []stun.Setter{user, algorithms(algSHA256), sha}, macs: []stun.Setter{sha256By(k2)}, kind: attrIntegritySHA256, key: k2},
		{name: "SHA-256 alone, MD5 client", change: accepting(auth.SHA256), head: []stun.Setter{user}, macs: []stun.Setter{sha1By(k1)}, code: 401},
		{name: "SHA-256 alone, MD5 chosen", change: accepting(auth.SHA256), head: []stun.Setter{user, bothOf, md}, macs: []stun.Setter{sha256By(k1)}, code: 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = accepting()
			}
			s := newServer(t, change)
			c := s.client(alice, alicePassword)
			switch len(test.nonce) {
			case 0:
			case 13:
				c.nonce = test.nonce + c.nonce[13:]
			default:
				c.nonce = test.nonce
			}
			s.clock.advance(test.age)
			answer := c.send(c.credentials(slices.Concat(test.head, []stun.Setter{realmAttr, stun.NewNonce(c.nonce)}, test.macs, []stun.Setter{stun.Fingerprint})...))
			wantCode(t, answer, test.code)
			wantMAC(t, answer, test.kind, test.key)
			if got, want := s.table.Count(), map[bool]int{true: 1}[test.code == 0]; got != want {
				t.Errorf("%d allocations, want %d", got, want)
			}
			challenge := test.code == 401 || test.code == 438
			if list, err := answer.Get(attrPasswordAlgorithms); challenge && test.change == nil && (err != nil || !slices.Equal(list, algorithmList(algSHA256, algMD5))) {
				t.Errorf("PASSWORD-ALGORITHMS of the answer: %x, %v", list, err)
			} else if !challenge && err == nil {
				t.Error("PASSWORD-ALGORITHMS in an answer that is no challenge")
			}
		})
	}
}

// Every way to be somebody, with every method, and that they are one user: who came
// with USERHASH holds what came with USERNAME.
func TestOneUserByAnyMechanism(t *testing.T) {
	s := newServer(t, onlyStatic)
	c := s.client(alice, alicePassword)
	k1, k2 := keyMD5(alice, alicePassword), keySHA256(alice, alicePassword)
	ways := [][]stun.Setter{
		{stun.NewUsername(alice), stun.NewRealm(realm), stun.NewNonce(c.nonce), sha1By(k1)},
		{stun.NewUsername(alice), stun.NewRealm(realm), stun.NewNonce(c.nonce), algorithms(algSHA256, algMD5), algorithm(algSHA256), sha256By(k2)},
		{hashOf(alice), stun.NewRealm(realm), stun.NewNonce(c.nonce), algorithms(algSHA256, algMD5), algorithm(algSHA256), sha256By(k2)},
	}
	c.allocate()
	for i, way := range ways {
		for _, r := range requests[1:] {
			head := append([]stun.Setter{stun.TransactionID, stun.NewType(r.method, stun.ClassRequest)}, r.setters...)
			answer := c.send(build(t, append(append(head, way...), stun.Fingerprint)...))
			if codeOf(answer) == 441 {
				t.Errorf("way %d, %v: %s", i, r.method, describe(answer))
			}
		}
	}
	bobs := s.client(bob, bobPassword)
	head := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest)}
	answer := bobs.send(build(t, append(head, hashOf(bob), stun.NewRealm(realm), stun.NewNonce(bobs.nonce),
		algorithms(algSHA256, algMD5), algorithm(algSHA256), sha256By(keySHA256(bob, bobPassword)), stun.Fingerprint)...))
	if codeOf(answer) != 441 {
		t.Errorf("bob's hash on alice's five-tuple: %s", describe(answer))
	}
	wantMAC(t, answer, attrIntegritySHA256, keySHA256(bob, bobPassword))
}

// Ephemeral credentials work with SHA-256 as well.
func TestEphemeralSHA256(t *testing.T) {
	s := newServer(t)
	user, password, err := s.auth.Issue("carol", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c := s.client(user, password)
	answer := c.send(c.credentials(stun.NewUsername(user), stun.NewRealm(realm), stun.NewNonce(c.nonce),
		algorithms(algSHA256, algMD5), algorithm(algSHA256), sha256By(keySHA256(user, password))))
	wantCode(t, answer, 0)
	wantMAC(t, answer, attrIntegritySHA256, keySHA256(user, password))
}

// With SHA-256 as with MD5, neither the bytes nor the work of a refusal tell whether a
// user exists, by name and by hash.
func TestHashIsNotRevealed(t *testing.T) {
	for secrets := range 3 {
		s := newServer(t, func(_ *allocation.Options, o *authOptions, _ *Options) {
			o.Secrets = nil
			for n := range secrets {
				o.Secrets = append(o.Secrets, fmt.Sprint(secret, n))
			}
			o.Users = append(o.Users, auth.User{Name: "keyed", KeySHA256: make([]byte, 32)})
		})
		hmacs := 0
		check := s.worker.integrity
		s.worker.integrity = func(key []byte) bool {
			if len(key) != sha256.Size {
				t.Errorf("key of %d bytes", len(key))
			}
			hmacs++
			return check(key)
		}
		first := ""
		for _, who := range []stun.Setter{
			stun.NewUsername(alice), stun.NewUsername("nobody"), stun.NewUsername("keyed"), stun.NewUsername("1900000000:x"),
			hashOf(alice), hashOf("nobody"), hashOf("keyed"), hashOf(""), raw(attrUserhash, 1, 2, 3), raw(attrUserhash),
		} {
			c := s.client(alice, alicePassword)
			hmacs = 0
			wantCode(t, c.send(c.credentials(who, stun.NewRealm(realm), stun.NewNonce(c.nonce), algorithms(algSHA256, algMD5), algorithm(algSHA256),
				sha256By(keySHA256(alice, "wrong")), stun.Fingerprint)), 401)
			if first == "" {
				first = masked(t, c.lastBytes)
			}
			if want := max(1, secrets); hmacs != want || masked(t, c.lastBytes) != first {
				t.Errorf("%v: %d HMACs, want %d; same bytes %v", who, hmacs, want, masked(t, c.lastBytes) == first)
			}
		}
	}
}
