package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sort"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// generator is one run: clients, their sockets, and a loop over both.
type generator struct {
	// immutable
	options            Options // settled
	username, password string
	retransmit         time.Duration
	start              time.Time
	transactionPrefix  [4]byte
	net                network
	server             *process // nil: unknown
	progress           chan<- Progress

	stopped atomic.Bool // the user has had enough

	// owned by the goroutine of Run
	now          int64 // ns since start; read once per batch
	clients      []client
	pending      []int32 // clients with a request under way
	renewal      int     // where renew goes on
	mode         mode
	traffic      *traffic // nil: no data is expected
	transactions uint64
	reply        wire.Reply
	decoded      wire.Message
	built        []byte
	realm        string // that the server named
	key          []byte
	software     string
	ticked       int64 // when the last tick was
	told         Progress
	toldAt       int64
	toldCount    uint64
	quiet        int64 // since when there is nothing to do
	busy         int64 // ns that were spent on work
	ending       bool  // what is left to do is done even though the user has had enough
	tally        tally
	refusals     refusals
	times        [requests]latency
}

// mode is what a success response leads to.
type mode interface {
	granted(client int32, what request)
}

// tally counts what the generator sees. All of it is cumulative; the difference of two moments is what is reported.
type tally struct {
	received        uint64 // packets, in order or not
	fresh           uint64 // of these, those that were sent since measuring began
	duplicates      uint64
	reordered       uint64
	damaged         uint64 // not what was sent, to the byte
	foreign         uint64 // from whom this client doesn't expect any, or meant for another client
	bursts          uint64 // messages that were sent for these packets: fewer than packets with Burst
	sent            uint64
	skipped         uint64 // packets that the rate asked for when it was too late
	stalls          uint64 // times that packets were given up so that others could be sent
	made            uint64 // Allocations: whole cycles
	retransmissions uint64
	unexpected      uint64 // responses that nobody waits for
	broken          uint64 // connections that failed
}

// refusals by their text.
type refusals struct {
	total int
	first *Refusal
	texts map[string]int
}

// Cadence of the loop.
const (
	tickInterval     = 10 * time.Millisecond
	progressInterval = 500 * time.Millisecond

	// spin is how long the loop asks again and again before it sleeps: a sleeping receiver makes the server, which has
	// to wake it, pay for each packet, and would be a bad clock for a rate.
	spin = 200 * time.Microsecond

	// nap is the longest sleep.
	nap = 2 * time.Millisecond
)

func newGenerator(o Options, progress chan<- Progress) (*generator, error) {
	g := &generator{options: o, start: time.Now(), retransmit: o.retransmit, progress: progress}
	if g.retransmit == 0 {
		g.retransmit = initialTimeout
	}
	binary.LittleEndian.PutUint32(g.transactionPrefix[:], rand.Uint32())
	g.refusals.texts = map[string]int{}
	for i := range g.times {
		g.times[i] = newLatency()
	}
	var err error
	if g.username, g.password, err = o.credentials(); err != nil {
		return nil, err
	}
	if o.PID != 0 {
		if g.server, err = openProcess(o.PID); err != nil {
			return nil, err
		}
	}
	if o.CPU >= 0 {
		if err := pin(o.CPU); err != nil {
			return nil, err
		}
	}
	frame := o.frameSize() + wire.Padding(o.frameSize())
	message := frame
	if o.GSO {
		message *= o.Burst
	}
	n := networkOptions{server: o.Server, from: o.ClientsFrom, own: o.OwnSockets, gro: o.GRO, message: message, received: frame + 64}
	if o.Portable || !hasFastNetwork {
		g.net = newPortable(n, g)
	} else if g.net, err = newNetwork(n, g); err != nil {
		return nil, err
	}
	return g, nil
}

// Run measures the server as o, which must be valid, says. When ctx ends it stops early, with what it has.
//
// The error is a *Refusal when nothing could be measured because of the server, else a fault of this machine.
func Run(ctx context.Context, o Options) (*Result, error) {
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	o = o.settled()
	progress, told := make(chan Progress, 1), make(chan struct{})
	go func() { // ends with the channel; Run waits
		defer close(told)
		for p := range progress {
			if o.Progress != nil {
				o.Progress(p)
			}
		}
	}()
	defer func() { close(progress); <-told }()

	// The loop is one thread's: pinning means that, and the clock of its processor time.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := newGenerator(o, progress)
	if err != nil {
		return nil, err
	}
	defer g.net.shutdown()
	defer context.AfterFunc(ctx, func() { g.stopped.Store(true) })()
	switch o.Mode {
	case Allocations:
		return g.runChurn()
	case Hold:
		return g.runHold()
	default:
		return g.runRelay()
	}
}

