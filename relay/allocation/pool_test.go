package allocation

import (
	"errors"
	"math/rand/v2"
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
	token, ok := a.ReservationToken()
	if !ok || a.Relayed.Port()%2 != 0 {
		t.Fatalf("token %v, port %d", ok, a.Relayed.Port())
	}
	claim := request(2)
	claim.Token = &token
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
	token, _ = c.ReservationToken()
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

// What is counted of an address's ports is what there is, so that nothing is
// looked for where it can't be found.
func TestExhausted(t *testing.T) {
	for _, ports := range []PortRange{{1, 9}, {2, 9}, {1, 10}, {2, 10}, {7, 7}, {8, 8}, {65530, 65535}, {65530, 65534}} {
		var h hand
		table := newTable(t, &h, func(o *Options) { o.Ports = ports; o.Relay = []netip.Prefix{prefix("192.0.2.1/32")} })
		p := table.pool(IPv4)
		free := func(port uint16) bool { return ports.Contains(port) && !p.isTaken(placeOf(0, port)) }
		check := func() {
			t.Helper()
			var any, even, pair bool
			for port := int(ports.Min); port <= int(ports.Max); port++ {
				port := uint16(port)
				isEven := port%2 == 0 && free(port)
				any, even, pair = any || free(port), even || isEven, pair || isEven && free(port+1)
			}
			if p.exhausted(0, false, false) == any || p.exhausted(0, true, false) == even || p.exhausted(0, true, true) == pair {
				t.Fatalf("%v: %v is counted; there is one: %v, an even one: %v, a pair: %v", ports, p.perAddress[0], any, even, pair)
			}
		}
		random := rand.New(rand.NewPCG(1, uint64(ports.Min)))
		for range 2000 {
			if random.IntN(2) == 0 {
				even := random.IntN(2) == 0
				p.draw(even, even && random.IntN(2) == 0)
			} else if at := placeOf(0, ports.Min+uint16(random.IntN(ports.size()))); p.isTaken(at) {
				p.free(at)
			}
			check()
		}
		for at := range p.taken {
			p.free(at)
		}
		if len(p.perAddress) != 0 {
			t.Errorf("%v: %v left of nothing", ports, p.perAddress)
		}
	}
}

// Many places whose rest ends at once, after many allocations did, keep nobody
// waiting for the lock; but they are there for whoever needs them.
func TestCooldownOfMany(t *testing.T) {
	const many = 10 * sweepChunk
	var h hand
	table := newTable(t, &h, func(o *Options) { o.Ports = PortRange{10000, 10000 + 2*many - 1} })
	pair := request(0)
	pair.EvenPort, pair.Reserve = true, true
	for i := range many {
		pair.FiveTuple = tuple(i)
		create(t, table, pair)
	}
	table.DeleteAll(Released)
	h.move(DefaultCooldown)
	p := table.pool(IPv4)
	create(t, table, request(many))
	if n := 2*many - len(p.taken); n > 2*sweepChunk {
		t.Errorf("%d places freed at once", n)
	}
	for i := range 2*many - 1 {
		create(t, table, request(many+1+i))
	}
	if _, err := table.Create(request(5*many), table.Now()); !errors.Is(err, ErrCapacity) {
		t.Errorf("more than there is: %v", err)
	}

	table.DeleteAll(Released)
	h.move(DefaultCooldown)
	table.Sweep(table.Now())
	if len(p.taken) != 0 {
		t.Errorf("%d places are left after a sweep", len(p.taken))
	}
}
