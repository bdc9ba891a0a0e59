package check

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
)

// Methods, RFC 8489 §18.2, RFC 8656 §17, RFC 6062 §6.1.
const (
	binding           = 0x001
	allocate          = 0x003
	refresh           = 0x004
	send              = 0x006
	data              = 0x007
	createPermission  = 0x008
	channelBind       = 0x009
	connect           = 0x00A
	connectionBind    = 0x00B
	connectionAttempt = 0x00C
)

// Classes, as they stand in the message type: bits 4 and 8 (RFC 8489 §5).
const (
	classRequest    = 0x000
	classIndication = 0x010
	classSuccess    = 0x100
	classError      = 0x110
)

// Attributes, RFC 8489 §18.3, RFC 8656 §18, RFC 6062 §6.2, RFC 8016 §4, RFC 5780 §9.
const (
	attrMappedAddress      = 0x0001
	attrChangeRequest      = 0x0003
	attrUsername           = 0x0006
	attrIntegrity          = 0x0008
	attrErrorCode          = 0x0009
	attrUnknownAttributes  = 0x000A
	attrChannelNumber      = 0x000C
	attrLifetime           = 0x000D
	attrPeer               = 0x0012
	attrData               = 0x0013
	attrRealm              = 0x0014
	attrNonce              = 0x0015
	attrRelayed            = 0x0016
	attrRequestedFamily    = 0x0017
	attrEvenPort           = 0x0018
	attrRequestedTransport = 0x0019
	attrDontFragment       = 0x001A
	attrIntegrity256       = 0x001C
	attrAlgorithm          = 0x001D
	attrUserhash           = 0x001E
	attrMapped             = 0x0020 // XOR-MAPPED-ADDRESS
	attrToken              = 0x0022 // RESERVATION-TOKEN
	attrPadding            = 0x0026
	attrResponsePort       = 0x0027
	attrConnectionID       = 0x002A
	attrAdditionalFamily   = 0x8000
	attrAddressError       = 0x8001
	attrAlgorithms         = 0x8002
	attrSoftware           = 0x8022
	attrFingerprint        = 0x8028
	attrResponseOrigin     = 0x802B
	attrOtherAddress       = 0x802C
	attrTicket             = 0x8030 // MOBILITY-TICKET

	// Attributes that nobody understands: the last of the required and of the optional ranges (RFC 8489 §18.3).
	attrUnknownRequired  = 0x7FF1
	attrUnknownRequired2 = 0x7FF3
	attrUnknownOptional  = 0xFFF1
)

var attributeNames = map[uint16]string{
	attrMappedAddress: "MAPPED-ADDRESS", attrUsername: "USERNAME", attrIntegrity: "MESSAGE-INTEGRITY", attrErrorCode: "ERROR-CODE",
	attrUnknownAttributes: "UNKNOWN-ATTRIBUTES", attrLifetime: "LIFETIME", attrPeer: "XOR-PEER-ADDRESS", attrData: "DATA", attrRealm: "REALM",
	attrNonce: "NONCE", attrRelayed: "XOR-RELAYED-ADDRESS", attrDontFragment: "DONT-FRAGMENT", attrIntegrity256: "MESSAGE-INTEGRITY-SHA256",
	attrAlgorithm: "PASSWORD-ALGORITHM", attrUserhash: "USERHASH", attrMapped: "XOR-MAPPED-ADDRESS", attrToken: "RESERVATION-TOKEN",
	attrPadding: "PADDING", attrConnectionID: "CONNECTION-ID", attrAddressError: "ADDRESS-ERROR-CODE", attrAlgorithms: "PASSWORD-ALGORITHMS",
	attrSoftware: "SOFTWARE", attrFingerprint: "FINGERPRINT", attrResponseOrigin: "RESPONSE-ORIGIN", attrOtherAddress: "OTHER-ADDRESS",
	attrTicket: "MOBILITY-TICKET",
}

func nameOf(kind uint16) string {
	if name := attributeNames[kind]; name != "" {
		return name
	}
	return fmt.Sprintf("attribute 0x%04X", kind)
}

const (
	headerSize       = 20
	magic            = 0x2112A442
	fingerprintXOR   = 0x5354554E
	firstChannel     = 0x4000
	lastChannel      = 0x4FFF
	protocolUDP      = 17
	protocolTCP      = 6
	familyIPv4       = 1
	familyIPv6       = 2
	integritySize    = sha1.Size
	integrity256Size = sha256.Size
)

