package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parts is how many pieces a datagram is gathered from: head, body, padding.
const parts = 3

// sender is what sendmmsg reads of a Queue. Vectors are used densely from the first, not parts by parts, so that one
// header may take the vectors of several messages when they come to leave as one (UDP_SEGMENT).
type sender struct {
	// immutable
	headers []unix.Mmsghdr
	vectors []unix.Iovec
	names   []sockaddr
	control [][controlSize / 8]uint64
	call    func(fd uintptr) // the method value of send, made once because making it allocates

	// owned by the goroutine that flushes
	n int // headers to send

	// results of call
	sent  int
	errno syscall.Errno // of the first message that wasn't sent
}

func newSender(messages int) *sender {
	s := &sender{
		headers: make([]unix.Mmsghdr, messages),
		vectors: make([]unix.Iovec, messages*parts),
		names:   make([]sockaddr, messages),
		control: make([][controlSize / 8]uint64, messages),
	}
	for i := range s.headers {
		h := &s.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Control = (*byte)(unsafe.Pointer(&s.control[i]))
	}
	s.call = s.send
	return s
}

func (c *Conn) flushFast(q *Queue) (int, error) {
	s := q.fast
	s.n, s.sent, s.errno = q.n, 0, 0
	used := s.prepare(q.messages[:q.n])
	// Control keeps the descriptor open and, unlike Write, lets other goroutines send meanwhile. There is nothing to wait
	// for: when the send buffer is full, datagrams are dropped.
	err := c.raw.Control(s.call)
	clear(s.vectors[:used]) // hold no buffer of the caller's any longer
	if err != nil {
		return s.sent, closedOr(err)
	}
	if s.errno != 0 {
		return s.sent, s.errno
	}
	return s.sent, nil
}

// prepare describes the messages to the kernel and returns how many vectors that took. The vectors' bases are what keeps
// the bytes alive and visible to the garbage collector during the call.
func (s *sender) prepare(messages []message) (used int) {
	for i := range messages {
		m := &messages[i]
		h := &s.headers[i].Hdr
		h.Namelen = putSockaddr(&s.names[i], &m.to)
		h.SetControllen(putPacketInfo(unsafe.Slice((*byte)(unsafe.Pointer(&s.control[i])), controlSize), &m.to))
		first := used
		used += s.gather(used, m.head)
		used += s.gather(used, m.body)
		used += s.gather(used, padding[:m.pad])
		h.Iov = &s.vectors[min(first, len(s.vectors)-1)]
		h.SetIovlen(used - first)
	}
	return used
}

func (s *sender) gather(i int, part []byte) int {
	if len(part) == 0 {
		return 0
	}
	s.vectors[i].Base = &part[0]
	s.vectors[i].SetLen(len(part))
	return 1
}

// send runs while the descriptor can't be closed. sendmmsg stops at the first message that fails, and tells why only when
// that is the first one of the call. The reason may still be another message's: an ICMP error that waited to be reported.
// So a message is dropped when it fails twice.
func (s *sender) send(fd uintptr) {
	failed := -1
	for i := 0; i < s.n; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[i])),
			uintptr(s.n-i), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			s.sent += int(n)
			i += max(int(n), 1)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			s.fail(errno)
			return
		case failed != i:
			failed = i
		default:
			s.fail(errno)
			i++
		}
	}
}

func (s *sender) fail(errno syscall.Errno) {
	if s.errno == 0 {
		s.errno = errno
	}
}
