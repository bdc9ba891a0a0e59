package load

import (
	"errors"
	"time"
)

var errInterrupted = errors.New("interrupted before anything was measured")

// Result is what was measured. Which parts are there depends on the mode.
type Result struct {
	Options  Options // as they were taken: what was left open is filled in
	Software string  // that the server names
	Realm    string

	SetUp    time.Duration // how long it took until the clients were ready
	Pairs    int           // that could send: may be fewer than asked for
	Refused  int           // requests that the server did not do
	Refusals []Counted

	Elapsed time.Duration // that was measured
	Stopped bool          // before its time

	Packets     *Packets
	Allocations *AllocationRate
	Memory      *Memory
	Server      *ServerUsage // nil without PID
	Generator   Usage
	Limit       Limit

	Retransmissions uint64 // of requests
}

// Counted is something that happened so often.
type Counted struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

// Packets is what became of the packets.
type Packets struct {
	Relayed   uint64  // received and verified by the far client while measuring
	PerSecond float64 // of these
	Bits      float64 // payload bits per second

	Sent        uint64  // while measuring
	Delivered   uint64  // of Sent, draining included
	Lost        uint64  // of Sent: neither delivered nor Unsent
	LossPercent float64 // Lost of those that left
	Unsent      uint64  // that this machine or its connection did not take
	UnsentWhy   string
	Skipped     uint64 // that the rate asked for and the generator was too late for
	Duplicates  uint64
	Reordered   uint64
	Damaged     uint64 // not what was sent, to the byte
	Foreign     uint64 // at the wrong client, or from the wrong peer
	Stray       uint64 // at the clients' ports from somewhere else
	Broken      uint64 // connections
	Overflow    uint64 // datagrams that the generator fetched too late: of Lost, not the server's
	Stalls      uint64 // times that lost packets held up others until they were given up

	Latency Quantiles // one way: client → server → client
}

// AllocationRate is how fast allocations are made.
type AllocationRate struct {
	Made      uint64
	PerSecond float64

	Allocate, ChannelBind, Refresh Quantiles // from the first sending of a request to its answer
}

// Memory is the server's resident memory in bytes.
type Memory struct {
	Allocations                   int
	Before, SetUp, Held, Released uint64
	PerAllocation                 float64 // of Held above Before
	SetUpRate                     float64 // allocations per second
}

// ServerUsage is what the server used of the processor while measuring.
type ServerUsage struct {
	CPU       time.Duration
	PerPacket time.Duration // or per allocation
	Cores     int           // that it may run on
	Load      float64       // of these cores; 1 is all
	Busiest   float64       // load of its busiest thread
	Waited    float64       // part of the time that its cores were somebody else's while it could have run
	SoftIRQ   time.Duration // the kernel's own threads on these cores, not in CPU
	Overflow  uint64        // datagrams that it fetched too late: its sockets' buffers were full
	Queues    bool          // Overflow is known
	Memory    uint64        // resident at the end, bytes

	wanted float64 // load of its busiest thread if it had not had to wait
}

// Usage is the generator's own.
type Usage struct {
	CPU  time.Duration // processor time, waiting by asking again and again included
	Busy float64       // part of the time in which it had something to do

	Waited float64 // part of the time that its core was somebody else's while it could have run
}

// usage is what a process has used of the processors, in nanoseconds.
type usage struct {
	cpu     int64
	threads map[int]threadUsage // by thread id
	softirq int64               // of the kernel's softirq threads on its cores
	drops   uint64              // datagrams that didn't fit its sockets' buffers
	queues  bool                // drops is known
}

type threadUsage struct{ cpu, waited int64 }

// moment is everything that is cumulative, read at once.
type moment struct {
	at     int64
	tally  tally
	net    networkCounts
	server usage
	own    threadUsage
	busy   int64
}

func (g *generator) mark() moment {
	m := moment{tally: g.tally, net: g.net.counts(), own: ownUsage(), busy: g.busy}
	if g.server != nil {
		m.server, _ = g.server.usage() // a server that has ended shows in the figures
	}
	g.now = g.clock()
	m.at = g.now
	return m
}

