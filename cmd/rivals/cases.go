package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// metric is what a case is judged by.
type metric struct {
	name  string
	unit  string
	less  bool // smaller is better
	value func(*output) float64
}

var (
	cpu        = metric{"CPU per relayed packet", "µs", true, func(o *output) float64 { return o.Server.Each }}
	throughput = metric{"packets per second", "", false, func(o *output) float64 { return o.Packets.PerSecond }}
	p99        = metric{"99th percentile of latency", "µs", true, func(o *output) float64 { return o.Latency.P99 }}
	perSecond  = metric{"allocations per second", "", false, func(o *output) float64 { return o.Allocations.PerSecond }}
	bytes      = metric{"resident memory per allocation", "bytes", true, func(o *output) float64 { return o.Memory.Each }}
)

// output is what "hairpin bench --json" prints, as far as it is needed.
type output struct {
	Packets struct {
		PerSecond float64 `json:"per_second"`
		Lost      int     `json:"lost"`
	} `json:"packets"`
	Latency struct {
		P99 float64 `json:"p99"`
	} `json:"latency_us"`
	Server struct {
		Each   float64 `json:"cpu_us_each"`
		Waited float64 `json:"waited"` // share of the time in which somebody else had its processor
	} `json:"server"`
	Generator struct {
		Waited float64 `json:"waited"`
	} `json:"generator"`
	Allocations struct {
		PerSecond float64 `json:"per_second"`
	} `json:"allocations"`
	Memory struct {
		Each float64 `json:"per_allocation"`
	} `json:"memory"`
	Limit string `json:"limit"`
}

// benchCase is one row of the tables.
type benchCase struct {
	name    string // short, for --only
	title   string
	args    []string
	metrics []metric
	bare    bool // the bare loop can take part
	outside bool // the peer is an echo server outside
	media   bool // RTP; hairpin takes part without a look at it as well
	half    bool // at half of what the rival itself relayed in the first case
}

var cases = []benchCase{
	{name: "lone", title: "200 B, 20 clients, saturated", args: []string{"--pairs", "10"}, metrics: []metric{cpu, throughput}, bare: true},
	{name: "rate", title: "200 B, 20 clients, 20,000 packets/s", args: []string{"--pairs", "10", "--rate", "20000"}, metrics: []metric{cpu}, bare: true},
	{name: "half", title: "200 B, 20 clients, half of saturation", args: []string{"--pairs", "10"}, metrics: []metric{p99}, bare: true, half: true},
	{name: "large", title: "1,200 B, 20 clients, saturated", args: []string{"--pairs", "10", "--size", "1200"}, metrics: []metric{cpu}, bare: true},
	{name: "many", title: "200 B, 2,000 clients, saturated", args: []string{"--pairs", "1000", "--in-flight", "2000"}, metrics: []metric{cpu}, bare: true},
	{name: "burst", title: "200 B, bursts of 8, each one message", args: []string{"--pairs", "10", "--burst", "8"}, metrics: []metric{cpu, throughput}, bare: true},
	{name: "indications", title: "200 B, Send and Data indications", args: []string{"--pairs", "10", "--indications"}, metrics: []metric{cpu}},
	{name: "outside", title: "200 B, 20 clients, to an echo server and back, saturated", args: []string{"--pairs", "10"}, metrics: []metric{cpu, throughput}, outside: true},
	{name: "outside-rate", title: "200 B, 20 clients, to an echo server and back, 10,000 packets/s", args: []string{"--pairs", "10", "--rate", "10000"}, metrics: []metric{cpu}, outside: true},
	{name: "outside-burst", title: "200 B, bursts of 8, to an echo server and back", args: []string{"--pairs", "10", "--burst", "8"}, metrics: []metric{cpu}, outside: true},
	{name: "media", title: "RTP, 200 B, 20 clients, saturated", args: []string{"--pairs", "10", "--rtp"}, metrics: []metric{cpu}, media: true},
	{name: "media-rate", title: "RTP, 200 B, 20 clients, 20,000 packets/s", args: []string{"--pairs", "10", "--rtp", "--rate", "20000"}, metrics: []metric{cpu}, media: true},
	{name: "media-many", title: "RTP, 1,200 B, 2,000 clients, saturated", args: []string{"--pairs", "1000", "--rtp", "--size", "1200", "--in-flight", "2000"}, metrics: []metric{cpu}, media: true},
	{name: "media-burst", title: "RTP, 1,200 B, bursts of 8, each one message", args: []string{"--pairs", "10", "--rtp", "--size", "1200", "--burst", "8"}, metrics: []metric{cpu}, media: true},
	{name: "tcp", title: "200 B, TCP to TCP", args: []string{"--pairs", "10", "--transport", "tcp"}, metrics: []metric{cpu}},
	{name: "allocations", title: "401, Allocate, ChannelBind, Refresh", args: []string{"--allocations"}, metrics: []metric{perSecond}},
	{name: "memory", title: "10,000 allocations, one channel each", args: []string{"--hold", "10000", "--duration", "1s"}, metrics: []metric{bytes}},
}

