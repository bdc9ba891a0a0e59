package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

func TestRFC5769(t *testing.T) {
	longTerm := md5.Sum([]byte("\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9:example.org:TheMatrIX"))
	password := []byte("VOkJxbRl1RmTxUk/WvJxBt")
	var m Message
	for _, c := range []struct {
		file    string
		class   Class
		key     []byte
		address string
		texts   map[Attr]string
		unknown []Attr
	}{
		{"request", ClassRequest, password, "", map[Attr]string{AttrSoftware: "STUN test client", AttrUsername: "evtj:h6vY"}, []Attr{AttrPriority}},
		{"response-ipv4", ClassSuccess, password, peer4.String(), map[Attr]string{AttrSoftware: "test vector"}, nil},
		{"response-ipv6", ClassSuccess, password, peer6.String(), map[Attr]string{AttrSoftware: "test vector"}, nil},
		{"request-long-term", ClassRequest, longTerm[:], "", map[Attr]string{
			AttrUsername: "\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9", AttrRealm: "example.org", AttrNonce: "f//499k954d6OL34oL9FSTvy64sA"}, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			if err := m.Decode(load(t, "rfc5769/"+c.file+".hex", false)[0]); err != nil {
				t.Fatal(err)
			}
			if m.Method() != MethodBinding || m.Class() != c.class {
				t.Errorf("got %v %v, want %v %v", m.Method(), m.Class(), MethodBinding, c.class)
			}
			if !m.HasIntegrity() || !m.CheckIntegrity(c.key) {
				t.Error("MESSAGE-INTEGRITY refused")
			}
			if m.CheckIntegrity(append(bytes.Clone(c.key), 'x')) {
				t.Error("MESSAGE-INTEGRITY accepted for another key")
			}
			for a, want := range c.texts {
				if v, ok := m.Get(a); !ok || string(v) != want {
					t.Errorf("%v is %q, want %q", a, v, want)
				}
			}
			if addr, ok, err := m.Address(AttrXORMappedAddress); err != nil || ok != (c.address != "") || ok && addr.String() != c.address {
				t.Errorf("XOR-MAPPED-ADDRESS is %v, %v, %v; want %q", addr, ok, err, c.address)
			}
			if got := m.Unknown(nil); !slices.Equal(got, c.unknown) {
				t.Errorf("unknown %v, want %v", got, c.unknown)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	software := attr{AttrSoftware, "hello"}
	good := func() []byte { return raw(0x0003, software) }
	signed := fingerprinted(raw(0x0003, software))
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing wrong", good(), nil},
		{"nothing wrong, FINGERPRINT", signed, nil},
		{"no attributes", raw(0x0003), nil},
		{"padding that is not zero", edit(good(), -1, 0xFF), nil},
		{"as long as allowed", raw(0x0003, attr{AttrSoftware, strings.Repeat("x", MaxMessage-24)}), nil},

		{"nothing", nil, ErrMalformed},
		{"19 bytes", raw(0x0003)[:19], ErrMalformed},
		{"first two bits 01", edit(good(), 0, 0x40), ErrMalformed},
		{"first two bits 10", edit(good(), 0, 0x80), ErrMalformed},
		{"first two bits 11", edit(good(), 0, 0xC0), ErrMalformed},
		{"RFC 3489, no cookie", edit(good(), 4, 0), ErrMalformed},
		{"last byte of the cookie", edit(good(), 7, 0), ErrMalformed},
		{"length too small", edit(good(), 3, 8), ErrMalformed},
		{"length too large", edit(good(), 3, 16), ErrMalformed},
		{"bytes behind the message", append(good(), 0, 0, 0, 0), ErrMalformed},
		{"last byte missing", good()[:31], ErrMalformed},
		{"length not a multiple of 4", setLength(good()[:29]), ErrMalformed},
		{"half an attribute header", setLength(append(good(), 0x80, 0x22)), ErrMalformed},
		{"value beyond the end", edit(good(), 23, 9), ErrMalformed},
		{"value far beyond the end", edit(good(), 22, 0xFF), ErrMalformed},
		{"value inside, padding beyond the end", edit(raw(0x0003, attr{AttrSoftware, "hell"}), 23, 5), ErrMalformed},
		{"too long", raw(0x0003, attr{AttrSoftware, strings.Repeat("x", MaxMessage-20)}), ErrTooLarge},

		{"FINGERPRINT wrong", edit(bytes.Clone(signed), -1, 0), ErrFingerprint},
		{"FINGERPRINT of something else", edit(bytes.Clone(signed), 24, 'j'), ErrFingerprint},
		{"FINGERPRINT of 3 bytes", edit(bytes.Clone(signed), -5, 3), ErrFingerprint},
		{"FINGERPRINT empty", raw(0x0003, attr{AttrFingerprint, ""}), ErrFingerprint},
		{"FINGERPRINT not last", setLength(append(bytes.Clone(signed), 0x80, 0x55, 0, 0)), ErrFingerprint},
		{"FINGERPRINT twice", fingerprinted(signed), ErrFingerprint},
		{"FINGERPRINT before MESSAGE-INTEGRITY", raw(0x0003, attr{AttrFingerprint, "1234"}, attr{AttrMessageIntegrity, strings.Repeat("x", 20)}), ErrFingerprint},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(signed); err != nil {
				t.Fatal(err)
			}
			if err := m.Decode(c.in); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil && (m.Has(AttrSoftware) || m.Has(AttrFingerprint) || m.HasIntegrity() || m.CheckIntegrity(key) ||
				m.Unknown(nil) != nil || m.TransactionID() != [12]byte{}) {
				t.Error("a refused message left something behind")
			}
		})
	}
}

