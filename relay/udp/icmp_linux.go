package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types and codes that a datagram too large for this host's own path is reported as (RFC 792, RFC 4443 §3.2).
const (
	icmpUnreachable   = 3
	icmpFragmentation = 4
	icmp6TooBig       = 2
)

// extendedError is struct sock_extended_err of linux/errqueue.h.
type extendedError struct {
	errno                 uint32
	origin, kind, code, _ uint8
	info, data            uint32
}

// ICMP takes the next message about a datagram that left by the socket; false: there is none, or the socket was opened
// without Options.Errors. Messages about anything else are passed over.
func (c *Conn) ICMP(m *ICMP) (found bool) {
	if c.portable {
		return false
	}
	_ = control(c.raw, func(fd uintptr) error {
		for range maxErrors {
			var ok bool
			if found, ok = nextICMP(int(fd), m); found || !ok {
				return nil
			}
		}
		return nil
	})
	return found
}

// nextICMP reads one entry of the error queue; ok is false when there is none.
func nextICMP(fd int, m *ICMP) (found, ok bool) {
	var name sockaddr
	var room [controlSize * 2 / 8]uint64
	var header unix.Msghdr
	header.Name, header.Namelen = (*byte)(unsafe.Pointer(&name)), unix.SizeofSockaddrInet6
	header.Control = (*byte)(unsafe.Pointer(&room))
	header.SetControllen(int(unsafe.Sizeof(room)))
	_, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if errno != 0 {
		return false, false
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&room)), min(int(header.Controllen), int(unsafe.Sizeof(room))))
	for len(b) >= cmsgHeader {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		size := int(h.Len)
		if size < cmsgHeader || size > len(b) {
			break
		}
		ours := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if data := b[cmsgHeader:size]; ours && len(data) >= int(unsafe.Sizeof(extendedError{})) {
			m.To = parseSockaddr(&name)
			return m.read((*extendedError)(unsafe.Pointer(unsafe.SliceData(data)))), true
		}
		b = b[min((size+word-1)&^(word-1), len(b)):]
	}
	return false, true
}

// read takes what the kernel says; false: it is not about the network.
func (m *ICMP) read(e *extendedError) bool {
	m.Type, m.Code, m.MTU = e.kind, e.code, 0
	switch e.origin {
	case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
	case unix.SO_EE_ORIGIN_LOCAL: // what a router said earlier, remembered by this host
		if unix.Errno(e.errno) != unix.EMSGSIZE {
			return false
		}
		if m.Type, m.Code = icmpUnreachable, icmpFragmentation; m.To.Addr().Is6() {
			m.Type, m.Code = icmp6TooBig, 0
		}
	default:
		return false
	}
	if unix.Errno(e.errno) == unix.EMSGSIZE {
		m.MTU = e.info
	}
	return m.To.IsValid()
}

// SetDontFragment says whether datagrams that leave from now on may be fragmented on their way. Too large a one is then
// refused, by this host or by a router (RFC 8656 §14: DONT-FRAGMENT sets the DF bit).
func (c *Conn) SetDontFragment(on bool) error {
	if c.portable {
		return nil // not there: RFC 8656 §14 has the alternate behaviour, DF as the system sets it
	}
	return control(c.raw, func(fd uintptr) error {
		if c.local.Addr().Is4() {
			how := unix.IP_PMTUDISC_DONT
			if on {
				how = unix.IP_PMTUDISC_DO
			}
			return set(int(fd), "IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, how)
		}
		how := unix.IPV6_PMTUDISC_WANT
		if on {
			how = unix.IPV6_PMTUDISC_DO
		}
		return set(int(fd), "IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, how)
	})
}
