package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Options of a socket. The zero value is a plain socket with the system's own settings.
type Options struct {
	// ReusePort lets several sockets share the port (SO_REUSEPORT), each receiving the datagrams of its share of the
	// five-tuples. Linux only: elsewhere Listen fails with errors.ErrUnsupported, since the option is missing or spreads
	// nothing.
	ReusePort bool

	// PacketInfo tells for each datagram the local address and the interface it came to, which a socket bound to the
	// unspecified address needs in order to answer from there. Linux only: elsewhere Datagram.Local stays invalid and
	// the system chooses the source address of answers, so bind to addresses there.
	PacketInfo bool

	// ReceiveBuffer and SendBuffer are the kernel's buffers in bytes; 0 leaves the system's default. The system may grant
	// less (net.core.rmem_max and wmem_max, unless the process may exceed them); Buffers tells.
	ReceiveBuffer, SendBuffer int

	// Offload asks for the kernel's batching of datagrams, as far as it can; Conn.Offload tells what came of it. Linux only.
	Offload Offload

	// Errors has the kernel keep the ICMP messages about datagrams that left by this socket, for Conn.ICMP. Linux only.
	Errors bool

	// Like makes the socket share what another one knows, and still learns, of the kernel's batching, in place of
	// Offload: thousands of sockets then ask once.
	Like *Conn

	// Portable takes the path over the standard library even where there is a faster one.
	Portable bool
}

// Conn is one bound, unconnected socket. All methods are safe for concurrent use.
type Conn struct {
	// immutable
	raw        controller
	close      func() error
	closing    func() bool  // whether Close has begun; the fast path's
	udp        *net.UDPConn // the portable path's, else nil
	local      netip.AddrPort
	packetInfo bool
	portable   bool

	offload *offload // shared with other sockets where Options.Like asks for it
}

// controller gives the use of a descriptor, as part of syscall.RawConn does.
type controller interface {
	Control(func(fd uintptr)) error
}

// maxErrors is how many errors in a row Receive takes for reports about earlier datagrams. Each report is consumed by
// reading it, so a longer row means that the socket itself is faulty.
const maxErrors = 16

// Listen binds a socket to addr. Port 0 picks a free port, never one that another socket holds, be it one with ReusePort.
// An IPv6 socket takes no IPv4 (IPV6_V6ONLY); a mapped address counts as IPv4.
func Listen(addr netip.AddrPort, o Options) (*Conn, error) {
	if !addr.IsValid() {
		return nil, errors.New("udp: no valid address to listen on")
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	network := "udp6"
	if addr.Addr().Is4() {
		network = "udp4"
	}

	// Two sockets that ask for port 0 with SO_REUSEPORT may be given the same port, even by two processes of one user.
	// Set after bind the option has the same effect for the sockets that join, and the port is ours alone.
	early := o
	early.ReusePort = o.ReusePort && addr.Port() != 0
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd uintptr) error { return setOptions(fd, addr.Addr().Is4(), early) })
	}}
	socket, err := config.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	c := &Conn{packetInfo: o.PacketInfo, portable: o.Portable || !hasFastPath, offload: new(offload)}
	c.local = numericZone(socket.LocalAddr().(*net.UDPAddr).AddrPort(), 0)
	if err = c.adopt(socket.(*net.UDPConn)); err != nil {
		return nil, fmt.Errorf("udp: listen %s: %w", addr, err)
	}
	if o.ReusePort && !early.ReusePort {
		err = control(c.raw, setReusePort)
	}
	if err == nil && !c.portable {
		if o.Like != nil {
			c.offload = o.Like.offload
		}
		err = control(c.raw, func(fd uintptr) error { c.offload.apply(fd, o); return nil })
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("udp: listen %s: %w", addr, err)
	}
	return c, nil
}

// adopt makes socket c's own, in the way of its path; it is closed on failure.
func (c *Conn) adopt(socket *net.UDPConn) error {
	if !c.portable {
		d, err := detach(socket)
		c.raw, c.close, c.closing = d, d.Close, d.isClosing
		return err
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		socket.Close()
		return err
	}
	c.raw, c.close, c.udp = raw, socket.Close, socket
	return nil
}

// LocalAddr is the bound address, with the port that was picked.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Buffers tells the sizes of the kernel's buffers in bytes as Options counts them, 0 where the system doesn't tell.
func (c *Conn) Buffers() (receive, send int) {
	_ = c.raw.Control(func(fd uintptr) { receive, send = buffers(fd) })
	return receive, send
}

// Dropped tells how many datagrams the kernel has dropped because the receive buffer was full, as SO_RXQ_OVFL counts them:
// modulo 2^32. It is 0 where the system doesn't tell.
func (c *Conn) Dropped() uint32 {
	var n uint32
	_ = control(c.raw, func(fd uintptr) (err error) { n, err = drops(fd); return err })
	return n
}

// Close ends the socket and wakes every Receive, which returns net.ErrClosed.
func (c *Conn) Close() error { return c.close() }

// control runs f on the socket's descriptor and returns the error of either.
func control(raw controller, f func(fd uintptr) error) error {
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return err
	}
	return inner
}

// closedOr is net.ErrClosed itself if that is what is wrapped in err, so that no caller meets the wrapping.
func closedOr(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// numericZone unmaps addr and spells its zone, if there is one, by the interface's index: the standard library says "eth0"
// where a system call says 2, and addresses are compared. The index is looked up when ifindex is 0.
func numericZone(addr netip.AddrPort, ifindex uint32) netip.AddrPort {
	ip := addr.Addr().Unmap()
	if ip.Zone() != "" {
		if ifindex == 0 {
			ifindex = interfaceIndex(ip.Zone())
		}
		ip = withInterface(ip, ifindex)
	}
	return netip.AddrPortFrom(ip, addr.Port())
}

// withInterface gives a link-local address its zone, and no zone to any other.
func withInterface(ip netip.Addr, ifindex uint32) netip.Addr {
	if !ip.Is6() {
		return ip
	}
	if ifindex == 0 || !isLinkLocal(ip) {
		return ip.WithZone("")
	}
	return ip.WithZone(strconv.FormatUint(uint64(ifindex), 10))
}

// interfaceIndex reads a zone, which is an index or a name; 0 when there is no such interface.
func interfaceIndex(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// isLinkLocal tells whether ip means something only together with an interface.
func isLinkLocal(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast()
}
