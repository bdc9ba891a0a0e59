package relay_test

// How the conformance tests build messages and read answers: by pion/stun where that does what is wanted, else by hand.

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/pion/stun/v2"
)

// What pion/stun has no name for.
const (
	attrAdditionalFamily   = stun.AttrType(0x8000) // RFC 8656 §18.11
	attrAddressErrorCode   = stun.AttrType(0x8001) // RFC 8656 §18.12
	attrIntegritySHA256    = stun.AttrType(0x001C) // RFC 8489 §14.6
	attrPasswordAlgorithm  = stun.AttrType(0x001D) // RFC 8489 §14.12
	attrUserhash           = stun.AttrType(0x001E) // RFC 8489 §14.4
	attrPasswordAlgorithms = stun.AttrType(0x8002) // RFC 8489 §14.11
)

// channelData builds a ChannelData message, padded to a multiple of four bytes if so wished.
func channelData(number uint16, data []byte, padded bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	for padded && len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func trim(b []byte) []byte { return b[:min(len(b), 64)] }

// setters are applied one after the other.
type setters []stun.Setter

func (s setters) AddTo(m *stun.Message) error {
	for _, one := range s {
		if err := one.AddTo(m); err != nil {
			return err
		}
	}
	return nil
}

type setter func(*stun.Message) error

func (s setter) AddTo(m *stun.Message) error { return s(m) }

// transaction replaces the random transaction ID; it goes ahead of what depends on it.
func transaction(id [12]byte) stun.Setter {
	return setter(func(m *stun.Message) error {
		m.TransactionID = id
		m.WriteTransactionID()
		return nil
	})
}

func raw(kind stun.AttrType, value ...byte) stun.Setter {
	return stun.RawAttribute{Type: kind, Value: value}
}

func number32(kind stun.AttrType, v uint32) stun.Setter {
	return raw(kind, binary.BigEndian.AppendUint32(nil, v)...)
}

var (
	udpTransport = number32(stun.AttrRequestedTransport, 17<<24)
	wantIPv4     = number32(stun.AttrRequestedAddressFamily, 1<<24)
	wantIPv6     = number32(stun.AttrRequestedAddressFamily, 2<<24)
	alsoIPv4     = number32(attrAdditionalFamily, 1<<24)
	alsoIPv6     = number32(attrAdditionalFamily, 2<<24)
	evenPort     = raw(stun.AttrEvenPort, 0)
	evenPair     = raw(stun.AttrEvenPort, 0x80)
)

func lifetime(seconds uint32) stun.Setter     { return number32(stun.AttrLifetime, seconds) }
func channel(number uint16) stun.Setter       { return number32(stun.AttrChannelNumber, uint32(number)<<16) }
func peer(address netip.AddrPort) stun.Setter { return xorAddress(stun.AttrXORPeerAddress, address) }

// familyOf is the setter that asks for a family.
func familyOf(v6 bool) stun.Setter {
	if v6 {
		return wantIPv6
	}
	return wantIPv4
}

// xorAddress writes an address in the spelling that it has: pion/stun would send an IPv4-mapped one as IPv4.
func xorAddress(kind stun.AttrType, address netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		ip, family := address.Addr().AsSlice(), byte(2)
		if address.Addr().Is4() {
			family = 1
		}
		mask := m.Raw[4:20]
		value := binary.BigEndian.AppendUint16([]byte{0, family}, address.Port()^binary.BigEndian.Uint16(mask))
		for i := range ip {
			value = append(value, ip[i]^mask[i])
		}
		m.Add(kind, value)
		return nil
	})
}

// answer is a STUN message as it came.
type answer struct {
	raw        []byte
	method     stun.Method
	class      stun.MessageClass
	attributes []attribute
}

type attribute struct {
	kind  stun.AttrType
	value []byte
	at    int // offset of its head
}

func methodOf(b []byte) stun.Method {
	t := binary.BigEndian.Uint16(b)
	return stun.Method(t&0xF | t>>1&0x70 | t>>2&0xF80)
}

// parseMessage reads a STUN message by hand (RFC 8489 §5, §14).
func parseMessage(b []byte) (answer, error) {
	a := answer{raw: b}
	switch {
	case len(b) < 20 || len(b)%4 != 0 || b[0]&0xC0 != 0 || binary.BigEndian.Uint32(b[4:]) != 0x2112A442:
		return a, errors.New("no STUN header")
	case len(b) != 20+int(binary.BigEndian.Uint16(b[2:])):
		return a, fmt.Errorf("length field %d in a message of %d bytes", binary.BigEndian.Uint16(b[2:]), len(b))
	}
	a.method, a.class = methodOf(b), stun.MessageClass(b[0]&1<<1|b[1]>>4&1)
	for at := 20; at < len(b); {
		length := int(binary.BigEndian.Uint16(b[at+2:]))
		end := at + 4 + length
		next := (end + 3) &^ 3
		if next > len(b) {
			return a, fmt.Errorf("attribute at %d runs over the end", at)
		}
		if len(bytes.Trim(b[end:next], "\x00")) > 0 {
			return a, fmt.Errorf("attribute at %d is padded with something", at)
		}
		a.attributes = append(a.attributes, attribute{stun.AttrType(binary.BigEndian.Uint16(b[at:])), b[at+4 : end], at})
		at = next
	}
	return a, nil
}