// Every cut of a good message is refused, and every byte behind it.
func TestDecodeCutAtEveryByte(t *testing.T) {
	var m Message
	var s Send
	for _, b := range clientMessages(t) {
		if Classify(b) != KindSTUN {
			continue
		}
		if err := m.Decode(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		for cut := range b {
			if m.Decode(b[:cut]) == nil || ParseSend(b[:cut], &s) {
				t.Fatalf("%d of %d bytes accepted: %x", cut, len(b), b[:cut])
			}
		}
		for extra := 1; extra <= 8; extra++ {
			if long := append(bytes.Clone(b), make([]byte, extra)...); m.Decode(long) == nil || ParseSend(long, &s) {
				t.Fatalf("%d bytes too many accepted: %x", extra, long)
			}
		}
	}
}

func TestTheZeroMessageIsEmpty(t *testing.T) {
	var m Message
	if m.Has(AttrSoftware) || m.Has(AttrFingerprint) || m.HasIntegrity() || m.CheckIntegrity(key) || len(m.Unknown(nil)) > 0 {
		t.Error("it has attributes")
	}
	if peers, err := m.Peers(nil); len(peers) > 0 || err != nil {
		t.Errorf("it has peers %v, %v", peers, err)
	}
	if _, ok, err := m.Lifetime(); ok || err != nil {
		t.Errorf("it has a lifetime: %v, %v", ok, err)
	}
}

func TestMethodAndClass(t *testing.T) {
	for _, c := range []struct {
		messageType   uint16
		method, class string
	}{
		{0x0001, "binding", "request"},
		{0x0011, "binding", "indication"},
		{0x0101, "binding", "success"},
		{0x0111, "binding", "error"},
		{0x0003, "allocate", "request"},
		{0x0004, "refresh", "request"},
		{0x0016, "send", "indication"},
		{0x0017, "data", "indication"},
		{0x0008, "create_permission", "request"},
		{0x0109, "channel_bind", "success"},
		{0x000A, "connect", "request"},
		{0x010B, "connection_bind", "success"},
		{0x001C, "connection_attempt", "indication"},
		{0x000D, "other", "request"},
		{0x3FFF, "other", "error"},
	} {
		var m Message
		if err := m.Decode(raw(c.messageType)); err != nil {
			t.Fatalf("%#04x: %v", c.messageType, err)
		}
		if m.Method().String() != c.method || m.Class().String() != c.class {
			t.Errorf("%#04x is %v %v, want %s %s", c.messageType, m.Method(), m.Class(), c.method, c.class)
		}
	}
}

func TestOnlyTheFirstCountsAndNothingBehindIntegrity(t *testing.T) {
	mac := strings.Repeat("m", 20)
	sha := strings.Repeat("s", 32)
	integrity, sha256 := attr{AttrMessageIntegrity, mac}, attr{AttrMessageIntegritySHA256, sha}
	for _, c := range []struct {
		name  string
		attrs []attr
		want  map[Attr]string // absent from here: absent from the message
	}{
		{"first of two", []attr{{AttrNonce, "one"}, {AttrNonce, "two"}}, map[Attr]string{AttrNonce: "one"}},
		{"first, empty", []attr{{AttrNonce, ""}, {AttrNonce, "two"}}, map[Attr]string{AttrNonce: ""}},
		{"behind MESSAGE-INTEGRITY", []attr{{AttrRealm, "r"}, integrity, {AttrNonce, "n"}}, map[Attr]string{AttrRealm: "r", AttrMessageIntegrity: mac}},
		{"second MESSAGE-INTEGRITY", []attr{integrity, {AttrMessageIntegrity, "later"}}, map[Attr]string{AttrMessageIntegrity: mac}},
		{"SHA256 behind it", []attr{integrity, sha256, {AttrNonce, "n"}}, map[Attr]string{AttrMessageIntegrity: mac, AttrMessageIntegritySHA256: sha}},
		{"SHA256 alone", []attr{{AttrRealm, "r"}, sha256, {AttrNonce, "n"}}, map[Attr]string{AttrRealm: "r", AttrMessageIntegritySHA256: sha}},
		{"SHA256 twice", []attr{sha256, {AttrRealm, "r"}, {AttrMessageIntegritySHA256, "later"}}, map[Attr]string{AttrMessageIntegritySHA256: sha}},
		{"SHA256 first", []attr{sha256, {AttrRealm, "r"}, integrity, {AttrNonce, "n"}}, map[Attr]string{AttrMessageIntegrity: mac, AttrMessageIntegritySHA256: sha}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(fingerprinted(raw(0x0003, c.attrs...))); err != nil {
				t.Fatal(err)
			}
			for _, a := range []Attr{AttrRealm, AttrNonce, AttrMessageIntegrity, AttrMessageIntegritySHA256} {
				want, there := c.want[a]
				got, ok := m.Get(a)
				if ok != there || string(got) != want || m.Has(a) != there {
					t.Errorf("%v: %q, %v; want %q, %v", a, got, ok, want, there)
				}
			}
			if !m.Has(AttrFingerprint) {
				t.Error("FINGERPRINT not found")
			}
			_, sha1 := c.want[AttrMessageIntegrity]
			_, sha256 := c.want[AttrMessageIntegritySHA256]
			if m.HasIntegrity() != (sha1 || sha256) || m.HasSHA256() != sha256 {
				t.Errorf("HasIntegrity %v, HasSHA256 %v; want %v and %v", m.HasIntegrity(), m.HasSHA256(), sha1 || sha256, sha256)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	all := func(attrs ...Attr) (list []attr) {
		for _, a := range attrs {
			list = append(list, attr{a, "12345678"})
		}
		return list
	}
	known := []Attr{
		AttrMappedAddress, AttrUsername, AttrErrorCode, AttrUnknownAttributes, AttrChannelNumber, AttrLifetime, AttrXORPeerAddress,
		AttrData, AttrRealm, AttrNonce, AttrXORRelayedAddress, AttrRequestedAddressFamily, AttrEvenPort, AttrRequestedTransport,
		AttrDontFragment, AttrAccessToken, AttrPasswordAlgorithm, AttrUserhash, AttrXORMappedAddress, AttrReservationToken,
		AttrConnectionID,
	}
	for _, c := range []struct {
		name  string
		attrs []attr
		want  []Attr
	}{
		{"none", nil, nil},
		{"known ones", all(known...), nil},
		{"optional ones", all(0x8000, 0x8001, AttrSoftware, AttrICEControlled, AttrICEControlling, 0x8055, 0xFFFF), nil},
		{"ICE", all(AttrPriority, AttrUseCandidate, AttrICEControlled), []Attr{AttrPriority, AttrUseCandidate}},
		{"NAT behaviour discovery", all(0x0027, 0x0003), []Attr{0x0027, 0x0003}},
		{"each once, in order", all(0x7FFF, 0x0002, 0x7FFF, 0x0000, 0x0002), []Attr{0x7FFF, 0x0002, 0x0000}},
		{"MESSAGE-INTEGRITY-SHA256", all(AttrMessageIntegritySHA256, 0x7FFF), nil},
		{"behind MESSAGE-INTEGRITY", all(0x7FFE, AttrMessageIntegrity, 0x7FFF), []Attr{0x7FFE}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(raw(0x0003, c.attrs...)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time finds the scratch as the first one did
				if got := m.Unknown([]Attr{0x7FFF}); !slices.Equal(got, append([]Attr{0x7FFF}, c.want...)) {
					t.Errorf("got %v behind 0x7FFF, want %v", got, c.want)
				}
			}
		})
	}
}

// The names are pion/stun's, taken from IANA's registry, wherever it has them.
func TestAttrNames(t *testing.T) {
	for a, name := range attrNames {
		if theirs := stun.AttrType(a).String(); !strings.HasPrefix(theirs, "0x") && theirs != name {
			t.Errorf("%#04x is %s, in pion/stun %s", uint16(a), name, theirs)
		}
	}
	if got := Attr(0x0ABC).String(); got != "0x0ABC" {
		t.Errorf("a nameless attribute is %s", got)
	}
}

// Verifying writes nowhere, neither into the message nor behind it, where the next datagram of a slab begins.
func TestCheckIntegrityWritesNowhere(t *testing.T) {
	for _, b := range clientMessages(t) {
		slab := append(bytes.Clone(b), bytes.Repeat([]byte{0xC5}, 64)...)
		before := bytes.Clone(slab)
		var m Message
		if m.Decode(slab[:len(b)]) != nil {
			continue
		}
		m.CheckIntegrity(key)
		m.Unknown(nil)
		if v, ok := m.Get(AttrNonce); ok {
			_ = append(v, "overrun"...)
		}
		if !bytes.Equal(slab, before) {
			t.Errorf("%x became %x", before, slab)
		}
	}
}

func TestCheckIntegrity(t *testing.T) {
	build := func(key []byte, behind ...attr) []byte {
		m := new(stun.Message)
		m.TransactionID = tid
		m.SetType(stun.NewType(stun.MethodAllocate, stun.ClassRequest))
		m.WriteHeader()
		m.Add(stun.AttrUsername, []byte("alice"))
		if err := stun.MessageIntegrity(key).AddTo(m); err != nil {
			t.Fatal(err)
		}
		for _, a := range behind {
			m.Add(stun.AttrType(a.kind), []byte(a.value))
		}
		if err := stun.Fingerprint.AddTo(m); err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	long := bytes.Repeat([]byte("long"), 40)
	for _, c := range []struct {
		name string
		in   []byte
		key  []byte
		want bool
	}{
		{"right", build(key), key, true},
		{"right, key longer than a block", build(long), long, true},
		{"right, key as long as a block", build(long[:64]), long[:64], true},
		{"attributes behind it do not matter", build(key, attr{AttrSoftware, "x"}), key, true},
		{"a wrong SHA256 behind it", build(key, attr{AttrMessageIntegritySHA256, strings.Repeat("s", 32)}), key, false},
		{"a right SHA256 behind it", withSHA256(build(key, attr{AttrSoftware, "x"}), key, 32), key, true},
		{"a right SHA256 behind a wrong one", withSHA256(raw(0x0003, attr{AttrMessageIntegrity, strings.Repeat("m", 20)}), key, 32), key, true},
		{"SHA256 alone", withSHA256(raw(0x0003, attr{AttrUsername, "alice"}), key, 32), key, true},
		{"SHA256, key longer than a block", withSHA256(raw(0x0003), long, 32), long, true},
		{"SHA256, key as long as a block", withSHA256(raw(0x0003), long[:64], 32), long[:64], true},
		{"SHA256, wrong key", withSHA256(raw(0x0003), key, 32), key[1:], false},
		{"SHA256, no key", withSHA256(raw(0x0003), nil, 32), nil, false},
		// TURN does not say that truncation is allowed.
		{"SHA256 of 28 bytes", withSHA256(raw(0x0003), key, 28), key, false},
		{"SHA256 of 16 bytes", withSHA256(raw(0x0003), key, 16), key, false},
		{"SHA256 of 12 bytes", withSHA256(raw(0x0003), key, 12), key, false},
		{"SHA256, empty", withSHA256(raw(0x0003), key, 0), key, false},
		{"SHA256 cut, a right SHA1 ahead", withSHA256(withoutFingerprint(build(key)), key, 16), key, false},
		{"SHA256 of 33 bytes", raw(0x0003, attr{AttrMessageIntegritySHA256, strings.Repeat("s", 33)}), key, false},
		{"wrong key", build(key), key[1:], false},
		{"no key", build(nil), nil, false},
		{"a byte before it changed", refingerprinted(edit(build(key), 24, 'b')), key, false},
		{"a byte of it changed", refingerprinted(edit(build(key), 36, 0)), key, false},
		{"the type changed", refingerprinted(edit(build(key), 1, 4)), key, false},
		{"no integrity", raw(0x0003, attr{AttrUsername, "alice"}), key, false},
		{"empty", raw(0x0003, attr{AttrMessageIntegrity, ""}), key, false},
		{"truncated", raw(0x0003, attr{AttrMessageIntegrity, mac(raw(0x0003), key)[:16]}), key, false},
		{"by the standard library", raw(0x0003, attr{AttrMessageIntegrity, mac(raw(0x0003), key)}), key, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(c.in); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := m.CheckIntegrity(c.key); got != c.want {
					t.Errorf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

// mac is the value of a MESSAGE-INTEGRITY that follows b, by the standard library.
func mac(b, key []byte) string {
	b = bytes.Clone(b)
	b[3] += 24
	h := hmac.New(sha1.New, key)
	h.Write(b)
	return string(h.Sum(nil))
}

// refingerprinted replaces the FINGERPRINT of a changed message.
func refingerprinted(b []byte) []byte {
	return fingerprinted(setLength(b[:len(b)-8]))
}

func TestControlPathDoesNotAllocate(t *testing.T) {
	messages := clientMessages(t)
	var m Message
	var r Reply
	var unknown []Attr
	var out []byte
	run := func() {
		for _, b := range messages {
			if m.Decode(b) != nil {
				continue
			}
			m.CheckIntegrity(key)
			unknown = m.Unknown(unknown[:0])
			r.Success(&m)
			r.AddAddress(AttrXORMappedAddress, peer6)
			out = r.Finish(out[:0], key)
			r.Error(&m, 401, "Unauthorized")
			r.AddString(AttrRealm, "hairpin")
			r.AddUnknown(unknown)
			out = r.Finish(out[:0], nil)
		}
		if m.Decode(messages[0][:30]) == nil {
			t.Error("a truncated message was accepted")
		}
	}
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := load(b, "clients/chrome-allocate.hex", true)[2]
	b.ReportAllocs()
	var m Message
	for b.Loop() {
		if err := m.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckIntegrity(b *testing.B) {
	in := load(b, "clients/chrome-allocate.hex", true)[2]
	var m Message
	if err := m.Decode(in); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.CheckIntegrity(key)
	}
}
