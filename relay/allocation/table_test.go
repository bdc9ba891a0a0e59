package allocation

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// hand is a clock that moves when told to.
type hand struct{ at time.Time }

func (h *hand) now() time.Time         { return h.at }
func (h *hand) move(d time.Duration)   { h.at = h.at.Add(d) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func newTable(t testing.TB, h *hand, change func(*Options)) *Table {
	t.Helper()
	h.at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := Options{
		Relay: []netip.Prefix{prefix("192.0.2.1/32"), prefix("2001:db8::1/128")},
		Ports: PortRange{50000, 50999}, Now: h.now,
	}
	if change != nil {
		change(&o)
	}
	table, err := NewTable(o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// tuple is the n-th client's.
func tuple(n int) FiveTuple {
	return FiveTuple{
		Client:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 24), byte(n >> 16), byte(n >> 8)}), uint16(n&0xFF+1)),
		Server:    addrPort("192.0.2.1:3478"),
		Transport: UDP,
	}
}

func request(n int) *Request {
	return &Request{FiveTuple: tuple(n), User: "user", Family: IPv4, Lifetime: DefaultLifetime}
}

func create(t testing.TB, table *Table, r *Request) *Allocation {
	t.Helper()
	a, err := table.Create(r, table.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCreateFindDelete(t *testing.T) {
	var h hand
	var born, died []uint64
	table := newTable(t, &h, func(o *Options) {
		o.Born = func(a *Allocation) { born = append(born, a.ID) }
		o.Died = func(a *Allocation) { died = append(died, a.ID) }
	})
	a := create(t, table, request(1))
	if got := table.Find(&a.FiveTuple, table.Now()); got != a {
		t.Errorf("Find returned %v", got)
	}
	if got := table.FindRelayed(a.Relayed, table.Now()); got != a {
		t.Errorf("FindRelayed returned %v", got)
	}
	if _, err := table.Create(request(1), table.Now()); !errors.Is(err, ErrMismatch) {
		t.Errorf("second Create on a five-tuple: %v, want ErrMismatch", err)
	}
	over := tuple(1)
	over.Transport = TCP
	if table.Find(&over, table.Now()) != nil {
		t.Error("found over another transport")
	}
	table.Delete(a, Released)
	table.Delete(a, Expired)
	if table.Find(&a.FiveTuple, table.Now()) != nil || table.FindRelayed(a.Relayed, table.Now()) != nil || table.Count() != 0 {
		t.Error("still there after Delete")
	}
	if len(born) != 1 || len(died) != 1 || a.Why() != Released {
		t.Errorf("born %v, died %v, why %v", born, died, a.Why())
	}
}

func TestExpiry(t *testing.T) {
	var h hand
	died := 0
	table := newTable(t, &h, func(o *Options) { o.Died = func(*Allocation) { died++ } })
	a := create(t, table, request(1))

	h.move(DefaultLifetime - time.Nanosecond)
	if table.Find(&a.FiveTuple, table.Now()) == nil {
		t.Fatal("gone before its time")
	}
	table.Sweep(table.Now())
	if table.Count() != 1 {
		t.Fatal("swept before its time")
	}
	table.Refresh(a, 2*DefaultLifetime, table.Now())
	h.move(2 * DefaultLifetime)
	if table.Find(&a.FiveTuple, table.Now()) != nil {
		t.Fatal("found after its deadline, before the sweeper came")
	}
	h.move(time.Second)
	table.Sweep(table.Now())
	if table.Count() != 0 || died != 1 || a.Why() != Expired {
		t.Fatalf("count %d, died %d, why %v", table.Count(), died, a.Why())
	}
}

// An expired allocation that the sweeper hasn't met yet doesn't stand in the way.
func TestCreateOverExpired(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	old := create(t, table, request(1))
	h.move(DefaultLifetime)
	fresh := create(t, table, request(1))
	if old == fresh || old.Why() != Expired || table.Find(&fresh.FiveTuple, table.Now()) != fresh || table.Count() != 1 {
		t.Fatal("the five-tuple wasn't free")
	}
}

// A refresh to a shorter life is noticed by the sweeper at the new deadline.
func TestRefreshShortens(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	r := request(1)
	r.Lifetime = MaxLifetime
	a := create(t, table, r)
	table.Refresh(a, 10*time.Second, table.Now())
	h.move(11 * time.Second)
	table.Sweep(table.Now())
	if table.Count() != 0 {
		t.Fatal("still there")
	}
}

// However the sweeper is called, each allocation ends in the second after its
// deadline and none before.
func TestSweepFindsAll(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Relay = []netip.Prefix{prefix("10.0.0.0/8")} })
	for i := range 3000 {
		r := request(i)
		r.Lifetime = time.Duration(600+i) * time.Second
		create(t, table, r)
	}
	for step := 0; step < 4000; step += 37 {
		live, late := 0, 0
		for i := range 3000 {
			switch {
			case 600+i > step:
				live++
			case 600+i == step: // over at this very moment: the sweeper has a second
				late++
			}
		}
		if got := table.Count(); got < live || got > live+late {
			t.Fatalf("after %d s: %d allocations, want %d and up to %d more", step, got, live, late)
		}
		h.move(37 * time.Second)
		table.Sweep(table.Now())
	}
	h.move(24 * time.Hour) // the host slept
	table.Sweep(table.Now())
	if table.Count() != 0 {
		t.Fatalf("%d left", table.Count())
	}
}

