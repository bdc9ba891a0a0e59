package load

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is asked for as the kernel's buffers of a shared socket, and of each client's own, in bytes. The kernel gives what
// the administrator allows.
const (
	sharedBuffer = 8 << 20
	ownBuffer    = 1 << 20
)

// datagramSlack is the room in bytes for requests and their answers where packets are smaller.
const datagramSlack = 2048

const nobody = -1

var errSegments = errors.New("the kernel does not take UDP_SEGMENT messages")

// lane is a UDP socket.
type lane struct {
	fd     int
	shared bool

	// of a shared socket
	base   uint32  // the prefix's first address
	room   uint32  // addresses of the prefix
	owners []int32 // client by offset from base
}

// share puts a client on the next address of the shared socket, and opens another one when all addresses were used.
func (e *events) share(client int32) (place, error) {
	var l *lane
	if n := len(e.lanes); n > 0 && len(e.lanes[n-1].owners) < int(e.lanes[n-1].room)-1 {
		l = e.lanes[n-1]
	} else {
		var err error
		if l, err = e.newLane(); err != nil {
			return place{}, err
		}
		e.lanes = append(e.lanes, l)
	}
	l.owners = append(l.owners, client)
	return place{lane: l, offset: uint32(len(l.owners) - 1)}, nil
}

func (e *events) newLane() (*lane, error) {
	fd, err := e.socket(unix.SOCK_DGRAM, netip.Addr{})
	if err != nil {
		return nil, err
	}
	base := e.options.from.Masked().Addr().As4()
	l := &lane{fd: fd, shared: true, base: binary.BigEndian.Uint32(base[:]), room: 1 << (32 - e.options.from.Bits()), owners: []int32{nobody}}
	if e.options.server.Addr().IsLoopback() {
		// Nothing from outside has any business here. Where the option isn't allowed, such datagrams are merely strays.
		_ = unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
		// What may not be fragmented needs no number to put it together again, which costs as much as a route. Nothing
		// is too large for this interface.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}
	err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{}))
	if err == nil {
		err = os.NewSyscallError("setsockopt IP_PKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	e.tune(fd, sharedBuffer)
	return l, nil
}

// own opens a client's own, connected socket.
func (e *events) own(client int32, ip netip.Addr) (*lane, error) {
	fd, err := e.socket(unix.SOCK_DGRAM, ip)
	if err != nil {
		return nil, err
	}
	to, _ := plain(e.options.server)
	if err = os.NewSyscallError("connect", unix.Connect(fd, to)); err == nil {
		err = e.watch(fd, client, unix.EPOLLIN)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	e.tune(fd, ownBuffer)
	return &lane{fd: fd}, nil
}

func (e *events) tune(fd, buffer int) {
	for _, option := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[1], buffer) // what is refused, is done without
		}
	}
	if e.options.gro {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
}

// overflow is how many datagrams the kernel threw away because the socket's buffer was full (SO_MEMINFO).
func (l *lane) overflow() uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size <= unix.SK_MEMINFO_DROPS*4 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

// Control messages: room for packet information (32 bytes with its header) and a segment size (24), in either direction.
const (
	cmsgHeader   = unix.SizeofCmsghdr
	pktinfoSpace = (cmsgHeader + unix.SizeofInet4Pktinfo + 7) &^ 7
	segmentSpace = (cmsgHeader + 4 + 7) &^ 7
	controlSize  = pktinfoSpace + segmentSpace
)

type control [controlSize / 8]uint64

// header is the control message at an offset, and its data.
func (c *control) header(at int) (*unix.Cmsghdr, unsafe.Pointer) {
	p := unsafe.Add(unsafe.Pointer(c), at)
	return (*unix.Cmsghdr)(p), unsafe.Add(p, cmsgHeader)
}

// outbox holds the datagrams until flush. Slots are used from the first on.
type outbox struct {
	slab    []byte
	step    int // bytes of a slot
	headers [batchSize]unix.Mmsghdr
	vectors [batchSize]unix.Iovec
	control [batchSize]control
	fds     [batchSize]int
	parts   [batchSize]int // datagrams of the message
	n       int
	server  sockaddr
}

func newOutbox(o networkOptions) *outbox {
	step := (max(o.message, datagramSlack) + 63) &^ 63
	b := &outbox{slab: make([]byte, batchSize*step), step: step}
	b.server.put(o.server)
	for i := range b.headers {
		b.vectors[i].Base = &b.slab[i*step]
		b.headers[i].Hdr.Iov = &b.vectors[i]
		b.headers[i].Hdr.SetIovlen(1)
	}
	return b
}

func (b *outbox) full() bool { return b.n == batchSize }

// add describes a message of a client to the kernel and returns where its bytes belong.
func (b *outbox) add(p *place, size, segment int) []byte {
	i := b.n
	b.n++
	b.fds[i], b.parts[i] = p.lane.fd, 1
	h := &b.headers[i].Hdr
	h.Name, h.Namelen = nil, 0
	at := 0
	if p.lane.shared {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.server.raw)), b.server.size
		c, data := b.control[i].header(0)
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.SetLen(cmsgHeader + unix.SizeofInet4Pktinfo)
		info := (*unix.Inet4Pktinfo)(data)
		*info = unix.Inet4Pktinfo{}
		binary.BigEndian.PutUint32(info.Spec_dst[:], p.lane.base+p.offset)
		at = pktinfoSpace
	}
	if segment > 0 && segment < size {
		b.parts[i] = (size + segment - 1) / segment
		c, data := b.control[i].header(at)
		c.Level, c.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		c.SetLen(cmsgHeader + 2)
		*(*uint16)(data) = uint16(segment)
		at += segmentSpace
	}
	h.Control = nil
	if at > 0 {
		h.Control = (*byte)(unsafe.Pointer(&b.control[i]))
	}
	h.SetControllen(at)
	b.vectors[i].SetLen(size)
	return b.slab[i*b.step : i*b.step+size : (i+1)*b.step]
}

