package relay

import (
	"errors"
	"net"
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

// newConnections makes what TCP allocations need (RFC 6062).
func (s *Server) newConnections() *tcp.Connections {
	o := tcp.Options{
		Now:    func() allocation.Time { return s.table.Now() },
		Allows: func(peer netip.AddrPort) bool { return s.policy.Set().Allows(peer) },
		Log:    s.config.Log.NewLogger("tcp"),
	}
	if s.relayed != nil {
		o.Own = s.relayed.own
	}
	return tcp.New(o)
}

// listenTCP implements allocation.Options.Listen.
func (r *relayedSockets) listenTCP(at netip.AddrPort) (net.Listener, error) {
	l, err := r.server.tcp.Listen(at)
	if err != nil {
		if !errors.Is(err, allocation.ErrBusy) {
			r.report(err)
		}
		return nil, err
	}
	return l, nil
}
