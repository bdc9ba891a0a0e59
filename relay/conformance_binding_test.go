package relay_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

// What is answered, and with what, before anybody has credentials.
func TestConformanceBinding(t *testing.T) {
	s := conforming(t, nil)
	strange := func(kinds ...stun.AttrType) (all setters) {
		for _, kind := range kinds {
			all = append(all, raw(kind, 1, 2, 3))
		}
		return all
	}
	rows := []struct {
		section, says string
		setters       setters
		unknown       []stun.AttrType // listed by the 420 that is wanted; none: a success
	}{
		{"RFC 8489 §6.3.1", "bare", nil, nil},
		{"RFC 8489 §14.7", "with FINGERPRINT", setters{stun.Fingerprint}, nil},
		{"RFC 8489 §14.14", "with SOFTWARE", setters{stun.NewSoftware("client 1.0"), stun.Fingerprint}, nil},
		{"RFC 8489 §14", "empty attribute", setters{stun.RawAttribute{Type: 0x8077}}, nil},
		{"RFC 8489 §14", "unknown comprehension-optional attributes", strange(0x802F, 0xC057, 0xFFFF, 0x8000), nil},
		{"RFC 8489 §6.3.1", "unknown comprehension-required attribute", strange(0x7FFF), []stun.AttrType{0x7FFF}},
		{"RFC 8489 §14.13", "several, among known ones", setters{strange(0x0030), udpTransport, strange(0x7F00, 0x0002)}, []stun.AttrType{0x0030, 0x7F00, 0x0002}},
		{"RFC 8489 §14.13", "one of them twice", strange(0x0030, 0x0031, 0x0030), []stun.AttrType{0x0030, 0x0031}},
		{"RFC 8489 §12", "credentials are not looked at", setters{stun.NewUsername("nobody"), stun.NewRealm("nowhere"), stun.NewNonce("none"), stun.MessageIntegrity("wrong"), stun.Fingerprint}, nil},
		{"RFC 8489 §14.5", "attributes behind MESSAGE-INTEGRITY are ignored", setters{stun.NewUsername("x"), stun.MessageIntegrity("x"), setter(func(m *stun.Message) error {
			m.Add(0x7FFF, []byte("not seen"))
			return nil
		})}, nil},
	}
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		for _, row := range rows {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				a := c.ask(c.unsigned(stun.MethodBinding, row.setters...))
				if a.has(stun.AttrMessageIntegrity) {
					t.Error("MESSAGE-INTEGRITY in an answer to a stranger")
				}
				if row.unknown == nil {
					a.want(t, 0)
					if got := a.address(t, stun.AttrXORMappedAddress); got != c.local() {
						t.Errorf("XOR-MAPPED-ADDRESS is %v, want %v", got, c.local())
					}
					return
				}
				a.want(t, 420)
				a.wantUnknown(t, row.unknown...)
			})
		}
	})
}

// wantUnknown holds UNKNOWN-ATTRIBUTES against RFC 8489 §14.13.
func (a answer) wantUnknown(t *testing.T, kinds ...stun.AttrType) {
	t.Helper()
	var want []byte
	for _, kind := range kinds {
		want = binary.BigEndian.AppendUint16(want, uint16(kind))
	}
	if got := a.get(stun.AttrUnknownAttributes); !bytes.Equal(got, want) {
		t.Errorf("UNKNOWN-ATTRIBUTES is %x, want %x", got, want)
	}
}

// The transaction ID is the client's own, whatever it chose, and masks an IPv6 address (RFC 8489 §14.2).
func TestConformanceTransactionID(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		for _, id := range [][12]byte{{}, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, {11: 1}, {0x21, 0x12, 0xA4, 0x42}} {
			a := c.ask(append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42}, id[:]...))
			if got := a.address(t, stun.AttrXORMappedAddress); got != c.local() {
				t.Errorf("transaction %x: XOR-MAPPED-ADDRESS is %v, want %v", id, got, c.local())
			}
		}
	})
}

// The messages that others captured are answered as those who sent them expect.
func TestConformanceCaptures(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		c.ask(captured(t, "chrome-binding.hex")[0]).want(t, 0)
		allocates := captured(t, "chrome-allocate.hex")
		c.ask(allocates[0]).want(t, 401)
		c.ask(allocates[2]).want(t, 401) // another server's realm and nonce
	})
}

// captured reads the messages of a file in testdata/clients.
func captured(t testing.TB, name string) (messages [][]byte) {
	t.Helper()
	text, err := os.ReadFile("../testdata/clients/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.Join(strings.Fields(line), ""); line == "" || line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		messages = append(messages, b)
	}
	return messages
}

