package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hairpin-turn/hairpin/relay"
)

// The ports of TURN over UDP and TCP, and over TLS and DTLS (RFC 8656 §5).
const (
	defaultPort       = 3478
	defaultSecurePort = 5349
)

// A listener is one --listen URL.
type listener struct {
	scheme string     // one of relay.Schemes
	proxy  bool       // PROXY headers, version 2
	host   netip.Addr // invalid: every address of the host, of both families
	port   uint16
	label  label
	from   origin
}

// A label is what requests to the ICE service select a listener by. It follows the URL as #NAMESPACE/GATEWAY/NAME, of
// which the parts at the left may be missing.
type label struct{ namespace, gateway, name string }

// cutLabel parts a URL from its label.
func cutLabel(text string) (url string, l label, err error) {
	url, written, found := strings.Cut(text, "#")
	if !found {
		return url, l, nil
	}
	parts := strings.Split(written, "/")
	if len(parts) > 3 || slices.Contains(parts, "") || strings.ContainsFunc(written, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return url, l, wrong(fmt.Sprintf("%q: %q is not a label", text, "#"+written), "write #NAME, #GATEWAY/NAME or #NAMESPACE/GATEWAY/NAME in printable ASCII")
	}
	parts = append(make([]string, 3-len(parts)), parts...)
	return url, label{parts[0], parts[1], parts[2]}, nil
}

// address is HOST:PORT, with an empty host for every address.
func (l listener) address() string {
	host := ""
	if l.host.IsValid() {
		host = l.host.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(l.port)))
}

// String is the canonical URL: the listener's name in logs and metrics.
func (l listener) String() string { return l.scheme + "://" + l.address() }

// socketTransport is what the sockets of a scheme are: udp or tcp.
func socketTransport(scheme string) string { return relay.ICETransports(scheme)[0].Transport }

// usualPort is the port that examples for a scheme have.
func usualPort(scheme string) int {
	if relay.ICETransports(scheme)[0].Secure {
		return defaultSecurePort
	}
	return defaultPort
}

func schemePrefixes() []string {
	var all []string
	for _, scheme := range relay.Schemes() {
		all = append(all, scheme+"://")
	}
	return all
}

// parseListener reads SCHEME://HOST:PORT[?proxy=v2][#LABEL]. net/url is not used because it takes host names, user names and paths.
func parseListener(s *Settings, v value) error {
	if v.text == "none" {
		s.ListenNone = true
		return nil
	}
	url, label, err := cutLabel(v.text)
	if err != nil {
		return err
	}
	scheme, rest, isURL := strings.Cut(url, "://")
	switch {
	case !isURL:
		return wrong(fmt.Sprintf("%q is not a URL", v.text), "write udp://HOST:PORT or tcp://HOST:PORT")
	case !slices.Contains(relay.Schemes(), scheme):
		return wrong(fmt.Sprintf("%q has an unknown scheme", v.text), "write "+oneOf(schemePrefixes()))
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	switch {
	case hasQuery && query != "proxy=v2":
		return wrong(fmt.Sprintf("%q: %q after the question mark is not known", v.text, query), "write ?proxy=v2 or nothing")
	case hasQuery && scheme == "dtls":
		return wrong(fmt.Sprintf("%q: PROXY headers are not taken ahead of DTLS", v.text), "leave ?proxy=v2 out, or write udp://, tcp://, tls:// or tcp+tls://")
	}
	usual := strconv.Itoa(usualPort(scheme))
	host, port, err := splitHostPort(rest)
	if err != nil {
		remedy := "write " + scheme + "://HOST:PORT, such as " + scheme + "://:" + usual
		if a, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
			remedy = "write " + listener{scheme: scheme, host: a, port: uint16(usualPort(scheme))}.String()
		} else if strings.Count(rest, ":") > 1 {
			remedy = "put an IPv6 address in brackets, such as " + scheme + "://[::1]:" + usual
		}
		return wrong(fmt.Sprintf("%q has no port", v.text), remedy)
	}
	l := listener{scheme: scheme, proxy: hasQuery, label: label, from: v.origin}
	if l.port, err = parsePort(port); err != nil {
		p := err.(*problem)
		return wrong(fmt.Sprintf("%q: %s", v.text, p.what), p.remedy)
	}
	if host != "" {
		if l.host, err = netip.ParseAddr(host); err != nil {
			return wrong(fmt.Sprintf("%q: %q is not an IP address, and names are not looked up", v.text, host),
				"write an IP address of this host, or "+scheme+"://:"+port+" for all of them")
		}
		if l.host, err = parseAddress(host); err != nil {
			return err
		}
		if l.host.IsMulticast() {
			return wrong(fmt.Sprintf("%q: %s is a multicast address", v.text, host), "write an IP address of this host")
		}
		if l.host.Is4() && strings.HasPrefix(rest, "[") {
			return wrong(fmt.Sprintf("%q has an IPv4 address in brackets", v.text), "write "+l.String())
		}
	}
	s.Listen = append(s.Listen, l)
	return nil
}

// overlaps reports whether both listeners would take the same traffic. IPv4 and IPv6 wildcards are apart, because IPv6
// sockets are opened for IPv6 only; an empty host is both of them.
func (l listener) overlaps(o listener) bool {
	if socketTransport(l.scheme) != socketTransport(o.scheme) || l.port != o.port {
		return false
	}
	if !l.host.IsValid() || !o.host.IsValid() || l.host == o.host {
		return true
	}
	return l.host.Is4() == o.host.Is4() && (l.host.IsUnspecified() || o.host.IsUnspecified())
}