func (g *generator) clock() int64 { return int64(time.Since(g.start)) }

// partner is the client that a client sends to; the last one of an odd number sends to itself, and so does everybody
// whose peer is an echo.
func (g *generator) partner(i int32) int32 {
	if p := i ^ 1; int(p) < len(g.clients) && g.options.Mode != Allocations && !g.options.Echo.IsValid() {
		return p
	}
	return i
}

// peer is the transport address that a client sends to.
func (g *generator) peer(i int32) netip.AddrPort {
	if g.options.Echo.IsValid() {
		return g.options.Echo
	}
	return g.clients[g.partner(i)].relayed
}

// loop receives, works and sends until until says so, or the user has had enough. work tells how many packets or requests
// it has made, and when it will have something to do at the latest.
//
// There is nothing else on the way of a packet: no other goroutine, no lock, and no heap allocation.
func (g *generator) loop(until func() bool, work func() (made int, next int64)) {
	wait := time.Duration(0)
	for {
		begun := g.now
		received := g.net.receive(wait)
		g.now = g.clock()
		if wait > 0 {
			begun = g.now // it slept, or most of it
		}
		made, next := work()
		g.net.flush()
		if g.now-g.ticked >= int64(tickInterval) {
			g.tick()
		}
		if until() || !g.ending && g.stopped.Load() {
			return
		}
		if received+made > 0 {
			g.now = g.clock()
			g.busy += g.now - begun
			g.quiet, wait = g.now, 0
			continue
		}
		if wait = 0; g.now-g.quiet > int64(spin) {
			if wait = min(time.Duration(next-g.now)-spin, nap); wait < spin {
				wait = 0
			}
		}
	}
}

// tick is what has to be done now and then.
func (g *generator) tick() {
	g.ticked = g.now
	g.overdue()
	g.renew(defaultRequests)
	g.net.flush()
}

// later is the next moment at which tick has to be called.
func (g *generator) later() int64 { return g.ticked + int64(tickInterval) }

// tell reports progress, unless the last report is still being printed.
func (g *generator) tell(phase string, since int64, of time.Duration, count, total int, rated, lost uint64) {
	if phase == g.told.Phase && g.now-g.toldAt < int64(progressInterval) {
		return
	}
	p := Progress{Phase: phase, Elapsed: time.Duration(g.now - since), Of: of, Count: count, Total: total, Lost: lost}
	if phase == g.told.Phase {
		p.Rate = float64(rated-g.toldCount) / time.Duration(g.now-g.toldAt).Seconds()
	}
	g.told, g.toldAt, g.toldCount = p, g.now, rated
	select {
	case g.progress <- p:
	default:
	}
}

// batch, message and broken are the network's calls.
func (g *generator) batch() { g.now = g.clock() }

func (g *generator) message(i int32, b []byte) {
	switch kind := wire.Classify(b); {
	case kind == wire.KindChannelData || isData(b):
		if g.traffic != nil {
			g.traffic.arrive(i, b)
		} else {
			g.tally.foreign++
		}
	case kind == wire.KindSTUN:
		g.response(i, b)
	default:
		g.tally.damaged++
	}
}

func (g *generator) broken(i int32, err error) {
	c := &g.clients[i]
	g.tally.broken++
	what := c.asked
	if g.options.transport(i) == TCP {
		c.ready, c.allocated = false, false
		g.net.close(i)
	} else if what == nothing {
		return
	}
	if what != nothing {
		g.answered(c)
	}
	g.refused(i, &Refusal{Request: what.String(), Broken: err, Credentials: c.keyed})
}

// refused counts what the server did not do.
func (g *generator) refused(_ int32, r *Refusal) {
	const kinds = 16
	g.refusals.total++
	if g.refusals.first == nil {
		g.refusals.first = r
	}
	text := r.Error()
	if _, known := g.refusals.texts[text]; !known && len(g.refusals.texts) >= kinds {
		text = "others"
	}
	g.refusals.texts[text]++
}

// list is the refusals, the most frequent first.
func (r *refusals) list() []Counted {
	list := make([]Counted, 0, len(r.texts))
	for text, n := range r.texts {
		list = append(list, Counted{text, n})
	}
	sort.Slice(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[j].Count, list[i].Count), cmp.Compare(list[i].What, list[j].What)) < 0
	})
	return list
}
