package secure

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

// The oldest of a source gives way to the newest of it; of a full listener, the oldest of all.
func TestOpenings(t *testing.T) {
	o := newOpenings()
	o.perSource, o.total = 2, 4
	type one struct {
		name string
		*opening
		ctx context.Context
	}
	begin := func(name, source string) one {
		ctx, cancel := context.WithCancelCause(t.Context())
		var a netip.Addr
		if source != "" {
			a = netip.MustParseAddr(source)
		}
		return one{name, o.begin(a, cancel), ctx}
	}
	displaced := func(want bool, of ...one) {
		t.Helper()
		for _, n := range of {
			if got := errors.Is(context.Cause(n.ctx), errDisplaced); got != want {
				t.Errorf("%s gave way: %v", n.name, got)
			}
		}
	}
	a1 := begin("a1", "192.0.2.1")
	a2 := begin("a2", "::ffff:192.0.2.2")
	b1 := begin("b1", "198.51.100.1")
	displaced(false, a1, a2, b1)
	a3 := begin("a3", "192.0.2.3")
	displaced(true, a1)
	displaced(false, a2, a3, b1)
	o.end(a1.opening) // late, and again
	o.end(a1.opening)
	shared := begin("shared", "")
	displaced(false, a2, a3, b1, shared)
	c1 := begin("c1", "2001:db8:0:1::1") // one too many for the listener
	displaced(true, a2)
	displaced(false, a3, b1, shared, c1)
	c2 := begin("c2", "2001:db8:0:2::1") // of the same site
	displaced(true, b1)
	begin("c3", "2001:db8:0:3::1")
	displaced(true, c1)
	displaced(false, c2, a3, shared)
	if o.Len() != 4 {
		t.Errorf("%d under way", o.Len())
	}
	for _, n := range []one{a3, shared, c2} {
		o.end(n.opening)
	}
	if o.Len() != 1 || len(o.sources) != 1 {
		t.Errorf("%d under way of %d sources", o.Len(), len(o.sources))
	}
}
