package udp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HasPoller says whether this system has Poller. Elsewhere one goroutine has to Receive on each Conn.
const HasPoller = true

// wakeToken is the token of the event that Close raises; no Conn may have it.
const wakeToken = 1<<32 - 1

// Poller waits for datagrams on many sockets at once (epoll). One goroutine waits; Add, Remove and Close may be called from
// any. A Conn leaves by being closed, too.
type Poller struct {
	fd, wake int // immutable
	state    atomic.Int32

	// owned by the goroutine that waits
	waits  bool // it has begun to
	events [64]unix.EpollEvent
	n      int
	hot    bool // packets are coming: wait busily, as Receive does
}

// What a Poller holds is given back by who waits, and where nobody has begun to, by Close:
//
//	idle ──Wait──► waited ──Close──► closed ──► released by Wait
//	  └─────────────Close────────────► closed and released
const (
	pollerIdle = iota
	pollerWaited
	pollerClosed
)

// NewPoller makes a Poller without sockets.
func NewPoller() (*Poller, error) {
	p := &Poller{}
	var err error
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := p.add(p.wake, wakeToken); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

// Add has Wait tell of datagrams for c, by token. A Conn on the portable path is refused with errors.ErrUnsupported.
func (p *Poller) Add(c *Conn, token uint32) error {
	if c.portable {
		return errors.ErrUnsupported
	}
	return control(c.raw, func(fd uintptr) error { return p.add(int(fd), token) })
}

func (p *Poller) add(fd int, token uint32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(token)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event))
}

// Remove has Wait tell no longer of a Conn, but for what it has found already; one that isn't there or is closed is no error.
func (p *Poller) Remove(c *Conn) {
	_ = control(c.raw, func(fd uintptr) error {
		return unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(fd), nil)
	})
}

// Wait waits until there is something to take from at least one socket and returns how many there are; Ready names them.
// It returns net.ErrClosed after Close. It waits as Conn.Receive does, busily as long as packets come.
func (p *Poller) Wait() (int, error) {
	if !p.waits {
		if p.waits = p.state.CompareAndSwap(pollerIdle, pollerWaited); !p.waits {
			return 0, net.ErrClosed
		}
	}
	for p.n = 0; p.n == 0; {
		if p.state.Load() == pollerClosed {
			p.release()
			return 0, net.ErrClosed
		}
		var errno syscall.Errno
		if p.hot {
			n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
				uintptr(len(p.events)), uintptr(hotWait.Milliseconds()), 0, 0)
			if errno = e; e == 0 {
				p.n, p.hot = int(n), n > 0
			}
		} else {
			n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
				uintptr(len(p.events)), ^uintptr(0), 0, 0)
			if errno = e; e == 0 {
				p.n, p.hot = int(n), true
			}
		}
		if errno != 0 && errno != unix.EINTR {
			return 0, os.NewSyscallError("epoll_wait", errno)
		}
	}
	return p.n, nil
}

// Ready names the i-th socket that Wait found by its token. failed says that the kernel has an error for it: Conn.ICMP tells.
// A token may be that of a Conn closed since.
func (p *Poller) Ready(i int) (token uint32, failed bool) {
	e := &p.events[:p.n][i]
	return uint32(e.Fd), e.Events&unix.EPOLLERR != 0
}

// Close ends Wait. What the Poller holds is given back then, or at once if nobody has waited.
func (p *Poller) Close() {
	switch p.state.Swap(pollerClosed) {
	case pollerIdle:
		p.release()
	case pollerWaited:
		one := [8]byte{1}
		_, _ = unix.Write(p.wake, one[:])
	}
}

func (p *Poller) release() {
	unix.Close(p.fd)
	unix.Close(p.wake)
}
