package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/load"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// benchReport is the outcome of a bench, ready to be printed. Its exported fields are the JSON output; times are in
// microseconds unless they say something else, memory is in bytes.
type benchReport struct {
	Status   string         `json:"status"` // relayed, wrong, nothing, failed
	URI      string         `json:"uri"`
	Error    *benchError    `json:"error,omitempty"` // of nothing and failed
	Asked    benchAsked     `json:"asked"`
	Software string         `json:"software,omitempty"`
	Realm    string         `json:"realm,omitempty"`
	Pairs    int            `json:"pairs,omitempty"` // that could send
	Refused  int            `json:"refused"`         // requests
	Refusals []load.Counted `json:"refusals,omitempty"`
	Resent   uint64         `json:"retransmissions"` // requests

	SetUp   float64 `json:"set_up_seconds,omitempty"`
	Elapsed float64 `json:"elapsed_seconds,omitempty"`
	Stopped bool    `json:"interrupted"`

	Packets     *benchPackets     `json:"packets,omitempty"`
	Latency     *benchQuantiles   `json:"latency_us,omitempty"` // one way, client to client
	Allocations *benchAllocations `json:"allocations,omitempty"`
	Memory      *benchMemory      `json:"memory,omitempty"`
	Server      *benchServerUsage `json:"server,omitempty"`
	Generator   *benchUsage       `json:"generator,omitempty"`
	Limit       load.Limit        `json:"limit,omitempty"`

	code   int
	result *load.Result
}

type benchError struct {
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"`
	Request string `json:"request,omitempty"`
	Code    int    `json:"code,omitempty"` // STUN error code
}

// benchAsked is what was measured, with what was left open filled in.
type benchAsked struct {
	Mode          load.Mode      `json:"mode"`
	Address       string         `json:"address,omitempty"`
	Transport     load.Transport `json:"transport"`
	PeerTransport load.Transport `json:"peer_transport"`
	Pairs         int            `json:"pairs,omitempty"`
	Hold          int            `json:"hold,omitempty"`
	Size          int            `json:"size,omitempty"`
	RTP           bool           `json:"rtp,omitempty"`
	Through       string         `json:"through,omitempty"` // channels, indications
	Burst         int            `json:"burst,omitempty"`
	GSO           bool           `json:"gso"`
	GRO           bool           `json:"gro"`
	Rate          float64        `json:"rate,omitempty"`
	Window        int            `json:"window,omitempty"`
	InFlight      int            `json:"in_flight,omitempty"`
	Duration      float64        `json:"duration_seconds"`
	Warmup        float64        `json:"warmup_seconds"`
	ClientsFrom   string         `json:"clients_from,omitempty"`
	CPU           *int           `json:"cpu,omitempty"`
	PID           int            `json:"pid,omitempty"`
}

type benchPackets struct {
	Relayed     uint64  `json:"relayed"`
	PerSecond   float64 `json:"per_second"`
	Bits        float64 `json:"payload_bits_per_second"`
	Sent        uint64  `json:"sent"`
	Delivered   uint64  `json:"delivered"`
	Lost        uint64  `json:"lost"`
	LossPercent float64 `json:"loss_percent"`
	Duplicates  uint64  `json:"duplicates"`
	Reordered   uint64  `json:"reordered"`
	Damaged     uint64  `json:"damaged"`
	Foreign     uint64  `json:"foreign"`
	Unsent      uint64  `json:"unsent"`
	UnsentWhy   string  `json:"unsent_why,omitempty"`
	Skipped     uint64  `json:"skipped"`
	Overflow    uint64  `json:"generator_queue_drops"`
	Stray       uint64  `json:"stray"`
	Broken      uint64  `json:"broken_connections"`
	Stalls      uint64  `json:"stalls"`
}

type benchQuantiles struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

type benchAllocations struct {
	Made        uint64          `json:"made"`
	PerSecond   float64         `json:"per_second"`
	Allocate    *benchQuantiles `json:"allocate_us"` // with its 401
	ChannelBind *benchQuantiles `json:"channel_bind_us"`
	Refresh     *benchQuantiles `json:"refresh_us"`
}

type benchMemory struct {
	Allocations   int     `json:"allocations"`
	PerAllocation float64 `json:"per_allocation"`
	Before        uint64  `json:"before"`
	SetUp         uint64  `json:"set_up"`
	Held          uint64  `json:"held"`
	Released      uint64  `json:"released"`
	SetUpRate     float64 `json:"allocations_per_second"`
}

type benchServerUsage struct {
	PerPacket float64 `json:"cpu_us_each"` // per packet relayed, or allocation made
	CPU       float64 `json:"cpu_seconds"`
	Cores     int     `json:"cores"`
	Load      float64 `json:"load"`
	Busiest   float64 `json:"busiest_thread"`
	Waited    float64 `json:"waited"`                  // for its cores, which others used
	SoftIRQ   float64 `json:"softirq_threads_seconds"` // of its cores, not in cpu_seconds
	Overflow  *uint64 `json:"queue_drops,omitempty"`   // absent when it could not be known
	Memory    uint64  `json:"resident"`
}

