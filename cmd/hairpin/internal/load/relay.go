package load

import (
	"math/rand/v2"
	"time"
)

// renewing is the mode in which the clients have all that they need.
type renewing struct{}

func (renewing) granted(int32, request) {}

// runRelay measures packets through the server:
//
//	set-up ──► warm-up ──► measuring ──► draining ──► releasing
func (g *generator) runRelay() (*Result, error) {
	o := g.options
	set := g.newSetup(o.clients())
	if err := set.run(); err != nil {
		return nil, err
	}
	took := time.Duration(g.now)

	t := g.newTraffic(rand.Uint64())
	g.traffic, g.mode = t, renewing{}
	first, last, drained := moment{}, moment{}, moment{}
	if len(t.clients) > 0 {
		g.phase("warm-up", o.Warmup, t.work)
		t.mark()
		first = g.mark()
		g.phase("measuring", o.Duration, t.work)
		last = g.mark()
		t.measured = false
		g.drain()
		drained = g.mark()
	}
	g.traffic = nil
	g.release()
	if last.at-first.at < int64(tickInterval) {
		return nil, errInterrupted
	}

	r := g.result(first, last)
	r.SetUp, r.Pairs = took, len(t.clients)/2
	r.Packets = g.packets(first, last, drained, t)
	passages := r.Packets.Relayed
	if o.Echo.IsValid() {
		passages *= 2 // there and back
	}
	r.each(passages)
	r.Limit = r.limit()
	return r, nil
}

// phase lets work go on for a while.
func (g *generator) phase(name string, length time.Duration, work func() (int, int64)) {
	begun := g.now
	g.loop(func() bool {
		g.tell(name, begun, length, 0, 0, g.tally.received+g.tally.made, g.missing())
		return g.now-begun >= int64(length)
	}, work)
}

// drain waits for what is under way, until all is there or nothing comes any more for a while: a second, more if packets
// took long. A server that has to share its processor may well be away for some tenths.
func (g *generator) drain() {
	g.ending = true
	defer func() { g.ending = false }()
	quiet := min(max(int64(time.Second), 4*g.traffic.latency.h.Max()), int64(5*time.Second))
	newest, at := g.tally.received, g.now
	g.loop(func() bool {
		if g.tally.received != newest {
			newest, at = g.tally.received, g.now
		}
		return g.missing() == 0 || g.now-at > quiet
	}, func() (int, int64) { return 0, g.later() })
}

// missing is how many packets were sent since measuring began and have not arrived, those under way included.
func (g *generator) missing() uint64 {
	if g.traffic == nil {
		return 0
	}
	sent := g.tally.sent - g.traffic.sentBefore
	return sent - min(sent, g.tally.fresh)
}
