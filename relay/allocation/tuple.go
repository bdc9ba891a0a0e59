package allocation

import (
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Transport is the transport between client and server.
type Transport uint8

// The transports that a five-tuple can have (RFC 8656 §2).
const (
	UDP Transport = iota + 1
	TCP
	TLS  // over TCP
	DTLS // over UDP
)

// String returns "udp", "tcp", "tls" or "dtls".
func (t Transport) String() string {
	switch t {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	case DTLS:
		return "dtls"
	}
	return "unknown"
}

// Family is an address family as REQUESTED-ADDRESS-FAMILY writes it
// (RFC 8656 §18.6).
type Family uint8

// The two families. The zero value is none.
const (
	IPv4 Family = 1
	IPv6 Family = 2
)

// FamilyOf returns the family of a; an IPv4-mapped address is IPv6.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// FiveTuple identifies an allocation (RFC 8656 §3): the client's transport
// address, the server's, and the transport between them.
type FiveTuple struct {
	Client, Server netip.AddrPort
	Transport      Transport
}

// Stream is a client's connection, as far as the data plane needs it.
type Stream interface {
	// Send queues one frame made of head, body and pad zero bytes; it copies.
	// It returns false when the connection's queue is full: the frame is dropped.
	Send(head, body []byte, pad int) bool
	// Flush writes what is queued, as far as the kernel takes it at once.
	Flush()
}

// Client says how to reach an allocation's client.
type Client struct {
	Listener    int32           // index of the listener that it came through
	Loop        int32           // which of the server's loops reads its datagrams; -1: it has a connection
	Destination udp.Destination // where its datagrams go, when Stream is nil
	Stream      Stream          // its connection, or its flow through a load balancer; nil for plain UDP
}