// What deserves no answer gets none, and harms nobody: the next thing that the client receives is the answer to the
// Binding request behind it (RFC 8489 §6.3).
func TestConformanceNoAnswer(t *testing.T) {
	s := conforming(t, nil)
	head := func(kind uint16, length int) []byte {
		b := binary.BigEndian.AppendUint16(nil, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		return append(b, "\x21\x12\xA4\x42transaction1"...)
	}
	with := func(kind uint16, attributes ...byte) []byte {
		return append(head(kind, len(attributes)), attributes...)
	}
	fingerprinted := func(change func(b []byte) []byte) []byte {
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("soft"), stun.Fingerprint)
		return change(bytes.Clone(m.Raw))
	}
	software := []byte{0x80, 0x22, 0, 4, 's', 'o', 'f', 't'}

	for _, row := range []struct {
		section, says string
		message       []byte
		breaks        bool // the framing of a stream, so that the connection has to end
	}{
		{"RFC 8489 §6.3", "a byte", []byte{0}, true},
		{"RFC 8489 §6.3", "header cut off", head(1, 0)[:19], true},
		{"RFC 8489 §5", "length field too large", head(1, 4), true},
		{"RFC 8489 §5", "length field too small", append(head(1, 0), software...), true},
		{"RFC 8489 §5", "length not a multiple of four", append(head(1, 2), 0, 0), true},
		{"RFC 8489 §5", "another magic cookie", append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43}, "transaction1"...), true},
		{"RFC 8489 §11", "RFC 3489's header", append([]byte{0, 1, 0, 0}, "sixteen bytes ID"...), true},
		{"RFC 8656 §12.6", "a reserved channel", channelData(0x5000, []byte("data"), true), false},
		{"RFC 8656 §12.6", "the last channel of RFC 5766", channelData(0x7FFF, []byte("data"), true), false},
		{"RFC 7983 §7", "DTLS", append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4}, "abcd"...), true},
		{"RFC 7983 §7", "RTP", append([]byte{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}, "payload!"...), true},
		{"RFC 7983 §7", "the highest byte", bytes.Repeat([]byte{0xFF}, 64), true},
		{"RFC 8489 §14", "attribute runs over the end", with(1, 0x80, 0x22, 0, 5, 's', 'o', 'f', 't'), false},
		{"RFC 8489 §14", "attribute of the largest length", with(1, 0x80, 0x22, 0xFF, 0xFF, 's', 'o', 'f', 't'), false},
		{"RFC 8489 §14", "the second attribute runs over the end", with(1, append(slices.Clone(software), 0, 6, 0, 4)...), false},
		{"RFC 8489 §14.7", "FINGERPRINT is wrong", fingerprinted(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), false},
		{"RFC 8489 §14.7", "FINGERPRINT is right for another text", fingerprinted(func(b []byte) []byte { b[24] ^= 1; return b }), false},
		{"RFC 8489 §14.7", "FINGERPRINT is not last", fingerprinted(func(b []byte) []byte {
			b[3] += byte(len(software))
			return append(b, software...)
		}), false},
		{"RFC 8489 §14.7", "FINGERPRINT of another length", with(1, 0x80, 0x28, 0, 2, 1, 2, 0, 0), false},
		{"RFC 8489 §6.3.2", "Binding indication", head(0x0011, 0), false},
		{"RFC 8489 §6.3.3", "Binding success response", head(0x0101, 0), false},
		{"RFC 8489 §6.3.4", "Binding error response", with(0x0111, 0, 9, 0, 4, 0, 0, 4, 0), false},
		{"RFC 8489 §6.3", "request of an unknown method", head(0x3EEF, 0), false},
		{"RFC 8489 §6.3", "ConnectionAttempt request", head(0x000C, 0), false},
		{"RFC 8489 §6.3", "Connect indication", head(0x001A, 0), false},
		{"RFC 8489 §6.3", "ConnectionBind indication", head(0x001B, 0), false},
		{"RFC 8489 §6.3", "ConnectionAttempt indication", head(0x001C, 0), false},
		{"RFC 8489 §6.3", "Send request", head(0x0006, 0), false},
		{"RFC 8489 §6.3", "Data request", head(0x0007, 0), false},
		{"RFC 8489 §6.3", "Allocate indication", with(0x0013, 0, 0x19, 0, 4, 17, 0, 0, 0), false},
		{"RFC 8489 §6.3", "Refresh indication", head(0x0014, 0), false},
		{"RFC 8489 §6.3", "Data indication", head(0x0017, 0), false},
		{"RFC 8656 §11.2", "Send indication of a stranger", with(0x0016, 0, 0x12, 0, 8, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0x13, 0, 0), false},
		{"RFC 8656 §11.2", "empty Send indication", head(0x0016, 0), false},
		{"RFC 8656 §12.6", "ChannelData of a stranger", channelData(0x4000, []byte("data"), true), false},
	} {
		t.Run(row.section+" "+row.says, func(t *testing.T) {
			for _, w := range ways {
				if row.breaks && w.scheme == "tcp" {
					continue // TestConformanceJunk
				}
				c := s.call(t, w)
				c.binding() // a stream has to begin with STUN
				c.send(row.message)
				c.quiet()
			}
		})
	}
	t.Run("RFC 8489 §6.3 nothing", func(t *testing.T) {
		c := s.call(t, overUDP)
		c.send(nil)
		c.quiet()
	})
}

// A message cut anywhere is not answered, and the same message uncut is (RFC 8489 §5).
func TestConformanceTruncated(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overUDP, overUDP6} {
		c := s.call(t, w)
		whole := c.signed(stun.MethodAllocate, udpTransport, lifetime(777))
		for n := range whole {
			c.send(whole[:n])
		}
		c.quiet()
		if s.Count() != 0 {
			t.Fatal("an allocation made by a cut request")
		}
		for n := 1; n <= 4; n++ {
			c.send(append(bytes.Clone(whole), make([]byte, n)...))
		}
		c.quiet()
		c.ask(whole).want(t, 0)
		c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	}
}
