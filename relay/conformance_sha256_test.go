package relay_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// The mechanisms that RFC 8489 added to RFC 5389, spoken by hand: keys, hashes and integrity by the standard library.

// integrity appends MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 of what is ahead of it.
func integrity(kind stun.AttrType, key []byte) stun.Setter {
	return setter(func(m *stun.Message) error {
		before := bytes.Clone(m.Raw)
		m.Add(kind, macOf(kind, key, before))
		return nil
	})
}

func macOf(kind stun.AttrType, key, before []byte) []byte {
	kinds := map[stun.AttrType]func() hash.Hash{stun.AttrMessageIntegrity: sha1.New, attrIntegritySHA256: sha256.New}
	h := hmac.New(kinds[kind], key)
	binary.BigEndian.PutUint16(before[2:], uint16(len(before)-20+4+h.Size()))
	h.Write(before)
	return h.Sum(nil)
}

// wantIntegrity checks that an answer has one integrity attribute, of this kind, and made with this key.
func (a answer) wantIntegrity(t *testing.T, kind stun.AttrType, key []byte) {
	t.Helper()
	for at := 20; at < len(a.raw); {
		one := stun.AttrType(binary.BigEndian.Uint16(a.raw[at:]))
		size := int(binary.BigEndian.Uint16(a.raw[at+2:]))
		if one == stun.AttrMessageIntegrity || one == attrIntegritySHA256 {
			if one != kind {
				t.Fatalf("the answer has %v, want %v", one, kind)
			}
			if !hmac.Equal(a.raw[at+4:at+4+size], macOf(kind, key, bytes.Clone(a.raw[:at]))) {
				t.Fatalf("%v of the answer is wrong", kind)
			}
			return
		}
		at += 4 + (size+3)&^3
	}
	t.Fatalf("the answer has no %v", kind)
}

// A client of RFC 8489 goes all the way: it reads the nonce cookie, chooses the first algorithm that it knows, hides its
// name where it is asked to, and never speaks of MESSAGE-INTEGRITY again (RFC 8489 §9.2.5).
func TestConformanceSHA256(t *testing.T) {
	for _, test := range []struct {
		name       string
		algorithms []auth.Algorithm
		secrets    []string
		bits       byte     // of the nonce cookie, RFC 8489 §18.1
		list       []uint16 // of PASSWORD-ALGORITHMS
	}{
		{"static users", nil, nil, 0xC0, []uint16{2, 1}},
		{"static and ephemeral users", nil, []string{secret}, 0x80, []uint16{2, 1}},
		{"MD5 first", []auth.Algorithm{auth.MD5, auth.SHA256}, nil, 0xC0, []uint16{1, 2}},
		{"SHA-256 alone", []auth.Algorithm{auth.SHA256}, nil, 0xC0, []uint16{2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := conforming(t, func(c *relay.Config) { c.Auth.Algorithms, c.Auth.Secrets = test.algorithms, test.secrets })
			eachWay(t, func(t *testing.T, w way) {
				c := s.call(t, w)
				a := c.ask(c.unsigned(stun.MethodAllocate, udpTransport))
				a.wantChallenge(t, 401)
				nonce, list := a.get(stun.AttrNonce), a.get(attrPasswordAlgorithms)
				cookie := "obMatJos2" + map[byte]string{0x80: "gAAA", 0xC0: "wAAA"}[test.bits]
				if !bytes.HasPrefix(nonce, []byte(cookie)) {
					t.Errorf("NONCE is %q, want it to start with %s", nonce, cookie)
				}
				var want []byte
				for _, n := range test.list {
					want = append(binary.BigEndian.AppendUint16(want, n), 0, 0)
				}
				if !bytes.Equal(list, want) {
					t.Fatalf("PASSWORD-ALGORITHMS %x, want %x", list, want)
				}
				text := []byte("alice:hairpin:wonder")
				sha := sha256.Sum256(text)
				key := sha[:]
				if test.list[0] == 1 {
					md := md5.Sum(text)
					key = md[:]
				}
				name := stun.Setter(stun.NewUsername("alice"))
				if test.bits&0x40 != 0 {
					h := sha256.Sum256([]byte("alice:hairpin"))
					name = raw(attrUserhash, h[:]...)
				}
				request := func(method stun.Method, code int, what ...stun.Setter) {
					t.Helper()
					what = append(what, name, stun.NewRealm("hairpin"), stun.NewNonce(string(nonce)),
						raw(attrPasswordAlgorithms, list...), raw(attrPasswordAlgorithm, list[:4]...), integrity(attrIntegritySHA256, key), stun.Fingerprint)
					a := c.ask(c.unsigned(method, what...))
					a.want(t, code)
					a.wantIntegrity(t, attrIntegritySHA256, key)
				}
				request(stun.MethodAllocate, 0, udpTransport)
				request(stun.MethodRefresh, 0)
				request(stun.MethodChannelBind, 400)
				request(stun.MethodCreatePermission, 420, raw(0x7FFF))
				request(stun.MethodRefresh, 0, lifetime(0))
			})
		})
	}
}

