package relay

import (
	"runtime"
	"sync"
)

// processors guards changing GOMAXPROCS, which belongs to the whole process.
var processors struct {
	sync.Mutex
	lent int
}

// lend gives the runtime n processors more until the returned function is called.
// A receive loop that waits for the next packet counts as running (package udp
// says why), so each brings its own processor along, and everything else keeps
// those that there were. The kernel still runs all of them on the real ones.
func lend(n int) (takeBack func()) {
	add := func(n int) {
		processors.Lock()
		defer processors.Unlock()
		processors.lent += n
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	}
	add(n)
	return func() { add(-n) }
}

// ownProcessors is GOMAXPROCS without what was lent.
func ownProcessors() int {
	processors.Lock()
	defer processors.Unlock()
	return max(runtime.GOMAXPROCS(0)-processors.lent, 1)
}
