package lab

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What the relay says of a call's streams is what happened to them on the way from their senders, packet by packet, and
// what the browsers say of it. A way from the relay to a receiver is none of a sender's business.
func TestBrowsersAgree(t *testing.T) {
	w := newWatched(t)
	table := []string{fmt.Sprintf("%-15s %-14s | %13s %5s %8s %6s | %14s %8s | %14s %5s %8s", "", "",
		"dropped: up", "relay", "receiver", "down", "jitter: relay", "receiver", "kbit/s: relay", "truth", "receiver")}
	for _, test := range []struct {
		name    string
		of      string // whose line
		way     way
		plan    plan
		packets uint64 // of sound, 50 a second
	}{
		{"clean", user, up, plan{}, 250},
		{"uplink loss", user, up, plan{drop: 50}, 400},
		{"uplink jitter", user, up, plan{spread: 40 * time.Millisecond, twice: 20}, 300},
		{"downlink loss", callee, down, plan{drop: 50}, 250},
		{"outage", user, up, plan{drop: 1000}, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer w.part(t)()
			var began, ended time.Time
			first, all := w.during(test.packets, func() {
				w.lines[test.of].does(test.way, test.plan)
				began = time.Now()
			}, func() {
				ended = time.Now()
				w.lines[test.of].does(test.way, plan{})
			})
			for _, f := range all {
				table = append(table, fmt.Sprintf("%-15s %v", test.name, &f))
				f.agrees(t, test.name == "outage")
				switch hit := f.from == test.of; {
				case test.name == "clean":
					f.flows(t)
				case test.way == down:
					if f.to == test.of && f.down.dropped == 0 || f.lost != 0 {
						t.Errorf("%v: %d packets were dropped behind the relay; it says %d", f.leg, f.down.dropped, f.lost)
					}
				case test.plan.spread != 0 && hit:
					if f.up.overtaken == 0 || f.up.twice == 0 || f.jitter < 5 {
						t.Errorf("%v: %d packets were overtaken, %d came twice, the jitter is %.1f ms: the line did nothing", f.leg, f.up.overtaken, f.up.twice, f.jitter)
					}
				case (f.up.dropped != 0) != hit:
					t.Errorf("%v: %d packets were dropped", f.leg, f.up.dropped)
				}
				if test.name == "outage" && f.from == test.of {
					f.outlasts(t, ended.Sub(began))
				}
			}
			if test.name == "uplink loss" {
				w.watch()
				w.reported(first, all)
			}
		})
	}
	t.Run("netem", func(t *testing.T) {
		defer w.part(t)()
		needNetem(t)
		var dropped uint64
		_, all := w.during(350, func() {
			w.router.network.command("tc", "-n", w.router.name, "qdisc", "add", "dev", "relays", "root", "netem", "delay", "20ms", "20ms", "loss", "5%")
		}, func() { dropped = w.router.endNetem("relays") })
		var lost int64
		for _, f := range all {
			table = append(table, fmt.Sprintf("%-15s %v", "netem", &f))
			if f.lost != f.received || f.lost == 0 {
				t.Errorf("%v: the relay says %d lost, the receiver %d", f.leg, f.lost, f.received)
			}
			f.jittersAgree(t)
			lost += f.lost
		}
		if n := uint64(lost); n > dropped || n < dropped/2 { // the rest are retransmissions, reports and checks
			t.Errorf("%d packets were dropped on the way to the relay, which misses %d of the four streams", dropped, lost)
		}
	})
	t.Log("\n" + strings.Join(table, "\n"))
}

// needNetem skips the test where the kernel has no such queueing discipline.
func needNetem(t *testing.T) {
	t.Helper()
	n := newNetwork(t)
	if out, err := exec.Command("tc", "-n", n.host("try").name, "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%").CombinedOutput(); err != nil {
		t.Skipf("there is no netem here (sch_netem of the kernel, tc of Debian's iproute2), so a program alone did what a line does to packets: %v: %s", err, out)
	}
}

// endNetem ends what netem does to what leaves by dev, and tells how many packets it dropped. It stays, for those that
// are still in it.
func (h *host) endNetem(dev string) (dropped uint64) {
	h.network.t.Helper()
	h.network.command("tc", "-n", h.name, "qdisc", "change", "dev", dev, "root", "netem", "delay", "0ms", "loss", "0%")
	var list []struct {
		Kind  string
		Drops uint64
	}
	out := h.network.command("tc", "-n", h.name, "-s", "-j", "qdisc", "show", "dev", dev)
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Kind != "netem" {
		h.network.t.Fatalf("%v: %s", err, out)
	}
	return list[0].Drops
}

