package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var client = netip.MustParseAddrPort("192.0.2.7:40000")

func TestNonceLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ option, want time.Duration }{{0, time.Hour}, {10 * time.Second, 10 * time.Second}} {
			a := newTest(t, Options{Users: []User{alice()}, NonceLifetime: c.option})
			nonce := a.AppendNonce(nil, client)
			if err := a.CheckNonce(nonce, client); err != nil {
				t.Errorf("lifetime %v, at once: %v", c.want, err)
			}
			time.Sleep(c.want - time.Millisecond)
			if err := a.CheckNonce(nonce, client); err != nil {
				t.Errorf("lifetime %v, 1 ms before its end: %v", c.want, err)
			}
			time.Sleep(time.Millisecond)
			if err := a.CheckNonce(nonce, client); err != ErrStaleNonce {
				t.Errorf("lifetime %v, at its end: %v", c.want, err)
			}
		}
	})
}

// TestNonceOfFleet: servers with one secret and realm accept each other's nonces, if their clocks agree well enough.
func TestNonceOfFleet(t *testing.T) {
	now := time.UnixMilli(1735689600000)
	server := func(realm, secret string, ahead time.Duration) *Authenticator {
		return newTest(t, Options{Realm: realm, Users: []User{alice()}, NonceSecret: secret, Now: func() time.Time { return now.Add(ahead) }})
	}
	here := server("r", "fleet", 0)
	for _, c := range []struct {
		name  string
		other *Authenticator
		want  error
	}{
		{"same", server("r", "fleet", 0), nil},
		{"clock 59 s ahead", server("r", "fleet", 59*time.Second), nil},
		{"clock 60 s ahead", server("r", "fleet", time.Minute), nil},
		{"clock 61 s ahead", server("r", "fleet", 61*time.Second), ErrStaleNonce},
		{"clock behind", server("r", "fleet", -time.Minute), nil},
		{"other secret", server("r", "fleet2", 0), ErrStaleNonce},
		{"other realm", server("s", "fleet", 0), ErrStaleNonce},
		{"random secret", server("r", "", 0), ErrStaleNonce},
	} {
		if err := here.CheckNonce(c.other.AppendNonce(nil, client), client); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNonceIsBoundToTheClient(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice()}})
	nonce := a.AppendNonce(nil, client)
	for _, c := range []struct {
		client string
		want   error
	}{
		{"192.0.2.7:40000", nil},
		{"[::ffff:192.0.2.7]:40000", nil}, // the same address as a wildcard socket spells it
		{"192.0.2.7:40001", ErrStaleNonce},
		{"192.0.2.8:40000", ErrStaleNonce},
		{"[2001:db8::7]:40000", ErrStaleNonce},
	} {
		if err := a.CheckNonce(nonce, netip.MustParseAddrPort(c.client)); err != c.want {
			t.Errorf("%s: %v, want %v", c.client, err, c.want)
		}
	}
}

