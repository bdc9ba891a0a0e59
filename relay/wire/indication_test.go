package wire

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

func TestIsSend(t *testing.T) {
	for in, want := range map[string]bool{
		"": false, "\x00": false, "\x00\x16": true, "\x00\x17": false, "\x00\x06": false, "\x40\x16": false, "\x01\x16": false,
	} {
		if got := IsSend([]byte(in)); got != want {
			t.Errorf("%x: %v, want %v", in, got, want)
		}
	}
}

func TestParseSend(t *testing.T) {
	v4, v6 := attr{AttrXORPeerAddress, xor(t, peer4)}, attr{AttrXORPeerAddress, xor(t, peer6)}
	data := attr{AttrData, "hello"}
	other := attr{AttrData, "other"}
	unknown := attr{0x7FFF, "?"}
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:9")

	for _, c := range []struct {
		name string
		in   []byte
		peer netip.AddrPort // invalid: to be refused
		data string
		df   bool
	}{
		{"IPv4", raw(typeSend, v4, data), peer4, "hello", false},
		{"IPv6", raw(typeSend, v6, data), peer6, "hello", false},
		{"DATA first", raw(typeSend, data, v4), peer4, "hello", false},
		{"empty DATA", raw(typeSend, v4, attr{AttrData, ""}), peer4, "", false},
		{"DONT-FRAGMENT", raw(typeSend, v4, attr{AttrDontFragment, ""}, data), peer4, "hello", true},
		{"FINGERPRINT", fingerprinted(raw(typeSend, v6, data)), peer6, "hello", false},
		{"first of each counts", raw(typeSend, v4, data, v6, other), peer4, "hello", false},
		{"malformed second peer", raw(typeSend, v4, data, attr{AttrXORPeerAddress, "x"}), peer4, "hello", false},
		{"unknown optional", raw(typeSend, attr{0x8055, "?"}, v4, data), peer4, "hello", false},
		{"known, out of place", raw(typeSend, attr{AttrLifetime, "no lifetime"}, v4, data), peer4, "hello", false},
		{"unknown behind MESSAGE-INTEGRITY", raw(typeSend, v4, data, attr{AttrMessageIntegrity, ""}, unknown, attr{AttrDontFragment, ""}), peer4, "hello", false},
		{"unknown behind MESSAGE-INTEGRITY-SHA256", raw(typeSend, v4, data, attr{AttrMessageIntegritySHA256, ""}, unknown), peer4, "hello", false},
		{"unknown between the two integrities", raw(typeSend, v4, data, attr{AttrMessageIntegritySHA256, ""}, unknown, attr{AttrMessageIntegrity, ""}), peer4, "hello", false},
		{"first byte of the address ignored", raw(typeSend, attr{AttrXORPeerAddress, "\xFF" + v4.value[1:]}, data), peer4, "hello", false},
		{"large", raw(typeSend, v4, attr{AttrData, strings.Repeat("x", 60000)}), peer4, strings.Repeat("x", 60000), false},

		{name: "nothing"},
		{name: "type only", in: []byte{0, 0x16}},
		{name: "header only", in: raw(typeSend)},
		{name: "other type", in: raw(typeData, v4, data)},
		{name: "no DATA", in: raw(typeSend, v4)},
		{name: "no XOR-PEER-ADDRESS", in: raw(typeSend, data)},
		{name: "DATA behind MESSAGE-INTEGRITY", in: raw(typeSend, v4, attr{AttrMessageIntegrity, ""}, data)},
		{name: "peer behind MESSAGE-INTEGRITY-SHA256", in: raw(typeSend, data, attr{AttrMessageIntegritySHA256, ""}, v4)},
		{name: "between the two integrities", in: raw(typeSend, v4, attr{AttrMessageIntegritySHA256, ""}, data, attr{AttrMessageIntegrity, ""})},
		{name: "unknown required", in: raw(typeSend, v4, data, unknown)},
		{name: "wrong cookie", in: edit(raw(typeSend, v4, data), 4, 0)},
		{name: "length too small", in: edit(raw(typeSend, v4, data), 3, 20)},
		{name: "length too large", in: edit(raw(typeSend, v4, data), 3, 28)},
		{name: "one byte missing", in: raw(typeSend, v4, data)[:43]},
		{name: "padding missing", in: setLength(raw(typeSend, v4, data)[:41])},
		{name: "attribute beyond the end", in: edit(raw(typeSend, v4, data), 35, 9)},
		{name: "half an attribute header", in: setLength(append(raw(typeSend, v4, data), 0, 0x1A))},
		{name: "wrong FINGERPRINT", in: edit(fingerprinted(raw(typeSend, v4, data)), -1, 0)},
		{name: "FINGERPRINT not last", in: setLength(append(fingerprinted(raw(typeSend, v4, data)), 0, 0x1A, 0, 0))},
		{name: "FINGERPRINT of 3 bytes", in: edit(fingerprinted(raw(typeSend, v4, data)), -5, 3)},
		{name: "wrong FINGERPRINT behind MESSAGE-INTEGRITY", in: edit(fingerprinted(raw(typeSend, v4, data, attr{AttrMessageIntegrity, ""})), -1, 0)},
		{name: "unknown family", in: raw(typeSend, attr{AttrXORPeerAddress, "\x00\x03" + v4.value[2:]}, data)},
		{name: "IPv4 of 7 bytes", in: raw(typeSend, attr{AttrXORPeerAddress, v4.value[:7]}, data)},
		{name: "IPv4 of 9 bytes", in: raw(typeSend, attr{AttrXORPeerAddress, v4.value + "x"}, data)},
		{name: "IPv4 of 20 bytes", in: raw(typeSend, attr{AttrXORPeerAddress, "\x00\x01" + v6.value[2:]}, data)},
		{name: "IPv6 of 8 bytes", in: raw(typeSend, attr{AttrXORPeerAddress, "\x00\x02" + v4.value[2:]}, data)},
		{name: "IPv6 of 21 bytes", in: raw(typeSend, attr{AttrXORPeerAddress, v6.value + "x"}, data)},
		{name: "empty address", in: raw(typeSend, attr{AttrXORPeerAddress, ""}, data)},
		{name: "malformed peer first", in: raw(typeSend, attr{AttrXORPeerAddress, "x"}, v4, data)},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.in)
			s := Send{Peer: mapped, Offset: 1, Length: 2, DontFragment: true} // left over from the one before
			ok := ParseSend(c.in, &s)
			if !bytes.Equal(c.in, before) {
				t.Error("the message was written to")
			}
			if ok != c.peer.IsValid() {
				t.Fatalf("got %v, want %v", ok, !ok)
			}
			if !ok {
				return
			}
			got := string(c.in[s.Offset : s.Offset+s.Length])
			if s.Peer != c.peer || got != c.data || s.DontFragment != c.df {
				t.Errorf("got %v %.20q %v, want %v %.20q %v", s.Peer, got, s.DontFragment, c.peer, c.data, c.df)
			}
		})
	}

	t.Run("an IPv4-mapped peer stays one", func(t *testing.T) {
		var r Reply
		r.Indication(MethodSend, tid)
		r.AddAddress(AttrXORPeerAddress, mapped)
		r.AddString(AttrData, "")
		var s Send
		if !ParseSend(r.Finish(nil, nil), &s) || s.Peer != mapped {
			t.Errorf("got %v, want %v", s.Peer, mapped)
		}
	})
}

