package peers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"time"
)

const (
	maxAddresses  = 4096            // of one name; a headless Service of that many relays is none of ours
	maxLookups    = 16              // at a time
	lookupTimeout = 5 * time.Second // of each

	// keepFailing is how long the addresses of the last answer stay allowed while
	// lookups fail or come back empty: calls outlive a restart of the name server.
	keepFailing = 15 * time.Minute
	// keepMissing is how long an address stays allowed that a newer answer misses: a
	// name server that answers with some of many in turn, a relay that drains.
	keepMissing = time.Minute
)

var errEmpty = errors.New("the answer holds no address")

// resolution is what a name stands for. Guarded by Policy.mu.
//
//	                                       lookup fails
//	             ┌────────────────────────────────────────────────────────────┐
//	in an answer ┴─► allowed ── a newer answer misses it ──► allowed for keepMissing ──► gone
//	                    └──────── no newer answer ─────────► allowed for keepFailing ──► gone
type resolution struct {
	until    map[netip.Addr]time.Time // when each address stops being allowed
	answered time.Time                // last answer; zero: none
	failing  time.Time                // since when there is none; zero: there is
	fault    string                   // the last one, while failing
	cut      bool                     // the answer held more than maxAddresses
	refused  bool                     // the answer held some that no name allows
}

func (r *resolution) sorted() []netip.Addr {
	list := slices.Collect(maps.Keys(r.until))
	sort.Slice(list, func(i, j int) bool { return list[i].Less(list[j]) })
	return list
}

// Run looks names up and reads the file, at once and then each Options.Interval,
// until ctx ends; then it returns nil. A lookup that takes longer delays the next
// round. Call it once.
func (p *Policy) Run(ctx context.Context) error {
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		p.readAgain()
		select {
		case <-p.wake: // this round is theirs, too
		default:
		}
		p.resolve(ctx)
		p.refresh()
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-ticker.C:
		}
	}
}

// resolve looks every name up and waits for the answers, each of which counts from
// when it is there.
func (p *Policy) resolve(ctx context.Context) {
	p.mu.Lock()
	wanted := maps.Clone(p.names)
	p.mu.Unlock()
	var lookups sync.WaitGroup
	defer lookups.Wait()
	slots := make(chan struct{}, maxLookups)
	for host, r := range wanted {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		lookups.Go(func() {
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			answer, err := p.lookup(limited, host)
			if ctx.Err() == nil {
				p.answer(host, r, answer, err)
			}
		})
	}
}

// answer takes over what a lookup came back with.
func (p *Policy) answer(host string, r *resolution, answer []netip.Addr, err error) {
	good, refused := sift(answer)
	cut := len(good) > maxAddresses
	if err == nil && len(answer) == 0 {
		err = errEmpty
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err != nil {
		if r.failing.IsZero() {
			r.failing = now
			p.log.Warnf("dns:%s: %s; %s", host, quote(err.Error()), r.consequence())
		}
		r.fault = err.Error()
		return
	}
	if !r.failing.IsZero() {
		p.log.Infof("dns:%s is answered again: %d addresses", host, len(good))
	}
	r.answered, r.failing, r.fault = now, time.Time{}, ""
	if cut && !r.cut {
		p.log.Warnf("dns:%s has %d addresses; the first %d are allowed, in the order of their numbers", host, len(good), maxAddresses)
	}
	if refused.IsValid() && !r.refused {
		p.log.Warnf("dns:%s has addresses such as %s, which are allowed only where a CIDR rule names them", host, refused)
	}
	r.cut, r.refused = cut, refused.IsValid()
	if r.take(good[:min(len(good), maxAddresses)], now) && p.names[host] == r {
		p.log.Debugf("dns:%s has changed: %d addresses", host, len(r.until))
		p.gatherLocked()
		p.publishLocked()
	}
}

func (r *resolution) consequence() string {
	if len(r.until) == 0 {
		return "it allows nothing until it is answered"
	}
	return fmt.Sprintf("its %d addresses stay allowed until %s", len(r.until), r.answered.Add(keepFailing).Format(time.TimeOnly))
}

// take merges an answer and tells whether it brought new addresses.
func (r *resolution) take(answer []netip.Addr, now time.Time) (grown bool) {
	for a, until := range r.until {
		if soon := now.Add(keepMissing); soon.Before(until) {
			r.until[a] = soon // those of the answer follow
		}
	}
	if r.until == nil {
		r.until = make(map[netip.Addr]time.Time, len(answer))
	}
	for _, a := range answer {
		_, known := r.until[a]
		if !known && len(r.until) >= 2*maxAddresses {
			continue // so many that left just now are still there
		}
		grown = grown || !known
		r.until[a] = now.Add(keepFailing)
	}
	return grown
}

// sift keeps of an answer what a name may stand for, sorted and each once, and
// gives an example of the rest.
func sift(answer []netip.Addr) (good []netip.Addr, refused netip.Addr) {
	for _, a := range answer {
		switch a = a.Unmap(); { // Go's resolver returns IPv4 addresses in either form
		case !a.IsValid():
		case a.Zone() != "" || never(a):
			refused = a
		default:
			good = append(good, a)
		}
	}
	sort.Slice(good, func(i, j int) bool { return good[i].Less(good[j]) })
	return slices.Compact(good), refused
}

// refresh forgets the addresses whose time is over and asks for this server's own
// addresses again.
func (p *Policy) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	shrunk := false
	for _, r := range p.names {
		before := len(r.until)
		maps.DeleteFunc(r.until, func(_ netip.Addr, until time.Time) bool { return !now.Before(until) })
		shrunk = shrunk || len(r.until) < before
	}
	if shrunk {
		p.gatherLocked()
	}
	p.publishLocked()
}

// gatherLocked joins the addresses of all names with the ports of their rules.
func (p *Policy) gatherLocked() {
	p.addresses = make(map[key][]ports)
	for _, e := range p.rules {
		if e.rule.kind != name {
			continue
		}
		for a := range p.names[e.rule.name].until {
			p.addresses[keyOf(a)] = append(p.addresses[keyOf(a)], e.rule.ports)
		}
	}
}
