package relay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// indexRest is how long the index of a closed socket means nobody. Whoever still has it is within a batch, or looks an
// allocation up that has just ended; neither takes as long.
const indexRest = time.Minute

// restingIndex is one that was given up.
type restingIndex struct {
	index int
	since time.Time
}

// ErrDiscovery refuses to remove the listener that NAT behavior discovery goes by.
var ErrDiscovery = errors.New("NAT discovery address: its listener has changed, which needs a restart")

// ErrClosed refuses a Reload of a server that has come to its end.
var ErrClosed = errors.New("the server is closed")

// relisten is a change of the listeners, of which nobody outside notices anything until commit.
//
//	plan: bind what is new ──► commit: publish, start what is new, shut the gates of what is gone
//	        └───────────────────► abandon
type relisten struct {
	server  *Server
	next    *bound
	added   []*listening
	revived []*listening
	removed []*listening
}

// plan finds out what is new and what is gone in listeners, and binds what is new. Its error joins a *ListenerError for
// each one that can't be bound; then there is nothing to abandon.
func (s *Server) plan(listeners []Listener) (*relisten, error) {
	before := s.bound.Load()
	c := &relisten{server: s, next: before.clone()}
	c.next.serving = nil
	serving, leaving := slices.Clone(before.serving), slices.Clone(before.leaving)
	now := time.Now()
	s.resting = slices.DeleteFunc(s.resting, func(r restingIndex) bool { return now.Sub(r.since) >= indexRest })
	host := reachable()
	totals := s.plane.Totals()
	var faults []error
	for i, config := range listeners {
		l := takeOut(&serving, config)
		if l == nil && !isStream(config.Scheme) {
			if l = takeOut(&leaving, config); l != nil {
				c.revived = append(c.revived, l)
			}
		}
		if l == nil {
			var err error
			l, err = s.open(c.next, i, config, host, before, s.resting)
			faults = append(faults, err)
			c.added = append(c.added, l)
			for _, k := range l.sockets {
				if int(k.index) < len(totals.Listeners) {
					k.before, k.tcp = totals.Listeners[k.index], s.tcp.Traffic(int(k.index))
				}
				faults = append(faults, s.makeLoops(k))
			}
		}
		c.next.serving = append(c.next.serving, l)
	}
	c.removed = serving
	c.next.leaving = append(leaving, serving...)
	if s.discovery != nil && slices.Contains(c.removed, before.socket(s.discovery.Sockets[0].Listener).of) {
		faults = append(faults, ErrDiscovery)
	}
	if err := errors.Join(faults...); err != nil {
		c.abandon()
		return nil, err
	}
	return c, nil
}

// takeOut takes the listener of a configuration out of a list; nil: it isn't there.
func takeOut(list *[]*listening, config Listener) *listening {
	i := slices.IndexFunc(*list, func(l *listening) bool { return l.Listener == config })
	if i < 0 {
		return nil
	}
	l := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return l
}

// isStream says whether clients of a scheme have connections of the kernel's. When such a listener is removed, its port
// is free at once.
func isStream(scheme string) bool { return ICETransports(scheme)[0].Transport == "tcp" }

// abandon closes what plan has bound.
func (c *relisten) abandon() {
	for _, l := range c.added {
		for _, k := range l.sockets {
			for _, loop := range k.loops {
				c.server.plane.Retire(loop.forwarder)
			}
			k.close()
		}
	}
}

// commit puts the change in force. It fails only when the server has come to its end.
func (c *relisten) commit() error {
	s := c.server
	s.changing.Lock()
	if s.over {
		s.changing.Unlock()
		c.abandon()
		return ErrClosed
	}
	s.publish(c.next)
	if s.runs {
		for _, l := range c.added {
			for _, k := range l.sockets {
				s.serve(k)
			}
		}
	}
	s.changing.Unlock()
	for _, l := range c.revived {
		l.empty = time.Time{}
		l.gate.Open()
		s.log.Infof("listener %s takes new clients again", l.Name)
	}
	s.redirect(c.next)
	for _, l := range c.removed {
		s.remove(l)
	}
	for _, l := range c.added {
		s.announce(l)
	}
	return nil
}

// publish replaces what the server listens on. Where packets can go is known ahead of whoever sends any.
func (s *Server) publish(next *bound) {
	s.plane.SetSockets(next.datagrams())
	s.bound.Store(next)
}

