package relay

import (
	"net"
	"net/netip"
	"slices"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// HostAddresses lists the addresses of this host's interfaces, in their order and
// unmapped; none when the system doesn't tell.
func HostAddresses() []netip.Addr {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

// GlobalAddresses lists the first global unicast address of each family that this
// host has: what a server tells its clients when nothing else is configured.
func GlobalAddresses() []netip.Addr {
	var global []netip.Addr
	for _, a := range HostAddresses() {
		if a.IsGlobalUnicast() && !slices.ContainsFunc(global, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			global = append(global, a)
		}
	}
	return global
}

// reachable returns the global address of each family; a family without one gets
// its loopback address, at which at least clients on this host can be served.
func reachable() map[allocation.Family]netip.Addr {
	found := map[allocation.Family]netip.Addr{
		allocation.IPv4: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		allocation.IPv6: netip.IPv6Loopback(),
	}
	for _, a := range GlobalAddresses() {
		found[allocation.FamilyOf(a)] = a
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
