package tcp

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// share lets a socket be bound to the port of one that listens (RFC 6062 §5.2 has
// connections leave from the relayed transport address).
func share(_ context.Context, _, _ string, raw syscall.RawConn) error {
	return setReusePort(raw)
}

// shareLater lets sockets of this user with the same option join a port that is taken.
func shareLater(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return setReusePort(raw)
}

func setReusePort(raw syscall.RawConn) (err error) {
	fault := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if fault != nil {
		return fault
	}
	return err
}