// edit sets one byte, counted from the end if at is negative. A value that is there already becomes another one.
func edit(b []byte, at int, value byte) []byte {
	if at < 0 {
		at += len(b)
	}
	if b[at] == value {
		value ^= 0x80
	}
	b[at] = value
	return b
}

func TestPutDataHeader(t *testing.T) {
	for _, peer := range []netip.AddrPort{peer4, peer6, netip.MustParseAddrPort("[::ffff:192.0.2.1]:9"), netip.MustParseAddrPort("0.0.0.0:0")} {
		for _, length := range []int{0, 1, 2, 3, 4, 1200, MaxData} {
			payload := bytes.Repeat([]byte{0xA5}, length)
			size := DataHeaderSize(peer.Addr())
			b := bytes.Repeat([]byte{0xEE}, size+length+Padding(length)) // what was in the buffer before
			PutDataHeader(b, &tid, peer, length)
			copy(b[size:], payload)
			clear(b[size+length:])

			var m stun.Message
			if _, err := m.Write(b); err != nil {
				t.Fatalf("%v, %d bytes: pion/stun: %v", peer, length, err)
			}
			var from stun.XORMappedAddress
			if err := from.GetFromAs(&m, stun.AttrXORPeerAddress); err != nil {
				t.Fatalf("%v, %d bytes: pion/stun: %v", peer, length, err)
			}
			data, err := m.Get(stun.AttrData)
			if m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) || m.TransactionID != tid || int(m.Length)+20 != len(b) ||
				len(m.Attributes) != 2 || !bytes.Equal(from.IP, peer.Addr().AsSlice()) || from.Port != int(peer.Port()) ||
				err != nil || !bytes.Equal(data, payload) {
				t.Errorf("%v, %d bytes came out as %v from %v", peer, length, &m, from)
			}
			if n, err := FrameSize(b); n != len(b) || err != nil {
				t.Errorf("%v, %d bytes: FrameSize %d, %v; want %d", peer, length, n, err, len(b))
			}
		}
	}
}

func TestDataHeaderSize(t *testing.T) {
	for _, c := range []struct {
		peer netip.AddrPort
		want int
	}{{peer4, 36}, {peer6, 48}} {
		if got := DataHeaderSize(c.peer.Addr()); got != c.want {
			t.Errorf("%v: %d, want %d", c.peer, got, c.want)
		}
	}
}

func BenchmarkParseSend(b *testing.B) {
	payload := attr{AttrData, strings.Repeat("x", 200)}
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"IPv4", raw(typeSend, attr{AttrXORPeerAddress, xor(b, peer4)}, payload)},
		{"IPv6", raw(typeSend, attr{AttrXORPeerAddress, xor(b, peer6)}, payload)},
		{"fingerprint", fingerprinted(raw(typeSend, attr{AttrXORPeerAddress, xor(b, peer4)}, payload))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var s Send
			for b.Loop() {
				mustBe(b, ParseSend(c.in, &s))
			}
		})
	}
	b.Run("pion", func(b *testing.B) {
		in := raw(typeSend, attr{AttrXORPeerAddress, xor(b, peer4)}, payload)
		b.ReportAllocs()
		var m stun.Message
		var from stun.XORMappedAddress
		for b.Loop() {
			m.Raw = in
			if m.Decode() != nil || from.GetFromAs(&m, stun.AttrXORPeerAddress) != nil {
				b.Fatal("refused")
			}
		}
	})
}

func BenchmarkPutDataHeader(b *testing.B) {
	for _, peer := range []netip.AddrPort{peer4, peer6} {
		b.Run(peer.String(), func(b *testing.B) {
			b.ReportAllocs()
			out := make([]byte, 64)
			for b.Loop() {
				PutDataHeader(out, &tid, peer, 200)
			}
		})
	}
}
