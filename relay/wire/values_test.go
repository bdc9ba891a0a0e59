package wire

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestTypedReaders(t *testing.T) {
	read := map[string]func(m *Message) (any, bool, error){
		"lifetime":   func(m *Message) (any, bool, error) { v, ok, err := m.Lifetime(); return v, ok, err },
		"transport":  func(m *Message) (any, bool, error) { v, ok, err := m.RequestedTransport(); return v, ok, err },
		"family":     func(m *Message) (any, bool, error) { v, ok, err := m.RequestedAddressFamily(); return v, ok, err },
		"additional": func(m *Message) (any, bool, error) { v, ok, err := m.AdditionalAddressFamily(); return v, ok, err },
		"even":       func(m *Message) (any, bool, error) { v, ok, err := m.EvenPort(); return v, ok, err },
		"token":      func(m *Message) (any, bool, error) { v, ok, err := m.ReservationToken(); return string(v[:]), ok, err },
		"channel":    func(m *Message) (any, bool, error) { v, ok, err := m.ChannelNumber(); return v, ok, err },
		"error":      func(m *Message) (any, bool, error) { v, _, ok, err := m.ErrorCode(); return v, ok, err },
	}
	zero := map[string]any{
		"lifetime": uint32(0), "transport": uint8(0), "family": uint8(0), "additional": uint8(0),
		"even": false, "token": string(make([]byte, 8)), "channel": uint16(0), "error": 0,
	}
	type test struct {
		reader string
		attr   attr
		value  any // nil: ErrMalformed
	}
	tests := []test{
		{"lifetime", attr{AttrLifetime, "\x00\x00\x0E\x10"}, uint32(3600)},
		{"lifetime", attr{AttrLifetime, "\xFF\xFF\xFF\xFF"}, uint32(1<<32 - 1)},
		{"lifetime", attr{AttrLifetime, "\x00\x00\x00\x00"}, uint32(0)},
		{"transport", attr{AttrRequestedTransport, "\x11\x00\x00\x00"}, uint8(17)},
		{"transport", attr{AttrRequestedTransport, "\x06\xFF\xFF\xFF"}, uint8(6)},
		{"family", attr{AttrRequestedAddressFamily, "\x01\x00\x00\x00"}, FamilyIPv4},
		{"family", attr{AttrRequestedAddressFamily, "\x02\xFF\xFF\xFF"}, FamilyIPv6},
		{"family", attr{AttrRequestedAddressFamily, "\x03\x00\x00\x00"}, uint8(3)},
		{"additional", attr{AttrAdditionalAddressFamily, "\x02\x00\x00\x00"}, FamilyIPv6},
		{"even", attr{AttrEvenPort, "\x80"}, true},
		{"even", attr{AttrEvenPort, "\x7F"}, false},
		{"token", attr{AttrReservationToken, "12345678"}, "12345678"},
		{"channel", attr{AttrChannelNumber, "\x40\x00\x00\x00"}, uint16(0x4000)},
		{"channel", attr{AttrChannelNumber, "\x50\x01\xFF\xFF"}, uint16(0x5001)},
		{"error", attr{AttrErrorCode, "\x00\x00\x04\x01"}, 401},
		{"error", attr{AttrErrorCode, "\xFF\xFF\xFC\x26reason"}, 438},
		{"error", attr{AttrErrorCode, "\x00\x00\x02\x00"}, nil},
		{"error", attr{AttrErrorCode, "\x00\x00\x07\x00"}, nil},
		{"error", attr{AttrErrorCode, "\x00\x00\x04\x64"}, nil},
		{"error", attr{AttrErrorCode, "\x00\x00\x04"}, nil},
	}
	for reader, a := range map[string]Attr{ // a wrong length, whichever it is, is malformed
		"lifetime": AttrLifetime, "transport": AttrRequestedTransport, "family": AttrRequestedAddressFamily,
		"additional": AttrAdditionalAddressFamily, "even": AttrEvenPort, "token": AttrReservationToken, "channel": AttrChannelNumber,
	} {
		right := map[string]int{"even": 1, "token": 8}[reader]
		if right == 0 {
			right = 4
		}
		for length := range 12 {
			if length != right {
				tests = append(tests, test{reader, attr{a, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C"[:length]}, nil})
			}
		}
	}
	for _, c := range tests {
		var m Message
		if err := m.Decode(raw(0x0003, c.attr)); err != nil {
			t.Fatal(err)
		}
		got, ok, err := read[c.reader](&m)
		if c.value == nil {
			if !ok || !errors.Is(err, ErrMalformed) || got != zero[c.reader] {
				t.Errorf("%s of %x: %v, %v, %v; want ErrMalformed", c.reader, c.attr.value, got, ok, err)
			}
		} else if !ok || err != nil || got != c.value {
			t.Errorf("%s of %x: %v, %v, %v; want %v", c.reader, c.attr.value, got, ok, err, c.value)
		}
	}
	var m Message
	if err := m.Decode(raw(0x0003, attr{AttrMessageIntegrity, ""}, attr{AttrLifetime, "1234"}, attr{AttrEvenPort, "1"})); err != nil {
		t.Fatal(err)
	}
	for reader, f := range read {
		if got, ok, err := f(&m); ok || err != nil || got != zero[reader] {
			t.Errorf("%s of a message without: %v, %v, %v", reader, got, ok, err)
		}
	}
}

func TestPeers(t *testing.T) {
	p4, p6 := attr{AttrXORPeerAddress, xor(t, peer4)}, attr{AttrXORPeerAddress, xor(t, peer6)}
	bad := attr{AttrXORPeerAddress, p4.value + "x"}
	for _, c := range []struct {
		name  string
		attrs []attr
		want  []netip.AddrPort
		err   error
	}{
		{"none", nil, nil, nil},
		{"one", []attr{p4}, []netip.AddrPort{peer4}, nil},
		{"several, others between", []attr{p4, {AttrRealm, "r"}, p6, p4}, []netip.AddrPort{peer4, peer6, peer4}, nil},
		{"one of them malformed", []attr{p4, bad, p6}, nil, ErrMalformed},
		{"malformed behind MESSAGE-INTEGRITY", []attr{p4, {AttrMessageIntegrity, ""}, bad, p6}, []netip.AddrPort{peer4}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			if err := m.Decode(raw(0x0008, c.attrs...)); err != nil {
				t.Fatal(err)
			}
			got, err := m.Peers([]netip.AddrPort{{}})
			if !errors.Is(err, c.err) || !slices.Equal(got[1:], c.want) {
				t.Errorf("got %v, %v; want %v, %v", got[1:], err, c.want, c.err)
			}
			_, ok, err := m.Address(AttrXORPeerAddress)
			if ok != (len(c.attrs) > 0) || err != nil {
				t.Errorf("Address: %v, %v", ok, err)
			}
		})
	}
}
