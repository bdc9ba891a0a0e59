package allocation

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func dual(n int) *Request {
	r := request(n)
	r.Dual = true
	return r
}

// Either half lives as long as it is refreshed, and the allocation as long as one does (RFC 8656 §8.1).
func TestHalvesExpire(t *testing.T) {
	for _, kept := range []Family{IPv4, IPv6} {
		gone := IPv4 + IPv6 - kept
		var h hand
		var closed []Family
		died := 0
		table := newTable(t, &h, func(o *Options) {
			o.UserQuota = 1
			o.Closed = func(a *Allocation) { closed = append(closed, a.Family()) }
			o.Died = func(a *Allocation) {
				died++
				if n := a.Counts(); n.Up.Packets != 3 {
					t.Errorf("died with %d packets, want 3", n.Up.Packets)
				}
			}
		})
		a := create(t, table, dual(1))
		a.Half(IPv4).Up.Add(1, 1)
		a.Half(IPv6).Up.Add(2, 2)
		four, six := a.Half(IPv4).Relayed, a.Half(IPv6).Relayed
		if !four.Addr().Is4() || six.Addr().Is4() || table.Count() != 1 {
			t.Fatalf("halves %v and %v, %d allocations", four, six, table.Count())
		}
		h.move(DefaultLifetime / 2)
		table.RefreshHalf(a, kept, DefaultLifetime, table.Now())
		h.move(DefaultLifetime / 2)

		check := func(when string) {
			t.Helper()
			now := table.Now()
			found := table.Find(&a.FiveTuple, now)
			if found == nil || found.Family() != kept || found.ID != a.ID {
				t.Fatalf("%s: the five-tuple has %v", when, found)
			}
			if table.FindRelayed(a.Half(kept).Relayed, now) == nil || table.FindRelayed(a.Half(gone).Relayed, now) != nil {
				t.Errorf("%s: the wrong half is over", when)
			}
			if !found.Serves(kept, now) || found.Serves(gone, now) {
				t.Errorf("%s: serves IPv4 %v, IPv6 %v", when, found.Serves(IPv4, now), found.Serves(IPv6, now))
			}
			if _, err := table.Create(request(1), now); !errors.Is(err, ErrMismatch) {
				t.Errorf("%s: Create on its five-tuple: %v, want ErrMismatch", when, err)
			}
			if _, err := table.Create(request(2), now); !errors.Is(err, ErrUserQuota) {
				t.Errorf("%s: Create of the user's second: %v, want ErrUserQuota", when, err)
			}
			seen := 0
			table.Each(func(*Allocation) bool { seen++; return true })
			if seen != 1 || table.Count() != 1 {
				t.Errorf("%s: %d seen and %d counted, want 1", when, seen, table.Count())
			}
		}
		check("before a sweep")
		table.Sweep(table.Now())
		check("after a sweep")
		if died != 0 || len(closed) != 1 || closed[0] != gone {
			t.Errorf("%d died, %v closed; want 0 and %v", died, closed, gone)
		}
		h.move(DefaultLifetime)
		table.Sweep(table.Now())
		if died != 1 || len(closed) != 2 || table.Count() != 0 {
			t.Errorf("%d died, %v closed, %d counted at the end", died, closed, table.Count())
		}
		create(t, table, dual(2))
	}
}

// An expired dual allocation is out of the way of whoever comes next, with both of its halves.
func TestHalvesMakeRoom(t *testing.T) {
	var h hand
	died := 0
	table := newTable(t, &h, func(o *Options) { o.Died = func(*Allocation) { died++ } })
	create(t, table, dual(1))
	h.move(DefaultLifetime)
	create(t, table, dual(1))
	if died != 1 || table.Count() != 1 {
		t.Errorf("%d died, %d counted, want 1 and 1", died, table.Count())
	}
	table.DeleteAll(Shutdown)
	if died != 2 || table.Count() != 0 || len(table.wheelMembers()) != 0 {
		t.Errorf("%d died, %d counted, %d in the wheel", died, table.Count(), len(table.wheelMembers()))
	}
}

// wheelMembers lists what waits for the sweeper.
func (t *Table) wheelMembers() (all []*Allocation) {
	for _, a := range t.wheel.seconds {
		for ; a != nil; a = a.next {
			all = append(all, a)
		}
	}
	return all
}

// Permissions come for all peers of a request or for none, of whichever family they are (RFC 8656 §10.2).
func TestHalvesPermit(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, dual(1))
	now := table.Now()
	peers := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if err := a.Permit(peers, now); err != nil {
		t.Fatal(err)
	}
	for i, p := range peers {
		if own := a.Half(IPv4 + Family(i)); !own.Permitted(p, now) || own.other().Permitted(p, now) || a.Toward(p, now) != own {
			t.Errorf("%v is not permitted where it belongs", p)
		}
	}
	var many []netip.Addr
	for at := netip.MustParseAddr("2001:db8:1::"); len(many) < MaxPermissions+1; at = at.Next() {
		many = append(many, at)
	}
	fresh := netip.MustParseAddr("192.0.2.2")
	if err := a.Permit(append([]netip.Addr{fresh}, many...), now); !errors.Is(err, ErrTooMany) {
		t.Errorf("more than there is room for: %v", err)
	}
	if a.Half(IPv4).Permitted(fresh, now) {
		t.Error("part of a request was granted")
	}
	if err := a.Bind(0x4000, netip.AddrPortFrom(peers[0], 1), now); err != nil {
		t.Fatal(err)
	}
	six := netip.AddrPortFrom(peers[1], 1)
	if !a.Conflicts(0x4000, six, now) || !errors.Is(a.Bind(0x4000, six, now), ErrConflict) {
		t.Error("a channel number is bound on both halves")
	}
	table.DeleteHalf(a, IPv4, Released)
	left := table.Find(&a.FiveTuple, now)
	if left.Conflicts(0x4000, six, now) || left.Bind(0x4000, six, now) != nil {
		t.Error("a channel number stays with the half that ended")
	}
	if half, c := left.Bound(0x4000, now.Add(time.Second)); c == nil || half.Family() != IPv6 {
		t.Errorf("the number leads to %v, %v", half, c)
	}
}