// result is what every mode has to tell about the time between two moments.
func (g *generator) result(first, last moment) *Result {
	elapsed := time.Duration(last.at - first.at)
	r := &Result{
		Options: g.options, Software: g.software, Realm: g.realm,
		Refused: g.refusals.total, Refusals: g.refusals.list(), Retransmissions: g.tally.retransmissions,
		Elapsed: elapsed, Stopped: elapsed < g.options.Duration && g.options.Mode != Hold,
		Generator: Usage{
			CPU:    time.Duration(last.own.cpu - first.own.cpu),
			Busy:   share(last.busy-first.busy, elapsed),
			Waited: share(last.own.waited-first.own.waited, elapsed),
		},
	}
	if g.server != nil {
		r.Server = &ServerUsage{
			CPU:      time.Duration(last.server.cpu - first.server.cpu),
			Cores:    len(g.server.cores),
			SoftIRQ:  time.Duration(last.server.softirq - first.server.softirq),
			Overflow: last.server.drops - min(first.server.drops, last.server.drops),
			Queues:   first.server.queues && last.server.queues,
		}
		r.Server.Load = share(int64(r.Server.CPU), elapsed) / float64(max(r.Server.Cores, 1))
		for tid, u := range last.server.threads {
			cpu, waited := share(u.cpu-first.server.threads[tid].cpu, elapsed), share(u.waited-first.server.threads[tid].waited, elapsed)
			r.Server.Busiest = max(r.Server.Busiest, cpu)
			r.Server.Waited += waited / float64(max(r.Server.Cores, 1))
			r.Server.wanted = max(r.Server.wanted, cpu+waited)
		}
		r.Server.Waited = min(r.Server.Waited, max(0, 1-r.Server.Load)) // its threads may have waited for each other
		r.Server.Memory, _ = g.server.memory()
	}
	return r
}

// share is the part of a time that some nanoseconds are.
func share(ns int64, of time.Duration) float64 {
	if of <= 0 {
		return 0
	}
	return float64(ns) / float64(of)
}

// each divides the server's processor time among n packets or allocations.
func (r *Result) each(n uint64) {
	if r.Server != nil && n > 0 {
		r.Server.PerPacket = r.Server.CPU / time.Duration(n)
	}
}

// packets is what became of the packets that were sent between two moments; the third is when nothing came any more.
func (g *generator) packets(first, last, drained moment, t *traffic) *Packets {
	elapsed := time.Duration(last.at - first.at).Seconds()
	p := &Packets{
		Relayed:    last.tally.received - first.tally.received,
		Sent:       last.tally.sent - first.tally.sent,
		Delivered:  drained.tally.fresh,
		Unsent:     drained.net.unsent - first.net.unsent,
		Skipped:    last.tally.skipped - first.tally.skipped,
		Duplicates: drained.tally.duplicates - first.tally.duplicates,
		Reordered:  drained.tally.reordered - first.tally.reordered,
		Damaged:    drained.tally.damaged - first.tally.damaged + drained.net.truncated - first.net.truncated,
		Foreign:    drained.tally.foreign - first.tally.foreign,
		Stray:      drained.net.stray - first.net.stray,
		Broken:     drained.tally.broken - first.tally.broken,
		Overflow:   drained.net.overflow - first.net.overflow,
		Stalls:     drained.tally.stalls - first.tally.stalls,
		Latency:    t.latency.quantiles(),
	}
	if p.Unsent > 0 && drained.net.failure != nil {
		p.UnsentWhy = drained.net.failure.Error()
	}
	p.PerSecond = float64(p.Relayed) / elapsed
	p.Bits = p.PerSecond * float64(g.options.Size) * 8
	p.Lost = p.Sent - min(p.Sent, p.Delivered+p.Unsent)
	if left := p.Sent - min(p.Sent, p.Unsent); left > 0 {
		p.LossPercent = 100 * float64(p.Lost) / float64(left)
	}
	return p
}
