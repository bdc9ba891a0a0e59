package quality

import "fmt"

// Mode says which allocations are observed.
type Mode uint8

// The modes. The zero value is Off.
const (
	Off     Mode = iota // none
	Sampled             // one in SampleEvery
	Full                // all
)

// SampleEvery is of how many allocations Sampled observes one, on average.
//
// Allocations are sampled, not packets: of the allocations that are observed every packet is, in both directions, so their
// loss, jitter and stalls are exact, and the fraction of bad streams among them is an unbiased estimate for all. A sample
// of packets would keep the bitrate and lose everything else.
const SampleEvery = 16

var modes = [...]string{"off", "sampled", "full"}

// String returns the mode as ParseMode takes it.
func (m Mode) String() string {
	if int(m) >= len(modes) {
		return "unknown"
	}
	return modes[m]
}

// ParseMode returns the mode of that name. Its error says which there are.
func ParseMode(name string) (Mode, error) {
	for i, n := range modes {
		if n == name {
			return Mode(i), nil
		}
	}
	return Off, fmt.Errorf("%q is no mode: it is off, sampled (one allocation in %d) or full", name, SampleEvery)
}

// Observes tells whether the allocation with that number is observed. Its answer is always the same for a number, and
// near numbers are independent of each other, so that neither of a call's two allocations comes with the other.
func (m Mode) Observes(allocation uint64) bool {
	switch m {
	case Full:
		return true
	case Sampled:
		return mix(allocation)%SampleEvery == 0
	}
	return false
}

// mix spreads a counter's bits over the whole number (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
