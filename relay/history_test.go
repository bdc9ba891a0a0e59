package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// whats are an allocation's moments in one line.
func whats(h *history, id uint64) string {
	var all []string
	for _, m := range h.of(id) {
		all = append(all, fmt.Sprintf("%s×%d", m.what, m.times))
	}
	return fmt.Sprint(all)
}

// A long call among many is still known from its beginning, because what it repeats takes no room.
func TestHistoryOfLongCalls(t *testing.T) {
	const calls = 10_000
	var h history
	for id := range uint64(calls) {
		h.add(deed{allocation: id + 1, what: "created"}, 1)
		h.add(deed{allocation: id + 1, what: "bound", channel: 0x4000}, 2)
	}
	for hour := range 20 {
		for id := range uint64(calls) {
			h.add(deed{allocation: id + 1, what: "refreshed", lifetime: time.Minute}, 3)
			h.add(deed{allocation: id + 1, what: "bound", channel: 0x4000}, 4)
		}
		if got, want := whats(&h, 7), fmt.Sprintf("[created×1 bound×%d refreshed×%d]", hour+2, hour+1); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	h.add(deed{allocation: 7, what: "bound", channel: 0x4001}, 5)
	h.add(deed{allocation: 7, what: "ended"}, 6)
	if got, want := whats(&h, 7), "[created×1 bound×21 refreshed×20 bound×1 ended×1]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What is packed is unpacked as it was, and what differs in anything differs packed.
func TestHistoryKeepsAll(t *testing.T) {
	if size := unsafe.Sizeof(kept{}); size > 80 {
		t.Errorf("a moment takes %d bytes", size)
	}
	seen := make(map[packed]bool)
	deeds := []deed{
		{allocation: 1, what: "bound"},
		{allocation: 2, what: "bound"},
		{allocation: 1, what: "ended"},
		{allocation: 1, what: "ended", cause: "refresh"},
		{allocation: 1, what: "refused", method: "refresh", cause: "stale nonce", code: 438},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("198.51.100.7:9")},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("198.51.100.7:10")},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("[2001:db8::7]:9"), more: 3},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("[::]:0")},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("[::]:9")},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("0.0.0.0:0")},
		{allocation: 1, what: "bound", peer: netip.MustParseAddrPort("[::ffff:198.51.100.7]:9")}, // is refused, where 198.51.100.7 is not
		{allocation: 1, what: "bound", channel: 0x4FFF},
		{allocation: 1, what: "refreshed", lifetime: time.Hour},
		{allocation: 1, what: "refreshed", lifetime: 1<<32*time.Second - time.Second}, // a LIFETIME's largest
	}
	for _, d := range deeds {
		p := d.pack()
		if got := p.unpack(); got != d || seen[p] {
			t.Errorf("%+v is unpacked as %+v, seen before: %v", d, got, seen[p])
		}
		seen[p] = true
	}
}

// The record is bounded, whoever fills it, and what is left of an allocation is what came last.
func TestHistoryIsBounded(t *testing.T) {
	var h history
	const last = 5 * historyStripes * historyStripe / 3
	for n := range uint64(2 * last) {
		h.add(deed{allocation: n/2 + 1, what: []string{"created", "ended"}[n%2]}, 1)
	}
	for i := range h.stripes {
		if s := &h.stripes[i]; len(s.latest) == 0 || len(s.latest) > historyStripe {
			t.Fatalf("moments of %d allocations", len(s.latest))
		}
	}
	if first, newest := whats(&h, 1), whats(&h, last); first != "[]" || newest != "[created×1 ended×1]" {
		t.Errorf("of the first %s, of the newest %s", first, newest)
	}
	// One that fills its stripe alone, and never the same.
	for n := range uint16(2*historyStripe + 5) {
		h.add(deed{allocation: last, what: "bound", channel: n}, 1)
	}
	found := h.of(last)
	if len(found) != historyShown || found[0].channel != 2*historyStripe+5-historyShown || !slices.IsSortedFunc(found, func(a, b moment) int { return int(a.channel) - int(b.channel) }) {
		t.Errorf("%d moments from %d", len(found), found[0].channel)
	}
	if s := &h.stripes[last%historyStripes]; len(s.latest) != 1 {
		t.Errorf("%d allocations are remembered", len(s.latest))
	}
}