type benchUsage struct {
	CPU  float64 `json:"cpu_seconds"`
	Busy float64 `json:"busy"`

	Waited float64 `json:"waited"` // for its core, which others used; part of busy
}

// newBenchReport judges a result or, when there is none, the error in its place.
func newBenchReport(uri probe.URI, o load.Options, r *load.Result, err error) *benchReport {
	if r != nil {
		o = r.Options
	}
	b := &benchReport{URI: uri.String(), Asked: asked(o), result: r}
	if r == nil {
		b.fail(err)
		return b
	}
	b.Status, b.Software, b.Realm = "relayed", r.Software, r.Realm
	b.Pairs, b.Refused, b.Refusals, b.Resent = r.Pairs, r.Refused, r.Refusals, r.Retransmissions
	b.SetUp, b.Elapsed, b.Stopped, b.Limit = r.SetUp.Seconds(), r.Elapsed.Seconds(), r.Stopped, r.Limit
	b.Generator = &benchUsage{CPU: r.Generator.CPU.Seconds(), Busy: r.Generator.Busy, Waited: r.Generator.Waited}
	if s := r.Server; s != nil {
		b.Server = &benchServerUsage{
			PerPacket: microseconds(s.PerPacket), CPU: s.CPU.Seconds(), Cores: s.Cores, Load: s.Load, Busiest: s.Busiest, Waited: s.Waited,
			SoftIRQ: s.SoftIRQ.Seconds(), Memory: s.Memory,
		}
		if s.Queues {
			b.Server.Overflow = &s.Overflow
		}
	}
	if p := r.Packets; p != nil {
		b.Packets = &benchPackets{
			Relayed: p.Relayed, PerSecond: p.PerSecond, Bits: p.Bits, Sent: p.Sent, Delivered: p.Delivered, Lost: p.Lost, LossPercent: p.LossPercent,
			Duplicates: p.Duplicates, Reordered: p.Reordered, Damaged: p.Damaged, Foreign: p.Foreign, Unsent: p.Unsent, UnsentWhy: p.UnsentWhy,
			Skipped: p.Skipped, Overflow: p.Overflow, Stray: p.Stray, Broken: p.Broken, Stalls: p.Stalls,
		}
		if p.Latency.Count > 0 {
			b.Latency = quantiles(p.Latency)
		}
		if p.Relayed == 0 {
			b.Status, b.code = "nothing", benchNothing
		} else if p.Damaged+p.Foreign > 0 {
			b.Status, b.code = "wrong", benchWrong
		}
	}
	if a := r.Allocations; a != nil {
		b.Allocations = &benchAllocations{
			Made: a.Made, PerSecond: a.PerSecond,
			Allocate: quantiles(a.Allocate), ChannelBind: quantiles(a.ChannelBind), Refresh: quantiles(a.Refresh),
		}
		if a.Made == 0 {
			b.Status, b.code = "nothing", benchNothing
		}
	}
	if m := r.Memory; m != nil {
		b.Memory = &benchMemory{
			Allocations: m.Allocations, PerAllocation: m.PerAllocation, SetUpRate: m.SetUpRate,
			Before: m.Before, SetUp: m.SetUp, Held: m.Held, Released: m.Released,
		}
	}
	return b
}

func (b *benchReport) fail(err error) {
	b.Status, b.code = "failed", benchNothing
	b.Error = &benchError{Text: err.Error()}
	var refusal *load.Refusal
	if errors.As(err, &refusal) {
		b.Error.Remedy, b.Error.Request, b.Error.Code = refusal.Remedy(), refusal.Request, refusal.Code
	}
}

func asked(o load.Options) benchAsked {
	a := benchAsked{
		Mode: o.Mode, Transport: o.Transport, PeerTransport: o.PeerTransport, RTP: o.RTP, GRO: o.GRO, InFlight: o.InFlight,
		Duration: o.Duration.Seconds(), Warmup: o.Warmup.Seconds(), PID: o.PID,
	}
	if o.Server.IsValid() {
		a.Address = o.Server.String()
	}
	if o.CPU >= 0 {
		a.CPU = &o.CPU
	}
	if o.ClientsFrom.IsValid() {
		a.ClientsFrom = o.ClientsFrom.String()
	}
	switch o.Mode {
	case load.Hold:
		a.Hold = o.Count
	case load.Relay:
		a.Pairs, a.Size, a.Burst, a.GSO, a.Rate, a.Window = o.Pairs, o.Size, o.Burst, o.GSO && o.Burst > 1, o.Rate, o.Window
		if a.Through = "channels"; o.Indications {
			a.Through = "indications"
		}
		if o.Rate > 0 {
			a.Window, a.InFlight = 0, 0
		}
	}
	return a
}

func (b *benchReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(b)
}

func quantiles(q load.Quantiles) *benchQuantiles {
	return &benchQuantiles{
		Count: q.Count, Min: microseconds(q.Min), Mean: microseconds(q.Mean), P50: microseconds(q.P50), P90: microseconds(q.P90),
		P99: microseconds(q.P99), P999: microseconds(q.P999), P9999: microseconds(q.P9999), Max: microseconds(q.Max),
	}
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
