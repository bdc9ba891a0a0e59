package udp

import "net/netip"

// Destination is where a datagram goes and from which of our addresses: everything about it that doesn't change from one
// datagram to the next, prepared once. It is immutable and comparable, and holds no pointer, so a million of them cost the
// garbage collector nothing. The zero value is nowhere: a datagram for it is dropped by Flush.
type Destination struct {
	remote, local [16]byte // an IPv4 address takes the first four bytes
	ifindex       uint32   // interface to leave by, 0: as routed
	port          uint16
	family        family // of both addresses
	hasLocal      bool   // else the system chooses the source address
}

type family uint8

const (
	nowhere family = iota
	ipv4
	ipv6
)

// NewDestination prepares the way to remote. local is the source address to send from, usually the Local of the datagram
// that is answered; invalid, unspecified or of the other family lets the system choose. ifindex is the interface to leave by, usually the Interface of that
// datagram; it is kept only where an address is link-local and means nothing without it, since an answer to any other
// goes where the routes say. When it is 0, remote's zone takes its place.
func NewDestination(remote netip.AddrPort, local netip.Addr, ifindex uint32) Destination {
	var d Destination
	if !remote.IsValid() {
		return d
	}
	ip := remote.Addr().Unmap()
	d.remote, d.family = addressBytes(ip)
	d.port = remote.Port()
	local = local.Unmap()
	if local.IsValid() && !local.IsUnspecified() && local.Is4() == ip.Is4() {
		d.local, _ = addressBytes(local)
		d.hasLocal = true
	}
	if isLinkLocal(ip) || d.hasLocal && isLinkLocal(local) {
		if ifindex == 0 && ip.Zone() != "" {
			ifindex = interfaceIndex(ip.Zone())
		}
		d.ifindex = ifindex
	}
	return d
}

// Remote is the address that datagrams go to, as Datagram.Source spells it.
func (d *Destination) Remote() netip.AddrPort {
	return netip.AddrPortFrom(withInterface(addressOf(&d.remote, d.family), d.ifindex), d.port)
}

func addressBytes(ip netip.Addr) (b [16]byte, f family) {
	if ip.Is4() {
		four := ip.As4()
		copy(b[:], four[:])
		return b, ipv4
	}
	return ip.As16(), ipv6
}

func addressOf(b *[16]byte, f family) netip.Addr {
	switch f {
	case ipv4:
		return netip.AddrFrom4([4]byte(b[:4]))
	case ipv6:
		return netip.AddrFrom16(*b)
	}
	return netip.Addr{}
}