// announce logs where clients of a new listener connect.
func (s *Server) announce(l *listening) {
	for _, k := range l.sockets {
		s.log.Infof("listening on %s at %s, clients connect to %s", l.Name, k.local, k.public)
		relays := func(p netip.Prefix) bool { return p.Contains(k.public.Addr()) }
		if len(s.config.RelayAddresses) == 0 && !slices.ContainsFunc(s.table.RelayPrefixes(), relays) {
			s.log.Warnf("listener %s: relayed transport addresses stay those of the start: a restart would add %s, and a list of relay addresses keeps them the same", l.Name, k.public.Addr())
		}
	}
}

// redirect tells the listeners that are removed which others of this server their clients can go to: those that take
// the same transports, and no balancer has to speak for.
func (s *Server) redirect(b *bound) {
	for _, gone := range b.leaving {
		var servers []netip.AddrPort
		for _, l := range b.serving {
			other := ICETransports(l.Scheme)
			same := !slices.ContainsFunc(ICETransports(gone.Scheme), func(t ICETransport) bool { return !slices.Contains(other, t) })
			for _, k := range l.sockets {
				if same && !l.Proxy && !slices.Contains(servers, k.public) {
					servers = append(servers, k.public)
				}
			}
		}
		gone.gate.SetAlternates(servers)
	}
}

// remove has a listener take no new clients.
func (s *Server) remove(l *listening) {
	l.gate.Close()
	for _, k := range l.sockets {
		if k.stream != nil {
			k.stream.Retire()
		}
	}
	s.log.Infof("listener %s removed: it takes no new allocations, and is closed when those that there are have ended: %d", l.Name, l.live())
	select {
	case s.removed <- struct{}{}:
	default: // it is known already
	}
}

func (l *listening) live() (n int64) {
	for _, k := range l.sockets {
		n += k.live.Load()
	}
	return n
}

// occupied says whether clients are there: allocations, or connections that may come to have one.
func (l *listening) occupied() bool {
	for _, k := range l.sockets {
		if k.live.Load() > 0 || k.stream != nil && k.stream.Connections() > 0 {
			return true
		}
	}
	return false
}

// awaited says whether clients are expected there that are still counted elsewhere (RFC 8016).
func (s *Server) awaited(l *listening) (found bool) {
	s.table.Each(func(a *allocation.Allocation) bool {
		next := a.Expected()
		found = next != nil && s.socket(next).of == l
		return !found
	})
	return found
}

// awaitRemoved closes removed listeners when they are empty, until ctx ends.
func (s *Server) awaitRemoved(ctx context.Context) {
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for {
		look.Stop()
		select {
		case <-ctx.Done():
			return
		case <-s.removed:
		}
		look.Reset(drainLook)
		for len(s.bound.Load().leaving) > 0 {
			select {
			case <-ctx.Done():
				return
			case now := <-look.C:
				s.closeEmpty(now)
			}
		}
	}
}

// closeEmpty closes removed listeners whose last client has gone. Nobody can come in between: their gates are shut, and
// nothing is configured again before their ports are free.
func (s *Server) closeEmpty(now time.Time) {
	if !s.reload.TryLock() {
		return // the next look will do
	}
	defer s.reload.Unlock()
	for _, l := range s.giveUpEmpty(now) {
		for _, k := range l.sockets {
			k.close()
			k.reading.Wait()
		}
		s.log.Infof("listener %s closed", l.Name)
	}
}

// giveUpEmpty takes them out of what the server listens on, and returns them. It is for who holds reload.
func (s *Server) giveUpEmpty(now time.Time) (gone []*listening) {
	next := s.bound.Load().clone()
	for _, l := range next.leaving {
		switch {
		case l.occupied():
			l.empty = time.Time{}
		case l.empty.IsZero():
			l.empty = now
		case now.Sub(l.empty) >= farewell && !s.awaited(l):
			gone = append(gone, l)
		}
	}
	for _, l := range gone {
		next.leaving = slices.DeleteFunc(next.leaving, func(o *listening) bool { return o == l })
		for _, k := range l.sockets {
			next.dropped += k.kernelDrops()
			next.sockets[k.index] = nil
			s.resting = append(s.resting, restingIndex{int(k.index), now})
		}
	}
	if len(gone) == 0 {
		return nil
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.over {
		return nil // Close has them
	}
	s.publish(next)
	s.policy.Renew()
	return gone
}