// flushDatagrams sends the outbox, consecutive messages of one socket by one system call.
//
// The calls below don't block, so the runtime isn't told about them (RawSyscall), which would cost as much as a datagram.
func (e *events) flushDatagrams() {
	b := e.out
	for i := 0; i < b.n; {
		end := i + 1
		for end < b.n && b.fds[end] == b.fds[i] {
			end++
		}
		retried := -1
		for i < end {
			n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(b.fds[i]), uintptr(unsafe.Pointer(&b.headers[i])),
				uintptr(end-i), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			switch {
			case errno == 0:
				i += max(int(n), 1)
			case errno == unix.EINTR:
			case retried != i:
				retried = i // the error may be an ICMP message's that waited to be told, or the buffer's that is drained soon
			default:
				err := error(errno)
				if b.parts[i] > 1 && (errno == unix.EIO || errno == unix.EINVAL || errno == unix.ENOPROTOOPT) {
					err = errSegments
				}
				e.failed(b.parts[i], err)
				i++
			}
		}
	}
	b.n = 0
}

// inbox is what recvmmsg fills.
type inbox struct {
	slab    []byte
	step    int
	headers [batchSize]unix.Mmsghdr
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet4
	control [batchSize]control
	shared  bool // what the headers are prepared for
	dirty   int  // headers that the kernel wrote to
}

func newInbox(o networkOptions) *inbox {
	step := (max(o.received, datagramSlack) + 63) &^ 63
	if o.gro {
		step = 1 << 16 // whatever the server joined
	}
	b := &inbox{slab: make([]byte, batchSize*step), step: step, dirty: batchSize}
	for i := range b.headers {
		b.vectors[i].Base = &b.slab[i*step]
		b.vectors[i].SetLen(step)
		h := &b.headers[i].Hdr
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.control[i]))
	}
	return b
}

// receive takes what a socket has, at most a batch.
func (b *inbox) receive(fd int, shared bool, to receiver) (int, syscall.Errno) {
	if b.shared != shared {
		b.shared, b.dirty = shared, batchSize
	}
	for i := range b.headers[:b.dirty] {
		h := &b.headers[i].Hdr
		h.Name, h.Namelen = nil, 0
		if shared { // the others are connected: the kernel lets only the server in
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), unix.SizeofSockaddrInet4
		}
		h.SetControllen(controlSize)
	}
	b.dirty = 0
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
			batchSize, unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			b.dirty = int(n)
			to.batch()
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// describe reads the control messages of message i: to which address it came, and how long each of its datagrams is.
func (b *inbox) describe(i int) (to uint32, segment int) {
	for at := 0; at+cmsgHeader <= int(b.headers[i].Hdr.Controllen) && at+cmsgHeader < controlSize; {
		c, data := b.control[i].header(at)
		switch {
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO:
			to = binary.BigEndian.Uint32((*unix.Inet4Pktinfo)(data).Addr[:])
		case c.Level == unix.IPPROTO_UDP && c.Type == unix.UDP_GRO:
			segment = int(*(*int32)(data))
		}
		at += max((int(c.Len)+7)&^7, cmsgHeader)
	}
	return to, segment
}

func (e *events) receiveShared(l *lane) int {
	b := e.in
	n, _ := b.receive(l.fd, true, e.to) // an ICMP error is about nobody that could be named; what is lost shows
	server := (*unix.RawSockaddrInet4)(unsafe.Pointer(&e.server.raw))
	got := 0
	for i := range n {
		to, segment := b.describe(i)
		offset := to - l.base
		from := &b.names[i]
		if from.Port != server.Port || from.Addr != server.Addr || offset >= uint32(len(l.owners)) || l.owners[offset] == nobody {
			e.total.stray++
			continue
		}
		got += e.deliver(l.owners[offset], i, segment)
	}
	return got
}

func (e *events) receiveOwn(client int32, l *lane) int {
	b := e.in
	n, errno := b.receive(l.fd, false, e.to)
	if errno == unix.ECONNREFUSED {
		e.to.broken(client, errno)
	}
	got := 0
	for i := range n {
		if e.places[client].lane != l { // closed by whom it was delivered to
			break
		}
		_, segment := b.describe(i)
		got += e.deliver(client, i, segment)
	}
	return got
}

// deliver hands on the datagrams of message i.
func (e *events) deliver(client int32, i, segment int) int {
	m := &e.in.headers[i]
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 {
		e.total.truncated++
		return 0
	}
	data := e.in.slab[i*e.in.step : i*e.in.step+int(m.Len)]
	if segment <= 0 || segment >= len(data) {
		e.to.message(client, data)
		return 1
	}
	n := 0
	for ; len(data) > 0; n++ {
		size := min(segment, len(data))
		e.to.message(client, data[:size:size])
		data = data[size:]
	}
	return n
}
