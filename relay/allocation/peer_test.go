package allocation

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestPermissions(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, request(1))
	peers := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}
	if err := a.Permit(peers, table.Now()); err != nil {
		t.Fatal(err)
	}
	if len(a.Permissions(table.Now())) != 2 {
		t.Errorf("%v, want two", a.Permissions(table.Now()))
	}
	h.move(PermissionLifetime - time.Second)
	a.Permit(peers[:1], table.Now())
	h.move(time.Second)
	if !a.Permitted(peers[0], table.Now()) || a.Permitted(peers[1], table.Now()) || a.Permitted(netip.MustParseAddr("192.0.2.2"), table.Now()) {
		t.Error("one was refreshed, one expired, one never given")
	}
	table.Refresh(a, MaxLifetime, table.Now())
	for range 700 {
		h.move(time.Second)
		table.Sweep(table.Now())
	}
	if a.permissions.Load() != nil {
		t.Error("the sweeper left them behind")
	}
}

// All or none (RFC 8656 §10.2), and sets above linearLimit work the same.
func TestPermissionLimit(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, request(1))
	var peers []netip.Addr
	for i := range MaxPermissions {
		peers = append(peers, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if err := a.Permit(peers, table.Now()); err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		if !a.Permitted(p, table.Now()) {
			t.Fatalf("%v isn't permitted", p)
		}
	}
	h.move(time.Second)
	extra := netip.MustParseAddr("10.9.9.9")
	if err := a.Permit([]netip.Addr{peers[0], extra}, table.Now()); !errors.Is(err, ErrTooMany) || a.Permitted(extra, table.Now()) {
		t.Fatalf("one more: %v", err)
	}
	h.move(PermissionLifetime - time.Second)
	if a.Permitted(peers[0], table.Now()) {
		t.Fatal("a refused request refreshed a permission")
	}
	if err := a.Permit([]netip.Addr{extra}, table.Now()); err != nil {
		t.Fatalf("expired permissions count: %v", err)
	}
}

// A request that names one peer many times makes room for one.
func TestPermissionTwice(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, request(1))
	for i, want := range []int{1, 2} {
		peers := slices.Repeat([]netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, 100)
		if err := a.Permit(peers, table.Now()); err != nil {
			t.Fatal(err)
		}
		if list := a.permissions.Load().list; len(list) != want || cap(list) != want {
			t.Errorf("%d permissions in room for %d, want %d", len(list), cap(list), want)
		}
	}
}

func TestChannels(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, request(1))
	table.Refresh(a, MaxLifetime, table.Now())
	x, y := addrPort("192.0.2.1:50000"), addrPort("192.0.2.1:50001")

	bind := func(number uint16, peer netip.AddrPort, want error) {
		t.Helper()
		if err := a.Bind(number, peer, table.Now()); !errors.Is(err, want) {
			t.Errorf("Bind(%#x, %v) = %v, want %v", number, peer, err, want)
		}
	}
	bind(0x4000, x, nil)
	bind(0x4000, x, nil) // refresh
	bind(0x4000, y, ErrConflict)
	bind(0x4001, x, ErrConflict)
	bind(0x4001, y, nil)
	if !a.Permitted(x.Addr(), table.Now()) {
		t.Error("ChannelBind installs a permission (RFC 8656 §12.2)")
	}
	h.move(ChannelLifetime)
	if a.Channel(0x4000, table.Now()) != nil || a.ChannelTo(x, table.Now()) != nil {
		t.Error("bound after 600 s")
	}
	bind(0x4000, y, ErrConflict) // both rest
	bind(0x4002, x, ErrConflict)
	bind(0x4000, x, nil) // together they may
	h.move(ChannelLifetime + ChannelCooldown)
	bind(0x4000, y, nil)
	bind(0x4001, x, nil)
	if c := a.Channel(0x4000, table.Now()); c == nil || c.Peer != y || a.ChannelTo(y, table.Now()) != c {
		t.Error("bound otherwise after the cool-down")
	}
	if n := len(a.Channels(table.Now())); n != 2 {
		t.Errorf("%d channels", n)
	}
}

func TestChannelLimit(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := create(t, table, request(1))
	peer := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(50000+i))
	}
	for i := range MaxChannels {
		if err := a.Bind(uint16(0x4000+i), peer(i), table.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Bind(0x4F00, peer(MaxChannels), table.Now()); !errors.Is(err, ErrTooMany) {
		t.Fatalf("one more: %v", err)
	}
	for i := range MaxChannels {
		if c := a.Channel(uint16(0x4000+i), table.Now()); c == nil || c.Peer != peer(i) || a.ChannelTo(peer(i), table.Now()) != c {
			t.Fatalf("channel %d", i)
		}
	}
}

// Finding a peer costs no heap allocation however many there are.
func TestLookupsDoNotAllocate(t *testing.T) {
	for _, n := range []int{1, linearLimit, linearLimit + 1, 100} {
		var h hand
		table := newTable(t, &h, nil)
		a := create(t, table, request(1))
		for i := range n {
			if err := a.Bind(uint16(0x4000+i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 50000), 0); err != nil {
				t.Fatal(err)
			}
		}
		last := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n - 1)}), 50000)
		ft := a.FiveTuple
		if got := testing.AllocsPerRun(100, func() {
			if table.Find(&ft, 0) != a || table.FindRelayed(a.Relayed, 0) != a || !a.Permitted(last.Addr(), 0) ||
				a.Channel(uint16(0x4000+n-1), 0) == nil || a.ChannelTo(last, 0) == nil {
				t.Fatal("not found")
			}
		}); got != 0 {
			t.Errorf("%d peers: %v heap allocations", n, got)
		}
	}
}

func BenchmarkPermittedAndChannel(b *testing.B) {
	for _, n := range []int{1, linearLimit, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var h hand
			table := newTable(b, &h, nil)
			a := create(b, table, request(1))
			for i := range n {
				a.Bind(uint16(0x4000+i), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 50000), 0)
			}
			peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n - 1)}), 50000)
			for b.Loop() {
				if !a.Permitted(peer.Addr(), 0) || a.ChannelTo(peer, 0) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
