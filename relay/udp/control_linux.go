package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages and socket addresses as the kernel lays them out. The buffers for control messages are aligned to words,
// as those of the kernel's structures are that stand in them.

const (
	word       = int(unsafe.Sizeof(uintptr(0)))
	cmsgHeader = (unix.SizeofCmsghdr + word - 1) &^ (word - 1)

	// controlSize is the room for a datagram's control messages in bytes: packet information (at most 40), and as much
	// again for an integer or two beside it, as UDP_GRO, UDP_SEGMENT and SO_RXQ_OVFL need (24 each).
	controlSize = 96
)

// parseControl finds where a datagram came to, and of what size the datagrams are that were joined to it.
func parseControl(b []byte, d *Datagram) {
	for len(b) >= cmsgHeader {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		size := int(h.Len)
		if size < cmsgHeader || size > len(b) {
			return
		}
		data := b[cmsgHeader:size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// Spec_dst is Addr, unless that is a multicast or broadcast address, which can't be answered from.
			p := (*unix.Inet4Pktinfo)(unsafe.Pointer(unsafe.SliceData(data)))
			d.Local, d.Interface = netip.AddrFrom4(p.Spec_dst), uint32(p.Ifindex)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			p := (*unix.Inet6Pktinfo)(unsafe.Pointer(unsafe.SliceData(data)))
			d.Local, d.Interface = netip.AddrFrom16(p.Addr), p.Ifindex
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			if n := *(*int32)(unsafe.Pointer(unsafe.SliceData(data))); n > 0 {
				d.Segment = int(n)
			}
		}
		b = b[min((size+word-1)&^(word-1), len(b)):]
	}
}

// putPacketInfo writes the control message that makes a datagram leave from to's local address, and by its interface. It
// returns the size, 0 when there is nothing to ask for.
func putPacketInfo(b []byte, to *Destination) int {
	if !to.hasLocal && to.ifindex == 0 {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[:controlSize][0]))
	data := unsafe.Pointer(&b[cmsgHeader])
	if to.family == ipv4 {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(cmsgHeader + unix.SizeofInet4Pktinfo)
		p := (*unix.Inet4Pktinfo)(data)
		p.Ifindex, p.Spec_dst, p.Addr = int32(to.ifindex), [4]byte(to.local[:4]), [4]byte{}
		return cmsgSpace(unix.SizeofInet4Pktinfo)
	}
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(cmsgHeader + unix.SizeofInet6Pktinfo)
	p := (*unix.Inet6Pktinfo)(data)
	p.Addr, p.Ifindex = to.local, to.ifindex
	return cmsgSpace(unix.SizeofInet6Pktinfo)
}

// cmsgSpace is the size of a control message with its alignment.
func cmsgSpace(data int) int { return cmsgHeader + (data+word-1)&^(word-1) }

// sockaddr has room for either family.
type sockaddr = unix.RawSockaddrInet6

// putSockaddr writes to's remote address and returns its size, 0 for nowhere.
func putSockaddr(sa *sockaddr, to *Destination) uint32 {
	switch to.family {
	case ipv4:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		four.Family, four.Addr = unix.AF_INET, [4]byte(to.remote[:4])
		putPort(&four.Port, to.port)
		return unix.SizeofSockaddrInet4
	case ipv6:
		sa.Family, sa.Addr, sa.Scope_id = unix.AF_INET6, to.remote, to.ifindex
		putPort(&sa.Port, to.port)
		return unix.SizeofSockaddrInet6
	}
	return 0
}

// parseSockaddr reads a sender's address.
func parseSockaddr(sa *sockaddr) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port(&four.Port))
	case unix.AF_INET6:
		ip := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 {
			ip = withInterface(ip, sa.Scope_id)
		}
		return netip.AddrPortFrom(ip, port(&sa.Port))
	}
	return netip.AddrPort{}
}

// Ports stand in a sockaddr in the network's byte order, whatever the processor's is.

func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func putPort(p *uint16, v uint16) { binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], v) }
