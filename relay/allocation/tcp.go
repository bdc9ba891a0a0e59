package allocation

import (
	"net"
	"sync/atomic"
)

// TCPRelay is what a TCP allocation has (RFC 6062). Its relayed transport address is
// drawn from the same pool as those of UDP, so that one never stands for both, but the
// data plane doesn't find it there: no datagram leads to it.
type TCPRelay struct {
	Listener net.Listener  // bound to the relayed transport address; nil in loop mode
	Joined   atomic.Uint64 // connections to peers that have come about
}

// TCP returns what a TCP allocation has; nil: the relayed transport address is one of UDP.
func (a *Allocation) TCP() *TCPRelay {
	if a.rare == nil {
		return nil
	}
	return a.rare.tcp
}

// openTCP is open for a TCP allocation.
func (t *Table) openTCP(s *seat) (err error) {
	s.tcp = new(TCPRelay)
	if t.options.Listen != nil {
		s.tcp.Listener, err = t.options.Listen(s.pool.addrPort(s.at))
	}
	return err
}

// close gives back what open bound.
func (s *seat) close() {
	if s.socket != nil {
		s.socket.Close()
	}
	s.tcp.close()
}

func (r *TCPRelay) close() {
	if r != nil && r.Listener != nil {
		r.Listener.Close()
	}
}
