package udp

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const hasFastPath = true

// receiver is what recvmmsg fills for a Batch. The arrays refer to each other and to the slab once and for all; only what
// the kernel writes back is set again between calls.
type receiver struct {
	// immutable
	headers          []unix.Mmsghdr
	vectors          []unix.Iovec
	names            []sockaddr
	control          [][controlSize / 8]uint64
	idle, busy, take func(fd uintptr) // method values, made once because making them allocates

	// owned by the goroutine that receives
	dirty        int // headers that the kernel wrote to
	wantsControl bool
	controlRoom  int
	asked        int // headers that the call under way may fill, from the n-th on

	hot  bool // packets are coming: wait busily
	poll [1]unix.PollFd

	// results of a call
	n        int
	errno    syscall.Errno
	failures int // in a row
}

func newReceiver(b *Batch, messages int) *receiver {
	r := &receiver{
		headers: make([]unix.Mmsghdr, messages),
		vectors: make([]unix.Iovec, messages),
		names:   make([]sockaddr, messages),
		control: make([][controlSize / 8]uint64, messages),
		dirty:   messages,
	}
	for i := range r.headers {
		r.vectors[i].Base = &b.buffer(i)[0]
		r.vectors[i].SetLen(b.size)
		h := &r.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
	}
	r.idle, r.busy, r.take = r.waitIdle, r.waitBusy, r.takeNow
	return r
}

func (c *Conn) receiveFast(b *Batch) error {
	r := b.fast
	if wanted := c.packetInfo || c.offload.gro; r.wantsControl != wanted {
		r.wantsControl, r.controlRoom, r.dirty = wanted, 0, len(r.headers)
		if wanted {
			r.controlRoom = controlSize
		}
	}
	for i := range r.headers[:r.dirty] {
		h := &r.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(r.controlRoom)
	}
	r.n, r.dirty, r.errno, r.failures = 0, 0, 0, 0
	for r.n == 0 && r.errno == 0 {
		call := r.idle
		if r.hot {
			call = r.busy
		}
		if err := c.raw.Control(call); err != nil {
			return err
		}
	}
	if c.closing() { // woken by Close with nothing, which looks like empty datagrams
		return net.ErrClosed
	}
	if r.errno != 0 {
		return r.errno
	}
	b.n, r.dirty = r.n, r.n
	return nil
}

// Receiving waits in one of two ways.
//
//	idle ──a datagram──► busy ──none for hotWait──► idle
//
// Idle, the wait is a system call as the runtime knows it: the processor goes to other goroutines. Coming back from it
// costs a lone packet more than the rest of its way: another thread is woken and put to sleep each time, and so is the
// runtime's monitor. So, while packets come, the wait is hidden from the runtime, which takes the goroutine to be running.
// What the runtime wants of a running goroutine it still gets: it asks by a signal, which ends the call (EINTR), and the
// next call of a function gives way. Whoever runs receive loops has to give the runtime as many processors more
// (GOMAXPROCS), or they take turns with everything else.

// waitIdle waits for a datagram to come, however long that takes.
func (r *receiver) waitIdle(fd uintptr) {
	r.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	if _, err := unix.Ppoll(r.poll[:], nil, nil); err == nil {
		r.hot = true
	}
}

// waitBusy waits for a datagram for up to hotWait, and takes what there is with it.
func (r *receiver) waitBusy(fd uintptr) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
		uintptr(len(r.headers)), unix.MSG_WAITFORONE, 0, 0)
	switch errno {
	case 0:
		r.n = int(n)
	case unix.EINTR:
	case unix.EAGAIN:
		r.hot = false
	default:
		if r.failures++; r.failures == maxErrors {
			r.errno = errno
		}
	}
}

// datagramFast reads a datagram's description at the moment it is asked for, when it is about to be used.
func (b *Batch) datagramFast(i int) Datagram {
	r := b.fast
	m := &r.headers[:b.n][i]
	n := int(m.Len)
	d := Datagram{
		Bytes:     b.buffer(i)[:n],
		Segment:   n,
		Source:    parseSockaddr(&r.names[i]),
		Truncated: m.Hdr.Flags&unix.MSG_TRUNC != 0,
	}
	if m.Hdr.Controllen > 0 {
		control := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), controlSize)
		parseControl(control[:min(int(m.Hdr.Controllen), controlSize)], &d)
	}
	return d
}
