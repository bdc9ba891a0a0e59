package wire

import (
	"encoding/binary"
	"net/netip"
)

// Values of the family field of addresses and of REQUESTED-ADDRESS-FAMILY (RFC 8489 §14.1, RFC 8656 §18.6).
const (
	FamilyIPv4 uint8 = 0x01
	FamilyIPv6 uint8 = 0x02
)

// Bytes of an address attribute's value (RFC 8489 §14.1).
const (
	addressSizeIPv4 = 8
	addressSizeIPv6 = 20
)

func addressSize(a netip.Addr) int {
	if a.Is4() {
		return addressSizeIPv4
	}
	return addressSizeIPv6
}

// parseXORAddress reads the value of a XOR-…-ADDRESS attribute, whose length must fit its family exactly (RFC 8489
// §14.2). head is the message's header: the mask is its cookie and transaction ID, bytes 4 to 20. An IPv4-mapped IPv6
// address stays one, because that spelling is for the peer rules to judge.
func parseXORAddress(v, head []byte) (netip.AddrPort, bool) {
	if len(v) < addressSizeIPv4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ cookie>>16
	switch v[1] { // v[0] must be ignored by receivers (RFC 8489 §14.1)
	case FamilyIPv4:
		if len(v) != addressSizeIPv4 {
			return netip.AddrPort{}, false
		}
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], binary.BigEndian.Uint32(v[4:])^cookie)
		return netip.AddrPortFrom(netip.AddrFrom4(ip), port), true
	case FamilyIPv6:
		if len(v) != addressSizeIPv6 {
			return netip.AddrPort{}, false
		}
		var ip [16]byte
		mask := head[4:HeaderSize]
		for i := range ip {
			ip[i] = v[4+i] ^ mask[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(ip), port), true
	}
	return netip.AddrPort{}, false
}

// putXORAddress writes the value of a XOR-…-ADDRESS attribute, addressSize bytes (RFC 8489 §14.2). A zone is not sent.
func putXORAddress(b []byte, tid *[12]byte, addr netip.AddrPort) {
	b[0] = 0
	binary.BigEndian.PutUint16(b[2:], addr.Port()^cookie>>16)
	if addr.Addr().Is4() {
		b[1] = FamilyIPv4
		ip := addr.Addr().As4()
		binary.BigEndian.PutUint32(b[4:], binary.BigEndian.Uint32(ip[:])^cookie)
		return
	}
	b[1] = FamilyIPv6
	ip := addr.Addr().As16()
	binary.BigEndian.PutUint32(b[4:], binary.BigEndian.Uint32(ip[:])^cookie)
	for i, m := range tid {
		b[8+i] = ip[4+i] ^ m
	}
}
