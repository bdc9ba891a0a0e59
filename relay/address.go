package relay

import (
	"net"
	"net/netip"
	"slices"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// hostAddresses returns the first global unicast address of each family that an
// interface of this host has, in the order of the interfaces; a family without
// one gets its loopback address, at which at least clients on this host can be
// served.
func hostAddresses() map[allocation.Family]netip.Addr {
	found := map[allocation.Family]netip.Addr{}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		addresses = nil // no permission to ask: loopback it is
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		ip := prefix.Addr().Unmap()
		if _, known := found[allocation.FamilyOf(ip)]; !known {
			found[allocation.FamilyOf(ip)] = ip
		}
	}
	for f, loopback := range map[allocation.Family]netip.Addr{
		allocation.IPv4: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		allocation.IPv6: netip.IPv6Loopback(),
	} {
		if _, known := found[f]; !known {
			found[f] = loopback
		}
	}
	return found
}

// publicAddress returns what clients of a socket bound to ip are told to connect
// to.
func (c *Config) publicAddress(ip netip.Addr, host map[allocation.Family]netip.Addr) netip.Addr {
	for _, public := range c.PublicAddresses {
		if allocation.FamilyOf(public) == allocation.FamilyOf(ip) {
			return public
		}
	}
	if !ip.IsUnspecified() {
		return ip
	}
	return host[allocation.FamilyOf(ip)]
}

// relayPrefixes returns what relayed transport addresses are drawn from: the
// configured ones, else every public address.
func (c *Config) relayPrefixes(public []netip.Addr) []netip.Prefix {
	if len(c.RelayAddresses) > 0 {
		return c.RelayAddresses
	}
	var prefixes []netip.Prefix
	for _, ip := range append(slices.Clone(c.PublicAddresses), public...) {
		ip = ip.WithZone("")
		if p := netip.PrefixFrom(ip, ip.BitLen()); !slices.Contains(prefixes, p) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}
