package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

var errInterrupted = errors.New("interrupted before the first packet was sent")

// probeReport is a probe's outcome, ready to be printed. Its exported fields
// are the JSON output; times are in milliseconds.
type probeReport struct {
	Status      string            `json:"status"` // good, degraded, unreachable, refused, interrupted, failed
	URI         string            `json:"uri"`
	Faults      []string          `json:"faults"` // why it is degraded
	Notes       []string          `json:"notes"`
	Error       *probeError       `json:"error,omitempty"` // unreachable, refused, interrupted, failed; then nothing below
	Server      *probeServer      `json:"server,omitempty"`
	Allocations []probeAllocation `json:"allocations,omitempty"`
	Echo        string            `json:"echo,omitempty"`
	Packets     *probePackets     `json:"packets,omitempty"`
	RTTCovers   string            `json:"rtt_covers,omitempty"`
	RTT         *probeRTT         `json:"rtt_ms,omitempty"` // absent when nothing came back
	Elapsed     float64           `json:"elapsed_ms,omitempty"`
	Interrupted bool              `json:"interrupted"`

	code   int
	result *probe.Result
	limits probe.Thresholds
}

type probeError struct {
	Text       string `json:"text"`
	Remedy     string `json:"remedy,omitempty"`
	Allocation string `json:"allocation,omitempty"`
	Request    string `json:"request,omitempty"`
	Code       int    `json:"code,omitempty"` // STUN error code
	Reason     string `json:"reason,omitempty"`
}

type probeServer struct {
	Address  string `json:"address"`
	Realm    string `json:"realm,omitempty"`
	User     string `json:"user,omitempty"`
	Software string `json:"software,omitempty"`
}

type probeAllocation struct {
	Name       string  `json:"name"`
	Transport  string  `json:"transport"`
	Local      string  `json:"local"`
	Mapped     string  `json:"mapped,omitempty"`
	Relayed    string  `json:"relayed"`
	AllocateMS float64 `json:"allocate_ms"`
}

type probePackets struct {
	Through     string  `json:"through"` // channels, indications
	Size        int     `json:"size"`
	IntervalMS  float64 `json:"interval_ms"`
	Sent        int     `json:"sent"`
	Received    int     `json:"received"`
	Lost        int     `json:"lost"`
	LossPercent float64 `json:"loss_percent"`
	Outward     int     `json:"lost_outward"`
	Returning   int     `json:"lost_returning"`
	Duplicates  int     `json:"duplicates"`
	Reordered   int     `json:"reordered"`
	Corrupted   int     `json:"corrupted"`
}