// figures are all that was measured, by case, metric and rival.
type figures map[string][]float64

func key(c benchCase, m metric, r rival) string { return c.name + "/" + m.name + "/" + r.name }

// bench is one run of the whole.
type bench struct {
	hairpin  string
	port     int
	duration time.Duration
	rivals   []rival
	cases    []benchCase
}

// A measurement is made again, up to maxTries times, when something else had a
// processor of the two for more than this share of the time.
const (
	maxWaited = 0.05
	maxTries  = 3
)

// measure runs one case against one rival, undisturbed if that can be had, and
// adds to the figures.
func (b *bench) measure(ctx context.Context, f figures, r rival, c benchCase) error {
	if r.bare && !c.bare || r.blind && !c.media {
		return nil
	}
	args := c.args
	if c.half {
		saturation := f[key(cases[0], throughput, r)]
		if len(saturation) == 0 {
			return nil
		}
		args = append(slices.Clone(args), "--rate", strconv.Itoa(int(median(saturation)/2)))
	}
	if c.outside {
		stop, err := startEcho(ctx, b.port+1)
		if err != nil {
			return err
		}
		defer stop()
		args = append(slices.Clone(args), "--echo", fmt.Sprintf("127.0.0.1:%d", b.port+1))
		r.command = slices.Concat(r.command, r.outside)
	} else {
		r.command = slices.Concat(r.command, r.inside)
	}
	var o *output
	for try := 1; ; try++ {
		var err error
		if o, err = b.once(ctx, r, args); o == nil {
			if err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "SKIPPED: %s: %s: %v\n", r.name, c.title, err)
			}
			return ctx.Err()
		}
		disturbed := max(o.Server.Waited, o.Generator.Waited)
		if disturbed <= maxWaited {
			break
		}
		fmt.Fprintf(os.Stderr, "note: %s: %s: disturbed for %.0f %% of the time\n", r.name, c.title, disturbed*100)
		if try == maxTries {
			break
		}
	}
	for _, m := range c.metrics {
		f[key(c, m, r)] = append(f[key(c, m, r)], m.value(o))
	}
	if o.Packets.Lost > 0 {
		fmt.Fprintf(os.Stderr, "note: %s: %s: %d packets were lost\n", r.name, c.title, o.Packets.Lost)
	}
	return nil
}

// once starts a rival's server and loads it.
func (b *bench) once(ctx context.Context, r rival, load []string) (*output, error) {
	args := []string{"bench", "turn:127.0.0.1:" + strconv.Itoa(b.port), "--cpu", "1", "--json",
		"--warmup", "500ms", "--duration", b.duration.String()}
	args = append(args, load...)
	if !r.bare {
		args = append(args, "--user", user, "--password", password)
	}
	pid, stop, err := r.start(ctx, b.port)
	if err != nil {
		return nil, err
	}
	defer stop()
	cmd := exec.CommandContext(ctx, b.hairpin, append(args, "--pid", strconv.Itoa(pid))...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	o := new(output)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, err
	}
	return o, nil
}
