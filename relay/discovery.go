package relay

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// NAT behavior discovery (RFC 5780) takes a second address and a second port: with those of a UDP listener they make
// four sockets. Each is read by a loop and may be written by all others. Those that are not the listener's take Binding
// requests alone.
//
//	           port of the listener    other port
//	its address   place 0 (listener)   place 1
//	other address place 2              place 3

// checkDiscovery finds what is wrong with Config.NATDiscovery.
func (c *Config) checkDiscovery() error {
	other := c.NATDiscovery
	if other == (netip.AddrPort{}) {
		return nil
	}
	const name = "NAT discovery address"
	if !other.IsValid() || other.Port() == 0 || other.Addr().IsUnspecified() {
		return fmt.Errorf("%s %s: give an address of this host and a port", name, other)
	}
	if c.Limits.Bytes == 0 {
		return errors.New(name + ": its answers can be padded, so they need a limit of bytes: give one")
	}
	_, own, ok := c.discoveryListener()
	switch {
	case !ok:
		return fmt.Errorf("%s %s: no UDP listener has an %s address of its own: give one, such as udp://IP:3478", name, other, family(other.Addr()))
	case own.Addr() == other.Addr() || own.Port() == other.Port():
		return fmt.Errorf("%s %s: address and port must both be others than those of the listener %s", name, other, own)
	}
	return nil
}

// discoveryListener returns the first UDP listener with an address of the family of NATDiscovery.
func (c *Config) discoveryListener() (index int, own netip.AddrPort, ok bool) {
	for i, l := range c.Listeners {
		host, port, err := l.parse()
		if err == nil && l.Scheme == "udp" && !l.Proxy && host.IsValid() && !host.IsUnspecified() && host.Unmap().Is4() == c.NATDiscovery.Addr().Is4() {
			return i, netip.AddrPortFrom(host.Unmap(), port), true
		}
	}
	return 0, netip.AddrPort{}, false
}

// openDiscovery opens the three other sockets.
func (s *Server) openDiscovery() error {
	other := s.config.NATDiscovery
	if !other.IsValid() {
		return nil
	}
	index, _, _ := s.config.discoveryListener()
	b := s.bound.Load()
	listener := b.serving[index]
	first := listener.sockets[0] // the only one: it has an address of its own
	own := first.local
	places := [4]netip.AddrPort{
		own, netip.AddrPortFrom(own.Addr(), other.Port()), netip.AddrPortFrom(other.Addr(), own.Port()), other,
	}
	s.discovery = new(control.Discovery)
	s.discovery.Sockets[0] = control.DiscoverySocket{Listener: first.index, Address: own}
	for place := 1; place < len(places); place++ {
		conn, err := udp.Listen(places[place], udp.Options{Offload: s.config.Offload, Portable: s.config.PortableUDP})
		if err != nil {
			return fmt.Errorf("NAT discovery address %s: no socket at %s: %w: give an address of this host and a port that are free, alone and with those of the listener %s", other, places[place], err, own)
		}
		k := &socket{of: listener, local: places[place], public: places[place], conns: []*udp.Conn{conn}, place: uint8(place)}
		b.add(k, nil)
		s.discovery.Sockets[place] = control.DiscoverySocket{Listener: k.index, Address: places[place]}
	}
	return nil
}

// joinDiscovery has a loop take part where its socket is one of the four.
func (s *Server) joinDiscovery(l *udpLoop) {
	if s.discovery == nil {
		return
	}
	for place, k := range s.discovery.Sockets {
		if k.Listener == l.origin.Client.Listener {
			l.origin.Discovery, l.origin.Place = s.discovery, uint8(place)
		}
	}
}

// route returns the listener whose socket the answer in hand leaves by, and has it go to the port that it shall.
func (l *udpLoop) route(d *udp.Datagram) (listener int) {
	to := &l.origin.Client
	listener = int(to.Listener)
	if l.origin.Discovery == nil {
		return listener
	}
	if by, port, ok := l.control.Route(); ok {
		to.Destination = udp.NewDestination(netip.AddrPortFrom(d.Source.Addr(), port), netip.Addr{}, 0)
		return int(by)
	}
	return listener
}
