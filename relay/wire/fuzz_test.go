package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"
)

func seeds(f *testing.F) {
	for _, b := range clientMessages(f) {
		f.Add(b)
	}
	mac := attr{AttrMessageIntegrity, "12345678901234567890"}
	sha := attr{AttrMessageIntegritySHA256, "12345678901234567890123456789012"}
	data, peer := attr{AttrData, "x"}, attr{AttrXORPeerAddress, xor(f, peer4)}
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	f.Add([]byte("\x40\x00\xFF\xFF"))
	f.Add(raw(typeSend, peer, sha, data, mac, attr{0x7FFF, ""}))
	f.Add(raw(typeSend, sha, sha, peer, data, mac, mac))
	f.Add(fingerprinted(raw(0x0003, attr{0x7FFF, ""}, attr{0x7FFF, "x"}, sha, mac, attr{AttrRealm, "x"})))
	f.Add(raw(0x0101, attr{0x8020, xor(f, peer6)}))
}

// pionAccepts is the rule that Decode has to keep, said with pion/stun's means alone.
func pionAccepts(b []byte) bool {
	m := &stun.Message{Raw: bytes.Clone(b)}
	if m.Decode() != nil || len(b) != 20+int(m.Length) || len(b)%4 != 0 || b[0] >= 0x40 {
		return false
	}
	send := m.Type.Class == stun.ClassIndication && (m.Type.Method == stun.MethodSend || m.Type.Method == stun.MethodData)
	if len(b) > MaxMessage && !send {
		return false
	}
	for i, a := range m.Attributes {
		if a.Type == stun.AttrFingerprint && (i != len(m.Attributes)-1 || stun.Fingerprint.Check(m) != nil) {
			return false
		}
	}
	return true
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	var m Message
	var r Reply
	f.Fuzz(func(t *testing.T, b []byte) {
		slab := append(bytes.Clone(b), bytes.Repeat([]byte{0xC5}, 64)...)
		in := slab[:len(b)]
		err := m.Decode(in)
		if (err == nil) != pionAccepts(b) {
			t.Fatalf("%v, with pion/stun %v", err, !(err == nil))
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrFingerprint) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("undocumented %v", err)
		}
		for _, a := range []Attr{AttrUsername, AttrMessageIntegrity, AttrMessageIntegritySHA256, AttrFingerprint, 0x7FFF} {
			if v, ok := m.Get(a); ok != m.Has(a) || len(v) > len(b) {
				t.Fatalf("%v: %x, %v", a, v, ok)
			}
		}
		unknown := m.Unknown(nil)
		seen := map[Attr]bool{}
		for _, a := range unknown {
			if a.Known() || !m.Has(a) || seen[a] {
				t.Fatalf("unknown %v", unknown)
			}
			seen[a] = true
		}
		_, _ = m.Peers(nil)
		_, _, _ = m.Lifetime()
		_, _, _ = m.RequestedTransport()
		_, _, _ = m.RequestedAddressFamily()
		_, _, _ = m.AdditionalAddressFamily()
		_, _, _ = m.EvenPort()
		_, _, _ = m.ReservationToken()
		_, _, _ = m.ChannelNumber()
		_, _, _ = m.PasswordAlgorithm()
		_, _, _ = m.PasswordAlgorithms(nil)
		_, _, _, _ = m.ErrorCode()
		_, _, _ = m.Address(AttrXORMappedAddress)

		if mac, ok := m.Get(AttrMessageIntegrity); ok && len(mac) == 20 && !m.HasSHA256() {
			theirs := &stun.Message{Raw: bytes.Clone(b)}
			if theirs.Decode() != nil || (stun.MessageIntegrity(key).Check(theirs) == nil) != m.CheckIntegrity(key) {
				t.Fatal("MESSAGE-INTEGRITY differs from pion/stun's")
			}
		}
		if !bytes.Equal(slab[:len(b)], b) || bytes.Count(slab[len(b):], []byte{0xC5}) != 64 {
			t.Fatal("the buffer was written to")
		}
		if err != nil {
			return
		}
		if n, err := FrameSize(b); n != len(b) || err != nil {
			t.Fatalf("FrameSize %d, %v of a message of %d bytes", n, err, len(b))
		}

		// Any request can be answered, and the answer is a message.
		r.Error(&m, 420, "Unknown Attribute")
		r.AddUnknown(unknown)
		answer := r.Finish(nil, key)
		tid := m.TransactionID()
		if err := m.Decode(answer); err != nil || !m.CheckIntegrity(key) || m.TransactionID() != tid {
			t.Fatalf("answer %x: %v", answer, err)
		}
	})
}

