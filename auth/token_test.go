package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// As coturn 4.6.1 has them: turnutils_oauth -e -i turn.example.org -j north -k (northKey) -l 1411000000 -m 999999999
	// -n A256GCM -o MTIzNDU2Nzg5MDEy -p MTIzNDU2Nzg5MDEyMzQ1Njc4OTA= -q 113749180416000 -r 3600
	northKey   = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	northToken = "AAwxMjM0NTY3ODkwMTIi5k8S3IZX/wzlt+Bb06ieJ3WwVr2l3IM1wdPZHwA5jAybNNMNzcD0a2RONGnTKXpLJw=="
	northMAC   = "12345678901234567890"
	serverName = "turn.example.org"
)

var northStamp = time.Unix(113749180416000>>16, 113749180416000&0xFFFF*15625)

func keysFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// seal makes a token of what is encrypted, with a nonce of this length.
func seal(t testing.TB, k *tokenKey, name string, nonce int, plain []byte) []byte {
	t.Helper()
	token := binary.BigEndian.AppendUint16(nil, uint16(nonce))
	token = append(token, make([]byte, nonce)...)
	if nonce != k.aead.NonceSize() {
		return append(token, make([]byte, len(plain)+16)...)
	}
	return k.aead.Seal(token, token[2:], plain, []byte(name))
}

func plainToken(key []byte, made time.Time, life uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint64(b, uint64(made.Unix())<<16|uint64(made.Nanosecond()/15625))
	return binary.BigEndian.AppendUint32(b, life)
}