// readAnswer reads a response and checks what every one has to have: a class, FINGERPRINT, last and right (RFC 8489
// §14.7), MESSAGE-INTEGRITY directly before it if at all, and ERROR-CODE exactly in errors.
func readAnswer(b []byte) (answer, error) {
	a, err := parseMessage(b)
	if err != nil {
		return a, err
	}
	last := len(a.attributes) - 1
	if last < 0 || a.attributes[last].kind != stun.AttrFingerprint || len(a.attributes[last].value) != 4 {
		return a, errors.New("no FINGERPRINT at the end")
	}
	if sum := crc32.ChecksumIEEE(b[:len(b)-8]) ^ 0x5354554E; binary.BigEndian.Uint32(b[len(b)-4:]) != sum {
		return a, errors.New("FINGERPRINT is wrong")
	}
	for i, one := range a.attributes {
		if one.kind == stun.AttrMessageIntegrity && i != last-1 || one.kind == stun.AttrFingerprint && i != last {
			return a, fmt.Errorf("%v is not at its place", one.kind)
		}
		if one.kind == stun.AttrErrorCode {
			if v := one.value; len(v) < 4 || v[0] != 0 || v[1] != 0 || v[2] < 3 || v[2] > 6 || v[3] > 99 || !utf8.Valid(v[4:]) || len(v) > 4+127 {
				return a, fmt.Errorf("ERROR-CODE is %x", v)
			}
		}
	}
	if a.class != stun.ClassSuccessResponse && a.class != stun.ClassErrorResponse || a.has(stun.AttrErrorCode) != (a.class == stun.ClassErrorResponse) {
		return a, fmt.Errorf("the class is %v, with or without ERROR-CODE", a.class)
	}
	return a, nil
}

func (a answer) id() []byte { return a.raw[8:20] }

func (a answer) has(kind stun.AttrType) bool {
	return slices.ContainsFunc(a.attributes, func(one attribute) bool { return one.kind == kind })
}

// get is the value of the first attribute of a kind, nil without.
func (a answer) get(kind stun.AttrType) []byte {
	for _, one := range a.attributes {
		if one.kind == kind {
			return one.value
		}
	}
	return nil
}

// code is the error code, 0 of a success.
func (a answer) code() int {
	if v := a.get(stun.AttrErrorCode); v != nil {
		return int(v[2])*100 + int(v[3])
	}
	return 0
}

// want ends the test unless the answer has this error code, 0 for a success.
func (a answer) want(t testing.TB, code int) {
	t.Helper()
	if got := a.code(); got != code {
		t.Fatalf("%v is answered with %s, want %s", a.method, outcome(got), outcome(code))
	}
}

func outcome(code int) string {
	if code == 0 {
		return "success"
	}
	return fmt.Sprint(code)
}

// signedBy tells whether MESSAGE-INTEGRITY is there and made with key (RFC 8489 §14.5).
func (a answer) signedBy(key []byte) bool {
	for _, one := range a.attributes {
		if one.kind == stun.AttrMessageIntegrity {
			signed := bytes.Clone(a.raw[:one.at])
			binary.BigEndian.PutUint16(signed[2:], uint16(one.at+24-20))
			mac := hmac.New(sha1.New, key)
			mac.Write(signed)
			return hmac.Equal(mac.Sum(nil), one.value)
		}
	}
	return false
}

// address reads a XOR-…-ADDRESS (RFC 8489 §14.2).
func (a answer) address(t testing.TB, kind stun.AttrType) netip.AddrPort {
	t.Helper()
	v := bytes.Clone(a.get(kind))
	if len(v) != 8 && len(v) != 20 || v[0] != 0 || int(v[1]) != len(v)/8 {
		t.Fatalf("%v is %x", kind, v)
	}
	for i := range v[4:] {
		v[4+i] ^= a.raw[4+i]
	}
	ip, _ := netip.AddrFromSlice(v[4:])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[2:])^binary.BigEndian.Uint16(a.raw[4:]))
}

// seconds reads LIFETIME.
func (a answer) seconds(t testing.TB) uint32 {
	t.Helper()
	v := a.get(stun.AttrLifetime)
	if len(v) != 4 {
		t.Fatalf("LIFETIME is %x", v)
	}
	return binary.BigEndian.Uint32(v)
}
