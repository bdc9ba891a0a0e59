package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// Process is what concerns the whole server.
type Process struct {
	Version   string            `json:"version"`
	Started   time.Time         `json:"started"`
	Total     int               `json:"total"` // live allocations
	Drain     Drain             `json:"drain"`
	Listeners []Bound           `json:"listeners"`
	Relay     []string          `json:"relay"` // what relayed transport addresses are drawn from
	Peers     []PeerRule        `json:"peers"`
	Hairpin   uint64            `json:"hairpin"` // packets turned around inside the process
	Dropped   map[string]uint64 `json:"dropped"` // by reason, where it isn't zero
	Refused   map[string]uint64 `json:"refused"`
	Discarded map[string]uint64 `json:"discarded"`
	Quality   string            `json:"quality"`          // whose media are looked at
	Events    map[string]uint64 `json:"events"`           // lines of the event stream by what became of them, where it isn't zero
	Reload    *Reload           `json:"reload,omitempty"` // the last attempt to read the settings again
}

// Bound is a bound address of a listener.
type Bound struct {
	Listener
	Created uint64                      `json:"created"`
	Traffic [forward.Directions]Traffic `json:"traffic"` // of the whole listener, by forward.Direction
	Offload string                      `json:"offload"` // what the kernel batches; empty: it is none of UDP
	Fault   string                      `json:"fault"`   // why that is less than was asked for
}

// PeerRule is a rule of --peers and what it comes to.
type PeerRule struct {
	Rule      string   `json:"rule"`
	Line      int      `json:"line"` // in the file of rules; 0: not there
	Addresses []string `json:"addresses"`
	Fault     string   `json:"fault"`
}

func (s *statusReader) process(n relay.Snapshot) Process {
	p := Process{
		Version: s.version, Started: wall(n.Started), Total: n.Allocations, Drain: drainOf(n), Hairpin: n.Hairpin,
		Listeners: []Bound{}, Relay: []string{}, Peers: []PeerRule{},
		Dropped: nonzero(n.Dropped), Refused: nonzero(n.AuthFailures), Discarded: nonzero(n.Discarded),
		Quality: n.Quality.String(), Events: nonzero(eventCounts(n.Events)),
	}
	if s.reloads != nil {
		if last := s.reloads.Last(); last.Time != nil {
			p.Reload = &last
		}
	}
	counts := make(map[string]relay.ListenerCounts, len(n.Listeners))
	for _, l := range byName(n.Listeners) {
		counts[l.Name] = l
	}
	for _, l := range s.source.ListenerInfos() {
		c := counts[label(l.Name)]
		b := Bound{Listener: listenerOf(l, c.Allocations), Created: c.Created}
		for d, t := range c.Traffic {
			b.Traffic[d] = traffic(t)
		}
		if l.Scheme == "udp" {
			b.Offload = l.Offload.String()
		}
		if l.Fault != nil {
			b.Fault = l.Fault.Error()
		}
		p.Listeners = append(p.Listeners, b)
	}
	for _, prefix := range s.source.RelayPrefixes() {
		p.Relay = append(p.Relay, prefix.String())
	}
	if rules := s.source.Peers(); rules != nil {
		for _, r := range rules.Status() {
			rule := PeerRule{Rule: r.Rule, Line: r.Line, Addresses: []string{}, Fault: r.Fault}
			for _, a := range r.Addresses {
				rule.Addresses = append(rule.Addresses, a.String())
			}
			p.Peers = append(p.Peers, rule)
		}
	}
	return p
}

func nonzero(counts []relay.Count) map[string]uint64 {
	some := map[string]uint64{}
	for _, c := range counts {
		if c.Value > 0 {
			some[c.Name] = c.Value
		}
	}
	return some
}

// Sample is a point of the plots: rates since the sample before.
type Sample struct {
	At          int64                       `json:"at"` // milliseconds since 1970
	Allocations int                         `json:"allocations"`
	Bits        [forward.Directions]float64 `json:"bits"`    // per second, by forward.Direction
	Packets     [forward.Directions]float64 `json:"packets"` // per second
	Dropped     map[string]float64          `json:"dropped"` // packets per second by reason, where there are any
	Refused     map[string]float64          `json:"refused"`
	CPU         float64                     `json:"cpu"`    // processors in use
	Memory      float64                     `json:"memory"` // resident bytes
}

// sampler makes samples of snapshots.
type sampler struct {
	interval time.Duration // that samples are to have

	use *prometheus.Registry // what the process uses of the host

	at     time.Time
	before relay.Snapshot
	cpu    float64 // seconds
}

func newSampler(interval time.Duration) *sampler {
	s := &sampler{interval: interval, use: prometheus.NewRegistry()}
	s.use.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// take makes a sample; false: it is the first, or too close to the one before or too far from it for rates that mean
// anything.
func (s *sampler) take(n relay.Snapshot, now time.Time) (sample Sample, ok bool) {
	between := now.Sub(s.at)
	if between < s.interval/2 {
		return sample, false // the maker was stopped and started: the next one will be a sample of a whole interval
	}
	cpu, memory := s.usage()
	ok = !s.at.IsZero() && between < 5*s.interval
	if ok {
		seconds := between.Seconds()
		sample = Sample{
			At: now.UnixMilli(), Allocations: n.Allocations, CPU: (cpu - s.cpu) / seconds, Memory: memory,
			Dropped: rates(s.before.Dropped, n.Dropped, seconds), Refused: rates(s.before.AuthFailures, n.AuthFailures, seconds),
		}
		before := make(map[string]relay.ListenerCounts, len(s.before.Listeners))
		for _, l := range byName(s.before.Listeners) {
			before[l.Name] = l
		}
		for _, l := range byName(n.Listeners) {
			for d, t := range l.Traffic {
				was := before[l.Name].Traffic[d] // of a new one nothing
				sample.Bits[d] += 8 * float64(t.Bytes-min(was.Bytes, t.Bytes)) / seconds
				sample.Packets[d] += float64(t.Packets-min(was.Packets, t.Packets)) / seconds
			}
		}
	}
	s.at, s.before, s.cpu = now, n, cpu
	return sample, ok
}

// rates are the differences of two readings that list the same reasons in the same order.
func rates(before, now []relay.Count, seconds float64) map[string]float64 {
	some := map[string]float64{}
	for i, c := range now {
		if more := c.Value - min(before[i].Value, c.Value); more > 0 {
			some[c.Name] = float64(more) / seconds
		}
	}
	return some
}

// usage returns the seconds of processors and the resident bytes that the process has taken; 0: the system doesn't say.
func (s *sampler) usage() (cpu, memory float64) {
	families, _ := s.use.Gather() // what can't be read is missing
	for _, f := range families {
		switch m := f.GetMetric(); f.GetName() {
		case "process_cpu_seconds_total":
			cpu = m[0].GetCounter().GetValue()
		case "process_resident_memory_bytes":
			memory = m[0].GetGauge().GetValue()
		}
	}
	return cpu, memory
}
