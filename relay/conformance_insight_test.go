package relay_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// What the operator is told of single allocations, and what of the streams that have ended.

// rtp makes an RTP packet without extensions (RFC 3550 §5.1) of 20 ms at 48 kHz.
func rtp(ssrc uint32, sequence uint16) []byte {
	b := make([]byte, 12+80)
	b[0], b[1] = 0x80, 111
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], uint32(sequence)*960)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

// only returns the one live allocation of a user.
func only(t *testing.T, s *served, user string) (found relay.AllocationInfo) {
	t.Helper()
	n := 0
	s.Allocations(-1, func(a relay.AllocationInfo) bool {
		if a.User == user {
			found = a
			n++
		}
		return true
	})
	if n != 1 {
		t.Fatalf("%s has %d allocations", user, n)
	}
	return found
}

// told is a history in one line.
func told(s *served, id uint64) string {
	var all []string
	for _, m := range s.History(id) {
		text := m.What + " " + m.Detail
		if m.Times > 1 {
			text += fmt.Sprintf(" ×%d", m.Times)
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestConformanceHistory(t *testing.T) {
	s := conforming(t, nil)
	a := s.call(t, overUDP)
	a.allocate()
	id := only(t, s, "alice").ID
	self := a.relayed
	a.permit(self)
	a.bind(0x4000, self)
	a.bind(0x4000, self)
	a.request(stun.MethodRefresh)
	outside := netip.MustParseAddrPort("10.0.0.1:9")
	a.request(stun.MethodCreatePermission, peer(outside))
	a.with("alice", "wrong").ask(a.with("alice", "wrong").signed(stun.MethodRefresh)) // says nothing about her

	if !s.End(id) {
		t.Fatal("it could not be ended")
	}
	want := fmt.Sprintf("created for 10m0s; permitted %s; bound channel 0x4000 to %s ×2; refreshed for 10m0s; "+
		"refused create_permission: 403, the server's rules don't allow this peer (10.0.0.1); ended ended by the operator", self.Addr(), self)
	if got := told(s, id); got != want {
		t.Errorf("the history is\n%s\nwant\n%s", got, want)
	}
	if s.End(id) {
		t.Error("it could be ended twice")
	}
	if _, there := s.Allocation(id); there {
		t.Error("it is still found")
	}
	a.request(stun.MethodRefresh).want(t, 437)
	if s.History(id+1) != nil {
		t.Error("an allocation that never was has a history")
	}
}

// However much happens, an allocation shows the latest 32, and its neighbours stay.
func TestConformanceHistoryIsBounded(t *testing.T) {
	s := conforming(t, nil)
	a := s.call(t, overUDP)
	a.allocate()
	id := only(t, s, "alice").ID
	for i := range 40 { // each differs from the one before
		a.request(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 9)))
	}
	h := s.History(id)
	if len(h) != 32 || !strings.HasSuffix(h[31].Detail, "(10.0.0.39)") || !strings.HasSuffix(h[0].Detail, "(10.0.0.8)") {
		t.Errorf("%d moments: %+v", len(h), h)
	}
	if !slices.IsSortedFunc(h, func(a, b relay.Moment) int { return a.First.Compare(b.First) }) {
		t.Error("they are not in order")
	}
}

// A stream counts when it is over, with what its packets told.
func TestConformanceStreamTotals(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.Quality = quality.Full })
	a, b := s.call(t, overUDP), s.call(t, overUDP).as("bob", "builder")
	a.allocate()
	b.allocate()
	a.permit(b.relayed)
	b.permit(a.relayed)
	for i := range uint16(100) {
		if i%10 == 3 { // lost on the way to the relay
			continue
		}
		data := rtp(7, i)
		a.sendTo(b.relayed, data)
		b.wantData(a.relayed, data)
	}
	if n := s.Snapshot().Streams; n.Loss.Count != 0 {
		t.Errorf("a stream that lives was counted: %+v", n)
	}
	id := only(t, s, "alice").ID
	s.End(id)
	n := s.Snapshot().Streams
	if n.Loss.Count != 1 || n.Loss.Sum != 0.1 || n.Stalls.Count != 1 {
		t.Errorf("loss %+v, stalls %+v; want one stream with 0.1", n.Loss, n.Stalls)
	}
	if e := n.Loss.Exemplars; len(e) != 1 || e[0].Allocation != id || e[0].Value != 0.1 || time.Since(e[0].At) > time.Minute {
		t.Errorf("exemplars %+v", e)
	}
	for i, bound := range n.Loss.Bounds {
		if want := bound >= 0.1; (n.Loss.Buckets[i] == 1) != want {
			t.Errorf("bucket %v has %d", bound, n.Loss.Buckets[i])
		}
	}
}

// Who reads an allocation learns whether its media are looked at, which a reload changes.
func TestConformanceObserved(t *testing.T) {
	for mode, want := range map[quality.Mode]bool{quality.Full: true, quality.Off: false} {
		s := conforming(t, func(c *relay.Config) { c.Quality = mode })
		s.call(t, overUDP).allocate()
		if got := only(t, s, "alice").Observed; got != want || s.Snapshot().Quality != mode {
			t.Errorf("%s: observed %v, the server says %s", mode, got, s.Snapshot().Quality)
		}
	}
}
