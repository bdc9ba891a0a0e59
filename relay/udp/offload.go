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
//	limit: 65535 ──EINVAL for segments of n bytes──► n-1      the route's MTU is smaller
//	         └──────EIO───────────────────────────► 0        the device can't do checksums
//
// It never grows back: a fault that comes and goes would cost more than segments gain.
type offload struct {
	gro     bool         // immutable
	fault   string       // why GSO wasn't even tried; immutable
	limit   atomic.Int32 // bytes that a segment may have; 0: GSO is off
	refusal atomic.Int32 // errno of the first refusal
}

func (o *offload) segmentLimit() int { return int(o.limit.Load()) }

// Offload tells what is in use, and why GSO was given up or limited to small segments, if it was.
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
