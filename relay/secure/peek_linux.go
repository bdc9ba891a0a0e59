package secure

import (
	"io"
	"syscall"
)

// peek waits for the first byte of the stream and leaves it there, so that the connection stays a plain one.
func (c *conn) peek() (byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var first [1]byte
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		n := 0
		for {
			if n, _, failure = syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK); failure != syscall.EINTR {
				break
			}
		}
		if failure == nil && n == 0 {
			failure = io.EOF
		}
		return failure != syscall.EAGAIN
	})
	if err == nil {
		err = failure
	}
	return first[0], err
}
