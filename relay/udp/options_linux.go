package udp

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setOptions prepares a socket before it is bound.
func setOptions(fd uintptr, v4 bool, o Options) error {
	s := int(fd)
	if o.ReusePort {
		if err := setReusePort(fd); err != nil {
			return err
		}
	}
	if v4 {
		// Relayed datagrams go out with DF=0 unless their sender asked otherwise (RFC 8656 §14), so that a router may
		// fragment what is too large for it. Linux' own default sets DF and loses such datagrams where ICMP is filtered.
		// A datagram with DONT-FRAGMENT has to leave by a socket set to IP_PMTUDISC_DO: there is no flag per datagram.
		if err := set(s, "IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
			return err
		}
	}
	// IPv6 stays as it is: only the sender may fragment, for which it must hear of the path's MTU, and by default it does.
	if o.PacketInfo {
		var err error
		if v4 {
			err = set(s, "IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			err = set(s, "IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
		if err != nil {
			return err
		}
	}
	if o.Errors {
		var err error
		if v4 {
			err = set(s, "IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		} else {
			err = set(s, "IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
		if err != nil {
			return err
		}
	}
	if err := setBuffer(s, "SO_RCVBUF", unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.ReceiveBuffer); err != nil {
		return err
	}
	return setBuffer(s, "SO_SNDBUF", unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer)
}

func setReusePort(fd uintptr) error {
	return set(int(fd), "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// setBuffer goes beyond the administrator's limit where the process has CAP_NET_ADMIN, else up to it.
func setBuffer(s int, name string, force, plain, bytes int) error {
	if bytes <= 0 {
		return nil
	}
	if unix.SetsockoptInt(s, unix.SOL_SOCKET, force, bytes) == nil {
		return nil
	}
	return set(s, name, unix.SOL_SOCKET, plain, bytes)
}

func set(s int, name string, level, option, value int) error {
	return os.NewSyscallError("setsockopt "+name, unix.SetsockoptInt(s, level, option, value))
}

// buffers halves what the kernel answers, which counts its own bookkeeping by doubling what was asked for.
func buffers(fd uintptr) (receive, send int) {
	receive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	send, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	return receive / 2, send / 2
}

// drops reads what SO_RXQ_OVFL would tell with each datagram, at no cost to any of them.
func drops(fd uintptr) (n uint32, err error) {
	const fieldDrops = 8 // SK_MEMINFO_DROPS
	var info [fieldDrops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return info[fieldDrops], nil
}
