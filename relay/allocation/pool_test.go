package allocation

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// With a prefix, each allocation gets an address of its own until none is left.
func TestAddressOfItsOwn(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) {
		o.Relay = []netip.Prefix{prefix("192.0.2.0/28"), prefix("198.51.100.7/32")}
		o.Ports = PortRange{50000, 50001}
	})
	seen := map[netip.Addr]int{}
	for i := range 15 { // 14 hosts of the /28 and the single address
		seen[create(t, table, request(i)).Relayed.Addr()]++
	}
	if len(seen) != 15 {
		t.Fatalf("%d addresses for 15 allocations: %v", len(seen), seen)
	}
	for i := range 15 {
		seen[create(t, table, request(100+i)).Relayed.Addr()]++
	}
	for a, n := range seen {
		if n != 2 || !table.Relays(a) {
			t.Errorf("%v has %d allocations", a, n)
		}
	}
	if _, err := table.Create(request(200), table.Now()); !errors.Is(err, ErrCapacity) {
		t.Errorf("more than there is: %v", err)
	}
}

func TestCooldown(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Ports = PortRange{50000, 50000} })
	a := create(t, table, request(1))
	table.Delete(a, Released)
	h.move(DefaultCooldown - time.Nanosecond)
	if _, err := table.Create(request(2), table.Now()); !errors.Is(err, ErrCapacity) {
		t.Fatalf("reused within the cool-down: %v", err)
	}
	h.move(time.Nanosecond)
	if b := create(t, table, request(2)); b.Relayed != a.Relayed {
		t.Fatalf("%v, want %v again", b.Relayed, a.Relayed)
	}
}

func TestEvenPort(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Ports = PortRange{50001, 50004} })
	even := request(1)
	even.EvenPort = true
	for i := range 2 {
		even.FiveTuple = tuple(i)
		if p := create(t, table, even).Relayed.Port(); p%2 != 0 {
			t.Errorf("port %d", p)
		}
	}
	even.FiveTuple = tuple(9)
	if _, err := table.Create(even, table.Now()); !errors.Is(err, ErrCapacity) {
		t.Errorf("no even port left: %v", err)
	}
}

// EVEN-PORT with R sets the next port aside for whoever brings the token within
// 30 s, once (RFC 8656 §7.2).
func TestReservation(t *testing.T) {
	var h hand
	// 50005 is the last, so a pair can only be 50002+50003 or 50004+50005.
	table := newTable(t, &h, func(o *Options) { o.Ports = PortRange{50001, 50005} })
	pair := request(1)
	pair.EvenPort, pair.Reserve = true, true
	a := create(t, table, pair)
	if !a.HasToken || a.Relayed.Port()%2 != 0 {
		t.Fatalf("token %v, port %d", a.HasToken, a.Relayed.Port())
	}
	claim := request(2)
	claim.Token = &a.Token
	claim.Family = 0
	b := create(t, table, claim)
	if want := netip.AddrPortFrom(a.Relayed.Addr(), a.Relayed.Port()+1); b.Relayed != want {
		t.Fatalf("the token gave %v, want %v", b.Relayed, want)
	}
	claim.FiveTuple = tuple(3)
	if _, err := table.Create(claim, table.Now()); !errors.Is(err, ErrToken) {
		t.Fatalf("token used twice: %v", err)
	}

	pair.FiveTuple = tuple(4)
	c := create(t, table, pair)
	h.move(ReservationLifetime)
	claim.Token = &c.Token
	if _, err := table.Create(claim, table.Now()); !errors.Is(err, ErrToken) {
		t.Fatalf("token after its time: %v", err)
	}
	// 50001 and the unclaimed port are free, nothing else.
	create(t, table, request(5))
	create(t, table, request(6))
	if _, err := table.Create(request(7), table.Now()); !errors.Is(err, ErrCapacity) {
		t.Fatalf("an unclaimed port leaked: %v", err)
	}
}

// A prefix wider than any memory is no burden.
func TestHugePrefix(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Relay = []netip.Prefix{prefix("2001:db8::/32"), prefix("0.0.0.0/0")} })
	for i := range 1000 {
		r := request(i)
		r.Family = Family(1 + i%2)
		a := create(t, table, r)
		if a.Family() != r.Family || !table.RelaysPort(a.Relayed) {
			t.Fatalf("%v", a.Relayed)
		}
		table.Delete(a, Released)
	}
}

// Ports are drawn at random: two tables rarely agree (RFC 8656 §21.1.2 relies on
// addresses that can't be guessed).
func TestRandom(t *testing.T) {
	same := 0
	for range 100 {
		var h hand
		x, y := newTable(t, &h, nil), newTable(t, &h, nil)
		if create(t, x, request(1)).Relayed == create(t, y, request(1)).Relayed {
			same++
		}
	}
	if same > 5 { // of 1000 ports: 0.1 expected
		t.Errorf("%d of 100 draws agree", same)
	}
}
