package control

import (
	"bytes"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// onlyV6 and onlyV4 leave a server with one family.
func onlyV6(o *allocation.Options, _ *authOptions, _ *Options) { o.Relay = []netip.Prefix{relayV6} }
func onlyV4(o *allocation.Options, _ *authOptions, _ *Options) { o.Relay = []netip.Prefix{relayV4} }

func TestAllocate(t *testing.T) {
	for _, test := range []struct {
		name     string
		setters  []stun.Setter
		lifetime time.Duration
		relay    netip.Prefix
	}{
		{"plain", nil, 600 * time.Second, relayV4},
		{"LIFETIME 0 is the default here", []stun.Setter{lifetime(0)}, 600 * time.Second, relayV4},
		{"LIFETIME below the default", []stun.Setter{lifetime(599)}, 600 * time.Second, relayV4},
		{"LIFETIME between", []stun.Setter{lifetime(777)}, 777 * time.Second, relayV4},
		{"LIFETIME at the maximum", []stun.Setter{lifetime(3600)}, 3600 * time.Second, relayV4},
		{"LIFETIME above the maximum", []stun.Setter{lifetime(3601)}, 3600 * time.Second, relayV4},
		{"LIFETIME at the end of its range", []stun.Setter{lifetime(math.MaxUint32)}, 3600 * time.Second, relayV4},
		{"IPv4 asked for", []stun.Setter{family(ipv4)}, 600 * time.Second, relayV4},
		{"IPv6 asked for", []stun.Setter{family(ipv6)}, 600 * time.Second, relayV6},
		{"DONT-FRAGMENT", []stun.Setter{dontFragment}, 600 * time.Second, relayV4},
		{"SOFTWARE and the unknown optional", []stun.Setter{stun.NewSoftware("client"), raw(0xC0DE, 1)}, 600 * time.Second, relayV4},
		{"the first of equal attributes", []stun.Setter{lifetime(700), lifetime(800)}, 700 * time.Second, relayV4},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)
			answer := c.do(stun.MethodAllocate, append([]stun.Setter{udpTransport}, test.setters...)...)
			wantCode(t, answer, 0)
			wantAttributes(t, answer, stun.AttrXORRelayedAddress, stun.AttrLifetime, stun.AttrXORMappedAddress,
				stun.AttrMessageIntegrity, stun.AttrFingerprint)
			a := c.allocation()
			if a == nil {
				t.Fatal("no allocation")
			}
			if got := lifetimeOf(t, answer); got != test.lifetime || a.Expires().Sub(s.table.Now()) != test.lifetime {
				t.Errorf("LIFETIME %v, allocation lives %v, want %v", got, a.Expires().Sub(s.table.Now()), test.lifetime)
			}
			relayed := xorAddress(t, answer, stun.AttrXORRelayedAddress)
			if relayed != a.Relayed || !test.relay.Contains(relayed.Addr()) || !ports.Contains(relayed.Port()) {
				t.Errorf("XOR-RELAYED-ADDRESS %v, allocation has %v, want one of %v", relayed, a.Relayed, test.relay)
			}
			if got := xorAddress(t, answer, stun.AttrXORMappedAddress); got != clientV4 {
				t.Errorf("XOR-MAPPED-ADDRESS %v", got)
			}
			if a.User != alice || a.Client.Listener != c.from.Client.Listener {
				t.Errorf("allocation is of %q on listener %d", a.User, a.Client.Listener)
			}
		})
	}
}