func TestNonceMalformed(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice()}})
	good := a.AppendNonce([]byte("prefix"), client)[len("prefix"):]
	if len(good) != NonceSize || len(good) >= 128 {
		t.Fatalf("nonce %q has %d bytes", good, len(good))
	}
	if bytes.ContainsAny(good, `"\ `) || string(good[:9]) != "obMatJos2" {
		t.Errorf("nonce %q", good)
	}
	for i := range good {
		for _, flip := range []byte{1, 2, 4, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			if err := a.CheckNonce(bad, client); err != ErrStaleNonce {
				t.Errorf("bit %d of character %d: %v", flip, i, err)
			}
		}
	}
	line := append(bytes.Clone(good[:NonceSize-1]), '\n') // base64 decoders pass over line ends
	for _, bad := range [][]byte{nil, {}, good[:NonceSize-1], append(bytes.Clone(good), 'A'), line, bytes.Repeat([]byte{'\n'}, NonceSize), make([]byte, NonceSize), make([]byte, 5000)} {
		if err := a.CheckNonce(bad, client); err != ErrStaleNonce {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if err := a.CheckNonce(good, client); err != nil {
		t.Error(err)
	}
}

func TestNonceMACIsHMAC(t *testing.T) {
	derived, stamp := []byte("0123456789abcdef0123456789abcdef"), []byte("stamp!")
	k := padNonceKey(derived)
	got := k.mac(stamp, client)
	want := hmac.New(sha256.New, derived)
	want.Write(stamp)
	ip := client.Addr().As16()
	want.Write(ip[:])
	binary.Write(want, binary.BigEndian, client.Port())
	if !hmac.Equal(got[:], want.Sum(nil)) {
		t.Errorf("%x, want %x", got, want.Sum(nil))
	}
}

func TestNonceAllocatesNothing(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice()}})
	room := make([]byte, 0, NonceSize)
	if n := testing.AllocsPerRun(100, func() {
		if a.CheckNonce(a.AppendNonce(room, client), client) != nil {
			t.Fatal("stale")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNonce(b *testing.B) {
	a := newTest(b, Options{Users: []User{alice()}})
	room := make([]byte, 0, NonceSize)
	b.ReportAllocs()
	for b.Loop() {
		a.CheckNonce(a.AppendNonce(room, client), client)
	}
}

// TestNonceTellsItsOffer: what a nonce was sent with is known as long as its secret is, whatever is offered by now.
func TestNonceTellsItsOffer(t *testing.T) {
	users := []User{alice()}
	now := time.UnixMilli(1735689600000)
	server := func(secret string, algorithms ...Algorithm) *Authenticator {
		return newTest(t, Options{Users: users, NonceSecret: secret, Algorithms: algorithms, Now: func() time.Time { return now }})
	}
	here := server("fleet")
	lists := [][]uint16{{2, 1}, {1, 2}, {2}, {1}, {}, {2, 1, 3}}
	for _, c := range []struct {
		name    string
		other   *Authenticator
		has     bool
		genuine bool
		matches []uint16 // of lists; nil: none
	}{
		{"default", server("fleet"), true, true, []uint16{2, 1}},
		{"MD5 first", server("fleet", MD5, SHA256), true, true, []uint16{1, 2}},
		{"SHA-256 alone", server("fleet", SHA256), true, true, []uint16{2}},
		{"MD5 alone", server("fleet", MD5), false, true, nil},
	} {
		for _, age := range []time.Duration{0, 2 * time.Hour} {
			nonce, list := c.other.Challenge(nil, client)
			now = now.Add(age)
			n, err := here.ReadNonce(nonce, client)
			now = now.Add(-age)
			if n.HasAlgorithms != c.has || n.Genuine != c.genuine || (err == nil) != (age == 0) || !slices.Equal(list, c.matches) {
				t.Errorf("%s, %v: %+v, %v, list %v", c.name, age, n, err, list)
			}
			for _, l := range lists {
				if want := len(l) > 0 && slices.Equal(l, c.matches); n.Matches(l) != want {
					t.Errorf("%s: %v matches: %v", c.name, l, n.Matches(l))
				}
			}
		}
	}
	n, err := here.ReadNonce(server("other").AppendNonce(nil, client), client)
	if err != ErrStaleNonce || !n.HasAlgorithms || n.Genuine {
		t.Errorf("foreign: %+v, %v", n, err)
	}
	for _, l := range lists {
		if want := len(l) > 0 && slices.Contains(l, 2) && len(l) < 3; n.Matches(l) != want {
			t.Errorf("foreign: %v matches: %v", l, !want)
		}
	}
}

// TestCookie reads what is ahead of nonces, RFC 8489 §9.2, §18.1.
func TestCookie(t *testing.T) {
	for _, c := range []struct {
		nonce    string
		features uint32
		ok       bool
	}{
		{"obMatJos2gAAArest", 0x800000, true},
		{"obMatJos2QAAA", 0x400000, true},
		{"obMatJos2AAAC", 0x000002, true}, // RFC 8489 §B.1
		{"obMatJos2////", 0xFFFFFF, true},
		{"obMatJos2AAA", 0, false},
		{"obMatJos2AAA=", 0, false},
		{"obMatJos2AA\nA", 0, false},
		{"obmatjos2AAAA", 0, false},
		{"", 0, false},
	} {
		if features, ok := readCookie([]byte(c.nonce)); features != c.features || ok != c.ok {
			t.Errorf("%q: %06x, %v; want %06x, %v", c.nonce, features, ok, c.features, c.ok)
		}
	}
}
