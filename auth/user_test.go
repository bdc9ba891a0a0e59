package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pion/turn/v3"
)

func TestParseUser(t *testing.T) {
	const ha1 = "0123456789abcdef0123456789ABCDEF"
	for _, c := range []struct {
		in       string
		name     string
		password string
		key      string // hex
		fault    string // in the error's text
	}{
		{in: "alice:secret", name: "alice", password: "secret"},
		{in: "alice:se:cr:et", name: "alice", password: "se:cr:et"},
		{in: "alice::", name: "alice", password: ":"},
		{in: "alice:pass word", name: "alice", password: "pass word"},
		{in: "#alice:secret", name: "#alice", password: "secret"},
		{in: "1735689600:secret", name: "1735689600", password: "secret"},
		{in: "alice:0x" + ha1, name: "alice", key: ha1},
		{in: "alice:0X" + ha1, name: "alice", key: ha1},
		{in: "alice:0 x", name: "alice", password: "0 x"},
		{in: "\u00e4li\u00e7e:p\u00e4ss", name: "\u00e4li\u00e7e", password: "p\u00e4ss"},
		{in: strings.Repeat("n", 508) + ":p", name: strings.Repeat("n", 508), password: "p"},

		{in: "", fault: "no ':'"},
		{in: "hush", fault: "no ':'"},
		{in: ":hush", fault: "name is empty"},
		{in: "alice:", fault: "password is empty"},
		{in: "alice:0x", fault: "exactly 32 hexadecimal digits"},
		{in: "alice:0xhush", fault: "exactly 32 hexadecimal digits"},
		{in: "alice:0x" + ha1 + "00", fault: "exactly 32 hexadecimal digits"},
		{in: "alice:0x" + ha1[1:], fault: "exactly 32 hexadecimal digits"},
		{in: "alice:0x" + ha1[1:] + "g", fault: "exactly 32 hexadecimal digits"},
		{in: "alice: hush", fault: "white space"},
		{in: "alice:hush ", fault: "white space"},
		{in: " alice:hush", fault: "white space"},
		{in: "alice :hush", fault: "white space"},
		{in: "al\x00ice:hush", fault: "not allowed"},
		{in: "alice:hu\tsh", fault: "not allowed"},
		{in: "alice:hu\u00adsh", fault: "not allowed"}, // soft hyphen: SASLprep dropped it, OpaqueString refuses it
		{in: "alice:hush\xff", fault: "not UTF-8"},
		{in: "\xff:hush", fault: "not UTF-8"},
		{in: strings.Repeat("n", 509) + ":hush", fault: "509 bytes"},
	} {
		u, err := ParseUser(c.in)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q: error %v, want %q", c.in, err, c.fault)
			} else if strings.Contains(err.Error(), "hush") {
				t.Errorf("%q: the error quotes the password: %v", c.in, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		key, _ := hex.DecodeString(c.key)
		if u.Name != c.name || u.Password != c.password || !bytes.Equal(u.Key, key) {
			t.Errorf("%q: name %q, password %q, key %x", c.in, u.Name, u.Password, u.Key)
		}
	}
}

func TestLongTermKeyIsThatOfPion(t *testing.T) {
	for _, c := range []struct{ name, realm, password string }{
		{"alice", "example.org", "secret"},
		{"1735689600:alice", "hairpin", "a:b:c"},
		{"\u30de\u30c8\u30ea\u30c3\u30af\u30b9", "example.org", "TheMatrix"},
		{strings.Repeat("x", 508), strings.Repeat("r", 127), strings.Repeat("p", 1000)},
	} {
		got, want := longTermKey(c.name, c.realm, c.password), turn.GenerateAuthKey(c.name, c.realm, c.password)
		if !bytes.Equal(got[:], want) {
			t.Errorf("%q: %x, want %x", c.name, got, want)
		}
	}
}

// TestRFC5769 checks a key against the sample request with long-term authentication of RFC 5769 §2.4. Its password
// "The<U+00AD>M<U+00AA>tr<U+2168>" is "TheMatrIX" once SASLprep was applied.
func TestRFC5769(t *testing.T) {
	request, err := hex.DecodeString(strings.Join(strings.Fields(`
		00 01 00 60 21 12 a4 42 78 ad 34 33 c6 ad 72 c0 29 da 41 2e
		00 06 00 12 e3 83 9e e3 83 88 e3 83 aa e3 83 83 e3 82 af e3 82 b9 00 00
		00 15 00 1c 66 2f 2f 34 39 39 6b 39 35 34 64 36 4f 4c 33 34 6f 4c 39 46 53 54 76 79 36 34 73 41
		00 14 00 0b 65 78 61 6d 70 6c 65 2e 6f 72 67 00
		00 08 00 14 f6 70 24 65 6d d6 4a 3e 02 b8 e0 71 2e 85 c9 a2 8c a8 96 66`), ""))
	if err != nil {
		t.Fatal(err)
	}
	signed, integrity := request[:len(request)-24], request[len(request)-20:]
	username := request[24 : 24+18]
	a := newTest(t, Options{Users: []User{{Name: "\u30de\u30c8\u30ea\u30c3\u30af\u30b9", Password: "TheMatrIX"}}})
	id, err := a.Verify(claim(string(username)), func(key []byte) bool {
		mac := hmac.New(sha1.New, key)
		mac.Write(signed)
		return hmac.Equal(mac.Sum(nil), integrity)
	})
	if err != nil || id.User != string(username) {
		t.Errorf("%+v, %v", id, err)
	}
}

// TestProfile: what is configured is brought into the form that a client must send and hash.
func TestProfile(t *testing.T) {
	a := newTest(t, Options{Users: []User{{Name: "zoe\u0308", Password: "cafe\u0301\u3000x"}}})
	want := turn.GenerateAuthKey("zo\u00eb", testRealm, "caf\u00e9 x")
	id, err := a.Verify(claim("zo\u00eb"), func(key []byte) bool { return bytes.Equal(key, want) })
	if err != nil || id.User != "zo\u00eb" {
		t.Errorf("name in profile form: %v, %v", id, err)
	}
	if _, err := a.Verify(claim("zoe\u0308"), accept); err != ErrUnknownUser {
		t.Errorf("name that is not in profile form: %v, want ErrUnknownUser", err)
	}
	if password, ok := a.StaticUser("zoe\u0308"); !ok || password != "caf\u00e9 x" {
		t.Errorf("typed name: %q, %v", password, ok)
	}
}

// TestRFC8489 checks the user hash and the key of RFC 8489 §B.1 against its message, which has the HMAC at its end. The
// password "The<U+00AD>M<U+00AA>tr<U+2168>" is "TheMatrIX" in its profile form.
func TestRFC8489(t *testing.T) {
	text, err := os.ReadFile("../testdata/rfc8489/request-userhash.hex")
	if err != nil {
		t.Fatal(err)
	}
	var request []byte
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			request = append(request, must(hex.DecodeString(strings.Join(strings.Fields(line), "")))...)
		}
	}
	signed, integrity := request[:len(request)-36], request[len(request)-32:]
	name := "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
	for _, c := range []struct {
		algorithm Algorithm
		want      error
	}{{SHA256, nil}, {MD5, ErrWrongPassword}} {
		a := newTest(t, Options{Realm: "example.org", Users: []User{alice(), {Name: name, Password: "TheMatrIX"}}})
		id, err := a.Verify(&Claim{Userhash: request[24:56], Algorithm: c.algorithm}, func(key []byte) bool {
			mac := hmac.New(sha256.New, key)
			mac.Write(signed)
			return hmac.Equal(mac.Sum(nil), integrity)
		})
		if err != c.want || err == nil && id.User != name {
			t.Errorf("%v: %v, %v", c.algorithm, id, err)
		}
	}
}

