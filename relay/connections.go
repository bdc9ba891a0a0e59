package relay

import (
	"errors"
	"fmt"
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
		Joined: s.joined, Parted: s.parted,
		Log: s.config.Log.NewLogger("tcp"),
	}
	if s.relayed != nil {
		o.Own = s.relayed.own
	}
	return tcp.New(o)
}

// joined records that a TCP allocation has a connection to a peer.
func (s *Server) joined(a *allocation.Allocation, r tcp.Reading) {
	s.history.add(deed{allocation: a.ID, what: "connected", peer: r.Peer}, s.table.Now())
	s.log.Debugf("allocation %d connected: user=%q peer=%s", a.ID, a.User, r.Peer)
}

// parted records its end.
func (s *Server) parted(a *allocation.Allocation, r tcp.Reading) {
	s.history.add(deed{
		allocation: a.ID, what: "disconnected", peer: r.Peer,
		cause: fmt.Sprintf("after %dB from the client and %dB to it", r.Up, r.Down),
	}, s.table.Now())
	s.log.Debugf("allocation %d disconnected: user=%q peer=%s from_client=%dB to_client=%dB", a.ID, a.User, r.Peer, r.Up, r.Down)
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
