package udp

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hotWait is how long a receive that waits as if it were running goes without a datagram before it makes room for others.
const hotWait = 2 * time.Millisecond

// descriptor is a socket that the runtime's poller doesn't know: calls on it wait in the kernel. The poller would wake a
// thread of its own for every datagram, whether or not anybody waits there.
//
//	open ──Close──► closing: waiting calls are woken, new ones fail ──last call has returned──► closed
type descriptor struct {
	fd      int // immutable
	closing atomic.Bool
	users   atomic.Int32 // calls of Control, and Close, under way
	closed  atomic.Bool
}

// detach takes a socket away from the runtime's poller; socket is closed, the result is the same socket.
func detach(socket *net.UDPConn) (*descriptor, error) {
	defer socket.Close()
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &descriptor{}
	return d, control(raw, func(fd uintptr) (err error) {
		if d.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
		timeout := unix.NsecToTimeval(int64(hotWait))
		if err = unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			unix.Close(d.fd)
			return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
		}
		if err = unix.SetNonblock(d.fd, false); err != nil {
			unix.Close(d.fd)
			return os.NewSyscallError("fcntl", err)
		}
		return nil
	})
}

// Control runs f while the descriptor can't be closed. It returns net.ErrClosed, and runs nothing, after Close.
func (d *descriptor) Control(f func(fd uintptr)) error {
	d.users.Add(1)
	defer d.leave()
	if d.closing.Load() {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

func (d *descriptor) isClosing() bool { return d.closing.Load() }

func (d *descriptor) leave() {
	if d.users.Add(-1) == 0 && d.closing.Load() && !d.closed.Swap(true) {
		unix.Close(d.fd)
	}
}

// Close wakes every call that waits. The error of an unconnected socket, ENOTCONN, is of no interest: they are woken all
// the same.
func (d *descriptor) Close() error {
	if d.closing.Swap(true) {
		return net.ErrClosed
	}
	d.users.Add(1)
	defer d.leave()
	if err := unix.Shutdown(d.fd, unix.SHUT_RDWR); err != nil && err != syscall.ENOTCONN {
		return os.NewSyscallError("shutdown", err)
	}
	return nil
}