// Every refusal of RFC 8656 §7.2, and that it leaves no allocation.
func TestAllocateRefused(t *testing.T) {
	eight := []byte("12345678")
	quota := func(o *allocation.Options, _ *authOptions, _ *Options) { o.UserQuota = 2 }
	full := func(o *allocation.Options, _ *authOptions, _ *Options) {
		o.Ports = allocation.PortRange{Min: 50000, Max: 50001}
		o.Relay = []netip.Prefix{relayV4}
	}
	total := func(o *allocation.Options, _ *authOptions, _ *Options) { o.TotalQuota = 2 }
	for _, test := range []struct {
		name    string
		change  func(*allocation.Options, *authOptions, *Options)
		before  int // allocations that are there already
		setters []stun.Setter
		code    int
	}{
		{name: "no REQUESTED-TRANSPORT", code: 400},
		{name: "REQUESTED-TRANSPORT too short", setters: []stun.Setter{raw(stun.AttrRequestedTransport, 17)}, code: 400},
		{name: "TCP over UDP", setters: []stun.Setter{raw(stun.AttrRequestedTransport, 6, 0, 0, 0)}, code: 400},
		{name: "transport 0", setters: []stun.Setter{raw(stun.AttrRequestedTransport, 0, 0, 0, 0)}, code: 442},
		{name: "transport before all that follows", setters: []stun.Setter{raw(stun.AttrRequestedTransport, 132, 0, 0, 0), token(eight), evenPort}, code: 442},
		{name: "LIFETIME malformed", setters: []stun.Setter{udpTransport, raw(stun.AttrLifetime, 1, 2)}, code: 400},
		{name: "EVEN-PORT malformed", setters: []stun.Setter{udpTransport, raw(stun.AttrEvenPort)}, code: 400},
		{name: "RESERVATION-TOKEN malformed", setters: []stun.Setter{udpTransport, token(eight[:7])}, code: 400},
		{name: "REQUESTED-ADDRESS-FAMILY malformed", setters: []stun.Setter{udpTransport, raw(stun.AttrRequestedAddressFamily, 1)}, code: 400},
		{name: "ADDITIONAL-ADDRESS-FAMILY malformed", setters: []stun.Setter{udpTransport, raw(attrAdditionalFamily, 2)}, code: 400},
		{name: "token and EVEN-PORT", setters: []stun.Setter{udpTransport, token(eight), evenPort}, code: 400},
		{name: "token and family", setters: []stun.Setter{udpTransport, token(eight), family(ipv4)}, code: 400},
		{name: "token and unsupported family", setters: []stun.Setter{udpTransport, token(eight), family(9)}, code: 400},
		{name: "token and additional family", setters: []stun.Setter{udpTransport, token(eight), additional(ipv6)}, code: 400},
		{name: "token of nobody", setters: []stun.Setter{udpTransport, token(eight)}, code: 508},
		{name: "token of nobody without IPv4", change: onlyV6, setters: []stun.Setter{udpTransport, token(eight)}, code: 508},
		{name: "both families", setters: []stun.Setter{udpTransport, family(ipv4), additional(ipv6)}, code: 400},
		{name: "family of nobody", setters: []stun.Setter{udpTransport, family(3)}, code: 440},
		{name: "family 0", setters: []stun.Setter{udpTransport, family(0)}, code: 440},
		{name: "IPv6 where there is none", change: onlyV4, setters: []stun.Setter{udpTransport, family(ipv6)}, code: 440},
		{name: "IPv4 where there is none", change: onlyV6, setters: []stun.Setter{udpTransport, family(ipv4)}, code: 440},
		{name: "no family where there is no IPv4", change: onlyV6, setters: []stun.Setter{udpTransport}, code: 440},
		{name: "additional IPv6 where there is no IPv4", change: onlyV6, setters: []stun.Setter{udpTransport, additional(ipv6)}, code: 440},
		{name: "pair of ports and additional family", setters: []stun.Setter{udpTransport, evenPair, additional(ipv6)}, code: 400},
		{name: "additional IPv4", setters: []stun.Setter{udpTransport, additional(ipv4)}, code: 400},
		{name: "additional family of nobody", setters: []stun.Setter{udpTransport, additional(7)}, code: 400},
		{name: "quota of the user", change: quota, before: 2, setters: []stun.Setter{udpTransport}, code: 486},
		{name: "no port left", change: full, before: 2, setters: []stun.Setter{udpTransport}, code: 508},
		{name: "no even port left", change: full, before: 2, setters: []stun.Setter{udpTransport, evenPort}, code: 508},
		{name: "no pair left", change: full, before: 1, setters: []stun.Setter{udpTransport, evenPair}, code: 508},
		{name: "server is full", change: total, before: 2, setters: []stun.Setter{udpTransport}, code: 508},
	} {
		t.Run(test.name, func(t *testing.T) {
			var changes []func(*allocation.Options, *authOptions, *Options)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			s := newServer(t, changes...)
			c := s.client(alice, alicePassword)
			for n := range test.before {
				c.nth(n + 1).allocate()
			}
			answer := c.do(stun.MethodAllocate, test.setters...)
			wantCode(t, answer, test.code)
			wantSigned(t, answer, true)
			wantAttributes(t, answer, stun.AttrErrorCode, stun.AttrMessageIntegrity, stun.AttrFingerprint)
			if got := s.table.Count(); got != test.before {
				t.Errorf("%d allocations, want %d", got, test.before)
			}
		})
	}
}