func TestToken(t *testing.T) {
	now := northStamp
	a := newTest(t, Options{
		Realm: testRealm, ServerName: serverName, Now: func() time.Time { return now },
		TokenKeysFile: keysFile(t, fmt.Sprintf(`{"keys": [
			{"kid": "north", "key": %q},
			{"kid": "short", "alg": "A128GCM", "key": "MTIzNDU2Nzg5MDEyMzQ1Ng=="},
			{"kid": "ended", "key": %[1]q, "timestamp": 1000, "lifetime": 1000},
			{"kid": "later", "key": %[1]q, "timestamp": %d}]}`, northKey, now.Unix()+10)),
	})
	if name, ok := a.ThirdParty(); !ok || name != serverName {
		t.Errorf("server name %q, %v", name, ok)
	}
	keys := a.current.Load().tokenKeys
	coturn := must(base64.StdEncoding.DecodeString(northToken))
	mac := []byte(northMAC)
	made := func(kid string, key []byte, at time.Time, life uint32) []byte {
		return seal(t, keys[kid], serverName, 12, plainToken(key, at, life))
	}
	edit := func(i int) []byte { b := bytes.Clone(coturn); b[i] ^= 1; return b }
	long := bytes.Repeat([]byte("k"), 64)
	plain := plainToken(mac, now, 3600)
	for _, c := range []struct {
		name  string
		kid   string
		token []byte
		at    time.Duration
		key   []byte // that the message is made with
		want  error
	}{
		{name: "of coturn", token: coturn},
		{name: "of coturn, cut as coturn cuts", token: coturn, key: mac[:16]},
		{name: "of coturn, cut otherwise", token: coturn, key: mac[:15], want: ErrWrongPassword},
		{name: "wrong key", token: coturn, key: []byte("x"), want: ErrWrongPassword},
		{name: "of our own", token: made("north", mac, now, 60)},
		{name: "AES-128", kid: "short", token: made("short", mac, now, 60)},
		{name: "64 bytes of key", token: made("north", long, now, 60), key: long},
		{name: "32 bytes of key cut", token: made("north", long[:32], now, 60), key: long[:16], want: ErrWrongPassword},
		{name: "16 bytes of key", token: made("north", mac[:16], now, 60), key: mac[:16]},
		{name: "15 bytes of key", token: made("north", mac[:15], now, 60), key: mac[:15], want: ErrToken},
		{name: "65 bytes of key", token: made("north", append(long, 1), now, 60), key: long, want: ErrToken},

		{name: "unknown kid", kid: "south", token: coturn, want: ErrUnknownUser},
		{name: "no kid", kid: "-", token: coturn, want: ErrUnknownUser},
		{name: "another kid", kid: "short", token: coturn, want: ErrToken},
		{name: "key of the past", kid: "ended", token: coturn, want: ErrUnknownUser},
		{name: "key of the future", kid: "later", token: coturn, want: ErrUnknownUser},
		{name: "key of the future, in its time", kid: "later", token: coturn, at: 10 * time.Second},

		// lifetime + Delta > abs(RDnew - TS), RFC 7635 §7.
		{name: "just in time", token: coturn, at: 3605*time.Second - 1},
		{name: "just late", token: coturn, at: 3605 * time.Second, want: ErrTokenExpired},
		{name: "just not too early", token: coturn, at: -(3605*time.Second - 1)},
		{name: "too early", token: coturn, at: -3605 * time.Second, want: ErrTokenExpired},
		{name: "of the year 8921556", token: made("north", mac, time.Unix(1<<47, 0), 1<<32-1), want: ErrTokenExpired},
		{name: "no lifetime, within Delta", token: made("north", mac, now, 0), at: 4 * time.Second},
		{name: "no lifetime, past Delta", token: made("north", mac, now, 0), at: 5 * time.Second, want: ErrTokenExpired},
		{name: "expired and wrong key", token: coturn, at: time.Hour * 2, key: []byte("x"), want: ErrTokenExpired},

		{name: "for another server", token: seal(t, keys["north"], "turn.example.net", 12, plain), want: ErrToken},
		{name: "nonce of 13 bytes", token: seal(t, keys["north"], serverName, 13, plain), want: ErrToken},
		{name: "nonce length that lies", token: edit(0), want: ErrToken},
		{name: "nonce changed", token: edit(2), want: ErrToken},
		{name: "block changed", token: edit(20), want: ErrToken},
		{name: "tag changed", token: edit(len(coturn) - 1), want: ErrToken},
		{name: "cut", token: coturn[:len(coturn)-1], want: ErrToken},
		{name: "longer", token: append(bytes.Clone(coturn), 0), want: ErrToken},
		{name: "far too long", token: make([]byte, 2000), want: ErrToken},
		{name: "two bytes", token: []byte{0, 12}, want: ErrToken},
		{name: "empty", token: []byte{}, want: ErrToken},
		{name: "nothing encrypted", token: seal(t, keys["north"], serverName, 12, nil), want: ErrToken},
		{name: "key length that lies", token: seal(t, keys["north"], serverName, 12, append([]byte{0, 40}, plain[2:]...)), want: ErrToken},
		{name: "something behind", token: seal(t, keys["north"], serverName, 12, append(bytes.Clone(plain), 0)), want: ErrToken},
		{name: "something missing", token: seal(t, keys["north"], serverName, 12, plain[:len(plain)-1]), want: ErrToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			now = northStamp.Add(c.at)
			kid := map[string]string{"": "north", "-": ""}[c.kid]
			if c.kid != "" && c.kid != "-" {
				kid = c.kid
			}
			key := c.key
			if key == nil {
				key = mac
			}
			id, err := a.VerifyToken(&Claim{Username: []byte(kid)}, c.token, func(k []byte) bool { return bytes.Equal(k, key) })
			if err != c.want {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil {
				if id != (Identity{}) {
					t.Errorf("an error and an identity %q", id)
				}
				return
			}
			if !id.Token || !bytes.Equal(id.Key.Bytes(), key) || !strings.HasPrefix(id.User, kid+"/") || len(id.User) != len(kid)+17 {
				t.Errorf("user %q, token %v, right key %v", id.User, id.Token, bytes.Equal(id.Key.Bytes(), key))
			}
			if id.Expired(now) || id.Expires.Sub(now) > 2*(id.Life+tokenDelta) {
				t.Errorf("expires %v, life %v", id.Expires.Sub(now), id.Life)
			}
		})
	}
}