func FuzzParseSend(f *testing.F) {
	seeds(f)
	var m Message
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var s Send
		ok := ParseSend(b, &s)
		if !bytes.Equal(b, before) {
			t.Fatal("the buffer was written to")
		}

		// The same, said with the decoder for control messages.
		var want Send
		wanted := m.Decode(b) == nil && m.Method() == MethodSend && m.Class() == ClassIndication && len(m.Unknown(nil)) == 0
		peer, there, err := m.Address(AttrXORPeerAddress)
		data, has := m.Get(AttrData)
		wanted = wanted && there && err == nil && has
		if ok != wanted {
			t.Fatalf("got %v, want %v", ok, wanted)
		}
		if !ok {
			return
		}
		want = Send{Peer: peer, Offset: s.Offset, Length: len(data), DontFragment: m.Has(AttrDontFragment)}
		if s != want || !bytes.Equal(b[s.Offset:s.Offset+s.Length], data) {
			t.Fatalf("got %+v, want %+v with %x", s, want, data)
		}
		if len(data) > MaxData {
			return
		}

		// What a Send indication carried goes on as a Data indication.
		size := DataHeaderSize(s.Peer.Addr())
		out := make([]byte, size, size+len(data)+3)
		PutDataHeader(out, &tid, s.Peer, len(data))
		out = append(out, data...)
		out = append(out, make([]byte, Padding(len(data)))...)
		if err := m.Decode(out); err != nil {
			t.Fatal(err)
		}
		from, _, err := m.Address(AttrXORPeerAddress)
		relayed, _ := m.Get(AttrData)
		if err != nil || from != s.Peer || !bytes.Equal(relayed, data) || m.Method() != MethodData {
			t.Fatalf("relayed as %v %x, %v", from, relayed, err)
		}
	})
}

func FuzzFrameSize(f *testing.F) {
	seeds(f)
	var all []byte
	for _, b := range clientMessages(f) {
		all = append(all, b...)
		all = append(all, make([]byte, Padding(len(b)))...)
	}
	f.Add(all)
	var m Message
	f.Fuzz(func(t *testing.T, b []byte) {
		final, finalErr := FrameSize(b)
		if final < 0 || final > MaxFrame || final%4 != 0 || finalErr != nil && final != 0 || finalErr == nil && final == 0 && len(b) >= 4 {
			t.Fatalf("%d, %v", final, finalErr)
		}
		if finalErr != nil && !errors.Is(finalErr, ErrNotTURN) && !errors.Is(finalErr, ErrTooLarge) {
			t.Fatalf("undocumented %v", finalErr)
		}
		// More bytes can settle an open question or show an error, but take no answer back.
		for cut := range min(len(b), 24) {
			n, err := FrameSize(b[:cut])
			if err == nil && (n == 0) != (cut < 4) || err != nil && finalErr == nil || n != 0 && finalErr == nil && n != final {
				t.Fatalf("%d, %v of the first %d bytes; %d, %v of all", n, err, cut, final, finalErr)
			}
		}
		if finalErr != nil || final == 0 || final > len(b) {
			return
		}
		frame := b[:final]
		switch Classify(frame) {
		case KindSTUN:
			if err := m.Decode(frame); err == nil && int(binary.BigEndian.Uint16(b[2:]))+20 != final {
				t.Fatalf("a frame of %d bytes holds another message", final)
			}
		case KindChannelData:
			if _, data, ok := ParseChannelData(frame); !ok || final-ChannelHeaderSize-len(data) > 3 {
				t.Fatalf("a frame of %d bytes holds %d bytes of data, %v", final, len(data), ok)
			}
		default:
			t.Fatal("a frame of no kind")
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(peer4.Addr().AsSlice(), peer4.Port())
	f.Add(peer6.Addr().AsSlice(), peer6.Port())
	f.Fuzz(func(t *testing.T, ip []byte, port uint16) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		want := netip.AddrPortFrom(addr, port)
		value := make([]byte, addressSize(addr))
		putXORAddress(value, &tid, want)
		if !addr.Is4In6() && string(value) != xor(t, want) {
			t.Fatalf("%v is %x, by pion/stun %x", want, value, xor(t, want))
		}
		if got, ok := parseXORAddress(value, raw(0x0001)); !ok || got != want {
			t.Fatalf("%v came back as %v, %v", want, got, ok)
		}
	})
}
