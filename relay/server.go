package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// socketBuffer is asked for in each direction of a UDP socket, in bytes: some
// 10 ms of a saturated gigabit link. The kernel may grant less.
const socketBuffer = 2 << 20

// Server is a relay.
//
//	New ──► bound ──Run──► serving ──ctx ends───────────────────► closed
//	           │              └─────Drain──► draining ──empty, late──►
//	           └──────────────────────────Close─────────────────────►
type Server struct {
	// Immutable after New.
	config  Config
	log     logging.LeveledLogger
	started time.Time
	table   *allocation.Table
	auth    *auth.Authenticator
	control *control.Handler
	stats   *control.Stats
	plane   *forward.Plane
	toolbox toolbox
	secure  *secure.Shared
	sockets []socket // in the order of allocation.Client.Listener
	policy  *peers.Policy
	tcp     *tcp.Connections
	relayed *relayedSockets // nil: nothing is bound to relayed transport addresses
	loops   []*udpLoop
	stop    chan struct{} // closed by Close

	drain      drain
	reload     sync.Mutex // held by Reload
	alternates *alternates
	discovery  *control.Discovery // nil: none
	lives      lives
	streams    *streams
	history    history
	once       sync.Once
}

// socket is one bound address of a listener: of datagram sockets, one per loop, of
// a stream listener, of DTLS associations, or of flows through load balancers.
type socket struct {
	listener int // index in Config.Listeners
	local    netip.AddrPort
	public   netip.AddrPort
	conns    []*udp.Conn
	place    uint8 // in Server.discovery; 0: it is no more than a listener
	stream   *stream.Listener
	dtls     *secure.Associations
	flows    *secure.Flows
}

func (k *socket) close() {
	for _, c := range k.conns {
		c.Close()
	}
	if k.stream != nil {
		k.stream.Close()
	}
	if k.dtls != nil {
		k.dtls.Close()
	}
	if k.flows != nil {
		k.flows.Close()
	}
}

// New validates c and binds every listener. Its error joins all faults that it
// met; a socket that can't be bound is named with its listener.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	authenticator, err := auth.New(c.Auth)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: c, log: c.Log.NewLogger("relay"), started: time.Now(),
		auth: authenticator, stats: new(control.Stats), stop: make(chan struct{}),
		drain: drain{asked: make(chan struct{})},
		lives: lives{durations: newDurations()}, streams: newStreams(),
	}
	if s.secure, err = s.config.secureShared(); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.wire(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// bind opens every listener's sockets.
func (s *Server) bind() error {
	host := reachable()
	var faults []error
	for i, l := range s.config.Listeners {
		bindings, err := l.bindings(i)
		if err != nil {
			return err
		}
		if err := s.bindListener(l, bindings, host); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) == 0 {
		faults = append(faults, s.openDiscovery())
	}
	return errors.Join(faults...)
}

// portTries is how many ports are drawn for a listener that names none: what the kernel finds free for one family, or for
// one socket, need not be so for the others.
const portTries = 32

// bindListener opens the sockets of one listener, of both families at the same port. A port that won't do is kept until
// there is one that does, or the kernel, which for TCP prefers odd ones, might draw it again and again.
func (s *Server) bindListener(l Listener, bindings []binding, host map[allocation.Family]netip.Addr) error {
	start := len(s.sockets)
	var kept []socket
	defer func() {
		for i := range kept {
			kept[i].close()
		}
	}()
	for try := 1; ; try++ {
		taken, err := s.openAll(l, bindings, host)
		if !taken || bindings[0].address.Port() != 0 || try == portTries {
			return err
		}
		kept = append(kept, s.sockets[start:]...)
		s.sockets = s.sockets[:start]
	}
}

// openAll opens the sockets of one listener, the second one at the port that the first one got. It tells whether somebody
// else has a port.
func (s *Server) openAll(l Listener, bindings []binding, host map[allocation.Family]netip.Addr) (taken bool, err error) {
	bound := 0
	var faults []error
	for _, b := range bindings {
		if bound > 0 {
			b.address = netip.AddrPortFrom(b.address.Addr(), s.sockets[len(s.sockets)-1].local.Port())
		}
		err := s.open(l, b, host)
		taken = taken || errors.Is(err, syscall.EADDRINUSE)
		switch {
		case err == nil:
			bound++
		case b.optional && errors.Is(err, syscall.EAFNOSUPPORT), b.optional && errors.Is(err, syscall.EADDRNOTAVAIL):
			s.log.Infof("%s: this host has no %v, serving without", l.Name, family(b.address.Addr()))
		default:
			faults = append(faults, bindFault(l, b, err))
		}
	}
	if bound == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("listener %s: this host has neither IPv4 nor IPv6", l.Name))
	}
	return taken, errors.Join(faults...)
}

