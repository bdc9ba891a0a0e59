package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

// withSHA256 appends a MESSAGE-INTEGRITY-SHA256 of size bytes, made with the standard library, in place of a FINGERPRINT.
func withSHA256(b, key []byte, size int) []byte {
	b = withoutFingerprint(b)
	b[2], b[3] = byte((len(b)-20+4+size)>>8), byte(len(b)-20+4+size)
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	b = append(b, 0x00, 0x1C, 0, byte(size))
	return append(b, mac.Sum(nil)[:size]...)
}

func withoutFingerprint(b []byte) []byte {
	b = bytes.Clone(b)
	if m := (&stun.Message{Raw: b}); m.Decode() == nil && m.Contains(stun.AttrFingerprint) {
		b = b[:len(b)-8]
	}
	return setLength(b)
}

// TestRFC8489 reads the message of RFC 8489 §B.1. Its header says 20 bytes more than there are, so it is no message as
// it is printed, and with a length that fits its HMAC doesn't.
func TestRFC8489(t *testing.T) {
	printed := load(t, "rfc8489/request-userhash.hex", false)[0]
	longTerm := sha256.Sum256([]byte("\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9:example.org:TheMatrIX"))
	var m Message
	if err := m.Decode(printed); !errors.Is(err, ErrMalformed) {
		t.Errorf("as printed: %v", err)
	}
	const size = 4 + sha256.Size
	before, code := printed[:len(printed)-size], printed[len(printed)-sha256.Size:]
	// The HMAC as printed, of what is printed.
	mac := hmac.New(sha256.New, longTerm[:])
	mac.Write(before)
	if !hmac.Equal(mac.Sum(nil), code) {
		t.Error("the printed HMAC is not that of the printed message")
	}
	fixed := withSHA256(before, longTerm[:], sha256.Size)
	if err := m.Decode(fixed); err != nil {
		t.Fatal(err)
	}
	userhash := sha256.Sum256([]byte("\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9:example.org"))
	for a, want := range map[Attr]string{
		AttrUserhash: string(userhash[:]), AttrNonce: "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA", AttrRealm: "example.org",
	} {
		if v, ok := m.Get(a); !ok || string(v) != want {
			t.Errorf("%v is %q, want %q", a, v, want)
		}
	}
	if m.Method() != MethodBinding || !m.HasIntegrity() || !m.HasSHA256() || len(m.Unknown(nil)) > 0 {
		t.Errorf("%v, integrity %v, SHA-256 %v, unknown %v", m.Method(), m.HasIntegrity(), m.HasSHA256(), m.Unknown(nil))
	}
	if !m.CheckIntegrity(longTerm[:]) || m.CheckIntegrity(longTerm[:16]) {
		t.Error("MESSAGE-INTEGRITY-SHA256 refused, or accepted for another key")
	}
}

func TestFinishSHA256(t *testing.T) {
	var r Reply
	var m Message
	for _, key := range [][]byte{nil, key, bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("long"), 40)} {
		r.Request(MethodRefresh, tid)
		r.AddUint32(AttrLifetime, 600)
		want := fingerprinted(raw(0x0004, attr{AttrLifetime, "\x00\x00\x02\x58"}))
		if key != nil {
			want = fingerprinted(withSHA256(want, key, sha256.Size))
		}
		got := r.FinishSHA256([]byte("before"), key)
		if string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
			t.Errorf("key of %d bytes\ngot  %x\nwant %x", len(key), got[6:], want)
		}
		if err := m.Decode(got[6:]); err != nil || m.CheckIntegrity(key) != (key != nil) {
			t.Errorf("key of %d bytes: %v, right %v", len(key), err, m.CheckIntegrity(key))
		}
	}
}

func TestSHA256DoesNotAllocate(t *testing.T) {
	var m Message
	var r Reply
	long := bytes.Repeat([]byte("k"), 32)
	in := withSHA256(raw(0x0003, attr{AttrUsername, "alice"}), long, 32)
	out := make([]byte, 0, 256)
	numbers := make([]uint16, 0, MaxAlgorithms)
	work := func() {
		if m.Decode(in) != nil || !m.CheckIntegrity(long) {
			t.Fatal("refused")
		}
		numbers, _, _ = m.PasswordAlgorithms(numbers[:0])
		r.Success(&m)
		r.AddPasswordAlgorithms([]uint16{2, 1})
		out = r.FinishSHA256(out[:0], long)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPasswordAlgorithms(t *testing.T) {
	const md5, sha = "\x00\x01\x00\x00", "\x00\x02\x00\x00"
	for _, c := range []struct {
		name, value string
		want        []uint16 // nil: malformed
	}{
		{"both", sha + md5, []uint16{2, 1}},
		{"one", md5, []uint16{1}},
		{"unknown", "\xFF\xFF\x00\x00" + md5, []uint16{0xFFFF, 1}},
		{"as many as are read", strings.Repeat(md5, MaxAlgorithms), slices.Repeat([]uint16{1}, MaxAlgorithms)},
		{"one more", strings.Repeat(md5, MaxAlgorithms+1), nil},
		{"empty", "", nil},
		{"cut", sha + md5[:3], nil},
		{"with parameters", "\x00\x02\x00\x04abcd", nil},
		{"parameters announced", "\x00\x02\x00\x04", nil},
		{"parameters announced in the second", md5 + "\x00\x02\x00\x01", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(raw(0x0003, attr{AttrPasswordAlgorithms, c.value}, attr{AttrPasswordAlgorithm, c.value})); err != nil {
				t.Fatal(err)
			}
			got, ok, err := m.PasswordAlgorithms([]uint16{9})
			if !ok || (err == nil) != (c.want != nil) || err == nil && !slices.Equal(got, append([]uint16{9}, c.want...)) {
				t.Errorf("list: %v, %v, %v; want %v", got, ok, err, c.want)
			}
			n, ok, err := m.PasswordAlgorithm()
			if good := len(c.want) == 1; !ok || (err == nil) != good || good && n != c.want[0] {
				t.Errorf("one: %v, %v, %v", n, ok, err)
			}
		})
	}
	var m Message
	if err := m.Decode(raw(0x0003)); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := m.PasswordAlgorithms(nil); ok || err != nil {
		t.Errorf("absent list: %v, %v", ok, err)
	}
	if _, ok, err := m.PasswordAlgorithm(); ok || err != nil {
		t.Errorf("absent: %v, %v", ok, err)
	}
	var r Reply
	r.Request(MethodAllocate, tid)
	r.AddPasswordAlgorithms([]uint16{2, 1})
	r.AddPasswordAlgorithm(2)
	if got, want := r.Finish(nil, nil), fingerprinted(raw(0x0003, attr{AttrPasswordAlgorithms, sha + md5}, attr{AttrPasswordAlgorithm, sha})); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}
