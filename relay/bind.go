package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"syscall"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// socketBuffer is asked for in each direction of a UDP socket, in bytes: some
// 10 ms of a saturated gigabit link. The kernel may grant less.
const socketBuffer = 2 << 20

// ListenerError says that a listener can't be bound.
type ListenerError struct {
	Index int // in Config.Listeners
	Err   error
}

func (e *ListenerError) Error() string { return e.Err.Error() }
func (e *ListenerError) Unwrap() error { return e.Err }

// bind opens every listener's sockets.
func (s *Server) bind() error {
	b := new(bound)
	s.bound.Store(b) // Close finds there what has been opened
	host := reachable()
	var faults []error
	for i, l := range s.config.Listeners {
		opened, err := s.open(b, i, l, host, nil, nil)
		faults = append(faults, err)
		b.serving = append(b.serving, opened)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return s.openDiscovery()
}

// portTries is how many ports are drawn for a listener that names none: what the kernel finds free for one family, or for
// one socket, need not be so for the others.
const portTries = 32

// open opens the sockets of the listener at an index of the configuration, of both families at the same port, and adds them
// to b. Its error joins a *ListenerError for each fault; what could be opened nevertheless is in b as well. A running server
// listens on before. A port that was drawn and won't do is kept until there is one that does, or the kernel, which for TCP
// prefers odd ones, might draw it again and again.
func (s *Server) open(b *bound, index int, config Listener, host map[allocation.Family]netip.Addr, before *bound, resting []restingIndex) (*listening, error) {
	bindings, err := config.bindings()
	if err != nil {
		return &listening{Listener: config}, &ListenerError{index, err}
	}
	var kept []*socket
	defer func() {
		for _, k := range kept {
			k.close()
		}
	}()
	for try := 1; ; try++ {
		l := &listening{Listener: config}
		taken, faults := s.openAll(b, l, bindings, host, before, resting)
		if !taken || bindings[0].address.Port() != 0 || try == portTries {
			for i := range faults {
				faults[i] = &ListenerError{index, faults[i]}
			}
			return l, errors.Join(faults...)
		}
		kept = append(kept, l.sockets...)
		for _, k := range l.sockets {
			b.sockets[k.index] = nil
		}
	}
}

// openAll opens the sockets of one listener, the second one at the port that the first one got. It tells whether somebody
// else has a port.
func (s *Server) openAll(b *bound, l *listening, bindings []binding, host map[allocation.Family]netip.Addr, before *bound, resting []restingIndex) (taken bool, faults []error) {
	for _, at := range bindings {
		if len(l.sockets) > 0 {
			at.address = netip.AddrPortFrom(at.address.Addr(), l.sockets[0].local.Port())
		}
		k := &socket{of: l}
		b.add(k, resting)
		err := s.openSocket(k, at.address, host)
		if err == nil {
			l.sockets = append(l.sockets, k)
			continue
		}
		b.sockets[k.index] = nil
		taken = taken || errors.Is(err, syscall.EADDRINUSE)
		if at.optional && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
			s.log.Infof("%s: this host has no %v, serving without", l.Name, family(at.address.Addr()))
			continue
		}
		faults = append(faults, bindFault(l.Listener, at, err, before))
	}
	if len(l.sockets) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("listener %s: this host has neither IPv4 nor IPv6", l.Name))
	}
	return taken, faults
}

// openSocket binds one socket address.
func (s *Server) openSocket(k *socket, address netip.AddrPort, host map[allocation.Family]netip.Addr) (err error) {
	switch l := k.of; {
	case l.Scheme == "udp" && l.Proxy:
		if k.flows, err = s.openFlows(k, address); err == nil {
			k.local = k.flows.Addr()
		}
	case l.Scheme == "udp":
		if k.conns, err = s.openUDP(address); err == nil {
			k.local = k.conns[0].LocalAddr()
		}
	case l.Scheme == "dtls":
		if k.dtls, err = secure.ListenDTLS(address, associations{sessions{s, k}}, s.secure); err == nil {
			k.local = k.dtls.Addr()
		}
	default:
		if k.stream, err = s.openStream(k, address); err == nil {
			k.local = k.stream.Addr()
		}
	}
	if err == nil {
		k.public = netip.AddrPortFrom(s.config.publicAddress(address.Addr(), host), k.local.Port())
	}
	return err
}

// socketOptions are what all UDP sockets of listeners have in common.
func (s *Server) socketOptions() udp.Options {
	return udp.Options{ReceiveBuffer: socketBuffer, SendBuffer: socketBuffer, Offload: s.config.Offload, Portable: s.config.PortableUDP}
}

// openUDP opens the sockets of all loops at one address. SO_REUSEPORT would let
// another process of the same user join in silence, so the address is taken alone
// first.
func (s *Server) openUDP(address netip.AddrPort) (conns []*udp.Conn, err error) {
	options := s.socketOptions()
	options.PacketInfo = address.Addr().IsUnspecified()
	alone, err := udp.Listen(address, options)
	if err != nil {
		return nil, err
	}
	workers := s.config.Workers
	if workers == 0 {
		workers = ownProcessors()
	}
	if workers == 1 {
		return []*udp.Conn{alone}, nil
	}
	address = netip.AddrPortFrom(address.Addr(), alone.LocalAddr().Port())
	alone.Close()
	options.ReusePort = true
	for range workers {
		conn, err := udp.Listen(address, options)
		if errors.Is(err, errors.ErrUnsupported) {
			options.ReusePort = false
			conn, err = udp.Listen(address, options)
			return []*udp.Conn{conn}, err
		}
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// bindFault says what is wrong and what to do.
func bindFault(l Listener, b binding, err error, before *bound) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		if own := before.holder(l, b.address); own != nil {
			return fmt.Errorf("listener %s: port %d of %s is that of %s, which this server serves until its last client has gone: take that out first and put this in when it is closed, or restart the server", l.Name, b.address.Port(), b.address.Addr(), own.Name)
		}
		return fmt.Errorf("listener %s: port %d of %s is in use: stop what uses it (ss -lunp, ss -ltnp) or listen elsewhere with --listen %s://:PORT", l.Name, b.address.Port(), b.address.Addr(), l.Scheme)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listener %s: not permitted to use port %d: choose one from 1024 on, or grant CAP_NET_BIND_SERVICE", l.Name, b.address.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listener %s: %s is no address of this host: name one that is (ip address), or none for all", l.Name, b.address.Addr())
	}
	return fmt.Errorf("listener %s: %w", l.Name, err)
}

// holder returns who has an address already; nil: nobody.
func (b *bound) holder(l Listener, at netip.AddrPort) *listening {
	if b == nil {
		return nil
	}
	for k := range b.each {
		mine := k.local.Addr()
		if ICETransports(k.of.Scheme)[0].Transport == ICETransports(l.Scheme)[0].Transport && k.local.Port() == at.Port() && mine.Is4() == at.Addr().Is4() &&
			(mine == at.Addr() || mine.IsUnspecified() || at.Addr().IsUnspecified()) {
			return k.of
		}
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
