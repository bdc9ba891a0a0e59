package load

import (
	"net/netip"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// wireless is a network and a server without either: what a client sends, its partner gets, unless fault has it
// otherwise. It allocates nothing once it has got going.
type wireless struct {
	g       *generator
	sent    []parcel
	arrived []parcel
	fault   func(n int, p parcel, deliver func(parcel)) // nil: none
	n       int
}

type parcel struct {
	client int32 // who has sent it, then who gets it
	bytes  []byte
}

func (w *wireless) open(int32, Transport) error { return nil }
func (w *wireless) close(int32)                 {}
func (w *wireless) shutdown()                   {}
func (w *wireless) counts() networkCounts       { return networkCounts{} }

func (w *wireless) room(client int32, size, _ int) []byte {
	if len(w.sent) < cap(w.sent) {
		w.sent = w.sent[:len(w.sent)+1]
	} else {
		w.sent = append(w.sent, parcel{})
	}
	p := &w.sent[len(w.sent)-1]
	if p.client = client; cap(p.bytes) < size {
		p.bytes = make([]byte, size)
	}
	p.bytes = p.bytes[:size]
	return p.bytes
}

func (w *wireless) flush() {}

// receive turns around all that was sent since the last time.
func (w *wireless) receive(time.Duration) int {
	w.sent, w.arrived = w.arrived[:0], w.sent
	w.g.batch()
	for _, p := range w.arrived {
		if w.g.clients[p.client].channel != 0 {
			to := w.g.partner(p.client)
			wire.PutChannelHeader(p.bytes, w.g.clients[to].channel, len(p.bytes)-4)
			p.client = to
		} else { // a Send indication becomes a Data indication from the sender's relayed address
			from := w.g.clients[p.client].relayed
			wire.PutDataHeader(p.bytes, &[12]byte{}, from, w.g.options.Size)
			p.client = w.g.partner(p.client)
		}
		w.n++
		if w.fault == nil {
			w.g.message(p.client, p.bytes)
		} else {
			w.fault(w.n, p, func(p parcel) { w.g.message(p.client, p.bytes) })
		}
	}
	return len(w.arrived)
}

// wirelessRun is a generator whose pairs are set up.
func wirelessRun(t testing.TB, o Options) (*generator, *wireless) {
	t.Helper()
	o = o.settled()
	g := &generator{options: o, start: time.Now(), clients: make([]client, o.clients()), mode: renewing{}, refusals: refusals{texts: map[string]int{}}}
	w := &wireless{g: g}
	g.net = w
	for i := range g.clients {
		c := &g.clients[i]
		c.relayed = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(1000+i))
		if c.ready = true; !o.Indications {
			c.channel = wire.MinChannel + uint16(i)
		}
	}
	for i := range g.clients {
		c := &g.clients[i]
		c.head = sendHead(nil, c.channel, g.clients[g.partner(int32(i))].relayed, [12]byte{}, o.Size)
	}
	g.traffic = g.newTraffic(1)
	g.traffic.mark()
	return g, w
}

// rounds lets the loop go round so often.
func rounds(g *generator, n int) {
	g.loop(func() bool { n--; return n <= 0 }, g.traffic.work)
}

// Each fault of a server is counted as what it is, and as nothing else.
func TestFaultsAreCounted(t *testing.T) {
	const every = 10
	sometimes := func(f func(p parcel, deliver func(parcel))) func(int, parcel, func(parcel)) {
		return func(n int, p parcel, deliver func(parcel)) {
			if n%every == 0 {
				f(p, deliver)
			} else {
				deliver(p)
			}
		}
	}
	var held []parcel
	for _, test := range []struct {
		name  string
		fault func(p parcel, deliver func(parcel))
		got   func(g *generator) uint64
		lost  bool // the packets do not arrive
	}{
		{"nothing", func(p parcel, deliver func(parcel)) { deliver(p) }, nil, false},
		{"lost", func(parcel, func(parcel)) {}, nil, true},
		{"twice", func(p parcel, deliver func(parcel)) { deliver(p); deliver(p) }, func(g *generator) uint64 { return g.tally.duplicates }, false},
		{"a bit turned over", func(p parcel, deliver func(parcel)) {
			p.bytes[len(p.bytes)-3] ^= 4
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.damaged }, true},
		{"cut off", func(p parcel, deliver func(parcel)) {
			p.bytes = p.bytes[:len(p.bytes)-4]
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.damaged }, true},
		{"neither STUN nor ChannelData", func(p parcel, deliver func(parcel)) {
			p.bytes[0] = 0xff
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.damaged }, true},
		{"at another client", func(p parcel, deliver func(parcel)) {
			p.client = (p.client + 2) % 4
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.foreign }, true},
		{"back at the sender", func(p parcel, deliver func(parcel)) {
			p.client ^= 1
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.foreign }, true},
		{"from another peer", func(p parcel, deliver func(parcel)) {
			if p.bytes[0] < 0x40 {
				p.bytes[27]++ // the last byte but five of the address
			} else {
				p.bytes[1]++
			}
			deliver(p)
		}, func(g *generator) uint64 { return g.tally.foreign }, true},
		{"overtaken", func(p parcel, deliver func(parcel)) {
			held = append(held, parcel{p.client, append([]byte(nil), p.bytes...)})
			if len(held) == 2 {
				deliver(held[0])
				deliver(held[1])
				held = held[:0]
			}
		}, func(g *generator) uint64 { return g.tally.reordered }, false},
	} {
		for _, indications := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				held = held[:0]
				o := basic(peer4)
				o.Indications = indications
				g, w := wirelessRun(t, o)
				w.fault = sometimes(test.fault)
				rounds(g, 200)
				w.receive(0) // what is still under way

				faults, unnoticed := uint64(w.n/every), uint64(len(held))
				all := g.tally.duplicates + g.tally.damaged + g.tally.foreign + g.tally.reordered
				if test.got == nil && all != 0 || test.got != nil && (test.got(g) == 0 || test.got(g) > faults || all != test.got(g)) {
					t.Errorf("%+v after %d faults", g.tally, faults)
				}
				missing := unnoticed
				if test.lost {
					missing = faults
				}
				if g.missing() != missing || g.tally.received != g.tally.sent-missing {
					t.Errorf("%d missing, want %d; %+v", g.missing(), missing, g.tally)
				}
			})
		}
	}
}

