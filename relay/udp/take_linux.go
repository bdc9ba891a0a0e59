package udp

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// takeFast is Take by recvmmsg.
func (c *Conn) takeFast(b *Batch, most int) (int, error) {
	r := b.fast
	room := 0
	if c.packetInfo || c.offload.gro {
		room = controlSize
	}
	r.asked = min(most, len(r.headers)-b.n)
	if r.asked <= 0 {
		return 0, nil
	}
	for i := b.n; i < b.n+r.asked; i++ {
		h := &r.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(room)
	}
	r.n, r.errno = b.n, 0
	if err := c.raw.Control(r.take); err != nil {
		return 0, err
	}
	taken := r.n - b.n
	b.n = r.n
	r.dirty = len(r.headers) // a later Receive begins anew
	switch {
	case c.closing(): // a closed socket looks like empty datagrams
		b.n -= taken
		return 0, net.ErrClosed
	case r.errno != 0 && taken == 0:
		return 0, r.errno
	}
	return taken, nil
}

// takeNow reads without waiting. A report about an earlier datagram stands in the way of those behind it once.
func (r *receiver) takeNow(fd uintptr) {
	for range maxErrors {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[r.n])),
			uintptr(r.asked), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n += int(n)
			r.errno = 0
			return
		case unix.EAGAIN:
			r.errno = 0
			return
		default:
			r.errno = errno
		}
	}
}
