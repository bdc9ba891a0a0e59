package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// Counts of packets. Sent = Received + Lost.
type Counts struct {
	Sent, Received int
	Lost           int // not back, or not intact
	LostOutward    int // of these, never seen by B; with an echo peer all of them
	LostReturning  int // of these, returned by B
	Duplicates     int // came back once more
	Reordered      int // came back after a later one (RFC 4737)
	Corrupted      int // came back changed
}

// LossPercent is the share of sent packets that did not come back.
func (c Counts) LossPercent() float64 {
	if c.Sent == 0 {
		return 0
	}
	return 100 * float64(c.Lost) / float64(c.Sent)
}

// RoundTrip times; all zero when nothing came back. Jitter is RFC 3550's over
// the round trip.
type RoundTrip struct {
	Min, Mean, P50, P90, P99, Max, Jitter time.Duration
}

// Allocation is one side of the probe.
type Allocation struct {
	Name                   string // "A" or "B"
	Transport              Transport
	Local, Mapped, Relayed netip.AddrPort // Mapped: as the server sees Local; may be invalid
	Took                   time.Duration  // Allocate with its challenge
}

// Result of a probe that got as far as sending.
type Result struct {
	URI             URI
	Server          netip.AddrPort
	Realm, Software string // as the server named them, may be empty
	User            string // as sent, empty when the server wanted none
	Channels        bool   // false: Send and Data indications
	Allocations     []Allocation
	Echo            netip.AddrPort // invalid without an echo peer

	Size        int           // bytes
	Interval    time.Duration // as asked
	Elapsed     time.Duration // from the first packet to the last wait
	Counts      Counts
	RoundTrip   RoundTrip
	Interrupted bool   // ended by the caller before all packets were sent
	Broken      string // why it ended by itself before that; empty if it did not
}

// Covers says what a round trip of this result is made of.
func (r *Result) Covers() string {
	if r.Echo.IsValid() {
		return "A → server → echo peer → server → A: one round trip to the server and one from there to the peer"
	}
	return "A → server → B → server → A: two passes through the relay, about two network round trips"
}

// Notes are remarks about what looks like a misconfiguration.
func (r *Result) Notes() []string {
	var notes []string
	if r.Counts.Sent > 0 && r.Counts.Received == 0 {
		if r.Echo.IsValid() {
			notes = append(notes, fmt.Sprintf("nothing came back: does %s return UDP packets, and can the server reach it?", r.Echo))
		} else {
			notes = append(notes, "nothing came back: some servers drop packets between their own relayed addresses without a word (coturn needs --allow-loopback-peers, a server behind NAT needs one that turns packets around)")
		}
	}
	if len(r.Allocations) > 0 {
		relayed, server := r.Allocations[0].Relayed.Addr(), r.Server.Addr()
		outside := server.IsGlobalUnicast() && !server.IsPrivate()
		if relayed.IsUnspecified() || outside && (relayed.IsPrivate() || relayed.IsLoopback()) {
			notes = append(notes, fmt.Sprintf("the relayed address %s cannot be reached from outside: the server's public address is not configured", relayed))
		}
	}
	return notes
}

// Thresholds decide what is good.
type Thresholds struct {
	Loss float64       // percent of the packets that may get lost
	P99  time.Duration // longest 99th percentile of the round trip; 0: any
}

// Faults says what is worse than the thresholds; empty means good.
func (r *Result) Faults(t Thresholds) []string {
	var faults []string
	if loss := r.Counts.LossPercent(); loss > t.Loss {
		faults = append(faults, fmt.Sprintf("loss %.4g %% is above %.4g %%", loss, t.Loss))
	}
	if p99 := r.RoundTrip.P99; t.P99 > 0 && p99 > t.P99 {
		faults = append(faults, fmt.Sprintf("p99 %v is above %v", p99.Round(time.Microsecond), t.P99))
	}
	if r.Broken != "" {
		faults = append(faults, r.Broken)
	}
	return faults
}