// What was lost does not stop a flow: a later packet, or time, makes room for the next one.
func TestLossDoesNotStopFlows(t *testing.T) {
	o := basic(peer4)
	o.Window, o.InFlight = 1, 4 // one packet of each of the four flows
	g, w := wirelessRun(t, o)
	w.fault = func(int, parcel, func(parcel)) {} // all of them
	rounds(g, 5)
	if g.tally.sent != 4 || g.traffic.inFlight != 4 {
		t.Fatalf("%d packets were sent, %d are in flight; want 4", g.tally.sent, g.traffic.inFlight)
	}
	w.fault = nil
	g.start = g.start.Add(-maxPatience) // the clock of the generator goes ahead
	rounds(g, 20)
	if g.tally.stalls != 4 || g.tally.received == 0 || g.traffic.inFlight > 4 || g.traffic.inFlight < 0 {
		t.Errorf("%+v, %d in flight", g.tally, g.traffic.inFlight)
	}
}

// There are never more packets in flight than allowed, altogether and of one flow, and all flows get their turn.
func TestWindows(t *testing.T) {
	for _, test := range []struct{ pairs, burst, window, inFlight int }{{2, 1, 0, 0}, {50, 1, 0, 16}, {50, 8, 0, 0}, {3, 2, 4, 0}, {100, 1, 1, 7}} {
		o := basic(peer4)
		o.Pairs, o.Burst, o.Window, o.InFlight, o.GSO = test.pairs, test.burst, test.window, test.inFlight, false
		g, w := wirelessRun(t, o)
		limit, window := g.options.InFlight, g.options.Window
		w.fault = func(n int, p parcel, deliver func(parcel)) {
			if g.traffic.inFlight > limit {
				t.Fatalf("%+v: %d in flight, want at most %d", test, g.traffic.inFlight, limit)
			}
			for i := range g.traffic.flows {
				if n := g.traffic.flows[i].inFlight(); n > window {
					t.Fatalf("%+v: %d of one flow in flight, want at most %d", test, n, window)
				}
			}
			deliver(p)
		}
		rounds(g, 500)
		least, most := g.traffic.flows[0].next, uint64(0)
		for i := range g.traffic.flows {
			least, most = min(least, g.traffic.flows[i].next), max(most, g.traffic.flows[i].next)
		}
		if least == 0 || most-least > uint64(2*window+test.burst) {
			t.Errorf("%+v: flows have sent from %d to %d packets", test, least, most)
		}
	}
}

// A rate is kept on the average, whatever the turns of the loop are, and what is too late is not made up for.
func TestRate(t *testing.T) {
	o := basic(peer4)
	o.Rate, o.Burst, o.GSO = 10_000, 2, false
	g, _ := wirelessRun(t, o)
	at := g.traffic.begun
	advance := func(d time.Duration) {
		at += int64(d)
		for made := -1; made != 0; {
			g.now = at
			made, _ = g.traffic.work()
			g.net.flush()
			g.net.receive(0)
		}
	}
	for range 100 {
		advance(time.Millisecond)
	}
	if g.tally.sent != 1000 || g.tally.skipped != 0 {
		t.Errorf("%d packets in 100 ms, %d skipped; want 1000, 0", g.tally.sent, g.tally.skipped)
	}
	advance(time.Second)
	if lag := uint64(100); g.tally.sent != 1000+lag || g.tally.skipped != 10_000-lag {
		t.Errorf("%d packets, %d skipped after a second's sleep; want %d, %d", g.tally.sent, g.tally.skipped, 1000+lag, 10_000-lag)
	}
}

// The loop allocates nothing, whatever a packet looks like.
func TestLoopAllocatesNothing(t *testing.T) {
	for _, indications := range []bool{false, true} {
		for _, rate := range []float64{0, 1e6} {
			o := basic(peer4)
			o.Indications, o.Rate, o.Pairs = indications, rate, 20
			g, _ := wirelessRun(t, o)
			rounds(g, 1000)
			if n := testing.AllocsPerRun(100, func() { rounds(g, 10) }); n >= 1 {
				t.Errorf("indications %v, rate %v: %v allocations in 10 rounds", indications, rate, n)
			}
		}
	}
}

func BenchmarkLoop(b *testing.B) {
	o := basic(peer4)
	o.Pairs, o.Size = 10, 200
	g, _ := wirelessRun(b, o)
	b.ReportAllocs()
	g.loop(func() bool { return g.tally.received >= uint64(b.N) }, g.traffic.work)
}
