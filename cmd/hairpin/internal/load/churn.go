package load

// churn makes allocations and gives them back, each on a five-tuple of its own:
//
//	Allocate ─401─► Allocate ──► ChannelBind ──► Refresh 0 ──► the next
//
// InFlight clients do so at a time, each with one request under way. The channel's peer is the client's own relayed
// address: every server lets that be bound that lets its clients meet.
type churn struct {
	g       *generator
	next    int     // client to begin with
	again   []int32 // clients that are done
	stopped bool
}

// runChurn measures allocations per second.
func (g *generator) runChurn() (*Result, error) {
	o := g.options
	g.clients = make([]client, o.clients())
	c := &churn{g: g}
	g.mode = c
	g.phase("warm-up", o.Warmup, c.work)
	for i := range g.times {
		g.times[i].h.Reset()
	}
	first := g.mark()
	g.phase("measuring", o.Duration, c.work)
	last := g.mark()
	r := g.result(first, last)
	r.Allocations = &AllocationRate{
		Made:        last.tally.made - first.tally.made,
		Allocate:    g.times[allocate].quantiles(),
		ChannelBind: g.times[bind].quantiles(),
		Refresh:     g.times[release].quantiles(),
	}
	r.Allocations.PerSecond = float64(r.Allocations.Made) / r.Elapsed.Seconds()
	r.each(r.Allocations.Made)
	r.Limit = r.limit()

	// The cycles under way come to their ends.
	c.stopped, g.ending = true, true
	begun := g.now
	g.loop(func() bool { return len(g.pending) == 0 || g.now-begun > int64(o.Timeout) }, c.work)
	g.release()
	switch {
	case g.tally.made == 0 && g.refusals.first != nil:
		return nil, g.refusals.first
	case r.Allocations.Made == 0 && r.Stopped:
		return nil, errInterrupted
	}
	return r, nil
}

func (c *churn) work() (made int, next int64) {
	g := c.g
	if c.stopped || g.tally.made == 0 && g.refusals.total >= 8*hopeless {
		g.stopped.Store(true) // nobody is let in
		return 0, g.later()
	}
	for ; c.next < len(g.clients); c.next++ {
		g.begin(int32(c.next))
		made++
	}
	for _, i := range c.again {
		g.begin(i)
		made++
	}
	c.again = c.again[:0]
	// Clients that were refused begin again as the others do, but not in a hurry.
	if g.now-g.ticked >= int64(tickInterval) && len(g.pending) < len(g.clients) {
		for i := range g.clients {
			if g.clients[i].asked == nothing {
				g.begin(int32(i))
				made++
			}
		}
	}
	return made, g.later()
}

func (c *churn) granted(i int32, what request) {
	g := c.g
	switch what {
	case challenge, allocate:
		g.admit(i)
	case bind, permit:
		g.ask(i, release)
	case release:
		g.tally.made++
		g.net.close(i)
		c.again = append(c.again, i)
	}
}
