package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// relayedSockets are the sockets of relayed transport addresses, which exist only where
// clients may have peers beyond this process.
//
//	Create ──open──► bound ──born: watch──► read by a loop ──died: closed by the table, forget──► gone
type relayedSockets struct {
	// Immutable once the server runs.
	server  *Server
	log     logging.LeveledLogger
	options udp.Options
	bind    map[netip.Addr]netip.Addr // relay address → what of this host stands for it; absent: itself
	loops   []*udpLoop                // that there were at start; empty: a goroutine each reads them

	readers  sync.WaitGroup
	reported atomic.Int64 // allocation.Time of the last fault that was logged
}

// reportEvery is how often at most a fault that many requests can meet is logged.
const reportEvery = 10 * time.Second

// newRelayedSockets finds out where the sockets can be bound. Its error says of every relay address that can't be used
// why, and what to do.
func (s *Server) newRelayedSockets(relay []netip.Prefix) (*relayedSockets, error) {
	r := &relayedSockets{
		server: s, log: s.log, bind: make(map[netip.Addr]netip.Addr),
		options: udp.Options{Errors: true, Offload: s.config.Offload, Portable: s.config.PortableUDP},
	}
	host := reachable()
	var faults []error
	for _, prefix := range relay {
		err := r.prepare(prefix, host)
		again := func(f error) bool { return f.Error() == err.Error() } // what is wrong with the ports is so at each address
		if err != nil && !slices.ContainsFunc(faults, again) {
			faults = append(faults, err)
		}
	}
	for k := range s.bound.Load().each {
		if len(k.conns) > 0 {
			r.options.Like = k.conns[0]
		}
	}
	return r, errors.Join(faults...)
}

// prepare tries whether sockets can be bound to the addresses of a prefix.
func (r *relayedSockets) prepare(prefix netip.Prefix, host map[allocation.Family]netip.Addr) error {
	address := prefix.Addr()
	behind, mapped := r.server.config.RelayBind[address]
	stand := r.standIn(address, host)
	if prefix.IsSingleIP() && mapped {
		r.bind[address] = behind
	} else if !prefix.IsSingleIP() {
		address = address.Next()
	}
	err := r.try(address)
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL) && mapped:
		return fmt.Errorf("relay-address %s: %s, which shall stand for it, is no address of this host: name one that is (ip address)", address, behind)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && prefix.IsSingleIP() && !stand.IsLoopback():
		behind = stand
		r.bind[address] = behind
		r.log.Infof("relay address %s is not this host's: packets to peers leave from %s, which a 1:1 NAT has to translate", address, behind)
		err = r.try(address)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && prefix.IsSingleIP():
		return fmt.Errorf("relay-address %s: it is no address of this host, and there is none that could stand for it behind a NAT: name one that is (ip address)", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("relay-address %s: this host doesn't take its packets: ip route add local %[1]s dev lo, and have the network route it here", prefix)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("relay-ports %s: not permitted to use port %d: choose a range from 1024 on, or grant CAP_NET_BIND_SERVICE", r.server.config.RelayPorts, r.server.config.RelayPorts.Min)
	case errors.Is(err, allocation.ErrBusy):
		r.log.Warnf("relay address %s: every port of %s that was tried is in use by others on this host; clients get 508 while none is free: choose another range with --relay-ports", address, r.server.config.RelayPorts)
		return nil
	case err != nil:
		return fmt.Errorf("relay-address %s: %w", address, err)
	}
	return nil
}

// standIn returns the address of this host that most likely is behind a public one: that of the listener which clients
// reach there, else the first global one.
func (r *relayedSockets) standIn(public netip.Addr, host map[allocation.Family]netip.Addr) netip.Addr {
	for k := range r.server.bound.Load().each {
		if local := k.local.Addr(); k.public.Addr() == public && !local.IsUnspecified() && allocation.FamilyOf(local) == allocation.FamilyOf(public) {
			return local
		}
	}
	return host[allocation.FamilyOf(public)]
}

// tries is how many ports of the range are tried at start.
const tries = 64

// try binds a socket to a port of the range and closes it again.
func (r *relayedSockets) try(address netip.Addr) error {
	ports := r.server.config.RelayPorts
	for n := range min(tries, int(ports.Max-ports.Min)+1) {
		conn, err := r.listen(netip.AddrPortFrom(address, ports.Min+uint16(n)))
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, allocation.ErrBusy) {
			return err
		}
	}
	return allocation.ErrBusy
}

