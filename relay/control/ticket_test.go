package control

import (
	"bytes"
	"testing"
)

// A ticket is the same each time, differs from every other one, is text, and opens nowhere else nor with a bit changed.
func TestTickets(t *testing.T) {
	k, other := newTickets(), newTickets()
	seen := make(map[string]bool)
	for id := range uint64(50) {
		for generation := range uint32(20) {
			b := k.append(nil, id, generation)
			if len(b) != ticketSize || len(b) > 32 || bytes.ContainsFunc(b, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Fatalf("%q is no text of up to 32 characters", b)
			}
			if seen[string(b)] {
				t.Fatalf("%q was there before", b)
			}
			seen[string(b)] = true
			if !bytes.Equal(k.append(nil, id, generation), b) {
				t.Fatal("not the same again")
			}
			if i, g, ok := k.open(b); !ok || i != id || g != generation {
				t.Fatalf("opened as %d, %d, %v", i, g, ok)
			}
			if _, _, ok := other.open(b); ok {
				t.Fatal("another server opens it")
			}
		}
	}
	b := k.append(nil, 1, 1)
	for i := range b {
		for bit := range 8 {
			forged := bytes.Clone(b)
			forged[i] ^= 1 << bit
			if _, _, ok := k.open(forged); ok {
				t.Errorf("%q opens as %q", forged, b)
			}
		}
	}
	for _, bad := range [][]byte{nil, {}, b[:31], append(bytes.Clone(b), 'A'), bytes.Repeat([]byte{0}, 32), bytes.Repeat([]byte("A"), 32)} {
		if _, _, ok := k.open(bad); ok {
			t.Errorf("%q opens", bad)
		}
	}
}
