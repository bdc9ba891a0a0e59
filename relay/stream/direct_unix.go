//go:build unix

package stream

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// direct makes a TCP connection's system calls without the wait that net.Conn puts around them: a write takes
// what the kernel takes now, and a read borrows its buffer only when there is something to read.
type direct struct {
	raw syscall.RawConn // nil for a net.Conn that isn't TCP

	// The callbacks are made once, because a method value costs an allocation.
	tryRead, tryWrite func(fd uintptr) bool

	// Owned by the reader.
	in      *input
	got     int
	readErr error

	// Owned by whoever holds the state flushing.
	pending  chain
	written  int
	writeErr error
}

func (d *direct) init(c *Conn) {
	tcp, ok := c.nc.(*net.TCPConn)
	if under, wrapped := c.nc.(interface{ Direct() *net.TCPConn }); wrapped {
		tcp = under.Direct()
		ok = tcp != nil
	}
	if !ok {
		return
	}

	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}

	d.raw, d.in = raw, &c.in
	d.tryRead, d.tryWrite = d.readNow, d.writeNow
}

func (d *direct) usable() bool { return d.raw != nil }

// read waits until something can be read and reads it into the input.
func (d *direct) read() (int, error) {
	d.got, d.readErr = 0, nil
	if err := d.raw.Read(d.tryRead); err != nil {
		return 0, err
	}

	return d.got, d.readErr
}

// readNow is true when the wait is over.
func (d *direct) readNow(fd uintptr) bool {
	d.in.widen()

	n, err := syscall.Read(int(fd), d.in.room())
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), d.in.room())
	}

	switch {
	case n > 0:
		d.got = n
		d.in.have += n

		return true
	case n == 0:
		err = io.EOF
	case errors.Is(err, syscall.EAGAIN):
		d.in.consume(0)

		return false
	}

	d.in.consume(0)
	d.readErr = err

	return true
}

// write writes as much of pending as the kernel takes now.
func (d *direct) write() (int, error) {
	d.written, d.writeErr = 0, nil
	if err := d.raw.Write(d.tryWrite); err != nil {
		return d.written, err
	}

	return d.written, d.writeErr
}

// writeNow is always true: it never waits.
func (d *direct) writeNow(fd uintptr) bool {
	for d.pending.first != nil {
		b := d.pending.first

		n, err := syscall.Write(int(fd), b.data[b.from:b.to])
		switch {
		case err == nil:
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return true
		default:
			d.writeErr = err

			return true
		}

		d.written += n
		b.from += n
		if b.from < b.to {
			return true // the kernel's buffer is full
		}
		d.pending.pop().put()
	}

	return true
}