// open implements allocation.Options.Open.
func (r *relayedSockets) open(at netip.AddrPort) (*udp.Conn, error) {
	conn, err := r.listen(at)
	if err != nil && !errors.Is(err, allocation.ErrBusy) {
		r.report(err)
	}
	return conn, err
}

func (r *relayedSockets) listen(at netip.AddrPort) (*udp.Conn, error) {
	conn, err := udp.Listen(r.own(at), r.options)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, allocation.ErrBusy
	}
	return conn, err
}

// own is the transport address of this host that stands for a relayed one.
func (r *relayedSockets) own(at netip.AddrPort) netip.AddrPort {
	if behind, ok := r.bind[at.Addr()]; ok {
		return netip.AddrPortFrom(behind, at.Port())
	}
	return at
}

// report logs why allocations fail, now and then.
func (r *relayedSockets) report(err error) {
	now := r.server.table.Now()
	last := r.reported.Load()
	if last != 0 && now.Sub(allocation.Time(last)) < reportEvery || !r.reported.CompareAndSwap(last, int64(now)) {
		return
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		r.log.Errorf("no file descriptor for another relayed transport address, clients get 508: raise the limit (ulimit -n, LimitNOFILE=), or set --total-quota: %v", err)
		return
	}
	r.log.Errorf("no socket for a relayed transport address, clients get 508: %v", err)
}

// polls says whether loops read the sockets of relayed transport addresses.
func (s *Server) polls() bool { return s.relayed != nil && udp.HasPoller && !s.config.PortableUDP }

// pollRelayed gives the sockets of clients with connections to the loops that there are at start, which stay when their
// listener is removed. Without any datagram listener there are loops for nothing else.
func (s *Server) pollRelayed() error {
	if !s.polls() {
		return nil
	}
	loops := &s.relayed.loops
	for k := range s.bound.Load().each {
		*loops = append(*loops, k.loops...)
	}
	if len(*loops) == 0 {
		workers := s.config.Workers
		if workers == 0 {
			workers = ownProcessors()
		}
		for n := range workers {
			p, err := newPolled(nil)
			if err != nil {
				return err
			}
			l := s.newLoop(nil, n, nil)
			l.relayed = p
			*loops = append(*loops, l)
		}
	}
	for _, l := range *loops {
		l.stays = true
	}
	return nil
}

// loop is the one that reads an allocation's socket: that which reads its client's datagrams, so that a call stays on
// one processor.
func (r *relayedSockets) loop(a *allocation.Allocation) *udpLoop {
	if n := a.Client.Loop; n >= 0 {
		if k := r.server.socket(a); int(n) < len(k.loops) {
			return k.loops[n]
		}
	}
	return r.loops[a.ID%uint64(len(r.loops))]
}

// watch has a new allocation's socket read.
func (r *relayedSockets) watch(a *allocation.Allocation) {
	if len(r.loops) == 0 {
		r.readers.Go(func() { r.read(a) })
		return
	}
	if err := r.loop(a).relayed.add(a); err != nil {
		r.report(fmt.Errorf("allocation %d gets nothing from its peers: %w", a.ID, err))
	}
}

// forget ends watch; the socket is closed by now.
func (r *relayedSockets) forget(a *allocation.Allocation) {
	if len(r.loops) > 0 {
		r.loop(a).relayed.remove(a)
	}
}

// follow has the sockets of an allocation that moved read by the loop of its client's new place. Who has taken datagrams by
// then relays them (allocation.Current).
func (r *relayedSockets) follow(from, to *allocation.Allocation) {
	if len(r.loops) == 0 {
		return
	}
	for f := allocation.IPv4; f <= allocation.IPv6; f++ {
		old, h := from.Half(f), to.Half(f)
		if h == nil || h.Socket == nil {
			continue
		}
		if r.loop(old) != r.loop(h) {
			r.loop(old).relayed.leave(old)
			r.watch(h) // which does nothing when h has ended
			continue
		}
		r.loop(h).relayed.rename(old, h)
		if h.Expires() == 0 { // it has ended, and was perhaps forgotten before
			r.forget(h)
		}
	}
}

// read relays from one socket until it is closed, where many can't be polled at once.
func (r *relayedSockets) read(a *allocation.Allocation) {
	batch := udp.NewBatch(1, batchBytes)
	for a.Socket.Receive(batch) == nil {
		t := r.server.toolbox.borrow()
		now := r.server.table.Now()
		t.forwarder.Begin(now)
		if c := a.Current(now); c != nil { // where its client has been is not to stay in memory
			a = c
		}
		fromPeer(t.forwarder, a, batch.Datagram(0))
		t.forwarder.Flush()
		r.server.toolbox.giveBack(t)
	}
}