func TestTokenKeys(t *testing.T) {
	key := func(more string) string { return `{"keys": [{"kid": "k", "key": "` + northKey + `"` + more + `}]}` }
	for _, c := range []struct{ name, content, fault string }{
		{"good", key(""), ""},
		{"with times", key(`, "timestamp": 1735689600, "lifetime": 86400, "alg": "A256GCM"`), ""},
		{"none", `{"keys": []}`, "no credentials"},
		{"empty", ``, "line 1: this is not JSON"},
		{"not JSON", "{\n\"keys\": [\n{hush}]}", "line 3: this is not JSON"},
		{"something behind", key("") + "{}", "something follows"},
		{"unknown field", key(`, "secret": "hush"`), `unknown field "secret"`},
		{"wrong type", key(`, "lifetime": "hush"`), "keys.lifetime has a value of the wrong type"},
		{"twice", `{"keys": [{"kid": "k", "key": "` + northKey + `"}, {"kid": "k", "key": "` + northKey + `"}]}`, `key 2: kid "k" is given twice`},
		{"no kid", `{"keys": [{"key": "` + northKey + `"}]}`, "the kid is empty"},
		{"kid with a colon", strings.Replace(key(""), `"k"`, `"k:1"`, 1), "contains a ':'"},
		{"kid too long", strings.Replace(key(""), `"k"`, `"`+strings.Repeat("k", 129)+`"`, 1), "129 bytes"},
		{"no key", `{"keys": [{"kid": "k"}]}`, "not base64 of 32 bytes"},
		{"short key", `{"keys": [{"kid": "k", "key": "aHVzaA=="}]}`, "not base64 of 32 bytes"},
		{"key for AES-128 too long", key(`, "alg": "A128GCM"`), "not base64 of 16 bytes"},
		{"unknown alg", key(`, "alg": "hush"`), "the alg is not known; write A256GCM or A128GCM"},
		{"negative", key(`, "timestamp": -1`), "out of range"},
		{"in milliseconds", key(`, "timestamp": 1735689600000000`), "out of range"},
		{"lifetime alone", key(`, "lifetime": 10`), "lifetime without a timestamp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := keysFile(t, c.content)
			_, err := New(Options{Realm: testRealm, TokenKeysFile: path})
			if c.fault == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), northKey[:8]) {
				t.Errorf("%v, want %q", err, c.fault)
			}
			var inFile *FileError
			if !errors.Is(err, ErrNoCredentials) && (!errors.As(err, &inFile) || inFile.File != path) {
				t.Errorf("%v names no file", err)
			}
		})
	}
}

// A changed file of keys is taken over, and a faulty one isn't.
func TestTokenKeysAreReadAgain(t *testing.T) {
	path := keysFile(t, `{"keys": [{"kid": "north", "key": "`+northKey+`"}]}`)
	a := newTest(t, Options{Realm: testRealm, ServerName: serverName, TokenKeysFile: path, Now: func() time.Time { return northStamp }})
	token := must(base64.StdEncoding.DecodeString(northToken))
	for _, step := range []struct {
		content, kid string
		want         error
	}{
		{`{"keys": [{"kid": "south", "key": "` + northKey + `"}]}`, "south", nil},
		{`{"keys": [`, "south", nil},
		{`{"keys": [{"kid": "south", "key": "` + strings.Replace(northKey, "M", "N", 1) + `"}]}`, "south", ErrToken},
		{`{"keys": [{"kid": "west", "key": "` + northKey + `"}]}`, "south", ErrUnknownUser},
	} {
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		a.poll()
		if _, err := a.VerifyToken(&Claim{Username: []byte(step.kid)}, token, accept); err != step.want {
			t.Errorf("%s: %v, want %v", step.content, err, step.want)
		}
	}
}

// FuzzToken: no bytes but those of a key's holder open, and nothing is read past the end.
func FuzzToken(f *testing.F) {
	a := newTest(f, Options{Realm: testRealm, ServerName: serverName, TokenKeysFile: keysFile(f, `{"keys": [{"kid": "north", "key": "`+northKey+`"}]}`), Now: func() time.Time { return northStamp }})
	good := must(base64.StdEncoding.DecodeString(northToken))
	f.Add(good)
	f.Add([]byte{0, 12})
	f.Fuzz(func(t *testing.T, token []byte) {
		_, err := a.VerifyToken(&Claim{Username: []byte("north")}, token, accept)
		if err == nil && !bytes.Equal(token, good) {
			t.Fatalf("%x is a token", token)
		}
		parseTokenKeys("F", token)
	})
}
