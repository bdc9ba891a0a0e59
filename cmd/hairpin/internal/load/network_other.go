//go:build !linux

package load

import "fmt"

// hasFastNetwork says whether there is a network other than the portable one.
const hasFastNetwork = false

func newNetwork(o networkOptions, to receiver) (network, error) { return newPortable(o, to), nil }

// pin would keep this process on one processor.
func pin(int) error { return fmt.Errorf("pinning to a processor %w", errNotHere) }
