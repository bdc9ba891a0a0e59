package relay_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pion/stun/v2"
)

// Which Send indications are relayed and which are dropped (RFC 8656 §11.2, RFC 8489 §6.3.2).
func TestConformanceSend(t *testing.T) {
	s := conforming(t, nil)
	data := []byte("payload")
	send := stun.NewType(stun.MethodSend, stun.ClassIndication)
	to, what := stun.Setter(nil), raw(stun.AttrData, data...)
	eachWay(t, func(t *testing.T, w way) {
		v6 := w.v6
		a, b := s.call(t, w), s.call(t, w)
		a.allocate(familyOf(v6))
		b.allocate(familyOf(v6))
		a.permit(b.relayed)
		b.permit(a.relayed)
		to = peer(b.relayed)
		nobody := peer(netip.AddrPortFrom(b.relayed.Addr(), b.relayed.Port()^1))
		stranger := s.call(t, w)
		stranger.allocate(familyOf(v6))
		for _, row := range []struct {
			section, says string
			setters       setters
			relayed       bool
		}{
			{"RFC 8656 §11.1", "plain", setters{to, what}, true},
			{"RFC 8656 §11.1", "DATA first", setters{what, to}, true},
			{"RFC 8656 §11.1", "DONT-FRAGMENT", setters{raw(stun.AttrDontFragment), to, what}, true},
			{"RFC 8489 §14.7", "FINGERPRINT", setters{to, what, stun.Fingerprint}, true},
			{"RFC 8489 §14", "attributes that need not be understood", setters{raw(0x8077, 1, 2, 3), to, raw(0xC001), what, stun.NewSoftware("x")}, true},
			{"RFC 8656 §5", "credentials, which nobody asks for", setters{to, what, stun.NewUsername("x"), stun.NewRealm("y"), stun.NewNonce("z"), stun.MessageIntegrity("wrong")}, true},
			{"RFC 8489 §14.5", "what is behind MESSAGE-INTEGRITY", setters{to, what, stun.MessageIntegrity("x"), raw(0x7FFF)}, true},
			{"RFC 8489 §14", "the first of two peers counts", setters{to, nobody, what}, true},
			{"RFC 8489 §14", "the first of two DATA counts", setters{to, what, raw(stun.AttrData, 'x')}, true},
			{"RFC 8656 §11.2", "no peer", setters{what}, false},
			{"RFC 8656 §11.2", "no DATA", setters{to}, false},
			{"RFC 8656 §11.2", "peer that nobody is", setters{nobody, what}, false},
			{"RFC 8656 §11.2", "peer without a permission", setters{peer(stranger.relayed), what}, false},
			{"RFC 8656 §11.2", "malformed peer", setters{raw(stun.AttrXORPeerAddress, 0, 1, 2, 3), what}, false},
			{"RFC 8656 §11.2", "a malformed peer ahead of a good one", setters{raw(stun.AttrXORPeerAddress, 0, 1, 2, 3), to, what}, false},
			{"RFC 8489 §6.3.2", "attribute that is not understood", setters{to, what, raw(0x7FFF)}, false},
			{"RFC 8489 §14.5", "DATA behind MESSAGE-INTEGRITY", setters{to, stun.MessageIntegrity("x"), what}, false},
			{"RFC 8489 §14.7", "wrong FINGERPRINT", setters{to, what, raw(stun.AttrFingerprint, 1, 2, 3, 4)}, false},
			{"RFC 8489 §14.7", "FINGERPRINT ahead", setters{stun.Fingerprint, to, what}, false},
		} {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				for _, one := range []*caller{a, b, stranger} {
					one.t = t
				}
				a.send(a.build(append(setters{send}, row.setters...)...))
				a.settle() // which also shows that nothing answers
				if row.relayed {
					b.wantData(a.relayed, data)
				}
				b.quiet()
				stranger.quiet()
			})
		}
		for _, one := range []*caller{a, b} {
			one.t = t
		}
		// A Data indication is the server's to send, not a client's (RFC 8656 §11.3).
		a.send(a.build(stun.NewType(stun.MethodData, stun.ClassIndication), to, what))
		a.settle()
		b.quiet()
	})
}

// Lengths that do not add up are never relayed: the payload would be somebody else's bytes.
func TestConformanceSendLengths(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overUDP, overTCP} {
		a, b := s.call(t, w), s.call(t, w)
		a.allocate()
		b.allocate()
		a.permit(b.relayed)
		b.permit(a.relayed)
		whole := a.indication(b.relayed, []byte("abcdefgh"))
		at := len(whole) - 12 // of DATA
		for length := range uint16(0x30) {
			cut := bytes.Clone(whole)
			binary.BigEndian.PutUint16(cut[at+2:], length)
			// In whole steps of padding a shorter DATA is either the end of the message or followed by what has to be
			// an attribute: "efgh", of type 0x6566, is none that is understood.
			a.send(cut)
			a.settle()
			if length > 4 && length <= 8 {
				b.wantData(a.relayed, []byte("abcdefgh")[:length])
			}
			b.quiet()
		}
		if w == overTCP {
			continue
		}
		for n := range whole {
			a.send(whole[:n])
		}
		a.settle()
		b.quiet()
	}
}

// Each Data indication is a message of its own: its transaction ID is like no other (RFC 8489 §5).
func TestConformanceDataTransactions(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.call(t, overUDP), s.call(t, overTCP)
	a.allocate()
	b.allocate()
	a.permit(b.relayed)
	b.permit(a.relayed)
	seen := map[[12]byte]bool{}
	for range 200 {
		sent := a.indication(b.relayed, []byte("x"))
		a.send(sent)
		id := [12]byte(b.receive()[8:20])
		if seen[id] || bytes.Equal(id[:], sent[8:20]) || id == [12]byte{} {
			t.Fatalf("transaction ID %x again", id)
		}
		seen[id] = true
	}
}

// A client may talk to itself through its own relayed address, if it permits itself.
func TestConformanceOneself(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		c.allocate(familyOf(w.v6))
		c.sendTo(c.relayed, []byte("echo"))
		c.settle()
		c.permit(c.relayed)
		c.sendTo(c.relayed, []byte("echo"))
		c.wantData(c.relayed, []byte("echo"))
		c.bind(0x4000, c.relayed)
		c.send(channelData(0x4000, []byte("channel echo"), true))
		c.wantChannel(0x4000, []byte("channel echo"))
		c.quiet()
	})
}