// open opens one socket address.
func (s *Server) open(l Listener, b binding, host map[allocation.Family]netip.Addr) error {
	k := socket{listener: b.listener}
	var err error
	switch {
	case l.Scheme == "udp" && l.Proxy:
		if k.flows, err = s.openFlows(b.address); err == nil {
			k.local = k.flows.Addr()
		}
	case l.Scheme == "udp":
		if k.conns, err = s.openUDP(b.address); err == nil {
			k.local = k.conns[0].LocalAddr()
		}
	case l.Scheme == "dtls":
		if k.dtls, err = secure.ListenDTLS(b.address, associations{sessions{s, len(s.sockets)}}, s.secure); err == nil {
			k.local = k.dtls.Addr()
		}
	default:
		if k.stream, err = s.openStream(l, b.address); err == nil {
			k.local = k.stream.Addr()
		}
	}
	if err != nil {
		return err
	}
	k.public = netip.AddrPortFrom(s.config.publicAddress(b.address.Addr(), host), k.local.Port())
	s.sockets = append(s.sockets, k)
	return nil
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
func bindFault(l Listener, b binding, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listener %s: port %d of %s is in use: stop what uses it (ss -lunp, ss -ltnp) or listen elsewhere with --listen %s://:PORT", l.Name, b.address.Port(), b.address.Addr(), l.Scheme)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listener %s: not permitted to use port %d: choose one from 1024 on, or grant CAP_NET_BIND_SERVICE", l.Name, b.address.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listener %s: %s is no address of this host: name one that is (ip address), or none for all", l.Name, b.address.Addr())
	}
	return fmt.Errorf("listener %s: %w", l.Name, err)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// wire makes the tables and both planes over the bound sockets.
func (s *Server) wire() (err error) {
	var public []netip.Addr
	for i := range s.sockets {
		if s.sockets[i].place == 0 {
			public = append(public, s.sockets[i].public.Addr())
		}
	}
	if err := s.admitPeers(); err != nil {
		return err
	}
	options := allocation.Options{
		Relay: s.config.relayPrefixes(public), Ports: s.config.RelayPorts, Cooldown: s.config.Cooldown,
		UserQuota: s.config.UserQuota, TotalQuota: s.config.TotalQuota,
		MaxBandwidth: s.config.MaxBandwidth, UserBandwidth: s.config.UserBandwidth,
		Born: s.born, Moved: s.moved, Closed: s.closed, Died: s.died,
	}
	if s.policy.External() {
		if s.relayed, err = s.newRelayedSockets(options.Relay); err != nil {
			return err
		}
		options.Open, options.Listen = s.relayed.open, s.relayed.listenTCP
	}
	s.tcp = s.newConnections()
	if s.table, err = allocation.NewTable(options); err != nil {
		return err
	}
	s.control = control.New(control.Options{
		Table: s.table, Gate: &s.drain.gate, Auth: s.auth, Peers: s.policy, TCP: s.tcp, NoMoves: s.config.ForbidMobility, Software: s.config.Software, Stats: s.stats, Limits: s.config.Limits, RedirectAt: s.config.RedirectAt,
		Refused: s.refusals(), Answered: s.answered, Log: s.config.Log.NewLogger("control"),
	})
	s.alternates = s.newAlternates()
	s.lives.sockets = make([]lifeCount, len(s.sockets))
	s.plane = forward.New(forward.Options{Table: s.table, Listeners: len(s.sockets), Peers: s.policy, Quality: s.config.Quality})
	s.toolbox.keep = toolsPerProcessor * ownProcessors()
	s.toolbox.make = func() *tools {
		return &tools{forwarder: s.plane.NewForwarder(s.conns(0)), control: s.control.NewWorker(), reply: make([]byte, 0, maxReply)}
	}
	s.toolbox.retire = func(t *tools) { s.plane.Retire(t.forwarder) }
	for i := range s.sockets {
		for n, conn := range s.sockets[i].conns {
			s.loops = append(s.loops, s.newLoop(i, n, conn))
		}
	}
	if s.relayed != nil {
		return s.pollRelayed()
	}
	return nil
}

// conns returns the n-th worker's socket at each datagram address, nil for stream
// listeners.
func (s *Server) conns(n int) []*udp.Conn {
	conns := make([]*udp.Conn, len(s.sockets))
	for i, k := range s.sockets {
		if len(k.conns) > 0 {
			conns[i] = k.conns[n%len(k.conns)]
		}
	}
	return conns
}

// newLoop makes the loop of worker n at one socket.
func (s *Server) newLoop(index, n int, conn *udp.Conn) *udpLoop {
	var local netip.AddrPort
	if conn != nil {
		local = s.sockets[index].local
	}
	l := &udpLoop{
		conn: conn, local: local, table: s.table, log: s.log, stop: s.stop,
		batch:     udp.NewBatch(batchMessages, batchBytes),
		forwarder: s.plane.NewForwarder(s.conns(n)),
		control:   s.control.NewWorker(),
		origin: control.Origin{
			FiveTuple: allocation.FiveTuple{Server: local, Transport: allocation.UDP},
			Client:    allocation.Client{Listener: int32(index), Loop: int32(len(s.loops))},
		},
		replies: make([]byte, 0, replyBytes),
	}
	s.joinDiscovery(l)
	return l
}

// Run serves until ctx ends, Drain has come to its end or something that it can't do without fails, then
// ends every allocation, closes everything and waits for all goroutines. It may be
// called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer lend(len(s.loops) + s.countFlows())()
	var running sync.WaitGroup
	for _, l := range s.loops {
		running.Go(l.run)
	}
	for i := range s.sockets {
		if l := s.sockets[i].stream; l != nil {
			running.Go(l.Serve)
		}
		if l := s.sockets[i].dtls; l != nil {
			running.Go(l.Serve)
		}
		if l := s.sockets[i].flows; l != nil {
			running.Go(l.Serve)
		}
	}
	running.Go(func() { s.secure.Certificates.Run(ctx) })
	running.Go(func() { s.table.Run(ctx) })
	running.Go(func() { s.policy.Run(ctx) })
	running.Go(func() { s.alternates.run(ctx) })
	drained := make(chan struct{})
	running.Go(func() {
		if s.awaitDrain(ctx) {
			close(drained)
		}
	})
	failed := make(chan error, 1)
	running.Go(func() { failed <- s.auth.Run(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case <-drained:
	case err = <-failed:
		if ctx.Err() != nil {
			err = nil // it ended because it was told to
		}
	}
	cancel()
	s.Close()
	running.Wait()
	s.table.Close()
	s.tcp.Wait()
	if s.relayed != nil {
		s.relayed.readers.Wait()
	}
	return err
}

// Close closes every socket. A server that runs is better ended by its context.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		for _, l := range s.loops {
			if l.relayed != nil {
				l.relayed.poller.Close()
			}
		}
		for i := range s.sockets {
			s.sockets[i].close()
		}
	})
}
