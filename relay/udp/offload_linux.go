package udp

import (
	"errors"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// offload is what a socket found possible, less what it found refused since.
//
//	refusals: 0 ──EINVAL for segments of n bytes──► n      the MTU of the route there is smaller, see limitTo
//	limit: 65535 ──EIO────────────────────────────► 0      the device can't do checksums
//
// It never grows back: a fault that comes and goes would cost more than segments gain. But a client that lowers its path's
// MTU, as anybody can by an ICMP message about a datagram that came, lowers nobody else's.
type offload struct {
	gro      bool              // immutable
	fault    string            // why GSO wasn't even tried; immutable
	limit    atomic.Int32      // bytes that a segment may have; 0: GSO is off
	refusals [256]atomic.Int32 // by network, which some share: bytes of the least segment that was refused; 0: none was
	refusal  atomic.Int32      // errno of the first refusal
}

func (o *offload) segmentLimit() int { return int(o.limit.Load()) }

// limitTo is how many bytes a segment to a network may have; 0: there must be none.
func (o *offload) limitTo(network uint8) int {
	limit := o.segmentLimit()
	if least := int(o.refusals[network].Load()); least > 0 {
		limit = min(limit, least-1)
	}
	return limit
}

// maxSegment is more than any datagram has.
const maxSegment = 65535

// apply turns on for a socket what is known, or what is asked for and found.
func (o *offload) apply(fd uintptr, ask Options) {
	switch {
	case ask.Like == nil:
		o.probe(fd, ask.Offload)
	case o.gro:
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) // it was possible for the other socket
	}
}

// probe turns on what is asked for and what the kernel has.
func (o *offload) probe(fd uintptr, ask Offload) {
	if ask.GRO {
		o.gro = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	}
	if ask.GSO {
		if o.fault = segmentFault(); o.fault != "" {
			return
		}
		if _, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT); err == nil {
			o.limit.Store(maxSegment)
		}
	}
}

// inUse is Conn.Offload.
func (o *offload) inUse() (Offload, error) {
	in := Offload{GRO: o.gro, GSO: o.segmentLimit() > 0}
	if o.fault != "" {
		return in, errors.New(o.fault)
	}
	if errno := o.refusal.Load(); errno != 0 {
		return in, syscall.Errno(errno)
	}
	return in, nil
}

// refused notes that the kernel refused to cut a message to a network into segments of size bytes, which it took one by
// one. Any other reason than these two passes: the firewall's, or a lack of memory.
func (o *offload) refused(errno syscall.Errno, network uint8, size int) {
	switch errno {
	case unix.EIO:
		o.limit.Store(0)
	case unix.EINVAL, unix.EMSGSIZE:
		for least := &o.refusals[network]; ; {
			old := least.Load()
			if old != 0 && old <= int32(size) || least.CompareAndSwap(old, int32(size)) {
				break
			}
		}
	default:
		return
	}
	o.refusal.CompareAndSwap(0, int32(errno))
}
