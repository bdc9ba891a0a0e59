package udp

import (
	"errors"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever uses a descriptor while it is closed has either the socket or net.ErrClosed, never a number that may be a
// stranger's by then; and Close itself is such a user.
func TestCloseDuringUse(t *testing.T) {
	const users = 4
	for range 20_000 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := &descriptor{fd: fd}
		var running sync.WaitGroup
		for range users {
			running.Go(func() {
				for {
					err := control(d, func(fd uintptr) error {
						_, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
						return err
					})
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("a user's descriptor: %v", err)
						return
					}
				}
			})
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		running.Wait()
		if err := d.Close(); err != net.ErrClosed {
			t.Errorf("the second Close: %v", err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Fatalf("the descriptor is still open: %v", err)
		}
		if t.Failed() {
			return
		}
	}
}