// attr is an attribute to be sent: a value, or an address that is XORed with cookie and transaction ID when the message
// is built.
type attr struct {
	kind  uint16
	value []byte
	addr  netip.AddrPort
}

func raw(kind uint16, value ...byte) attr { return attr{kind: kind, value: value} }
func text(kind uint16, s string) attr     { return attr{kind: kind, value: []byte(s)} }
func number(kind uint16, n uint32) attr {
	return attr{kind: kind, value: binary.BigEndian.AppendUint32(nil, n)}
}
func peer(a netip.AddrPort) attr      { return attr{kind: attrPeer, addr: a} }
func lifetime(seconds uint32) attr    { return number(attrLifetime, seconds) }
func transport(protocol byte) attr    { return raw(attrRequestedTransport, protocol, 0, 0, 0) }
func family(kind uint16, f byte) attr { return raw(kind, f, 0, 0, 0) }
func channel(n uint16) attr           { return number(attrChannelNumber, uint32(n)<<16) }

// build is a message of a type with a new transaction ID, unsigned.
func build(kind uint16, attributes ...attr) []byte {
	b := make([]byte, headerSize, 128)
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint32(b[4:], magic)
	_, _ = rand.Read(b[8:headerSize]) // never fails
	return add(b, attributes...)
}

// add appends attributes, with zeros for padding, and corrects the length.
func add(b []byte, attributes ...attr) []byte {
	for _, a := range attributes {
		value := a.value
		if a.addr.IsValid() {
			value = xorAddress(a.addr, b)
		}
		b = binary.BigEndian.AppendUint16(b, a.kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
		b = append(b, make([]byte, padding(len(value)))...)
	}
	setLength(b, len(b)-headerSize)
	return b
}

func setLength(b []byte, n int)  { binary.BigEndian.PutUint16(b[2:], uint16(n)) }
func padding(n int) int          { return -n & 3 }
func identity(b []byte) [12]byte { return [12]byte(b[8:headerSize]) }
func kindOf(b []byte) uint16     { return binary.BigEndian.Uint16(b) }

// withIntegrity signs a message with HMAC-SHA1 (RFC 8489 §14.5).
func withIntegrity(b, key []byte) []byte {
	setLength(b, len(b)-headerSize+4+integritySize)
	mac := hmac.New(sha1.New, key)
	mac.Write(b)
	return add(b, raw(attrIntegrity, mac.Sum(nil)...))
}

// withIntegrity256 signs a message with HMAC-SHA256, cut to size bytes (RFC 8489 §14.6).
func withIntegrity256(b, key []byte, size int) []byte {
	setLength(b, len(b)-headerSize+4+size)
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return add(b, raw(attrIntegrity256, mac.Sum(nil)[:size]...))
}

func withFingerprint(b []byte) []byte {
	setLength(b, len(b)-headerSize+8)
	return add(b, number(attrFingerprint, crc32.ChecksumIEEE(b)^fingerprintXOR))
}

// xorAddress encodes an XOR-…-ADDRESS for the message that begins with header (RFC 8489 §14.2).
func xorAddress(a netip.AddrPort, header []byte) []byte {
	address := a.Addr().AsSlice()
	v := []byte{0, familyIPv4}
	if len(address) == 16 {
		v[1] = familyIPv6
	}
	v = binary.BigEndian.AppendUint16(v, a.Port()^magic>>16)
	for i, x := range address {
		v = append(v, x^header[4+i])
	}
	return v
}

// message is what came from the server. Its attributes are all of them, those behind the integrity included.
type message struct {
	raw        []byte
	kind       uint16
	id         [12]byte
	attributes []received
}

type received struct {
	kind   uint16
	value  []byte
	pad    []byte
	offset int // of the attribute in the message
}

var errNotSTUN = errors.New("not a STUN message")

// parse reads a message strictly: anything that RFC 8489 §5 and §14 forbid is an error.
func parse(b []byte) (*message, error) {
	if len(b) < headerSize || b[0]&0xC0 != 0 {
		return nil, errNotSTUN
	}
	if cookie := binary.BigEndian.Uint32(b[4:]); cookie != magic {
		return nil, fmt.Errorf("the magic cookie is 0x%08X", cookie)
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b)-headerSize || n%4 != 0 {
		return nil, fmt.Errorf("the length is %d in a message of %d+%d bytes", n, headerSize, len(b)-headerSize)
	}
	m := &message{raw: b, kind: kindOf(b), id: identity(b)}
	for at := headerSize; at < len(b); {
		if len(b)-at < 4 {
			return nil, errors.New("the last attribute is cut off")
		}
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		end := at + 4 + n
		if end+padding(n) > len(b) {
			return nil, fmt.Errorf("%s is longer than the message", nameOf(kindOf(b[at:])))
		}
		m.attributes = append(m.attributes, received{kind: kindOf(b[at:]), value: b[at+4 : end], pad: b[end : end+padding(n)], offset: at})
		at = end + padding(n)
	}
	return m, nil
}

func (m *message) class() uint16  { return m.kind & classError }
func (m *message) method() uint16 { return m.kind &^ classError }

// get is a copy of the value of the first attribute of a kind; nil when there is none.
func (m *message) get(kind uint16) []byte {
	for _, a := range m.attributes {
		if a.kind == kind {
			return append([]byte{}, a.value...)
		}
	}
	return nil
}

func (m *message) has(kind uint16) bool {
	for _, a := range m.attributes {
		if a.kind == kind {
			return true
		}
	}
	return false
}

// number is a 32-bit attribute.
func (m *message) number(kind uint16) (uint32, bool) {
	v := m.get(kind)
	if len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// code is the error code; 0 for a success, -1 for an error without a readable one.
func (m *message) code() int {
	v := m.get(attrErrorCode)
	switch {
	case m.class() == classSuccess:
		return 0
	case len(v) < 4:
		return -1
	}
	return int(v[2]&7)*100 + int(v[3])
}

// addresses are all XORed addresses of a kind.
func (m *message) addresses(kind uint16) (all []netip.AddrPort) {
	for _, a := range m.attributes {
		if a.kind != kind {
			continue
		}
		if address, ok := m.unXOR(a.value); ok {
			all = append(all, address)
		}
	}
	return all
}

// address is the first XORed address of a kind; invalid when there is none or it can't be read.
func (m *message) address(kind uint16) netip.AddrPort {
	if all := m.addresses(kind); len(all) > 0 {
		return all[0]
	}
	return netip.AddrPort{}
}

func (m *message) unXOR(v []byte) (netip.AddrPort, bool) {
	plain := bytes.Clone(v)
	if len(plain) < 4 {
		return netip.AddrPort{}, false
	}
	plain[2] ^= m.raw[4]
	plain[3] ^= m.raw[5]
	for i := 4; i < len(plain) && i < headerSize; i++ {
		plain[i] ^= m.raw[i]
	}
	return plainAddress(plain)
}

// plainAddress reads the format of MAPPED-ADDRESS (RFC 8489 §14.1).
func plainAddress(v []byte) (netip.AddrPort, bool) {
	if !(len(v) == 8 && v[1] == familyIPv4 || len(v) == 20 && v[1] == familyIPv6) {
		return netip.AddrPort{}, false
	}
	a, ok := netip.AddrFromSlice(v[4:])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(v[2:])), ok
}

// signedBy says whether the message bears a right MESSAGE-INTEGRITY.
func (m *message) signedBy(key []byte) bool {
	return m.integrity(attrIntegrity, func(b []byte) []byte { return withIntegrity(b, key) })
}

// signedBy256 says whether the message bears a right, whole MESSAGE-INTEGRITY-SHA256.
func (m *message) signedBy256(key []byte) bool {
	return m.integrity(attrIntegrity256, func(b []byte) []byte { return withIntegrity256(b, key, integrity256Size) })
}

func (m *message) integrity(kind uint16, sign func([]byte) []byte) bool {
	for _, a := range m.attributes {
		if a.kind == kind {
			want := sign(bytes.Clone(m.raw[:a.offset]))
			return bytes.HasSuffix(want, a.value) && len(want) == a.offset+4+len(a.value)
		}
	}
	return false
}

// String is the message as a report says it: "437 (Allocation Mismatch)", "success".
func (m *message) String() string {
	switch m.class() {
	case classSuccess:
		return "success"
	case classError:
		if v := m.get(attrErrorCode); len(v) > 4 {
			return fmt.Sprintf("%d (%s)", m.code(), strings.ToValidUTF8(strings.Map(printable, string(v[4:min(len(v), 64)])), "?"))
		}
		if m.code() < 0 {
			return "an error without ERROR-CODE"
		}
		return fmt.Sprintf("%d without a reason phrase", m.code())
	}
	return fmt.Sprintf("message of type 0x%04X", m.kind)
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7F {
		return '?'
	}
	return r
}
