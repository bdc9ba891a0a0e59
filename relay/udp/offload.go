package udp

import (
	"errors"
	"sync/atomic"
	"syscall"
)

// Offload says what of the kernel's batching of datagrams is used. The zero value is none of it.
type Offload struct {
	GRO bool // take several datagrams of one sender as one (UDP_GRO, Linux 5.0)
	GSO bool // send several datagrams to one client as one (UDP_SEGMENT, Linux 4.18)
}

// String lists what is on, as the option of the command line spells it.
func (o Offload) String() string {
	switch o {
	case Offload{GRO: true, GSO: true}:
		return "gro,gso"
	case Offload{GRO: true}:
		return "gro"
	case Offload{GSO: true}:
		return "gso"
	}
	return "off"
}

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

// Offload tells what is in use, and why GSO was given up, or limited to small segments for some, if it was.
func (c *Conn) Offload() (Offload, error) {
	o := Offload{GRO: c.offload.gro, GSO: c.offload.segmentLimit() > 0}
	if c.offload.fault != "" {
		return o, errors.New(c.offload.fault)
	}
	if errno := c.offload.refusal.Load(); errno != 0 {
		return o, syscall.Errno(errno)
	}
	return o, nil
}