// Allocations with many peers, which take longer to look at, don't make a chunk of
// the sweep longer.
func TestSweepOfManyPeers(t *testing.T) {
	const many = 20
	var h hand
	table := newTable(t, &h, nil)
	var peers []netip.Addr
	for i := range MaxPermissions {
		peers = append(peers, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	for i := range many {
		if err := create(t, table, request(i)).Permit(peers, table.Now()); err != nil {
			t.Fatal(err)
		}
	}
	h.move(visitInterval + time.Second)
	chunks := 1
	for now := table.Now(); table.sweepChunk(now, second(now)); chunks++ {
		if chunks > many {
			t.Fatal("the sweep doesn't end")
		}
	}
	if chunks < many*MaxPermissions/4096 {
		t.Errorf("%d allocations with %d permissions each in %d holds of the lock", many, MaxPermissions, chunks)
	}
}

func TestQuotas(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.UserQuota, o.TotalQuota = 2, 3 })
	first := create(t, table, request(1))
	create(t, table, request(2))
	if _, err := table.Create(request(3), table.Now()); !errors.Is(err, ErrUserQuota) {
		t.Errorf("third of a user: %v", err)
	}
	other := request(3)
	other.User = "other"
	create(t, table, other)
	other.FiveTuple = tuple(4)
	if _, err := table.Create(other, table.Now()); !errors.Is(err, ErrCapacity) {
		t.Errorf("fourth in all: %v", err)
	}
	table.Delete(first, Released)
	create(t, table, request(5))
}

// Quotas count the account, whatever the credential is called.
func TestQuotaOfAccount(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.UserQuota = 2 })
	under := func(n int, user, account string) *Request {
		r := request(n)
		r.User, r.Account = user, account
		return r
	}
	first := create(t, table, under(1, "1:alice", ":alice"))
	create(t, table, under(2, "2:alice", ":alice"))
	if _, err := table.Create(under(3, "3:alice", ":alice"), table.Now()); !errors.Is(err, ErrUserQuota) {
		t.Errorf("third of an account: %v", err)
	}
	create(t, table, under(3, "alice", ""))
	table.Delete(first, Released)
	create(t, table, under(4, "4:alice", ":alice"))
	for n, user := range []string{"bob:1", "bob:2"} {
		create(t, table, under(5+n, user, "bob:"))
	}
	if _, err := table.Create(under(7, "bob:3", "bob:"), table.Now()); !errors.Is(err, ErrUserQuota) {
		t.Errorf("third of an account in front: %v", err)
	}
	table.Close()
	if len(table.perUser) != 0 {
		t.Errorf("accounts without allocations: %v", table.perUser)
	}
}

func TestFamilies(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Relay = []netip.Prefix{prefix("192.0.2.1/32")} })
	r := request(1)
	r.Family = IPv6
	if _, err := table.Create(r, table.Now()); !errors.Is(err, ErrFamily) {
		t.Errorf("IPv6 without an address of it: %v", err)
	}
	if !table.HasFamily(IPv4) || table.HasFamily(IPv6) || table.HasFamily(3) || table.HasFamily(0) {
		t.Error("HasFamily")
	}
}

