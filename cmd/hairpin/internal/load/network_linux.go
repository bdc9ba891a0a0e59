package load

import (
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hasFastNetwork says whether there is a network other than the portable one.
const hasFastNetwork = true

// minShared is how many addresses a prefix must have for its clients to share sockets.
const minShared = 64

// events is the network of Linux: one goroutine, no other. UDP clients with addresses of their own share a socket that is
// bound to none of them and tells them apart by packet information, so that one recvmmsg or sendmmsg serves many clients
// (lane_linux.go). All other clients have a socket each, watched by epoll. TCP clients are in stream_linux.go.
//
// Shared sockets are not watched: they are simply asked, since under load there is always something, and a watched
// socket makes the kernel do work for each packet, at the expense of the server that sends it.
type events struct {
	// immutable
	options networkOptions
	to      receiver
	server  sockaddr
	sharing bool

	// owned by the network's goroutine
	addresses addresses
	lanes     []*lane // shared sockets; clients are put on the last one
	places    []place // by client
	epoll     int
	watched   int // sockets in epoll
	ready     [batchSize]unix.EpollEvent
	polled    []unix.PollFd // lanes, then epoll
	out       *outbox
	in        *inbox
	streams   streamBuffers
	total     networkCounts
	closed    uint64 // overflow of sockets that are closed
}

// place is where a client is reached: on a shared socket by its address, else on a socket of its own.
type place struct {
	lane   *lane // nil: no place
	offset uint32
	stream *stream // TCP
}

func newNetwork(o networkOptions, to receiver) (network, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	e := &events{options: o, to: to, epoll: epoll, addresses: addresses{prefix: o.from}}
	e.server.put(o.server)
	e.sharing = !o.own && o.from.IsValid() && o.from.Addr().Is4() && 1<<(32-o.from.Bits()) >= minShared
	e.out = newOutbox(o)
	e.in = newInbox(o)
	return e, nil
}

func (e *events) open(client int32, t Transport) error {
	e.close(client)
	for int(client) >= len(e.places) {
		e.places = append(e.places, place{})
	}
	var p place
	var err error
	switch {
	case t == TCP:
		p.stream, err = e.connect(client, e.addresses.next())
	case e.sharing:
		p, err = e.share(client)
	default:
		p.lane, err = e.own(client, e.addresses.next())
	}
	if err != nil {
		return err
	}
	e.places[client] = p
	return nil
}

func (e *events) close(client int32) {
	if int(client) >= len(e.places) {
		return
	}
	p := e.places[client]
	e.places[client] = place{}
	switch {
	case p.stream != nil:
		e.disconnect(p.stream)
	case p.lane == nil:
	case p.lane.shared:
		p.lane.owners[p.offset] = nobody
	default:
		e.flush()
		e.watched--
		e.closed += p.lane.overflow()
		_ = unix.Close(p.lane.fd)
	}
}

func (e *events) watch(fd int, client int32, what uint32) error {
	err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: what, Fd: client})
	if err == nil {
		e.watched++
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (e *events) room(client int32, size, segment int) []byte {
	p := &e.places[client]
	if p.stream != nil {
		return e.append(p.stream, size)
	}
	if e.out.full() {
		e.flushDatagrams()
	}
	return e.out.add(p, size, segment)
}

func (e *events) flush() {
	e.flushDatagrams()
	e.flushStreams()
}

func (e *events) receive(wait time.Duration) int {
	n := e.take()
	if n == 0 && wait > 0 {
		e.wait(wait)
		n = e.take()
	}
	return n
}

// take receives without waiting.
func (e *events) take() (n int) {
	for _, l := range e.lanes {
		n += e.receiveShared(l)
	}
	if e.watched == 0 {
		return n
	}
	ready, err := unix.EpollWait(e.epoll, e.ready[:], 0)
	if err != nil {
		return n
	}
	for i := range ready {
		event := &e.ready[i]
		client := event.Fd
		switch p := &e.places[client]; {
		case p.stream != nil:
			n += e.progress(client, p.stream, event.Events)
		case p.lane != nil:
			n += e.receiveOwn(client, p.lane)
		}
	}
	return n
}

// wait sleeps until something arrives. A client's connection that becomes writable is something.
func (e *events) wait(d time.Duration) {
	e.polled = e.polled[:0]
	for _, l := range e.lanes {
		e.polled = append(e.polled, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	e.polled = append(e.polled, unix.PollFd{Fd: int32(e.epoll), Events: unix.POLLIN})
	timeout := unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(e.polled, &timeout, nil) // an interruption is as good as an event
}

func (e *events) counts() networkCounts {
	c := e.total
	c.overflow = e.closed
	for _, l := range e.lanes {
		c.overflow += l.overflow()
	}
	for i := range e.places {
		if l := e.places[i].lane; l != nil && !l.shared {
			c.overflow += l.overflow()
		}
	}
	return c
}

func (e *events) shutdown() {
	for client := range e.places {
		e.close(int32(client))
	}
	for _, l := range e.lanes {
		_ = unix.Close(l.fd)
	}
	_ = unix.Close(e.epoll)
}

// failed counts datagrams or frames that weren't taken.
func (e *events) failed(n int, err error) {
	e.total.unsent += uint64(n)
	if e.total.failure == nil {
		e.total.failure = err
	}
}

// sockaddr is an address as the kernel has it, of either family.
type sockaddr struct {
	raw  unix.RawSockaddrInet6
	size uint32
}

func (s *sockaddr) put(a netip.AddrPort) {
	port := [2]byte{byte(a.Port() >> 8), byte(a.Port())}
	if a.Addr().Is4() {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		four.Family, four.Addr, s.size = unix.AF_INET, a.Addr().As4(), unix.SizeofSockaddrInet4
		*(*[2]byte)(unsafe.Pointer(&four.Port)) = port
		return
	}
	s.raw.Family, s.raw.Addr, s.size = unix.AF_INET6, a.Addr().As16(), unix.SizeofSockaddrInet6
	*(*[2]byte)(unsafe.Pointer(&s.raw.Port)) = port
}

// plain is the address in the form that package unix wants.
func plain(a netip.AddrPort) (unix.Sockaddr, int) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}

// socket makes a socket that doesn't block, bound to ip unless that is invalid.
func (e *events) socket(kind int, ip netip.Addr) (int, error) {
	_, family := plain(e.options.server)
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if ip.IsValid() {
		// Without this the kernel would look for a port that is free for any server at once.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		from, _ := plain(netip.AddrPortFrom(ip, 0))
		if err := unix.Bind(fd, from); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("bind "+ip.String(), err)
		}
	}
	return fd, nil
}

// pin keeps this process on one processor: every thread it has, and with them all that they will start.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if !set.IsSet(cpu) {
		return syscall.EINVAL
	}
	threads, err := processThreads(os.Getpid())
	if err != nil {
		return err
	}
	for _, tid := range threads {
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}
