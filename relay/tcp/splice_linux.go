package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A stream that comes faster than a buffer is emptied is left to the kernel, in stretches
// after which it is counted.
const (
	stretchBytes = 1 << 20
	stretchTime  = time.Second
)

// splice relays between two sockets until the stream ends; copied is false when it can't.
// What comes in small pieces goes through a buffer that is borrowed once there is
// something to read; the rest stays inside the kernel (splice(2), by way of
// net.TCPConn.ReadFrom). What has a limit of bandwidth to keep never does.
func (l *link) splice(from, to *end, p *pace) (copied bool, err error) {
	src, isTCP := from.conn.(*net.TCPConn)
	dst, alsoTCP := to.conn.(*net.TCPConn)
	if !isTCP || !alsoTCP {
		return false, nil
	}
	raw, err := src.SyscallConn()
	if err != nil {
		return false, nil
	}
	r := ready{most: p.piece}
	r.try = r.read
	for {
		if err := l.arm(from); err != nil {
			return true, err
		}
		n, err := r.wait(raw)
		if n > 0 {
			if err := p.pass(from, to, r.buffer[:n]); err != nil {
				r.release()
				return true, err
			}
		}
		r.release()
		if err == nil && n == copyBytes && !p.limited() {
			err = l.stretch(from, to, dst, src)
		}
		if err != nil {
			return true, eof(err)
		}
	}
}

// stretch relays inside the kernel for a while; io.EOF: the stream has ended.
func (l *link) stretch(from, to *end, dst, src *net.TCPConn) error {
	if err := l.setDeadline(src, time.Now().Add(stretchTime)); err != nil {
		return err
	}
	n, err := dst.ReadFrom(&io.LimitedReader{R: src, N: stretchBytes})
	l.count(from, to, int(n))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !l.isClosed():
		return nil
	case err == nil && n < stretchBytes:
		return io.EOF
	}
	return err
}

// eof makes the end of a stream no error.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ready reads from a socket into a buffer that is borrowed only when something can be
// read.
type ready struct {
	buffer *[copyBytes]byte // nil: not borrowed
	most   int              // bytes that are read at a time
	try    func(fd uintptr) bool
	n      int
	err    error
}

// wait returns how much has come; with io.EOF: nothing more will.
func (r *ready) wait(raw syscall.RawConn) (int, error) {
	r.n, r.err = 0, nil
	if err := raw.Read(r.try); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// read is false when there is nothing yet.
func (r *ready) read(fd uintptr) bool {
	r.buffer = copyBuffers.Get().(*[copyBytes]byte)
	for {
		n, err := syscall.Read(int(fd), r.buffer[:r.most])
		switch {
		case n > 0:
			r.n = n
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			r.release()
			return false
		case err != nil:
			r.err = err
		default:
			r.err = io.EOF
		}
		return true
	}
}

func (r *ready) release() {
	if r.buffer != nil {
		copyBuffers.Put(r.buffer)
		r.buffer = nil
	}
}

// limited says whether there is any limit.
func (p *pace) limited() bool { return len(p.paces) > 0 }
