//go:build !linux

package load

import (
	"errors"
	"fmt"
)

var errNotHere = errors.New("is not available on this system")

// process is another process of this machine; only Linux lets it be observed here.
type process struct{ cores []int }

func openProcess(int) (*process, error) {
	return nil, fmt.Errorf("the processor time of another process %w", errNotHere)
}

func (p *process) usage() (usage, error)   { return usage{}, errNotHere }
func (p *process) memory() (uint64, error) { return 0, errNotHere }

// ownUsage is not known here.
func ownUsage() threadUsage { return threadUsage{} }
