package udp

import "net/netip"

// ICMP is a message of the network's about a datagram that left by a socket.
type ICMP struct {
	To         netip.AddrPort // where that datagram was to go
	Type, Code uint8          // of ICMPv4 or ICMPv6, as To's family says
	MTU        uint32         // of the next hop, in bytes, when the datagram was too large for it; else 0
}
