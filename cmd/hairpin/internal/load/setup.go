package load

import (
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// hopeless is how many refusals it takes, without a single success, to give up.
const hopeless = 8

// setup makes the allocations, and lets the clients of each pair meet: several clients at a time, one request of each.
type setup struct {
	g         *generator
	total     int
	next      int // client to begin with
	allocated int
	ready     int // clients
	inFlight  int // requests at a time
}

func (g *generator) newSetup(total int) *setup {
	for len(g.clients) < total {
		g.clients = append(g.clients, client{})
	}
	s := &setup{g: g, total: total, inFlight: defaultRequests}
	if g.options.Mode != Relay {
		s.inFlight = g.options.InFlight
	}
	return s
}

// run returns when every client is ready or refused. It fails when nobody is let in.
func (s *setup) run() error {
	g := s.g
	g.mode = s
	begun := g.now
	g.loop(func() bool {
		g.tell("set-up", begun, 0, s.ready, s.total, uint64(s.allocated), 0)
		return s.next == s.total && len(g.pending) == 0 || s.hopeless()
	}, s.work)
	switch {
	case s.hopeless() || s.ready == 0 && g.refusals.first != nil:
		first := g.refusals.first
		g.release()
		return first
	case g.stopped.Load():
		g.release()
		return errInterrupted
	}
	return nil
}

func (s *setup) hopeless() bool { return s.allocated == 0 && s.g.refusals.total >= hopeless }

func (s *setup) work() (made int, next int64) {
	g := s.g
	for s.next < s.total && len(g.pending) < s.inFlight && made < s.inFlight && !s.hopeless() {
		i := int32(s.next)
		s.next++
		made++
		g.begin(i)
	}
	return made, g.later()
}

// begin gives a client a new five-tuple and lets it ask for an allocation.
func (g *generator) begin(i int32) {
	c := &g.clients[i]
	*c = client{nonce: c.nonce[:0], head: c.head[:0]}
	if err := g.net.open(i, g.options.transport(i)); err != nil {
		g.refused(i, &Refusal{Broken: err})
		return
	}
	g.ask(i, challenge)
}

func (s *setup) granted(i int32, what request) {
	g := s.g
	c := &g.clients[i]
	switch what {
	case challenge, allocate:
		s.allocated++
		p := g.partner(i)
		if !g.clients[p].allocated {
			return // the partner will find this one
		}
		g.admit(i)
		if p != i {
			g.admit(p)
		}
	case permit, bind:
		if !c.ready {
			c.ready = true
			s.ready++
		}
	}
}

// admit lets a client ask for its partner's packets, and prepares what it will send.
func (g *generator) admit(i int32) {
	c := &g.clients[i]
	if c.asked != nothing {
		return
	}
	what := permit
	if !g.options.Indications {
		// The two numbers of a pair differ, so that a server that doesn't translate them is found out.
		c.channel, what = wire.MinChannel+uint16(i)&(wire.MaxChannel-wire.MinChannel), bind
	}
	if g.options.Mode == Relay {
		c.head = sendHead(c.head[:0], c.channel, g.peer(i), c.tid, g.options.Size)
	}
	g.ask(i, what)
}

// releasing gives allocations back.
type releasing struct {
	g        *generator
	next     int
	inFlight int
}

// granted comes for requests that were under way when the releasing began, too.
func (r *releasing) granted(i int32, _ request) {
	if c := &r.g.clients[i]; c.allocated && r.g.options.transport(i) == UDP {
		r.g.ask(i, release)
	}
}

// release gives every allocation back, as far as that succeeds within a while: servers keep those that are left for
// minutes. Those of TCP end with their connections.
func (g *generator) release() {
	patience := min(g.options.Timeout, 5*time.Second) + time.Duration(len(g.clients))*20*time.Microsecond
	g.ending = true
	defer func() { g.ending = false }()
	r := &releasing{g: g, inFlight: defaultRequests}
	g.mode = r
	begun := g.now
	g.loop(func() bool {
		g.tell("releasing", begun, 0, r.next, len(g.clients), uint64(r.next), 0)
		return r.next == len(g.clients) && len(g.pending) == 0 || g.now-begun > int64(patience)
	}, r.work)
}

func (r *releasing) work() (made int, next int64) {
	g := r.g
	for ; r.next < len(g.clients) && len(g.pending) < r.inFlight && made < r.inFlight; r.next++ {
		i := int32(r.next)
		if c := &g.clients[i]; c.allocated && c.asked == nothing && g.options.transport(i) == UDP {
			g.ask(i, release)
			made++
		}
	}
	return made, g.later()
}
