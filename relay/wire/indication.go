package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v2"
)

// MaxData is the longest payload, in bytes, that a Data indication can carry whatever the peer's family: one byte more
// with an IPv6 peer and the message's length no longer fits its 16 bits.
const MaxData = MaxFrame - HeaderSize - (attributeHeaderSize + addressSizeIPv6) - attributeHeaderSize

// Send is what a Send indication asks for (RFC 8656 §11.1).
type Send struct {
	Peer           netip.AddrPort
	Offset, Length int  // of the payload, DATA's value, in the message; bytes
	DontFragment   bool // DONT-FRAGMENT was there
}

// IsSend recognises a Send indication by its type, before anything else about it is checked.
func IsSend(b []byte) bool {
	return len(b) >= 2 && b[0] == typeSend>>8 && b[1] == typeSend&0xFF
}

// ParseSend reads a whole Send indication. It is as strict as [Message.Decode]; there is nobody to answer, so
// everything that is wrong has the same outcome, false, and the indication is dropped in silence (RFC 8489 §6.3.2, RFC
// 8656 §11.2): a broken message, a wrong FINGERPRINT, an unknown comprehension-required attribute, no XOR-PEER-ADDRESS
// or one that is malformed, no DATA. Empty DATA is fine. After false, s holds nothing of use.
func ParseSend(b []byte, s *Send) bool {
	if !IsSend(b) || header(b) != nil {
		return false
	}
	*s = Send{}
	var peer, data, covered bool // covered: only FINGERPRINT counts from here on (RFC 8489 §9)
	for at := HeaderSize; at < len(b); {
		kind, length, next, ok := attribute(b, at)
		if !ok {
			return false
		}
		value := at + attributeHeaderSize
		switch {
		case kind == AttrFingerprint:
			if !fingerprintAt(b, at) {
				return false
			}
		case covered:
		case kind == AttrXORPeerAddress && !peer:
			if s.Peer, peer = parseXORAddress(b[value:value+length], b); !peer {
				return false
			}
		case kind == AttrData && !data:
			s.Offset, s.Length, data = value, length, true
		case kind == AttrDontFragment:
			s.DontFragment = true
		case kind == AttrMessageIntegrity, kind == AttrMessageIntegritySHA256:
			covered = true
		case !kind.Known():
			return false
		}
		at = next
	}
	return peer && data
}

// fingerprintAt tells whether the FINGERPRINT at b[at:] is the last attribute and right (RFC 8489 §14.7).
func fingerprintAt(b []byte, at int) bool {
	const size = 4
	return at+attributeHeaderSize+size == len(b) &&
		binary.BigEndian.Uint16(b[at+2:]) == size &&
		binary.BigEndian.Uint32(b[at+attributeHeaderSize:]) == stun.FingerprintValue(b[:at])
}

// DataHeaderSize is the number of bytes ahead of the payload in a Data indication: 36 for an IPv4 peer, 48 for IPv6.
func DataHeaderSize(peer netip.Addr) int {
	return HeaderSize + attributeHeaderSize + addressSize(peer) + attributeHeaderSize
}

// PutDataHeader writes the head of a Data indication into b[:DataHeaderSize(peer.Addr())]: header, XOR-PEER-ADDRESS,
// and the beginning of DATA (RFC 8656 §11.3). The payload of length bytes follows it, and Padding(length) zero bytes
// after that, over UDP too. length must be at most [MaxData].
func PutDataHeader(b []byte, tid *[12]byte, peer netip.AddrPort, length int) {
	size := DataHeaderSize(peer.Addr())
	b = b[:size]
	binary.BigEndian.PutUint16(b, typeData)
	binary.BigEndian.PutUint16(b[2:], uint16(size-HeaderSize+length+Padding(length)))
	binary.BigEndian.PutUint32(b[4:], cookie)
	copy(b[8:], tid[:])
	binary.BigEndian.PutUint16(b[20:], uint16(AttrXORPeerAddress))
	binary.BigEndian.PutUint16(b[22:], uint16(addressSize(peer.Addr())))
	putXORAddress(b[24:], tid, peer)
	binary.BigEndian.PutUint16(b[size-4:], uint16(AttrData))
	binary.BigEndian.PutUint16(b[size-2:], uint16(length))
}

// AppendICMP appends a Data indication that carries, in place of data, what an ICMP message says of a datagram that went
// to peer (RFC 8656 §11.5, §18.13). mtu, in bytes, goes with a message that the datagram was too big; else it is 0.
//
// There is a DATA attribute, too, of no bytes, which RFC 8656 §11.5 neither asks for nor forbids: many clients know nothing
// of ICMP, and take a Data indication without DATA for a broken connection (pion/turn reads no further). To them this is an
// empty datagram, which a peer may send as well.
func AppendICMP(dst []byte, tid *[12]byte, peer netip.AddrPort, kind, code uint8, mtu uint32) []byte {
	const size = 8
	address := addressSize(peer.Addr())
	dst = binary.BigEndian.AppendUint16(dst, typeData)
	dst = binary.BigEndian.AppendUint16(dst, uint16(3*attributeHeaderSize+address+size))
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	dst = append(dst, tid[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(AttrXORPeerAddress))
	dst = binary.BigEndian.AppendUint16(dst, uint16(address))
	at := len(dst)
	dst = append(dst, make([]byte, address)...)
	putXORAddress(dst[at:], tid, peer)
	dst = binary.BigEndian.AppendUint16(dst, uint16(AttrICMP))
	dst = binary.BigEndian.AppendUint16(dst, size)
	dst = append(dst, 0, 0) // reserved
	dst = binary.BigEndian.AppendUint16(dst, uint16(kind&0x7F)<<9|uint16(code))
	dst = binary.BigEndian.AppendUint32(dst, mtu)
	return binary.BigEndian.AppendUint32(dst, uint32(AttrData)<<16) // of no bytes
}
