package relay

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

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
	policy  *peers.Policy
	tcp     *tcp.Connections
	relayed *relayedSockets // nil: nothing is bound to relayed transport addresses
	stop    chan struct{}   // closed by Close
	removed chan struct{}   // a listener has been; holds one

	bound    atomic.Pointer[bound]
	opening  atomic.Pointer[bound] // what Reload is about to replace it by; nil: nothing
	running  sync.WaitGroup        // grows by Run, and under changing while the server runs
	changing sync.Mutex
	runs     bool           // guarded by changing
	over     bool           // guarded by changing: Close was called
	resting  []restingIndex // guarded by reload

	drain      drain
	reload     sync.Mutex // held by Reload, and while a listener is given up; ahead of changing
	alternates *alternates
	discovery  *control.Discovery // nil: none
	lives      lives
	streams    *streams
	history    history
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
		auth: authenticator, stats: new(control.Stats), stop: make(chan struct{}), removed: make(chan struct{}, 1),
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

// wire makes the tables and both planes over the bound sockets.
func (s *Server) wire() (err error) {
	var public []netip.Addr
	b := s.bound.Load()
	for k := range b.each {
		if k.place == 0 {
			public = append(public, k.public.Addr())
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
	s.plane = forward.New(forward.Options{Table: s.table, Sockets: b.datagrams(), Peers: s.policy, Quality: s.config.Quality})
	s.toolbox.keep = toolsPerProcessor * ownProcessors()
	s.toolbox.make = func() *tools {
		return &tools{forwarder: s.plane.NewForwarder(0), control: s.control.NewWorker(), reply: make([]byte, 0, maxReply)}
	}
	s.toolbox.retire = func(t *tools) { s.plane.Retire(t.forwarder) }
	for k := range b.each {
		if err := s.makeLoops(k); err != nil {
			return err
		}
	}
	if s.relayed != nil {
		return s.pollRelayed()
	}
	return nil
}

// makeLoops makes the loops of a socket's workers.
func (s *Server) makeLoops(k *socket) error {
	for n, conn := range k.conns {
		l := s.newLoop(k, n, conn)
		k.loops = append(k.loops, l)
		if s.polls() {
			var err error
			if l.relayed, err = newPolled(conn); err != nil {
				return err
			}
		}
	}
	return nil
}

// newLoop makes the loop of worker n at one socket; k is nil for one that reads none of a listener's.
func (s *Server) newLoop(k *socket, n int, conn *udp.Conn) *udpLoop {
	l := &udpLoop{
		conn: conn, table: s.table, log: s.log, stop: s.stop,
		batch:     udp.NewBatch(batchMessages, batchBytes),
		forwarder: s.plane.NewForwarder(n),
		control:   s.control.NewWorker(),
		replies:   make([]byte, 0, replyBytes),
	}
	if k == nil {
		return l
	}
	l.local = k.local
	l.origin = control.Origin{
		FiveTuple: allocation.FiveTuple{Server: k.local, Transport: allocation.UDP},
		Client:    allocation.Client{Listener: k.index, Loop: int32(n)},
		Gate:      &k.of.gate,
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
	running := &s.running
	running.Go(func() { s.secure.Certificates.Run(ctx) })
	running.Go(func() { s.table.Run(ctx) })
	running.Go(func() { s.policy.Run(ctx) })
	running.Go(func() { s.alternates.run(ctx) })
	running.Go(func() { s.awaitRemoved(ctx) })
	drained, counted := make(chan struct{}), make(chan struct{})
	running.Go(func() {
		defer close(counted)
		if s.awaitDrain(ctx) {
			close(drained)
		}
	})
	failed := make(chan error, 1)
	running.Go(func() { failed <- s.auth.Run(ctx) })
	s.changing.Lock() // the listeners last: whoever gets an answer finds all the others at work
	s.runs = true
	if s.relayed != nil {
		s.runLoops(slices.DeleteFunc(slices.Clone(s.relayed.loops), func(l *udpLoop) bool { return l.conn != nil }), nil)
	}
	for k := range s.bound.Load().each {
		s.serve(k)
	}
	s.changing.Unlock()

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
	<-counted                              // how many are cut
	s.table.DeleteAll(allocation.Shutdown) // ahead of their connections, whose ends would pass for the clients' doing
	s.Close()
	running.Wait()
	s.table.Close()
	s.tcp.Wait()
	if s.relayed != nil {
		s.relayed.readers.Wait()
	}
	return err
}

// serve starts what reads from a socket.
func (s *Server) serve(k *socket) {
	s.runLoops(k.loops, &k.reading)
	if k.stream != nil {
		s.running.Go(k.stream.Serve)
	}
	if k.dtls != nil {
		s.running.Go(k.dtls.Serve)
	}
	if k.flows != nil {
		k.reading.Add(1)
		s.running.Go(func() {
			defer k.reading.Done()
			defer lend(1)()
			k.flows.Serve()
		})
	}
}

// runLoops starts loops, of which those that don't stay are in group until they have ended. What they have counted stays.
func (s *Server) runLoops(loops []*udpLoop, group *sync.WaitGroup) {
	if len(loops) == 0 {
		return
	}
	for _, l := range loops {
		if !l.stays {
			group.Add(1)
		}
	}
	s.running.Go(func() {
		defer lend(len(loops))()
		var running sync.WaitGroup
		for _, l := range loops {
			running.Go(func() {
				l.run()
				s.plane.Retire(l.forwarder)
				if !l.stays {
					group.Done()
				}
			})
		}
		running.Wait()
	})
}

// Close closes every socket. A server that runs is better ended by its context.
func (s *Server) Close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.over {
		return
	}
	s.over = true
	close(s.stop)
	if s.relayed != nil {
		for _, l := range s.relayed.loops {
			l.relayed.poller.Close()
		}
	}
	for k := range s.bound.Load().each {
		k.close()
	}
}