// Peers in loop mode: relayed addresses of this server, in their own spelling.
func TestRelays(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) {
		o.Relay = []netip.Prefix{prefix("192.0.2.0/28"), prefix("127.0.0.1/32"), prefix("2001:db8:1::/64")}
	})
	for _, c := range []struct {
		ip   string
		want bool
	}{
		{"192.0.2.1", true}, {"192.0.2.14", true}, {"127.0.0.1", true}, {"2001:db8:1::1", true},
		{"192.0.2.0", false}, {"192.0.2.15", false}, {"192.0.2.16", false}, {"127.0.0.2", false}, {"0.0.0.0", false},
		{"255.255.255.255", false}, {"169.254.169.254", false}, {"224.0.0.1", false}, {"10.0.0.1", false},
		{"::", false}, {"::1", false}, {"fe80::1", false}, {"ff02::1", false}, {"2001:db8:2::1", false},
		{"::ffff:192.0.2.1", false}, {"::192.0.2.1", false}, {"::ffff:0:192.0.2.1", false},
		{"64:ff9b::192.0.2.1", false}, {"2002:c000:201::", false}, {"::ffff:127.0.0.1", false}, {"2001:db8:1::1%eth0", false},
	} {
		if got := table.Relays(netip.MustParseAddr(c.ip)); got != c.want {
			t.Errorf("Relays(%s) = %v", c.ip, got)
		}
	}
	for port, want := range map[uint16]bool{49999: false, 50000: true, 50999: true, 51000: false, 0: false} {
		if got := table.RelaysPort(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)); got != want {
			t.Errorf("RelaysPort(%d) = %v", port, got)
		}
	}
}

// Readers never miss an allocation that lives all the time while others come and
// go and the table grows.
func TestReadersDuringChange(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) {
		o.Relay = []netip.Prefix{prefix("10.0.0.0/8")}
		o.Cooldown = time.Nanosecond
	})
	steady := make([]*Allocation, 100)
	for i := range steady {
		steady[i] = create(t, table, request(i))
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := steady[i%len(steady)]
				if table.Find(&a.FiveTuple, 0) != a || table.FindRelayed(a.Relayed, 0) != a {
					t.Errorf("allocation %d wasn't found", a.ID)
					return
				}
			}
		})
	}
	for round := range 5 {
		var some []*Allocation
		for i := range 3000 {
			some = append(some, create(t, table, request(1000+round*3000+i)))
		}
		for _, a := range some {
			table.Delete(a, Released)
		}
	}
	close(stop)
	readers.Wait()
	if table.Count() != len(steady) {
		t.Errorf("%d allocations left, want %d", table.Count(), len(steady))
	}
}

func TestNewTableFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"no relay address", Options{Ports: PortRange{1, 2}}},
		{"overlap", Options{Relay: []netip.Prefix{prefix("10.0.0.0/8"), prefix("10.1.0.0/16")}, Ports: PortRange{1, 2}}},
		{"the same twice", Options{Relay: []netip.Prefix{prefix("10.0.0.1/32"), prefix("10.0.0.1/32")}, Ports: PortRange{1, 2}}},
		{"empty range", Options{Relay: []netip.Prefix{prefix("10.0.0.1/32")}, Ports: PortRange{2, 1}}},
		{"port zero", Options{Relay: []netip.Prefix{prefix("10.0.0.1/32")}, Ports: PortRange{0, 1}}},
	} {
		if _, err := NewTable(c.o); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
}

// An allocation fills a size class of the allocator's: eight bytes more would cost each 32.
func TestAllocationSize(t *testing.T) {
	if got := unsafe.Sizeof(Allocation{}); unsafe.Sizeof(uintptr(0)) == 8 && got > 384 {
		t.Errorf("%d bytes, more than 384", got)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var h hand
			table := newTable(b, &h, func(o *Options) { o.Relay = []netip.Prefix{prefix("10.0.0.0/8")} })
			tuples := make([]FiveTuple, n)
			for i := range n {
				tuples[i] = create(b, table, request(i)).FiveTuple
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if table.Find(&tuples[i*7919%n], 0) == nil {
					b.Fatal("lost")
				}
			}
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	var h hand
	table := newTable(b, &h, func(o *Options) { o.Relay = []netip.Prefix{prefix("10.0.0.0/8")} })
	b.ReportAllocs()
	for i := range b.N {
		create(b, table, request(i))
	}
}
