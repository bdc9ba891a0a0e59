package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/peers"
)

// maxAlternates is how many alternate servers may be listed; a name may stand for more.
const maxAlternates = 64

// parseAlternate reads IP[:PORT] or dns:NAME[:PORT].
func parseAlternate(s *Settings, v value) error {
	a, err := readAlternate(v.text)
	if err != nil {
		return err
	}
	for _, other := range s.Alternates {
		if a == other {
			return wrong(fmt.Sprintf("%q is given twice", v.text), "remove one")
		}
	}
	if len(s.Alternates) == maxAlternates {
		return wrong(fmt.Sprintf("%q is one too many: there may be %d", v.text, maxAlternates), "write dns:NAME with a name that stands for all")
	}
	s.Alternates = append(s.Alternates, a)
	return nil
}

func readAlternate(text string) (a relay.Alternate, err error) {
	a.Port = defaultPort
	rest, named := strings.CutPrefix(text, "dns:")
	host, port, noPort := splitHostPort(rest)
	if noPort != nil { // a name, an IPv4 address, or an IPv6 address with or without brackets
		host = rest
		if inside, ok := strings.CutPrefix(rest, "["); ok && strings.HasSuffix(inside, "]") {
			host = strings.TrimSuffix(inside, "]")
		}
	} else if a.Port, err = parsePort(port); err != nil {
		p := err.(*problem)
		return a, wrong(fmt.Sprintf("%q: %s", text, p.what), p.remedy)
	}
	ip, notIP := netip.ParseAddr(host)
	switch {
	case named && notIP == nil:
		return a, wrong(fmt.Sprintf("%q: %s is no name", text, ip), "write "+relay.Alternate{Address: ip, Port: a.Port}.String())
	case named:
		if err := peers.CheckName(host); err != nil {
			return a, wrong(fmt.Sprintf("%q: the name %s", text, err), "write dns:NAME or dns:NAME:PORT, such as dns:relays.example.org")
		}
		a.Name = host
		return a, nil
	case notIP != nil && looksLikeName(host):
		return a, wrong(fmt.Sprintf("%q is not an IP address", text), "write dns:"+text+" to have it looked up")
	case notIP != nil, ip.Is4() && strings.HasPrefix(rest, "["):
		return a, wrong(fmt.Sprintf("%q is not an IP address", text), "write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME")
	case ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "" || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, wrong(fmt.Sprintf("clients cannot connect to %q", text), "write the address of one host")
	}
	a.Address, err = parseAddress(host)
	return a, err
}

// looksLikeName says whether what stands for an address could be a name instead. One that ends with digits is a misspelt
// address.
func looksLikeName(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return peers.CheckName(host) == nil && strings.Trim(last, "0123456789") != ""
}
