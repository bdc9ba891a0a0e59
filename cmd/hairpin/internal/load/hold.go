package load

import "time"

// rehearsal is how many allocations are made and given back before the server's memory is read for the first time, so
// that what a server needs once, for its first client, isn't divided among all.
const rehearsal = 32

// runHold measures what an allocation with one permission and one channel costs the server in memory:
//
//	rehearsal ──► memory ──► set-up ──► memory ──► holding ──► memory ──► releasing ──► memory
func (g *generator) runHold() (*Result, error) {
	o := g.options
	m := &Memory{}
	if err := g.newSetup(min(rehearsal, o.Count)).run(); err != nil {
		return nil, err
	}
	g.release()
	for i := range g.clients {
		g.net.close(int32(i))
	}
	g.clients = g.clients[:0]
	g.refusals = refusals{texts: map[string]int{}}

	read := func(into *uint64) (err error) {
		*into, err = g.server.memory()
		return err
	}
	if err := read(&m.Before); err != nil {
		return nil, err
	}
	first := g.mark()
	set := g.newSetup(o.Count)
	if err := set.run(); err != nil {
		return nil, err
	}
	m.Allocations = set.allocated
	last := g.mark()
	if took := time.Duration(last.at - first.at); took > 0 {
		m.SetUpRate = float64(m.Allocations) / took.Seconds()
	}
	if err := read(&m.SetUp); err != nil {
		return nil, err
	}

	g.mode = renewing{}
	begun := g.now
	g.loop(func() bool {
		g.tell("holding", begun, o.Duration, set.ready, set.total, 0, 0)
		return g.now-begun >= int64(o.Duration)
	}, func() (int, int64) { return g.renew(o.InFlight), g.later() })
	if err := read(&m.Held); err != nil {
		return nil, err
	}
	held := time.Duration(g.now - begun)
	g.release()
	if err := read(&m.Released); err != nil {
		return nil, err
	}

	r := g.result(first, last)
	r.SetUp, r.Elapsed, r.Stopped = r.Elapsed, held, held < o.Duration
	r.Memory = m
	m.PerAllocation = (float64(m.Held) - float64(m.Before)) / float64(max(m.Allocations, 1))
	r.each(uint64(m.Allocations))
	r.Limit = r.limit()
	return r, nil
}
