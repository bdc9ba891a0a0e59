package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
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
	id, err := a.Verify(username, func(key []byte) bool {
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
	id, err := a.Verify([]byte("zo\u00eb"), func(key []byte) bool { return bytes.Equal(key, want) })
	if err != nil || id.User != "zo\u00eb" {
		t.Errorf("name in profile form: %v, %v", id, err)
	}
	if _, err := a.Verify([]byte("zoe\u0308"), accept); err != ErrUnknownUser {
		t.Errorf("name that is not in profile form: %v, want ErrUnknownUser", err)
	}
	if password, ok := a.StaticUser("zoe\u0308"); !ok || password != "caf\u00e9 x" {
		t.Errorf("typed name: %q, %v", password, ok)
	}
}
