package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parts is how many pieces a datagram is gathered from: head, body, padding.
const parts = 3

// sender is what sendmmsg reads of a Queue. Vectors are used densely from the first, so that one header may take the
// vectors of several messages.
type sender struct {
	// immutable
	headers []unix.Mmsghdr
	vectors []unix.Iovec
	names   []sockaddr
	control [][controlSize / 8]uint64
	call    func(fd uintptr) // the method value of send, made once because making it allocates

	// owned by the goroutine that flushes
	messages []message // of the Flush under way
	grouping grouping
	offload  *offload

	// Why a message of several segments was refused, where to, and their size, until it is known what was at fault.
	suspect        syscall.Errno
	suspectNetwork uint8
	suspectSize    int

	// results of call
	sent  int           // messages
	errno syscall.Errno // of the first message that wasn't sent
}

func newSender(messages int) *sender {
	s := &sender{
		headers: make([]unix.Mmsghdr, messages),
		vectors: make([]unix.Iovec, messages*parts),
		names:   make([]sockaddr, messages),
		control: make([][controlSize / 8]uint64, messages),

		grouping: newGrouping(messages),
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
	s.messages, s.offload, s.sent, s.errno = q.messages[:q.n], c.offload, 0, 0
	// Control keeps the descriptor open and, unlike Write, lets other goroutines send meanwhile. There is nothing to wait
	// for: when the send buffer is full, datagrams are dropped.
	err := c.raw.Control(s.call)
	clear(s.vectors[:parts*q.n]) // hold no buffer of the caller's any longer
	s.messages = nil
	if err != nil {
		return s.sent, closedOr(err)
	}
	if s.errno != 0 {
		return s.sent, s.errno
	}
	return s.sent, nil
}

// prepare describes the groups to the kernel. The vectors' bases are what keeps the bytes alive and visible to the garbage
// collector during the call.
func (s *sender) prepare() {
	used := 0
	for i := range s.grouping.groups[:s.grouping.n] {
		g := &s.grouping.groups[i]
		h := &s.headers[i].Hdr
		h.Namelen = putSockaddr(&s.names[i], g.to)
		control := unsafe.Slice((*byte)(unsafe.Pointer(&s.control[i])), controlSize)
		room := putPacketInfo(control, g.to)
		if g.count > 1 {
			room = putSegmentSize(control, room, g.size)
		}
		h.SetControllen(room)
		first := used
		for m := g.first; m >= 0; m = s.grouping.next[m] {
			used = s.gather(first, used, s.messages[m].head)
			used = s.gather(first, used, s.messages[m].body)
			used = s.gather(first, used, padding[:s.messages[m].pad])
		}
		h.Iov = &s.vectors[min(first, len(s.vectors)-1)]
		h.SetIovlen(used - first)
	}
}

// gather adds a part to the vectors of a header, which begin at first, and returns how many are used then. A part that
// lies right behind the one before makes that longer: datagrams that came as one leave as one.
func (s *sender) gather(first, used int, part []byte) int {
	if len(part) == 0 {
		return used
	}
	if used > first {
		last := &s.vectors[used-1]
		// Numbers are compared, not pointers: the end of one buffer may be the start of a stranger. Both are held by the
		// messages until Flush returns.
		if uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == uintptr(unsafe.Pointer(&part[0])) {
			last.SetLen(int(last.Len) + len(part))
			return used
		}
	}
	s.vectors[used].Base = &part[0]
	s.vectors[used].SetLen(len(part))
	return used + 1
}

// send runs while the descriptor can't be closed. sendmmsg stops at the first message that fails, and tells why only when
// that is the first one of the call. The reason may still be another message's: an ICMP error that waited to be reported.
// So a message is dropped when it fails twice; but one of several segments is sent again as so many messages first.
func (s *sender) send(fd uintptr) {
	s.grouping.sort(s.messages, s.offload)
	s.prepare()
	failed := -1
	s.suspect = 0
	for i := 0; i < s.grouping.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.headers[i])),
			uintptr(s.grouping.n-i), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			if s.suspect != 0 { // its first segment went alone: it was the joining that was refused
				s.offload.refused(s.suspect, s.suspectNetwork, s.suspectSize)
				s.suspect = 0
			}
			for range max(int(n), 1) {
				s.sent += s.grouping.groups[i].count
				i++
			}
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			s.fail(errno)
			return
		case failed != i:
			failed = i
		case s.grouping.groups[i].count > 1:
			s.suspect, s.suspectSize = errno, s.grouping.groups[i].size
			s.split(i)
			i, failed = 0, -1
		default:
			s.suspect = 0
			s.fail(errno)
			i++
		}
	}
}

// split makes what is left from group i on the whole Flush, a message for each datagram.
func (s *sender) split(i int) {
	s.messages = s.grouping.compact(s.messages, i)
	s.grouping.sort(s.messages, nil)
	s.prepare()
}

func (s *sender) fail(errno syscall.Errno) {
	if s.errno == 0 {
		s.errno = errno
	}
}