// A quota is the user's own, and is given back.
func TestQuotaIsPerUser(t *testing.T) {
	s := newServer(t, func(o *allocation.Options, _ *authOptions, _ *Options) { o.UserQuota = 1 })
	c := s.client(alice, alicePassword)
	c.allocate()
	wantCode(t, c.nth(1).do(stun.MethodAllocate, udpTransport), 486)
	s.client(bob, bobPassword).nth(2).allocate()
	wantCode(t, c.do(stun.MethodRefresh, lifetime(0)), 0)
	c.nth(1).allocate()
}

// An Allocate that is sent again gets the same bytes; any other one on the same
// five-tuple gets 437 (RFC 8489 §6.3.1, RFC 8656 §5, §7.2).
func TestAllocateAgain(t *testing.T) {
	for _, test := range []struct {
		name    string
		setters []stun.Setter
	}{
		{"plain", nil},
		{"LIFETIME", []stun.Setter{lifetime(1234)}},
		{"pair of ports", []stun.Setter{evenPair}},
		{"additional family", []stun.Setter{additional(ipv6)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Software = "hairpin" })
			c := s.client(alice, alicePassword)
			m := c.request(stun.MethodAllocate, append([]stun.Setter{udpTransport}, test.setters...)...)
			wantCode(t, c.send(m), 0)
			first := c.lastBytes
			a := c.allocation()

			s.clock.advance(39 * time.Second) // as long as a client goes on sending (RFC 8489 §6.2.1)
			c.send(m)
			if !bytes.Equal(c.lastBytes, first) {
				t.Errorf("sent again, answered\n%x, the first time\n%x", c.lastBytes, first)
			}
			// A Refresh in between changes neither the first answer nor is it undone.
			wantCode(t, c.do(stun.MethodRefresh, lifetime(3600)), 0)
			expires := a.Expires()
			c.send(m)
			if !bytes.Equal(c.lastBytes, first) {
				t.Errorf("sent again after a Refresh, answered\n%x, the first time\n%x", c.lastBytes, first)
			}
			if c.allocation() != a || s.table.Count() != 1 || a.Expires() != expires {
				t.Error("sending it again made or changed an allocation")
			}

			answer := c.do(stun.MethodAllocate, udpTransport)
			wantCode(t, answer, 437)
			wantSigned(t, answer, true)
			// 437 comes before the attributes are looked at.
			wantCode(t, c.do(stun.MethodAllocate), 437)
			// Another user gets no 441 to an Allocate (RFC 8656 §19), nor the first user's answer.
			other := c.as(bob, bobPassword)
			wantCode(t, other.do(stun.MethodAllocate, udpTransport), 437)
			forged := other.request(stun.MethodAllocate, stun.NewTransactionIDSetter(m.TransactionID), udpTransport)
			if forged.TransactionID != m.TransactionID {
				t.Fatal("the test's message has another transaction ID")
			}
			wantCode(t, other.send(forged), 437)

			// The same transaction ID on another five-tuple is another transaction.
			elsewhere := c.nth(1)
			answer = elsewhere.send(elsewhere.request(stun.MethodAllocate, stun.NewTransactionIDSetter(m.TransactionID), udpTransport))
			wantCode(t, answer, 0)
			if s.table.Count() != 2 {
				t.Errorf("%d allocations, want 2", s.table.Count())
			}

			// Once it is gone, the five-tuple is free, also for the same transaction ID.
			wantCode(t, c.do(stun.MethodRefresh, lifetime(0)), 0)
			wantCode(t, c.send(m), 0)
			if b := c.allocation(); b == nil || b == a {
				t.Error("no new allocation after the first one was deleted")
			}
		})
	}
}

