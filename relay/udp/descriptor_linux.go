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
	fd    int          // immutable
	state atomic.Int32 // calls of Control, and Close, under way; plus closing
}

// closing is what Close adds to a descriptor's state. They are one number because nobody may come in between the last
// call's look at one and at the other: its number would be closed under the newcomer, and be a stranger's soon.
const closing = 1 << 30

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
	if !d.enter(0) {
		return net.ErrClosed
	}
	defer d.leave()
	f(uintptr(d.fd))
	return nil
}

func (d *descriptor) isClosing() bool { return d.state.Load() >= closing }

// enter counts a call, with closing or 0, unless Close was called before.
func (d *descriptor) enter(with int32) bool {
	for {
		state := d.state.Load()
		if state >= closing {
			return false
		}
		if d.state.CompareAndSwap(state, state+1+with) {
			return true
		}
	}
}

func (d *descriptor) leave() {
	if d.state.Add(-1) == closing {
		unix.Close(d.fd)
	}
}

// Close wakes every call that waits. The error of an unconnected socket, ENOTCONN, is of no interest: they are woken all
// the same.
func (d *descriptor) Close() error {
	if !d.enter(closing) {
		return net.ErrClosed
	}
	defer d.leave()
	if err := unix.Shutdown(d.fd, unix.SHUT_RDWR); err != nil && err != syscall.ENOTCONN {
		return os.NewSyscallError("shutdown", err)
	}
	return nil
}