// What somebody on the path can do to a challenge, and that the client doesn't end up with less than both sides can
// (RFC 8489 §9.2.1, §9.2.4).
func TestConformanceBidDown(t *testing.T) {
	s := conforming(t, nil)
	md, sha := md5.Sum([]byte("alice:hairpin:wonder")), sha256.Sum256([]byte("alice:hairpin:wonder"))
	one := func(n byte) []byte { return []byte{0, n, 0, 0} }
	for _, row := range []struct {
		says         string
		list, choice []byte
		nonce        func(string) string
		key          []byte
		code         int
	}{
		{"nothing changed", []byte{0, 2, 0, 0, 0, 1, 0, 0}, one(2), nil, sha[:], 0},
		{"SHA-256 taken out", one(1), one(1), nil, md[:], 400},
		{"order turned round", []byte{0, 1, 0, 0, 0, 2, 0, 0}, one(1), nil, md[:], 400},
		{"list taken out, client says what it used", nil, one(1), nil, md[:], 400},
		{"list kept, choice taken out", []byte{0, 2, 0, 0, 0, 1, 0, 0}, nil, nil, md[:], 400},
		{"bit taken out", nil, nil, func(n string) string { return "obMatJos2AAAA" + n[13:] }, md[:], 438},
		{"cookie taken out", nil, nil, func(n string) string { return n[13:] }, md[:], 438},
		{"SHA-256 taken out, and a nonce of the attacker's own", one(1), one(1), func(string) string { return "obMatJos2gAAAattack" }, md[:], 400},
	} {
		for _, w := range []way{overUDP, overTCP} {
			t.Run(fmt.Sprintf("%v %s", w, row.says), func(t *testing.T) {
				c := s.call(t, w)
				c.challenge()
				nonce := c.nonce
				if row.nonce != nil {
					nonce = row.nonce(nonce)
				}
				what := setters{udpTransport, stun.NewUsername("alice"), stun.NewRealm("hairpin"), stun.NewNonce(nonce)}
				if row.list != nil {
					what = append(what, raw(attrPasswordAlgorithms, row.list...))
				}
				if row.choice != nil {
					what = append(what, raw(attrPasswordAlgorithm, row.choice...))
				}
				kind := attrIntegritySHA256
				if row.list == nil && row.choice == nil {
					kind = stun.AttrMessageIntegrity
				}
				a := c.ask(c.unsigned(stun.MethodAllocate, append(what, integrity(kind, row.key), stun.Fingerprint)...))
				a.want(t, row.code)
				if row.code != 0 && (a.has(attrIntegritySHA256) || a.has(stun.AttrMessageIntegrity)) {
					t.Error("the refusal is signed")
				}
				if row.code == 400 && slices.ContainsFunc([]stun.AttrType{stun.AttrRealm, stun.AttrNonce, stun.AttrUsername, attrUserhash}, a.has) {
					t.Error("the refusal has an attribute of a challenge")
				}
			})
		}
	}
}
