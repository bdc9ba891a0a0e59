package relay

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
)

// admitPeers makes the rules. Wherever they lead, no client reaches the server itself by them, unless they name that
// very transport address.
func (s *Server) admitPeers() (err error) {
	options := s.config.Peers
	also := options.Own
	options.Own = func() []netip.AddrPort {
		own := s.ownAddresses()
		if also != nil {
			own = append(own, also()...)
		}
		return own
	}
	if options.Log == nil {
		options.Log = s.config.Log.NewLogger("peers")
	}
	s.policy, err = peers.New(options)
	return err
}

// ownAddresses lists the transport addresses of the listeners, as peers could spell them.
func (s *Server) ownAddresses() []netip.AddrPort {
	var own []netip.AddrPort
	b := s.opening.Load()
	if b == nil {
		b = s.bound.Load()
	}
	for k := range b.each {
		own = append(own, k.public)
		if !k.local.Addr().IsUnspecified() {
			own = append(own, k.local)
			continue
		}
		for _, ip := range HostAddresses() {
			if allocation.FamilyOf(ip) == allocation.FamilyOf(k.local.Addr()) {
				own = append(own, netip.AddrPortFrom(ip, k.local.Port()))
			}
		}
	}
	sort.Slice(own, func(i, j int) bool { return own[i].Compare(own[j]) < 0 })
	return slices.Compact(own)
}

// Peers are the rules that say with whom clients may exchange packets; they can be replaced while the server runs.
func (s *Server) Peers() *peers.Policy { return s.policy }
