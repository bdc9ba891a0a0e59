package main

import (
	"net"
	"net/netip"
)

// hostAddresses are the addresses of this host's interfaces, in their order; none when the system does not tell.
func hostAddresses() []netip.Addr {
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

// globalAddresses are the first global unicast address of each IP version that this host has: what a server tells its
// clients when nothing else is configured.
func globalAddresses() []netip.Addr {
	var global []netip.Addr
	for _, a := range hostAddresses() {
		if a.IsGlobalUnicast() && (len(global) == 0 || len(global) == 1 && global[0].Is4() != a.Is4()) {
			global = append(global, a)
		}
	}
	return global
}