// TestKeys: who is known by keys alone is served by those algorithms that there is a key for, and what can't be served is
// refused when the server starts.
func TestKeys(t *testing.T) {
	m := longTermKey("keyed", testRealm, "wonder")
	s := longTermKeySHA256("keyed", testRealm, "wonder")
	text := func(b []byte) string { return ":0x" + hex.EncodeToString(b) }
	both := []Algorithm{SHA256, MD5}
	for _, c := range []struct {
		name       string
		users      []string
		algorithms []Algorithm
		good       []Algorithm
		fault      string
	}{
		{name: "password", users: []string{"keyed:wonder"}, good: both},
		{name: "both keys", users: []string{"keyed" + text(m[:]) + text(s[:])}, good: both},
		{name: "both keys, the other order", users: []string{"keyed" + text(s[:]) + text(m[:])}, good: both},
		{name: "MD5 key", users: []string{"keyed" + text(m[:])}, good: []Algorithm{MD5}},
		{name: "SHA-256 key", users: []string{"keyed" + text(s[:])}, good: []Algorithm{SHA256}},
		{name: "SHA-256 key, SHA-256 alone", users: []string{"keyed" + text(s[:])}, algorithms: []Algorithm{SHA256}, good: []Algorithm{SHA256}},
		{name: "MD5 alone", users: []string{"keyed:wonder"}, algorithms: []Algorithm{MD5}, good: []Algorithm{MD5}},
		{name: "MD5 key, SHA-256 alone", users: []string{"keyed" + text(m[:])}, algorithms: []Algorithm{SHA256}, fault: `user "keyed" is configured by an MD5 key; give the password or a SHA-256 key`},
		{name: "SHA-256 key, MD5 alone", users: []string{"keyed" + text(s[:])}, algorithms: []Algorithm{MD5}, fault: `user "keyed" is configured by a SHA-256 key; give the password or an MD5 key`},
		{name: "one of each", users: []string{"keyed" + text(s[:]), "other" + text(m[:])}, fault: "no challenge can serve"},
		{name: "the same length twice", users: []string{"keyed" + text(s[:]) + text(s[:])}, fault: "exactly 32 hexadecimal digits"},
		{name: "three", users: []string{"keyed" + text(s[:]) + text(m[:]) + text(m[:])}, fault: "exactly 32 hexadecimal digits"},
		{name: "no 0x in the second", users: []string{"keyed" + text(m[:]) + ":" + hex.EncodeToString(s[:])}, fault: "exactly 32 hexadecimal digits"},
		{name: "unknown algorithm", users: []string{"keyed:wonder"}, algorithms: []Algorithm{3}, fault: "password algorithm 3 is not known"},
		{name: "algorithm twice", users: []string{"keyed:wonder"}, algorithms: []Algorithm{MD5, SHA256, MD5}, fault: "MD5 is given twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Realm: testRealm, Algorithms: c.algorithms}
			var err error
			for _, text := range c.users {
				var u User
				if u, err = ParseUser(text); err != nil {
					break
				}
				o.Users = append(o.Users, u)
			}
			var a *Authenticator
			if err == nil {
				a, err = New(o)
			}
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), hex.EncodeToString(m[:4])) || strings.Contains(err.Error(), hex.EncodeToString(s[:4])) {
					t.Fatalf("error %v, want %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for algorithm, key := range map[Algorithm][]byte{MD5: m[:], SHA256: s[:]} {
				_, err := a.Verify(&Claim{Username: []byte("keyed"), Algorithm: algorithm}, func(k []byte) bool { return bytes.Equal(k, key) })
				if (err == nil) != slices.Contains(c.good, algorithm) {
					t.Errorf("%v: %v", algorithm, err)
				}
			}
		})
	}
}
