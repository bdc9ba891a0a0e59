//go:build !linux

package udp

import (
	"errors"
	"fmt"
)

// controlSize is the room for a datagram's control messages in bytes. They are spelt differently by each system, and
// golang.org/x/sys has no common form, so there are none here.
const controlSize = 0

func setOptions(_ uintptr, _ bool, o Options) error {
	if o.ReusePort {
		return setReusePort(0)
	}
	return nil
}

func setReusePort(uintptr) error {
	return fmt.Errorf("several sockets on one port: %w", errors.ErrUnsupported)
}

func buffers(uintptr) (receive, send int) { return 0, 0 }

// offload has nothing to say here.
type offload struct{}

func (o *offload) apply(uintptr, Options) {}

func (o *offload) inUse() (Offload, error) { return Offload{}, nil }

func drops(uintptr) (uint32, error) { return 0, errors.ErrUnsupported }

func parseControl([]byte, *Datagram) {}

func putPacketInfo([]byte, *Destination) int { return 0 }
