package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/load"
)

func (b *benchReport) writeFailure(w io.Writer) error {
	text := "hairpin bench: " + b.Error.Text + "\n"
	if b.Error.Remedy != "" {
		text += "  " + b.Error.Remedy + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// writeText writes the report: what was asked, figures, what may be wrong with them, and the limit.
func (b *benchReport) writeText(w io.Writer) error {
	var t strings.Builder
	fmt.Fprintf(&t, "%s at %s", b.URI, b.Asked.Address)
	if b.Software != "" {
		fmt.Fprintf(&t, ", %s", b.Software)
	}
	fmt.Fprintf(&t, "\n%s\n\n", b.headline())
	switch {
	case b.Packets != nil:
		b.writePackets(&t)
	case b.Allocations != nil:
		b.writeAllocations(&t)
	case b.Memory != nil:
		b.writeMemory(&t)
	}
	b.writeServer(&t)
	t.WriteString("\n")
	for _, note := range b.notes() {
		t.WriteString("note: " + note + "\n")
	}
	t.WriteString(b.verdict() + "\n")
	_, err := io.WriteString(w, t.String())
	return err
}

// headline says what was measured.
func (b *benchReport) headline() string {
	a := &b.Asked
	transport := string(a.Transport)
	if a.PeerTransport != a.Transport {
		transport += " and " + string(a.PeerTransport)
	}
	switch a.Mode {
	case load.Allocations:
		return fmt.Sprintf("allocations over %s, %d at a time, %.3g s", transport, a.InFlight, b.Elapsed)
	case load.Hold:
		return fmt.Sprintf("%s allocations over %s, held for %.3g s", grouped(float64(a.Hold)), transport, b.Elapsed)
	}
	text := fmt.Sprintf("%s pairs over %s, %d bytes through %s", grouped(float64(b.Pairs)), transport, a.Size, a.Through)
	if a.Burst > 1 {
		text += fmt.Sprintf(", bursts of %d", a.Burst)
		if a.GSO {
			text += " as one message"
		}
	}
	if a.Rate > 0 {
		text += fmt.Sprintf(", %s packets/s asked for", grouped(a.Rate))
	} else {
		text += fmt.Sprintf(", %d in flight", a.InFlight)
	}
	return text + fmt.Sprintf(", %.3g s", b.Elapsed)
}

func (b *benchReport) writePackets(t *strings.Builder) {
	p := b.Packets
	fmt.Fprintf(t, "  relayed     %s packets/s, %.1f Mbit/s of payload\n", grouped(p.PerSecond), p.Bits/1e6)
	if q := b.Latency; q != nil {
		fmt.Fprintf(t, "  latency µs  %10s %10s %10s %10s %10s %10s\n", "min", "p50", "p90", "p99", "p99.9", "max")
		fmt.Fprintf(t, "  one way     %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f\n", q.Min, q.P50, q.P90, q.P99, q.P999, q.Max)
	}
	fmt.Fprintf(t, "  packets     %10s %10s %10s %10s %10s %10s\n", "sent", "lost", "duplicate", "reordered", "damaged", "foreign")
	fmt.Fprintf(t, "              %10d %10d %10d %10d %10d %10d\n", p.Sent, p.Lost, p.Duplicates, p.Reordered, p.Damaged, p.Foreign)
}

func (b *benchReport) writeAllocations(t *strings.Builder) {
	a := b.Allocations
	fmt.Fprintf(t, "  allocations %s/s: each Allocate with its 401, ChannelBind, Refresh to zero\n", grouped(a.PerSecond))
	fmt.Fprintf(t, "  µs          %10s %10s %10s %10s\n", "p50", "p90", "p99", "max")
	for _, r := range []struct {
		name string
		q    *benchQuantiles
	}{{"Allocate", a.Allocate}, {"ChannelBind", a.ChannelBind}, {"Refresh", a.Refresh}} {
		fmt.Fprintf(t, "  %-11s %10.1f %10.1f %10.1f %10.1f\n", r.name, r.q.P50, r.q.P90, r.q.P99, r.q.Max)
	}
}

func (b *benchReport) writeMemory(t *strings.Builder) {
	m := b.Memory
	fmt.Fprintf(t, "  memory      %s bytes per allocation with one permission and one channel\n", grouped(m.PerAllocation))
	fmt.Fprintf(t, "  resident    %10s %10s %10s %10s\n", "before", "set up", "held", "given back")
	fmt.Fprintf(t, "  MiB         %10.1f %10.1f %10.1f %10.1f\n", mebibytes(m.Before), mebibytes(m.SetUp), mebibytes(m.Held), mebibytes(m.Released))
	fmt.Fprintf(t, "  set-up      %s allocations in %.3g s, %s/s\n", grouped(float64(m.Allocations)), b.SetUp, grouped(m.SetUpRate))
}

func (b *benchReport) writeServer(t *strings.Builder) {
	if s := b.Server; s != nil {
		each := "packet"
		if b.Packets == nil {
			each = "allocation"
		}
		fmt.Fprintf(t, "  server      %.3g µs of processor time per %s; busy %.0f %% of %d core(s); %.1f MiB resident\n",
			s.PerPacket, each, 100*s.Load, s.Cores, mebibytes(s.Memory))
	}
	fmt.Fprintf(t, "  generator   busy %.0f %%\n", 100*b.Generator.Busy)
}

// notes are what a reader of the figures has to know.
func (b *benchReport) notes() (notes []string) {
	note := func(format string, arguments ...any) { notes = append(notes, fmt.Sprintf(format, arguments...)) }
	if b.Stopped {
		note("interrupted; these are the figures so far")
	}
	if b.Refused > 0 {
		note("%d requests failed, most of them so: %s", b.Refused, b.Refusals[0].What)
	}
	if a := b.Asked; a.Mode == load.Relay && b.Pairs < a.Pairs {
		note("%d of %d pairs could not be set up", a.Pairs-b.Pairs, a.Pairs)
	}
	if b.Resent > 0 {
		note("%d requests were sent again: they or their answers were lost or late", b.Resent)
	}
	if m := b.Memory; m != nil && m.PerAllocation <= 0 {
		note("the server had memory left from before: start it afresh to learn what an allocation takes")
	}
	if p := b.Packets; p != nil {
		if p.Unsent > 0 {
			note("%d packets did not leave (%s); they do not count as lost", p.Unsent, p.UnsentWhy)
		}
		if p.Skipped > 0 {
			note("%d packets of the rate were left out, because the generator was more than 10 ms late", p.Skipped)
		}
		if p.Overflow > 0 {
			note("%d datagrams arrived and were dropped because the generator was slow: part of what is lost, and not the server's", p.Overflow)
		}
		if p.Stalls > 0 {
			note("%d times packets that were lost or very late held up others: without them there would have been more", p.Stalls)
		}
		if p.Broken > 0 {
			note("%d connections failed", p.Broken)
		}
		if p.Stray > 0 {
			note("%d datagrams came from somewhere else", p.Stray)
		}
	}
	if w := b.Generator.Waited; w > 0.05 {
		note("other processes kept the generator from its processor for %.0f %% of the time", 100*w)
	}
	if s := b.Server; s != nil {
		if s.Waited > 0.05 {
			note("other processes kept the server from its processors for %.0f %% of the time", 100*s.Waited)
		}
		if s.Overflow != nil && *s.Overflow > 0 {
			note("%d datagrams were dropped at the server's full sockets", *s.Overflow)
		}
		if s.SoftIRQ > 0.02*s.CPU {
			note("the kernel's softirq threads worked %.2g s on the server's cores, which its processor time does not include", s.SoftIRQ)
		}
	}
	return notes
}

// verdict is the limit in one line.
func (b *benchReport) verdict() string {
	what := map[load.Limit]string{
		load.LimitServer:    "the server, with the processors that it has",
		load.LimitGenerator: "the generator, not the server: the server can do more than this",
		load.LimitWindow:    "neither processor: more in flight (--in-flight) may give more",
		load.LimitRate:      "the rate that was asked for",
		load.LimitUnknown:   "not the generator; --pid tells whether it was the server",
	}[b.Limit]
	switch {
	case b.Status == "nothing":
		return "nothing was relayed"
	case b.Status == "wrong":
		return "packets were damaged or reached the wrong client; limit: " + what
	}
	if b.Memory != nil {
		return "limit of the set-up: " + what
	}
	return "limit: " + what
}

func mebibytes(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
