package relay

import (
	"context"
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/relay/control"
)

const (
	// drainLook is how often a draining server looks whether it is empty.
	drainLook = 100 * time.Millisecond
	// farewell is for the answers under way when the last allocation has ended: that to the Refresh that ended it.
	farewell = 200 * time.Millisecond
)

// drain is how a server ends without ending calls:
//
//	serving ──Drain──► draining ──empty, or the deadline──► over: Run returns
type drain struct {
	gate  control.Gate
	asked chan struct{} // closed by the first Drain

	mu    sync.Mutex
	state DrainState // guarded by mu
}

// DrainState is how far a server is with draining. The zero value is one that nobody asked to.
type DrainState struct {
	Draining bool
	Since    time.Time // when Drain was called first
	Deadline time.Time // when what is left then is cut
}

// Drain makes the server take no new allocation: from its return on, an Allocate is answered with the address of
// another server (300) where Config.Alternates has one, else with 508. Live allocations go on in all they do. Run
// returns when the last one has ended, at once if there is none, and at timeout from now at the latest; what is left
// then is cut. timeout 0 or less ends the server at once.
//
// Only the first call counts, and says so by true. A server that does not run yet drains when it does.
func (s *Server) Drain(timeout time.Duration) bool {
	d := &s.drain
	d.mu.Lock()
	first := !d.state.Draining
	if first {
		now := time.Now()
		d.state = DrainState{Draining: true, Since: now, Deadline: now.Add(max(timeout, 0))}
	}
	d.mu.Unlock()
	d.gate.Close()
	if first {
		close(d.asked)
	}
	return first
}

// Draining returns how far the server is with draining.
func (s *Server) Draining() DrainState {
	s.drain.mu.Lock()
	defer s.drain.mu.Unlock()
	return s.drain.state
}

// awaitDrain returns true when Drain has been called and come to its end, false when ctx ends first.
func (s *Server) awaitDrain(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.drain.asked:
	}
	state := s.Draining()
	left := time.Until(state.Deadline)
	deadline := time.NewTimer(left)
	defer deadline.Stop()
	if s.Count() == 0 {
		s.log.Infof("drained: there is no allocation")
		return true
	}
	if left > 0 {
		s.log.Infof("draining: no new allocations; %d left, which end by %s (in %s) at the latest",
			s.Count(), state.Deadline.Format(time.RFC3339), left.Round(time.Second))
	}
	look := time.NewTicker(drainLook)
	defer look.Stop()
	var empty time.Time // since when
	for {
		select {
		case <-ctx.Done():
			if n := s.Count(); n > 0 {
				s.log.Warnf("ended while draining; allocations cut: %d", n)
			}
			return false
		case <-deadline.C:
			if n := s.Count(); n > 0 {
				s.log.Warnf("allocations cut after the drain timeout: %d", n)
			} else {
				s.log.Infof("drained")
			}
			return true
		case now := <-look.C:
			switch {
			case s.Count() > 0:
			case empty.IsZero():
				empty = now
			case now.Sub(empty) >= farewell:
				s.log.Infof("drained: the last allocation ended after %s", empty.Sub(state.Since).Round(time.Millisecond))
				return true
			}
		}
	}
}
