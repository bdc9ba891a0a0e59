package proxy

import "net/netip"

// Trusted are the addresses whose headers are believed. The zero value trusts nobody.
type Trusted []netip.Prefix

// Contains tells whether an address may say for whom it speaks. IPv4-mapped addresses count as IPv4, zones don't count.
func (t Trusted) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
