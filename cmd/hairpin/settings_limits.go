package main

import (
	"fmt"
	"math/big"
	"net/netip"
	"strings"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// bandwidthUnits are what a bandwidth may be written in; the longer ones first, as each ends with the last.
var bandwidthUnits = []struct {
	name string
	bits int64
}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1}}

// parseBandwidth reads a number with its unit, or 0.
func parseBandwidth(to *int64, v value) error {
	*to = 0
	if v.text == "0" {
		return nil
	}
	const remedy = "write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit"
	for _, unit := range bandwidthUnits {
		number, found := strings.CutSuffix(v.text, unit.name)
		if !found {
			continue
		}
		number = strings.TrimSuffix(number, " ")
		n, ok := new(big.Rat).SetString(number)
		if !ok || strings.Trim(number, "0123456789.") != "" {
			break
		}
		n.Mul(n, new(big.Rat).SetInt64(unit.bits))
		switch {
		case !n.IsInt():
			return wrong(fmt.Sprintf("%q is not a whole number of bits", v.text), remedy)
		case n.Sign() == 0, n.Cmp(new(big.Rat).SetInt64(allocation.MaxBandwidth)) > 0:
			return wrong(fmt.Sprintf("%q is not between 1bit/s and 100Gbit/s", v.text), remedy)
		}
		*to = n.Num().Int64()
		return nil
	}
	return wrong(fmt.Sprintf("%q is not a bandwidth", v.text), remedy)
}

// discoveryPort is where the alternate port of NAT behavior discovery is by custom (RFC 5780 §9).
const discoveryPort = 3479

// parseNATDiscovery reads IP or IP:PORT.
func parseNATDiscovery(s *Settings, v value) error {
	port := uint16(discoveryPort)
	host, text, noPort := splitHostPort(v.text)
	if noPort != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(v.text, "["), "]")
	} else if p, err := parsePort(text); err != nil {
		return err
	} else {
		port = p
	}
	a, err := parseAddress(host)
	if err != nil {
		return err
	}
	if a.IsUnspecified() || a.IsMulticast() {
		return wrong(fmt.Sprintf("%q is no address of a host", v.text), "write another address of this host")
	}
	s.NATDiscovery = netip.AddrPortFrom(a, port)
	return nil
}

// checkNATDiscovery finds a second address that nothing goes with.
func (s *Settings) checkNATDiscovery() faults {
	other := s.NATDiscovery
	if !other.IsValid() {
		return nil
	}
	place := s.originOf("nat-discovery-address")
	if s.Limits.Bytes == 0 {
		return faults{{place, "its answers can be padded, and unauthenticated-bytes is 0, no limit", "set a limit, such as 65536"}}
	}
	for _, l := range s.Listen {
		if l.scheme != "udp" || l.proxy || !l.host.IsValid() || l.host.IsUnspecified() || l.host.Is4() != other.Addr().Is4() {
			continue
		}
		if l.host == other.Addr() || l.port == other.Port() {
			return faults{{place, fmt.Sprintf("%s has the address or the port of the listener %q", other, l), "write another address and another port"}}
		}
		return nil
	}
	version, example := "IPv4", "udp://192.0.2.1:3478"
	if other.Addr().Is6() {
		version, example = "IPv6", "udp://[2001:db8::1]:3478"
	}
	return faults{{place, "no udp listener has an " + version + " address of its own", "give one, such as --listen " + example}}
}
