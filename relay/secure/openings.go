package secure

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Tuning constants. An honest opening takes a few round trips, so what has been open for long is what gives way.
const (
	openingTimeout    = 10 * time.Second // from the first byte's chance to the end of the handshake
	openingsPerSource = 256              // under way at a time, per prefix below
	openingsTotal     = 4096             // and per listener

	sourceBits4 = 24 // a source of openings is what one subscriber or site may well have to itself
	sourceBits6 = 56
)

// Why an opening ends early.
var (
	errTimeout   = errors.New("secure: the handshake took too long")
	errDisplaced = errors.New("secure: the handshake gave way to a newer one")
)

// Openings are the handshakes under way at one listener. Who begins one too many displaces the oldest of its own source,
// or of all when it is the listener that is full: thousands of stalled ones cost a newcomer nothing.
type Openings struct {
	perSource, total int // immutable

	mu      sync.Mutex
	all     list.List                   // of *opening, oldest first; guarded by mu
	sources map[netip.Prefix]*list.List // the same by source; guarded by mu
}

func newOpenings() *Openings {
	return &Openings{perSource: openingsPerSource, total: openingsTotal, sources: make(map[netip.Prefix]*list.List)}
}

// opening is one handshake. It is made by begin and ended by end.
type opening struct {
	source   netip.Prefix // invalid: counts for the listener only
	cancel   context.CancelCauseFunc
	inAll    *list.Element // nil once it has ended or was displaced; guarded by Openings.mu
	inSource *list.Element // nil without a source; guarded by Openings.mu
}

// begin admits an opening, whose cancel is called if it has to give way. An invalid source is one that many share.
func (o *Openings) begin(source netip.Addr, cancel context.CancelCauseFunc) *opening {
	n := &opening{source: prefixOf(source), cancel: cancel}
	o.mu.Lock()
	var displaced *opening
	if of := o.sources[n.source]; n.source.IsValid() && of != nil && of.Len() >= o.perSource {
		displaced = of.Front().Value.(*opening)
	} else if o.all.Len() >= o.total {
		displaced = o.all.Front().Value.(*opening)
	}
	if displaced != nil {
		o.removeLocked(displaced)
	}
	n.inAll = o.all.PushBack(n)
	if n.source.IsValid() {
		of := o.sources[n.source]
		if of == nil {
			of = list.New()
			o.sources[n.source] = of
		}
		n.inSource = of.PushBack(n)
	}
	o.mu.Unlock()
	if displaced != nil {
		displaced.cancel(errDisplaced)
	}
	return n
}

// end makes room again.
func (o *Openings) end(n *opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removeLocked(n)
}

func (o *Openings) removeLocked(n *opening) {
	if n.inAll == nil {
		return
	}
	o.all.Remove(n.inAll)
	n.inAll = nil
	if n.inSource != nil {
		of := o.sources[n.source]
		of.Remove(n.inSource)
		n.inSource = nil
		if of.Len() == 0 {
			delete(o.sources, n.source)
		}
	}
}

// Len is how many handshakes are under way.
func (o *Openings) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Len()
}

func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := sourceBits6
	if a.Is4() {
		bits = sourceBits4
	}
	p, _ := a.Prefix(bits) // invalid for an invalid address
	return p
}

// slots bound how many handshakes calculate at the same time, so that signing for strangers never takes all processors
// from those who are served.
type slots chan struct{}

func newSlots() slots { return make(slots, max(runtime.GOMAXPROCS(0)/2, 1)) }

func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s slots) release() { <-s }