// When two workers have the same request in hand, the one that comes second repeats
// the first one's answer.
func TestAllocateRace(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	m := c.request(stun.MethodAllocate, udpTransport)
	other := c.request(stun.MethodAllocate, udpTransport)

	// Both have looked for an allocation and found none.
	late := func(msg *stun.Message) (w *Worker, r *request) {
		w, r = s.handler.NewWorker(), &request{from: &c.from, method: methodAllocate, now: s.table.Now()}
		if err := w.message.Decode(msg.Raw); err != nil {
			t.Fatal(err)
		}
		if e := w.authenticate(r); e != nil || r.allocation != nil {
			t.Fatal(e, r.allocation)
		}
		return w, r
	}
	same, sameRequest := late(m)
	different, differentRequest := late(other)
	wantCode(t, c.send(m), 0)

	if e := same.allocate(sameRequest); e != nil {
		t.Fatalf("the same request is refused: %v", e)
	}
	if got := same.reply.Finish(nil, sameRequest.key); !bytes.Equal(got, c.lastBytes) {
		t.Errorf("second worker answered\n%x, first\n%x", got, c.lastBytes)
	}
	if e := different.allocate(differentRequest); e != errInUse {
		t.Errorf("another request on the five-tuple: %v, want %v", e, errInUse)
	}
}

// Workers share the handler and nothing else: the same request handed to many of them
// at once makes one allocation and one answer, and each answers its own client.
func TestWorkers(t *testing.T) {
	s := newServer(t)
	shared := s.client(alice, alicePassword)
	same := shared.request(stun.MethodAllocate, udpTransport).Raw
	const workers = 8
	answers := make([][]byte, workers)
	var all sync.WaitGroup
	for i := range workers {
		own := shared.nth(i + 1)
		allocate := own.request(stun.MethodAllocate, udpTransport).Raw
		free := own.request(stun.MethodRefresh, lifetime(0)).Raw
		all.Go(func() {
			w := s.handler.NewWorker()
			answers[i] = w.Handle(same, &shared.from, nil)
			for range 50 {
				w.Handle(allocate, &own.from, nil)
				w.Handle(free, &own.from, nil)
			}
		})
	}
	all.Wait()
	for _, answer := range answers {
		if !bytes.Equal(answer, answers[0]) {
			t.Errorf("one request, two answers:\n%x\n%x", answer, answers[0])
		}
	}
	if got := s.table.Count(); got != 1 {
		t.Errorf("%d allocations, want the shared one", got)
	}
	want := map[string]uint64{"allocate 0": workers * 51, "refresh 0": workers * 50}
	got := map[string]uint64{}
	s.stats.EachRequest(func(method, _ string, code int, n uint64) {
		if n > 0 {
			got[label(method, code)] = n
		}
	})
	if !equalCounts(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}

// EVEN-PORT and RESERVATION-TOKEN (RFC 8656 §7.2).
func TestReservation(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)

	answer := c.do(stun.MethodAllocate, udpTransport, evenPort)
	wantCode(t, answer, 0)
	if got := xorAddress(t, answer, stun.AttrXORRelayedAddress); got.Port()%2 != 0 {
		t.Errorf("EVEN-PORT got %v", got)
	}
	if answer.Contains(stun.AttrReservationToken) {
		t.Error("RESERVATION-TOKEN without the R bit")
	}

	reserve := func(n int, setters ...stun.Setter) (netip.AddrPort, []byte) {
		t.Helper()
		answer := c.nth(n).do(stun.MethodAllocate, append([]stun.Setter{udpTransport, evenPair}, setters...)...)
		wantCode(t, answer, 0)
		wantAttributes(t, answer, stun.AttrXORRelayedAddress, stun.AttrLifetime, stun.AttrReservationToken,
			stun.AttrXORMappedAddress, stun.AttrMessageIntegrity, stun.AttrFingerprint)
		relayed := xorAddress(t, answer, stun.AttrXORRelayedAddress)
		if relayed.Port()%2 != 0 {
			t.Errorf("EVEN-PORT with R got %v", relayed)
		}
		return relayed, value(t, answer, stun.AttrReservationToken)
	}
	for n, setters := range [][]stun.Setter{nil, {family(ipv6)}} {
		relayed, reserved := reserve(10*n+1, setters...)
		// The bearer of the token may be anybody, from anywhere.
		other := s.clientAt(clientV6, serverV6, bob, bobPassword).nth(10*n + 2)
		answer = other.do(stun.MethodAllocate, udpTransport, token(reserved))
		wantCode(t, answer, 0)
		want := netip.AddrPortFrom(relayed.Addr(), relayed.Port()+1)
		if got := xorAddress(t, answer, stun.AttrXORRelayedAddress); got != want {
			t.Errorf("the token of %v got %v, want %v", relayed, got, want)
		}
		if answer.Contains(stun.AttrReservationToken) {
			t.Error("RESERVATION-TOKEN in the answer to a RESERVATION-TOKEN")
		}
		wantCode(t, c.nth(10*n+3).do(stun.MethodAllocate, udpTransport, token(reserved)), 508) // used up
	}

	_, reserved := reserve(31)
	s.clock.advance(29 * time.Second)
	c.nth(32).allocate(token(reserved))
	_, reserved = reserve(33)
	s.clock.advance(31 * time.Second)
	wantCode(t, c.nth(34).do(stun.MethodAllocate, udpTransport, token(reserved)), 508)
}

