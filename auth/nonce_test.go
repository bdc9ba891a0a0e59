package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
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
	if bytes.ContainsAny(good, `"\ `) || good[0] != 'A' {
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