// watch keeps pictures of the status page with the call, and what the command line says of it.
func (w *watched) watch() {
	w.t.Helper()
	out, err := w.relay.host.hairpin(w.t.Context(), "sessions")
	if err != nil {
		w.t.Error(err)
	}
	w.t.Logf("hairpin sessions\n%s", out)
	lend(w.t, w.relay.host, w.browser.host, admin)
	tab := w.browser.tab()
	for name, path := range map[string]string{"call": "", "caller": fmt.Sprintf("?id=%d", w.ids[user])} {
		tab.open("http://" + admin + "/" + path)
		eventually(w.t, "the page draws", func() (is bool) {
			tab.eval("[...document.querySelectorAll('#plots path')].some((p) => (p.getAttribute('d')?.match(/L/g) ?? []).length > 2)", &is)
			return is
		})
		for _, scheme := range []string{"light", "dark"} {
			tab.shot(name, scheme)
		}
	}
}

func (f *figures) String() string {
	return fmt.Sprintf("%-14s | %13d %5d %8d %6d | %14.1f %8.1f | %14.0f %5.0f %8.0f", f.leg,
		f.up.dropped, f.lost, f.received, f.down.dropped, f.jitter, f.theirs, f.bitrate[0], f.bitrate[1], f.bitrate[2])
}

// agrees holds what is counted against the truth, and against what the receiver counts.
func (f *figures) agrees(t *testing.T, outage bool) {
	t.Helper()
	for _, counted := range []struct {
		what         string
		relay, truth uint64
	}{
		{"lost", uint64(f.lost), f.up.dropped},
		{"arrived again", f.twice, f.up.twice},
		{"were overtaken", f.reorders, f.up.overtaken},
	} {
		if counted.relay != counted.truth {
			t.Errorf("%v: of packets that %s there were %d, the relay says %d", f.leg, counted.what, counted.truth, counted.relay)
		}
	}
	// A gap of more than some packets is a new beginning to Chromium, and none of them lost.
	if want := int64(f.up.dropped + f.down.dropped); f.received != want && !(outage && f.received < want) {
		t.Errorf("%v: %d packets did not reach the receiver, which says %d", f.leg, want, f.received)
	}
	f.jittersAgree(t)
}

func (f *figures) jittersAgree(t *testing.T) {
	t.Helper()
	if d := math.Abs(f.jitter - f.theirs); d > 5 && d > 0.3*f.theirs {
		t.Errorf("%v: the relay's jitter is %.1f ms, the receiver's %.1f ms", f.leg, f.jitter, f.theirs)
	}
}

// flows holds bitrates against each other.
func (f *figures) flows(t *testing.T) {
	t.Helper()
	for i, who := range []string{"truth", "receiver's"} {
		if other := f.bitrate[i+1]; math.Abs(f.bitrate[0]-other) > 0.1*other {
			t.Errorf("%v: the relay's bitrate is %.0f kbit/s, the %s %.0f kbit/s", f.leg, f.bitrate[0], who, other)
		}
	}
}

// outlasts: a time without packets is a stall, and the longest gap.
func (f *figures) outlasts(t *testing.T, outage time.Duration) {
	t.Helper()
	const slack = 100 // ms: packets of 20 ms of sound, and pictures of 50 ms
	gap, least := f.last.LongestGap, float64(outage.Milliseconds())-slack
	if f.stalls == 0 || f.stalled < least || gap < least || f.kind == "audio" && gap > least+10*slack {
		t.Errorf("%v: nothing arrived for %v, the relay says %d stalls of %.0f ms together, and a gap of %.0f ms", f.leg, outage, f.stalls, f.stalled, gap)
	}
	if uint64(f.last.LongestLoss) < f.up.dropped-1 {
		t.Errorf("%v: %d packets in a row were dropped, the relay says %d", f.leg, f.up.dropped, f.last.LongestLoss)
	}
}

// reported: what receivers report to the senders (RFC 3550 §6.4.1) comes to the same.
func (w *watched) reported(first moment, all []figures) {
	w.t.Helper()
	var told [4]int64
	eventually(w.t, "receivers have reported all that was lost", func() bool {
		same, ends := true, w.stats()
		for i, f := range all {
			told[i] = find(ends[f.from].Told, f.ssrc).Lost - find(first.ends[f.from].Told, f.ssrc).Lost
			same = same && told[i] == f.lost
		}
		return same
	})
}
