package secure

import (
	"net"
	"os"
	"sync"
	"time"
)

// inboxBytes is what an association's received datagrams may take while they wait for it; the rest is dropped, as by a
// full socket buffer.
const inboxBytes = 128 << 10

// inbox holds the datagrams of one association between the socket's reader, who puts, and pion's, who takes.
type inbox struct {
	mu      sync.Mutex
	woken   sync.Cond
	waiting [][]byte // guarded by mu
	bytes   int      // of waiting; guarded by mu
	closed  bool     // guarded by mu
	late    bool     // the deadline has passed; guarded by mu
}

func (i *inbox) init() { i.woken.L = &i.mu }

// put copies a datagram, unless there is no room for it.
func (i *inbox) put(b []byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.bytes+len(b) > inboxBytes {
		return false
	}
	i.waiting = append(i.waiting, append([]byte(nil), b...))
	i.bytes += len(b)
	i.woken.Signal()
	return true
}

// take waits for a datagram, the deadline or the end.
func (i *inbox) take(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.waiting) == 0 && !i.closed && !i.late {
		i.woken.Wait()
	}
	switch {
	case i.closed:
		return 0, net.ErrClosed
	case i.late:
		return 0, os.ErrDeadlineExceeded
	}
	first := i.waiting[0]
	i.waiting[0] = nil
	i.waiting = i.waiting[1:]
	i.bytes -= len(first)
	if len(i.waiting) == 0 {
		i.waiting = nil
	}
	return copy(b, first), nil
}

// setDeadline ends the waits with a time of the past, and lets them go on with another. That is all that pion asks for.
func (i *inbox) setDeadline(at time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.late = !at.IsZero() && !at.After(time.Now())
	i.woken.Broadcast()
}

func (i *inbox) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.waiting, i.bytes = nil, 0
	i.woken.Broadcast()
}
