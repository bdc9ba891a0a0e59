package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v2"
)

// The typed readers share one convention: ok is false where the attribute is absent or does not count (see Get), and
// err is ErrMalformed where its value has the wrong length or shape. Reserved bits are ignored. Which values make sense
// is for the reader's caller.

// Lifetime reads LIFETIME, in seconds (RFC 8656 §18.2).
func (m *Message) Lifetime() (seconds uint32, ok bool, err error) {
	v, ok, err := m.fixed(AttrLifetime, 4)
	if v == nil {
		return 0, ok, err
	}
	return binary.BigEndian.Uint32(v), true, nil
}

// RequestedTransport reads REQUESTED-TRANSPORT: an IP protocol number, 17 for UDP (RFC 8656 §18.8).
func (m *Message) RequestedTransport() (protocol uint8, ok bool, err error) {
	return m.first(AttrRequestedTransport, 4)
}

// RequestedAddressFamily reads REQUESTED-ADDRESS-FAMILY: FamilyIPv4, FamilyIPv6, or whatever was sent (RFC 8656 §18.6).
func (m *Message) RequestedAddressFamily() (family uint8, ok bool, err error) {
	return m.first(AttrRequestedAddressFamily, 4)
}

// AdditionalAddressFamily reads ADDITIONAL-ADDRESS-FAMILY: FamilyIPv6 is the only value that is allowed (RFC 8656
// §18.11), but whatever was sent is returned. Without it coturn's own number for it counts.
func (m *Message) AdditionalAddressFamily() (family uint8, ok bool, err error) {
	if m.Has(AttrAdditionalAddressFamily) {
		return m.first(AttrAdditionalAddressFamily, 4)
	}
	return m.first(AttrCoturnAdditionalFamily, 4)
}

// EvenPort reads EVEN-PORT; reserve is its R bit: keep the next-higher port for a second allocation (RFC 8656 §18.7).
func (m *Message) EvenPort() (reserve bool, ok bool, err error) {
	v, ok, err := m.first(AttrEvenPort, 1)
	return v&0x80 != 0, ok, err
}

// ReservationToken reads RESERVATION-TOKEN (RFC 8656 §18.10).
func (m *Message) ReservationToken() (token [8]byte, ok bool, err error) {
	v, ok, err := m.fixed(AttrReservationToken, 8)
	copy(token[:], v)
	return token, ok, err
}

// ChannelNumber reads CHANNEL-NUMBER, which need not be within MinChannel and MaxChannel (RFC 8656 §18.1).
func (m *Message) ChannelNumber() (n uint16, ok bool, err error) {
	v, ok, err := m.fixed(AttrChannelNumber, 4)
	if v == nil {
		return 0, ok, err
	}
	return binary.BigEndian.Uint16(v), true, nil
}

// ConnectionID reads CONNECTION-ID (RFC 6062 §6.2.1).
func (m *Message) ConnectionID() (id uint32, ok bool, err error) {
	v, ok, err := m.fixed(AttrConnectionID, 4)
	if v == nil {
		return 0, ok, err
	}
	return binary.BigEndian.Uint32(v), true, nil
}

// Peers appends every XOR-PEER-ADDRESS to dst, in the order sent (RFC 8656 §10.2, §18.3). If one is malformed, dst
// comes back as it was, with ErrMalformed. Where a method takes one peer only, that is the first (RFC 8489 §14).
func (m *Message) Peers(dst []netip.AddrPort) ([]netip.AddrPort, error) {
	head := len(dst)
	for i := range m.decoded.Attributes[:m.visible] {
		a := &m.decoded.Attributes[i]
		if a.Type != stun.AttrType(AttrXORPeerAddress) {
			continue
		}
		peer, ok := parseXORAddress(a.Value, m.decoded.Raw)
		if !ok {
			return dst[:head], ErrMalformed
		}
		dst = append(dst, peer)
	}
	return dst, nil
}

// Address reads the first attribute of a XOR-encoded kind: XOR-MAPPED-ADDRESS, XOR-RELAYED-ADDRESS, XOR-PEER-ADDRESS
// (RFC 8489 §14.2).
func (m *Message) Address(a Attr) (addr netip.AddrPort, ok bool, err error) {
	v, ok := m.Get(a)
	if !ok {
		return addr, false, nil
	}
	if addr, ok = parseXORAddress(v, m.decoded.Raw); !ok {
		return addr, true, ErrMalformed
	}
	return addr, true, nil
}

// ErrorCode reads ERROR-CODE: 300 to 699, and the reason phrase, a part of the decoded bytes (RFC 8489 §14.8).
func (m *Message) ErrorCode() (code int, reason []byte, ok bool, err error) {
	v, ok := m.Get(AttrErrorCode)
	if !ok {
		return 0, nil, false, nil
	}
	if len(v) < 4 || v[2]&7 < 3 || v[2]&7 > 6 || v[3] > 99 {
		return 0, nil, true, ErrMalformed
	}
	return int(v[2]&7)*100 + int(v[3]), v[4:], true, nil
}

// fixed finds an attribute whose value is size bytes long. The value is nil unless all is well.
func (m *Message) fixed(a Attr, size int) (value []byte, ok bool, err error) {
	v, ok := m.Get(a)
	if ok && len(v) != size {
		return nil, true, ErrMalformed
	}
	return v, ok, nil
}

// first reads the first byte of an attribute whose value is size bytes long.
func (m *Message) first(a Attr, size int) (b uint8, ok bool, err error) {
	v, ok, err := m.fixed(a, size)
	if v == nil {
		return 0, ok, err
	}
	return v[0], true, nil
}
