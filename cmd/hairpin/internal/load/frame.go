package load

import (
	"encoding/binary"
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

const (
	cookie       = 0x2112A442 // RFC 8489 §5
	typeSend     = 0x0016     // RFC 8656 §17, class indication
	typeData     = 0x0017
	maxSendHead  = 48 // bytes ahead of the payload of a Send indication to an IPv6 peer
	attributeTLV = 4  // bytes of an attribute's type and length
)

// sendHead builds what stands ahead of a client's payloads, the same for each of them: a channel's header, or a Send
// indication to peer. A Send indication looks as the Data indication that comes of it, but for its type.
//
// All Send indications of a client bear one transaction ID. Nobody answers them, so nobody can tell; and an IPv6 peer's
// address, which is encoded with the ID, need not be encoded anew for each.
func sendHead(dst []byte, channel uint16, peer netip.AddrPort, tid [12]byte, size int) []byte {
	if channel != 0 {
		dst = append(dst, make([]byte, wire.ChannelHeaderSize)...)
		wire.PutChannelHeader(dst, channel, size)
		return dst
	}
	dst = append(dst, make([]byte, wire.DataHeaderSize(peer.Addr()))...)
	wire.PutDataHeader(dst, &tid, peer, size)
	binary.BigEndian.PutUint16(dst, typeSend)
	return dst
}

// isData recognises a Data indication by its type.
func isData(b []byte) bool {
	return len(b) >= wire.HeaderSize && binary.BigEndian.Uint16(b) == typeData
}

// parseData reads a Data indication (RFC 8656 §11.4): whom it is from, and its payload. Attributes may stand in any order
// and others beside them; it is not read more strictly than that, because what counts is the payload.
func parseData(b []byte) (peer netip.AddrPort, payload []byte, ok bool) {
	if !isData(b) || int(binary.BigEndian.Uint16(b[2:])) != len(b)-wire.HeaderSize || binary.BigEndian.Uint32(b[4:]) != cookie {
		return peer, nil, false
	}
	for at := wire.HeaderSize; at+attributeTLV <= len(b); {
		kind, length := wire.Attr(binary.BigEndian.Uint16(b[at:])), int(binary.BigEndian.Uint16(b[at+2:]))
		at += attributeTLV
		if length > len(b)-at {
			return peer, nil, false
		}
		switch value := b[at : at+length]; {
		case kind == wire.AttrData && payload == nil:
			payload = value
		case kind == wire.AttrXORPeerAddress && !peer.IsValid():
			if peer, ok = xorAddress(value, b); !ok {
				return peer, nil, false
			}
		}
		at += length + wire.Padding(length)
	}
	return peer, payload, payload != nil && peer.IsValid()
}

// xorAddress decodes the value of an XOR-encoded address attribute of a message (RFC 8489 §14.2).
func xorAddress(value, message []byte) (netip.AddrPort, bool) {
	four := len(value) == 8 && value[1] == wire.FamilyIPv4
	if !four && (len(value) != 20 || value[1] != wire.FamilyIPv6) {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ cookie>>16
	var plain [16]byte
	for i, v := range value[4:] {
		plain[i] = v ^ message[4+i] // cookie and transaction ID
	}
	if four {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(plain[:4])), port), true
	}
	return netip.AddrPortFrom(netip.AddrFrom16(plain), port), true
}
