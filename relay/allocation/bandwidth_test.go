package allocation

import (
	"testing"
	"time"
)

// admitted offers packets of size bytes at an even rate in bits/s, for 10 s, and returns the rate that passed.
func admitted(h *hand, table *Table, size, offered int, admit func(bytes int, now Time) bool) int {
	const seconds = 10
	passed := 0
	count := offered * seconds / (size * 8)
	for range count {
		h.move(seconds * time.Second / time.Duration(count))
		if admit(size, table.Now()) {
			passed += size * 8
		}
	}
	return passed / seconds
}

func TestBandwidth(t *testing.T) {
	for _, c := range []struct {
		name          string
		max, user     int64
		offered, size int
		want          int // bits/s that pass
	}{
		{"below", 2e6, 0, 1_900_000, 1000, 1_900_000},
		{"twice", 2e6, 0, 4_000_000, 1000, 2_000_000},
		{"of the user", 0, 1e6, 4_000_000, 200, 1_000_000},
		{"the lower one of two", 2e6, 1e6, 4_000_000, 200, 1_000_000},
		{"packets larger than the burst", 1e5, 0, 1_000_000, 12_500, 100_000},
		{"the highest", MaxBandwidth, 0, 10_000_000, 1000, 10_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h hand
			table := newTable(t, &h, func(o *Options) { o.MaxBandwidth, o.UserBandwidth = c.max, c.user })
			a := create(t, table, request(1))
			for _, admit := range []func(int, Time) bool{a.AdmitUp, a.AdmitDown} {
				got := admitted(&h, table, c.size, c.offered, admit)
				if got < c.want*99/100 || got > c.want*104/100+2*c.size*8/10 { // the burst is 2.5 % of 10 s
					t.Errorf("%d bits/s of %d, want %d", got, c.offered, c.want)
				}
			}
			up, down, _ := a.BandwidthDropped()
			if over := c.offered > c.want; (up.Packets > 0) != over || (down.Packets > 0) != over {
				t.Errorf("dropped %v, %v", up, down)
			}
		})
	}
}

// Empty packets are not free.
func TestBandwidthOfEmptyPackets(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.MaxBandwidth = 1e6 })
	a := create(t, table, request(1))
	passed := 0
	for range 100_000 {
		if a.AdmitUp(0, table.Now()) {
			passed++
		}
	}
	if want := 1_000_000 / 4 / (leastPacket * 8); passed < want || passed > want+2 {
		t.Errorf("%d at once, want %d", passed, want)
	}
}

// A user's bandwidth is shared by all allocations of the account, and by nobody else.
func TestBandwidthOfUser(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.UserBandwidth = 1e6 })
	under := func(n int, user, account string) *Allocation {
		r := request(n)
		r.User, r.Account = user, account
		return create(t, table, r)
	}
	first, second, stranger := under(1, "1:alice", ":alice"), under(2, "2:alice", ":alice"), under(3, "bob", "")
	for first.AdmitUp(1000, table.Now()) {
	}
	if second.AdmitUp(1000, table.Now()) {
		t.Error("another allocation of the account has bandwidth of its own")
	}
	if !second.AdmitDown(1000, table.Now()) {
		t.Error("the other direction is used up as well")
	}
	if !stranger.AdmitUp(1000, table.Now()) {
		t.Error("another user has no bandwidth")
	}
	table.Close()
	if len(table.throttles) != 0 {
		t.Errorf("%d users without allocations", len(table.throttles))
	}
}

func TestBandwidthDoesNotAllocate(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.MaxBandwidth, o.UserBandwidth = 1e6, 1e6 })
	a := create(t, table, request(1))
	if n := testing.AllocsPerRun(1000, func() {
		a.AdmitUp(1000, table.Now())
		a.AdmitDown(1000, table.Now())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	without := create(t, newTable(t, &h, nil), request(1))
	if _, _, limited := without.BandwidthDropped(); limited || !without.AdmitUp(1<<30, 0) {
		t.Error("without limits there is one")
	}
}

func BenchmarkAdmit(b *testing.B) {
	for _, limit := range []int64{0, MaxBandwidth} {
		name := "off"
		if limit > 0 {
			name = "own and user"
		}
		b.Run(name, func(b *testing.B) {
			var h hand
			table := newTable(b, &h, func(o *Options) { o.MaxBandwidth, o.UserBandwidth = limit, limit })
			a := create(b, table, request(1))
			var now Time
			for b.Loop() {
				now += 1000
				a.AdmitUp(200, now)
			}
		})
	}
}

// A stream takes what packets leave of their user's bandwidth, and drops none of them.
func TestPacketsGoAheadOfStreams(t *testing.T) {
	var h hand
	table := newTable(t, &h, func(o *Options) { o.UserBandwidth = 2e6 })
	packets := create(t, table, request(1))
	wanted := request(2)
	wanted.TCP = true
	stream := create(t, table, wanted)
	for _, way := range []struct {
		up    bool
		admit func(int, Time) bool
	}{{true, packets.AdmitUp}, {false, packets.AdmitDown}} {
		paces := stream.Paces(way.up)
		if len(paces) != 1 {
			t.Fatalf("%d limits, want that of the user", len(paces))
		}
		streamed, dropped := 0, 0
		for range 10_000 { // ms
			h.move(time.Millisecond)
			if !way.admit(125, table.Now()) { // 1 Mbit/s
				dropped++
			}
			for piece := paces[0].Piece(1 << 20); paces[0].Admit(piece, table.Now()) == 0; {
				streamed += piece
			}
		}
		if rate := streamed * 8 / 10; dropped > 0 || rate < 980_000 || rate > 1_040_000 {
			t.Errorf("up %v: %d packets dropped, %d bits/s of the stream, want none and what they leave", way.up, dropped, rate)
		}
	}
	if packets.Paces(true) == nil || create(t, newTable(t, &h, nil), request(3)).Paces(true) != nil {
		t.Error("limits where there are none, or none where there are")
	}
}
