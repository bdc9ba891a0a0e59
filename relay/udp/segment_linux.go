package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxSegments is how many datagrams one message may become: UDP_MAX_SEGMENTS of Linux before 6.9, which doubled it.
	maxSegments = 64
	// maxSegmented is how many bytes they may have together: a UDP length field, less the longest headers that may be
	// counted with it.
	maxSegmented = 65535 - 48 - 8
)

// group is one header of a sendmmsg call: a datagram, or several to one destination that leave as one message, to be cut
// by the kernel or the network card (UDP_SEGMENT). All have the size of the first; a shorter one closes the group.
type group struct {
	to          *Destination
	first, last int // messages, linked by grouping.next
	count       int
	size, bytes int // of the first; of all
	closed      bool
}

// grouping sorts a queue's messages into groups. Order within a destination is kept, and groups leave in the order of
// their first messages. It belongs to the goroutine that flushes.
type grouping struct {
	groups []group
	n      int
	next   []int      // by message: the group's next one, -1 at its end
	left   []message  // scratch of compact
	recent [256]uint8 // by hash of a destination: index of the group that it used last, plus one
}

func newGrouping(messages int) grouping {
	return grouping{groups: make([]group, messages), next: make([]int, messages), left: make([]message, messages)}
}

// sort makes groups of messages, as far as o allows; nil leaves every message alone.
func (g *grouping) sort(messages []message, o *offload) {
	g.n = 0
	joining := o != nil && o.segmentLimit() > 0
	if joining {
		clear(g.recent[:])
	}
	for i := range messages {
		m := &messages[i]
		size := len(m.head) + len(m.body) + int(m.pad)
		g.next[i] = -1
		closed := true
		if joining {
			closed = size == 0 || size > o.limitTo(network(&m.to))
			slot := &g.recent[hash(&m.to)]
			if *slot > 0 && !closed && g.join(int(*slot)-1, i, m, size) {
				continue
			}
			*slot = 0 // what follows must not overtake this one, so no earlier group may be joined any more
			if g.n < 255 {
				*slot = uint8(g.n + 1)
			}
		}
		g.groups[g.n] = group{to: &m.to, first: i, last: i, count: 1, size: size, bytes: size, closed: closed}
		g.n++
	}
}

// join adds message i to a group if it fits there.
func (g *grouping) join(at, i int, m *message, size int) bool {
	p := &g.groups[at]
	if p.closed || size > p.size || p.count == maxSegments || p.bytes+size > maxSegmented || *p.to != m.to {
		return false
	}
	g.next[p.last] = i
	p.last = i
	p.count++
	p.bytes += size
	p.closed = size < p.size
	return true
}

// compact returns the messages of group i and those after it, in the order of the groups.
func (g *grouping) compact(messages []message, i int) []message {
	left := 0
	for ; i < g.n; i++ {
		for m := g.groups[i].first; m >= 0; m = g.next[m] {
			g.left[left] = messages[m]
			left++
		}
	}
	copy(messages, g.left[:left])
	clear(g.left[:left])
	return messages[:left]
}

func hash(to *Destination) uint8 {
	h := binary.LittleEndian.Uint32(to.remote[:4]) ^ binary.LittleEndian.Uint32(to.remote[12:]) ^ uint32(to.port)*0x9E3779B1
	return uint8(h * 0x85EBCA6B >> 24)
}

// putSegmentSize writes the control message that has the kernel cut a message into datagrams of size bytes, behind used
// bytes of control messages, and returns how many there are then.
func putSegmentSize(b []byte, used, size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[used : used+cmsgSpace(2)][0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(cmsgHeader + 2)
	*(*uint16)(unsafe.Pointer(&b[used+cmsgHeader])) = uint16(size)
	return used + cmsgSpace(2)
}

// network stands for where a destination is: its IPv4 address, or the /64 that an IPv6 host may choose its address from.
func network(to *Destination) uint8 {
	return uint8(binary.LittleEndian.Uint64(to.remote[:8]) * 0x9E3779B97F4A7C15 >> 56)
}
