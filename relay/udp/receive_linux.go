package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const hasFastPath = true

// receiver is what recvmmsg fills for a Batch. The arrays refer to each other and to the slab once and for all; only what
// the kernel writes back is set again between calls.
type receiver struct {
	// immutable
	headers []unix.Mmsghdr
	vectors []unix.Iovec
	names   []sockaddr
	control [][controlSize / 8]uint64
	call    func(fd uintptr) bool // the method value of receive, made once because making it allocates

	// owned by the goroutine that receives
	dirty        int // headers that the kernel wrote to
	wantsControl bool
	controlRoom  int

	// results of call
	n     int
	errno syscall.Errno
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
	r.call = r.receive
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
	r.n, r.dirty, r.errno = 0, 0, 0
	// The socket doesn't block; where there is nothing to read, the runtime's poller parks the goroutine and calls again.
	if err := c.raw.Read(r.call); err != nil {
		return closedOr(err)
	}
	b.n, r.dirty = r.n, r.n
	if r.errno != 0 {
		return r.errno
	}
	return nil
}

// receive runs while the descriptor can't be closed, and returns false to be called again when the socket is readable.
func (r *receiver) receive(fd uintptr) bool {
	for failures := 0; ; {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
			uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		}
		if failures++; failures == maxErrors {
			r.errno = errno
			return true
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
	if r.wantsControl && m.Hdr.Controllen > 0 {
		control := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), controlSize)
		parseControl(control[:min(int(m.Hdr.Controllen), controlSize)], &d)
	}
	return d
}
