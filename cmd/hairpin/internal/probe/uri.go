package probe

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Transport is the transport between a client and the server.
type Transport string

// The transports that a turn or turns URI can name.
const (
	UDP  Transport = "udp"
	TCP  Transport = "tcp"
	TLS  Transport = "tls"  // turns: over TCP
	DTLS Transport = "dtls" // turns: over UDP
)

// The ports of a URI that names none (RFC 7065 §3.2, RFC 5928 §3).
const (
	defaultPort       = 3478 // turn
	defaultSecurePort = 5349 // turns
)

// URI is a parsed turn or turns URI (RFC 7065 §3.1).
type URI struct {
	Host      string // name or IP address, without brackets
	Port      uint16
	Transport Transport
}

// ParseURI reads turn:HOST[:PORT][?transport=udp|tcp], or turns:; an IPv6 address stands in brackets. The port defaults
// to 3478 and the transport to UDP, with turns to 5349 and TLS over TCP.
func ParseURI(s string) (URI, *Fault) {
	const example = "write turn:HOST:PORT?transport=udp"
	u := URI{Port: defaultPort, Transport: UDP}
	scheme, rest, _ := strings.Cut(s, ":")
	authority, query, hasQuery := strings.Cut(rest, "?")
	switch strings.ToLower(scheme) {
	case "turn":
	case "turns":
		u = URI{Port: defaultSecurePort, Transport: TLS}
	case "stun", "stuns":
		return URI{}, &Fault{s, "a STUN server relays nothing", "probe a turn: address"}
	default:
		return URI{}, &Fault{s, "is not a turn URI", example}
	}
	if strings.Contains(authority, "@") { // the fault does not repeat what may be a password
		return URI{}, &Fault{scheme + ":…@…", "a turn URI carries no credentials (RFC 7065)", "give --user and --password"}
	}
	if strings.HasPrefix(authority, "//") {
		return URI{}, &Fault{s, "a turn URI has no slashes (RFC 7065)", example}
	}
	if hasQuery {
		switch strings.ToLower(query) {
		case "transport=udp":
			if u.Transport == TLS {
				u.Transport = DTLS
			}
		case "transport=tcp":
			if u.Transport == UDP {
				u.Transport = TCP
			}
		default:
			return URI{}, &Fault{s, fmt.Sprintf("%q after the question mark is not known", query), "write transport=udp or transport=tcp"}
		}
	}

	var port string
	var hasPort bool
	if after, bracketed := strings.CutPrefix(authority, "["); bracketed {
		inside, tail, closed := strings.Cut(after, "]")
		address, err := netip.ParseAddr(inside)
		if !closed || err != nil || !address.Is6() {
			return URI{}, &Fault{s, "in brackets stands an IPv6 address", "write turn:[2001:db8::1]:3478"}
		}
		u.Host = inside
		if port, hasPort = strings.CutPrefix(tail, ":"); !hasPort && tail != "" {
			return URI{}, &Fault{s, fmt.Sprintf("%q behind the bracket is no port", tail), "write turn:[2001:db8::1]:3478"}
		}
	} else {
		u.Host, port, hasPort = strings.Cut(authority, ":")
		if strings.Contains(port, ":") {
			return URI{}, &Fault{s, "an IPv6 address stands in brackets", "write turn:[2001:db8::1]:3478"}
		}
	}
	if u.Host == "" || strings.ContainsAny(u.Host, "/ \t") {
		return URI{}, &Fault{s, "the host is missing or no host name", example}
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return URI{}, &Fault{s, fmt.Sprintf("%q is not a port", port), "write a number from 1 to 65535"}
		}
		u.Port = uint16(n)
	}
	return u, nil
}

func (t Transport) scheme() string {
	if t.secure() {
		return "turns:"
	}
	return "turn:"
}

// String is the URI with every part written out.
func (u URI) String() string {
	return u.Transport.scheme() + net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port))) + "?transport=" + u.Transport.network()
}
