package load

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// readSize is how many bytes are read from a connection at once.
const readSize = 256 << 10

// maxBacklog is how many bytes may wait for a connection whose server reads slowly.
const maxBacklog = 256 << 10

var errBacklog = errors.New("the connection takes no more")

// stream is a TCP client's connection.
type stream struct {
	fd      int
	out     []byte // to be written; out[:written] has been
	written int
	dirty   bool   // stands in streamBuffers.dirty
	blocked bool   // not connected yet, or the kernel's buffer is full: an event will tell
	rest    []byte // of a frame that isn't whole yet
}

type streamBuffers struct {
	in    []byte
	dirty []*stream // with something to write
}

// connect begins a client's connection. Edges of epoll tell when it is made, when it can be written to again, and when
// there is something to read.
func (e *events) connect(client int32, ip netip.Addr) (*stream, error) {
	fd, err := e.socket(unix.SOCK_STREAM, ip)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	to, _ := plain(e.options.server)
	s := &stream{fd: fd, blocked: true}
	if err = unix.Connect(fd, to); err == nil || err == unix.EINPROGRESS {
		err = e.watch(fd, client, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
	} else {
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (e *events) disconnect(s *stream) {
	_ = e.write(s)
	e.watched--
	_ = unix.Close(s.fd)
	s.fd, s.out = -1, nil
}

// append makes room at the end of what is to be written.
func (e *events) append(s *stream, size int) []byte {
	if len(s.out)-s.written > maxBacklog {
		e.failed(1, errBacklog)
		return nil
	}
	if !s.dirty {
		s.dirty = true
		e.streams.dirty = append(e.streams.dirty, s)
	}
	from := len(s.out)
	for cap(s.out) < from+size {
		s.out = append(s.out[:cap(s.out)], 0)
	}
	s.out = s.out[:from+size]
	return s.out[from:]
}

func (e *events) flushStreams() {
	for _, s := range e.streams.dirty {
		s.dirty = false
		if !s.blocked {
			_ = e.write(s)
		}
	}
	e.streams.dirty = e.streams.dirty[:0]
}

// write sends what is there. An error is the connection's end, which the next event tells, too, but not always why.
func (e *events) write(s *stream) error {
	for s.written < len(s.out) {
		n, err := unix.Write(s.fd, s.out[s.written:])
		switch {
		case err == nil:
			s.written += n
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			s.blocked = true
			// What was written makes room as soon as it is more than what wasn't.
			if s.written > len(s.out)/2 {
				s.out = s.out[:copy(s.out, s.out[s.written:])]
				s.written = 0
			}
			return nil
		default:
			s.out, s.written = s.out[:0], 0
			return os.NewSyscallError("write", err)
		}
	}
	s.out, s.written = s.out[:0], 0
	return nil
}

// progress does what an event says can be done.
func (e *events) progress(client int32, s *stream, what uint32) (n int) {
	if what&unix.EPOLLOUT != 0 && s.blocked {
		s.blocked = false
		if err := e.write(s); err != nil {
			e.to.broken(client, err)
			return 0
		}
	}
	if what&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return 0
	}
	if e.streams.in == nil {
		e.streams.in = make([]byte, readSize)
	}
	for {
		held := copy(e.streams.in, s.rest)
		got, err := unix.Read(s.fd, e.streams.in[held:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return n
		case err != nil:
			e.to.broken(client, os.NewSyscallError("read", err))
			return n
		case got == 0:
			e.to.broken(client, errClosed)
			return n
		}
		e.to.batch()
		frames, left := e.frames(client, s, e.streams.in[:held+got])
		n += frames
		if left < 0 || e.places[client].stream != s { // closed by whom it was delivered to
			return n
		}
		s.rest = append(s.rest[:0], e.streams.in[held+got-left:held+got]...)
		if held+got < len(e.streams.in) {
			return n // read empty; more will be another edge
		}
	}
}

// frames hands on the whole frames of b and returns how many bytes are left; negative when nothing can follow any more.
func (e *events) frames(client int32, s *stream, b []byte) (n, left int) {
	for len(b) > 0 {
		size, err := wire.FrameSize(b)
		if err != nil {
			e.to.broken(client, errNotTURN)
			return n, -1
		}
		if size == 0 || size > len(b) {
			break
		}
		e.to.message(client, b[:size:size])
		n++
		if e.places[client].stream != s {
			return n, -1
		}
		b = b[size:]
	}
	return n, len(b)
}