// A wish for two families is met in part where there is one only (RFC 8656 §7.2 item 9,
// §18.12).
func TestAdditionalFamily(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*allocation.Options, *authOptions, *Options)
		taken  byte // family of which all ports are in use
		got    netip.Prefix
		family byte // that is missing
		number byte // of the error, less 400
		reason string
	}{
		{"no IPv6", onlyV4, 0, relayV4, ipv6, 40, "Address Family not Supported"},
		{"no IPv6 left", onePort, ipv6, relayV4, ipv6, 108, "Insufficient Capacity"},
		{"no IPv4 left", onePort, ipv4, relayV6, ipv4, 108, "Insufficient Capacity"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t, row.change)
			if row.taken != 0 {
				s.client(alice, alicePassword).nth(1).allocate(family(row.taken))
			}
			c := s.client(alice, alicePassword)
			request := c.request(stun.MethodAllocate, udpTransport, evenPort, additional(ipv6))
			answer := c.send(request)
			wantCode(t, answer, 0)
			wantAttributes(t, answer, stun.AttrXORRelayedAddress, stun.AttrLifetime, stun.AttrXORMappedAddress,
				attrAddressErrorCode, stun.AttrMessageIntegrity, stun.AttrFingerprint)
			if got := xorAddress(t, answer, stun.AttrXORRelayedAddress); !row.got.Contains(got.Addr()) {
				t.Errorf("XOR-RELAYED-ADDRESS %v", got)
			}
			want := append([]byte{row.family, 0, 4 + row.number/100, row.number % 100}, row.reason...)
			if got := value(t, answer, attrAddressErrorCode); !bytes.Equal(got, want) {
				t.Errorf("ADDRESS-ERROR-CODE %q, want %q", got, want)
			}
			if again := c.send(request); !bytes.Equal(again.Raw, answer.Raw) {
				t.Error("a retransmission got another answer")
			}
		})
	}
}

// onePort leaves one relayed transport address of each family.
func onePort(o *allocation.Options, _ *authOptions, _ *Options) {
	o.Ports = allocation.PortRange{Min: 50000, Max: 50000}
}