type probeRTT struct {
	Min    float64 `json:"min"`
	Mean   float64 `json:"mean"`
	P50    float64 `json:"p50"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	Jitter float64 `json:"jitter"`
}

// newProbeReport judges a result or, when there is none, the error in its place.
func newProbeReport(uri probe.URI, r *probe.Result, limits probe.Thresholds, err error) *probeReport {
	report := &probeReport{URI: uri.String(), Faults: []string{}, Notes: []string{}, result: r, limits: limits}
	if r == nil {
		report.fail(err)
		return report
	}
	if report.Status = "good"; len(r.Faults(limits)) > 0 {
		report.Status, report.code = "degraded", probeDegraded
	}
	report.Faults = append(report.Faults, r.Faults(limits)...)
	report.Notes = append(report.Notes, r.Notes()...)
	report.Server = &probeServer{Address: r.Server.String(), Realm: r.Realm, User: r.User, Software: r.Software}
	for _, a := range r.Allocations {
		report.Allocations = append(report.Allocations, probeAllocation{
			Name: a.Name, Transport: string(a.Transport), Local: a.Local.String(), Mapped: orEmpty(a.Mapped),
			Relayed: a.Relayed.String(), AllocateMS: milliseconds(a.Took),
		})
	}
	report.Echo = orEmpty(r.Echo)
	through := "indications"
	if r.Channels {
		through = "channels"
	}
	n := r.Counts
	report.Packets = &probePackets{
		Through: through, Size: r.Size, IntervalMS: milliseconds(r.Interval),
		Sent: n.Sent, Received: n.Received, Lost: n.Lost, LossPercent: n.LossPercent(), Outward: n.LostOutward, Returning: n.LostReturning,
		Duplicates: n.Duplicates, Reordered: n.Reordered, Corrupted: n.Corrupted,
	}
	report.RTTCovers = r.Covers()
	if n.Received > 0 {
		t := r.RoundTrip
		report.RTT = &probeRTT{
			Min: milliseconds(t.Min), Mean: milliseconds(t.Mean), P50: milliseconds(t.P50), P90: milliseconds(t.P90),
			P99: milliseconds(t.P99), Max: milliseconds(t.Max), Jitter: milliseconds(t.Jitter),
		}
	}
	report.Elapsed, report.Interrupted = milliseconds(r.Elapsed), r.Interrupted
	return report
}

func (p *probeReport) fail(err error) {
	p.Error = &probeError{Text: err.Error()}
	var refusal *probe.Refusal
	var unreachable *probe.Unreachable
	switch {
	case errors.As(err, &refusal):
		p.Status, p.code = "refused", probeRefused
		p.Error.Remedy, p.Error.Allocation, p.Error.Request = refusal.Remedy(), refusal.Side, refusal.Request
		p.Error.Code, p.Error.Reason = refusal.Code, refusal.Reason
	case errors.As(err, &unreachable):
		p.Status, p.code = "unreachable", probeUnreachable
	case errors.Is(err, errInterrupted):
		p.Status, p.code, p.Interrupted = "interrupted", probeDegraded, true
	default:
		p.Status, p.code = "failed", probeUnreachable
	}
}

func (p *probeReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(p)
}

// verdict is the outcome in one line.
func (p *probeReport) verdict() string {
	switch {
	case p.Error != nil && p.Error.Remedy != "":
		return p.Status + ": " + p.Error.Text + "; " + p.Error.Remedy
	case p.Error != nil:
		return p.Status + ": " + p.Error.Text
	case len(p.Faults) > 0:
		return p.Status + ": " + strings.Join(p.Faults, "; ")
	}
	terms := fmt.Sprintf("loss at most %.4g %%", p.limits.Loss)
	if p.limits.P99 > 0 {
		terms += fmt.Sprintf(", p99 at most %v", p.limits.P99)
	}
	return p.Status + ": " + terms
}

func (p *probeReport) writeFailure(w io.Writer) error {
	text := fmt.Sprintf("hairpin probe: %s: %s\n", p.Status, p.Error.Text)
	if p.Error.Remedy != "" {
		text += "  " + p.Error.Remedy + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func (p *probeReport) writeText(w io.Writer) error {
	var b strings.Builder
	r, n := p.result, p.Packets
	fmt.Fprintf(&b, "%s at %s", p.URI, p.Server.Address)
	if p.Server.Realm != "" {
		fmt.Fprintf(&b, ", realm %q", p.Server.Realm)
	}
	if p.Server.User != "" {
		fmt.Fprintf(&b, ", user %q", p.Server.User)
	} else {
		b.WriteString(", no credentials asked for")
	}
	if p.Server.Software != "" {
		fmt.Fprintf(&b, ", %s", p.Server.Software)
	}
	b.WriteString("\n\n")
	for _, a := range p.Allocations {
		fmt.Fprintf(&b, "  %s  %s  %s  relayed %s  allocated in %s\n", a.Name, a.Transport, a.Local, a.Relayed, inMilliseconds(a.AllocateMS))
	}
	if p.Echo != "" {
		fmt.Fprintf(&b, "  echo peer %s\n", p.Echo)
	}
	fmt.Fprintf(&b, "\n  %d packets of %d bytes, one every %v, through %s\n", n.Sent, n.Size, r.Interval, n.Through)
	fmt.Fprintf(&b, "  %s\n\n", p.RTTCovers)

	if t := p.RTT; t != nil {
		fmt.Fprintf(&b, "  round trip  %9s %9s %9s %9s %9s  jitter\n", "min", "p50", "p90", "p99", "max")
		fmt.Fprintf(&b, "          ms  %9.3f %9.3f %9.3f %9.3f %9.3f  %.3f\n", t.Min, t.P50, t.P90, t.P99, t.Max, t.Jitter)
	}
	fmt.Fprintf(&b, "  packets     %9s %9s %9s %9s %9s  damaged\n", "sent", "returned", "lost", "duplicate", "reordered")
	fmt.Fprintf(&b, "              %9d %9d %9d %9d %9d  %d\n", n.Sent, n.Received, n.Lost, n.Duplicates, n.Reordered, n.Corrupted)
	if n.Lost > 0 && p.Echo == "" {
		fmt.Fprintf(&b, "  lost on the way out %d, on the way back %d\n", n.Outward, n.Returning)
	}
	b.WriteString("\n")
	if p.Interrupted {
		b.WriteString("interrupted; these are the figures so far\n")
	}
	for _, note := range p.Notes {
		b.WriteString("note: " + note + "\n")
	}
	b.WriteString(p.verdict() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func orEmpty(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func inMilliseconds(ms float64) string { return fmt.Sprintf("%.3g ms", ms) }
