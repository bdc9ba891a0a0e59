package allocation

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// pipe is a connection that nobody reads.
type pipe struct{ Stream }

// mobile makes the n-th client's allocation, which may move.
func mobile(t testing.TB, table *Table, n int, change func(*Request)) *Allocation {
	t.Helper()
	r := request(n)
	r.Mobile = true
	if change != nil {
		change(r)
	}
	return create(t, table, r)
}

func (table *Table) moveTo(t testing.TB, id uint64, generation uint32, n int) (*Allocation, uint32) {
	t.Helper()
	a, issued, err := table.Move(&Move{ID: id, Generation: generation, FiveTuple: tuple(n), User: "user"}, table.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a, issued
}

// What a move is refused for, and that it changes nothing then.
func TestMoveRefused(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := mobile(t, table, 1, nil)
	create(t, table, request(2))
	still := create(t, table, request(3))
	table.moveTo(t, a.ID, 0, 10)
	for _, row := range []struct {
		name string
		move Move
		err  error
	}{
		{"no such allocation", Move{ID: 99, FiveTuple: tuple(4), User: "user"}, ErrGone},
		{"one that may not move", Move{ID: still.ID, FiveTuple: tuple(4), User: "user"}, ErrGone},
		{"a used ticket", Move{ID: a.ID, Generation: 0, FiveTuple: tuple(4), User: "user"}, ErrTicket},
		{"a ticket of the future", Move{ID: a.ID, Generation: 2, FiveTuple: tuple(4), User: "user"}, ErrTicket},
		{"where it is", Move{ID: a.ID, Generation: 1, FiveTuple: tuple(1), User: "user"}, ErrSamePlace},
		{"where it is expected", Move{ID: a.ID, Generation: 1, FiveTuple: tuple(10), User: "user"}, ErrSamePlace},
		{"somebody else", Move{ID: a.ID, Generation: 1, FiveTuple: tuple(4), User: "other"}, ErrOwner},
		{"somebody else repeats it", Move{ID: a.ID, Generation: 0, FiveTuple: tuple(10), User: "other"}, ErrOwner},
		{"a family that it hasn't", Move{ID: a.ID, Generation: 1, FiveTuple: tuple(4), User: "user", Family: IPv6}, ErrFamily},
		{"where somebody is", Move{ID: a.ID, Generation: 1, FiveTuple: tuple(2), User: "user"}, ErrMismatch},
	} {
		if _, _, err := table.Move(&row.move, table.Now()); !errors.Is(err, row.err) {
			t.Errorf("%s: %v, want %v", row.name, err, row.err)
		}
	}
	if _, issued := table.moveTo(t, a.ID, 0, 10); issued != 1 {
		t.Errorf("a retransmission got ticket %d, want 1", issued)
	}
	h.move(TicketRetention)
	if _, _, err := table.Move(&Move{ID: a.ID, FiveTuple: tuple(10), User: "user"}, table.Now()); !errors.Is(err, ErrTicket) {
		t.Errorf("a retransmission after %v: %v, want %v", TicketRetention, err, ErrTicket)
	}
	if _, err := table.Create(request(10), table.Now()); !errors.Is(err, ErrMismatch) {
		t.Errorf("Create where somebody is expected: %v, want ErrMismatch", err)
	}
	if got := table.Find(&a.FiveTuple, table.Now()); got != a {
		t.Errorf("the old five-tuple has %v", got)
	}
	ft := tuple(10)
	if got := table.Find(&ft, table.Now()); got != a {
		t.Errorf("the new five-tuple has %v", got)
	}
}

// An allocation takes along what it has: life, permissions, channels, credential, counts. Of those that it has been
// before, one stays in memory at most.
func TestMoveKeeps(t *testing.T) {
	var h hand
	var moves, died int
	table := newTable(t, &h, func(o *Options) {
		o.Moved = func(from, to *Allocation) {
			moves++
			if from.Relayed != to.Relayed || from.ID != to.ID || from.Why() != Moved {
				t.Errorf("moved from %v to %v, why %v", from, to, from.Why())
			}
		}
		o.Died = func(a *Allocation) {
			died++
			if n := a.Counts(); n.Up.Packets != 11 {
				t.Errorf("died with %d packets, want 11", n.Up.Packets)
			}
		}
	})
	a := mobile(t, table, 1, func(r *Request) { r.Dual = true })
	peer := netip.MustParseAddrPort("192.0.2.1:50000")
	if err := a.Bind(0x4000, peer, table.Now()); err != nil {
		t.Fatal(err)
	}
	a.Credential.Store(&Credential{Name: "kid"})
	table.Refresh(a, 2*DefaultLifetime, table.Now())
	end := a.Expires()
	was := a
	var generation uint32
	for n := range 10 {
		was.Up.Add(1, 1)
		_, generation = table.moveTo(t, a.ID, generation, 100+n)
		ft := tuple(100 + n)
		is := table.FindSender(&ft, table.Now())
		if is == nil || is == was || is.FiveTuple != ft {
			t.Fatalf("move %d: the new five-tuple has %v", n, is)
		}
		if table.Find(&was.FiveTuple, table.Now()) != nil {
			t.Errorf("move %d: the old five-tuple is still served", n)
		}
		if got := table.FindRelayed(is.Relayed, table.Now()); got != is {
			t.Errorf("move %d: the relayed transport address leads to %v", n, got)
		}
		if was.Current(table.Now()) != is {
			t.Errorf("move %d: the old one doesn't know the new one", n)
		}
		if is.Expires() != end || !is.Permitted(peer.Addr(), table.Now()) || is.Channel(0x4000, table.Now()) == nil || is.Credential.Load().Name != "kid" {
			t.Errorf("move %d: something got lost", n)
		}
		// Who holds the old one may change it all the same.
		late := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + n)})
		if err := was.Permit([]netip.Addr{late}, table.Now()); err != nil || !is.Permitted(late, table.Now()) {
			t.Errorf("move %d: a permission for the old one is not the new one's: %v", n, err)
		}
		if n := is.rare.before.Load(); n.before.Load() != nil {
			t.Error("more than one of those before stay")
		}
		was = is
	}
	was.Up.Add(1, 1)
	if moves != 10 || table.Count() != 1 || len(table.wheelMembers()) != 2 || len(table.mobile) != 1 {
		t.Errorf("%d moves, %d counted, %d in the wheel, %d mobile", moves, table.Count(), len(table.wheelMembers()), len(table.mobile))
	}
	table.moveTo(t, a.ID, generation, 200) // expected somewhere at its end
	h.move(2 * DefaultLifetime)
	table.Sweep(table.Now())
	ft := tuple(200)
	if died != 1 || table.Count() != 0 || len(table.mobile) != 0 || table.findTuple(&ft) != nil || table.FindSender(&ft, table.Now()) != nil {
		t.Errorf("%d died, %d counted, %d mobile; the place where it was expected has %v", died, table.Count(), len(table.mobile), table.findTuple(&ft))
	}
	create(t, table, request(200))
}

// What the end of a connection does to the allocation on it.
func TestDisconnect(t *testing.T) {
	for _, row := range []struct {
		name    string
		mobile  bool
		move    bool // another five-tuple has asked for it
		which   int  // whose connection ends: the 1st client's, or the one that it goes to
		lives   time.Duration
		atPlace int // where its client is then
	}{
		{"may not move", false, false, 1, 0, 1},
		{"may move", true, false, 1, CutLifetime, 1},
		{"is about to move", true, true, 1, DefaultLifetime, 10},
		{"stays, after all", true, true, 10, DefaultLifetime, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h hand
			table := newTable(t, &h, nil)
			conns := map[int]*pipe{1: {}, 10: {}}
			a := mobile(t, table, 1, func(r *Request) { r.Mobile, r.Client.Stream = row.mobile, conns[1] })
			if row.move {
				m := Move{ID: a.ID, FiveTuple: tuple(10), User: "user", Client: Client{Stream: conns[10]}}
				if _, _, err := table.Move(&m, table.Now()); err != nil {
					t.Fatal(err)
				}
			}
			ft := tuple(row.which)
			table.Disconnect(&ft, &pipe{}) // another one of the same five-tuple
			table.Disconnect(&ft, conns[row.which])
			at := tuple(row.atPlace)
			if row.lives > 0 {
				h.move(row.lives - 1)
				if got := table.Find(&at, table.Now()); got == nil || got.Client.Stream != Stream(conns[row.atPlace]) {
					t.Errorf("just before its end the five-tuple has %v", got)
				}
				h.move(1)
			}
			if got := table.Find(&at, table.Now()); got != nil {
				t.Errorf("at its end the five-tuple has %v", got)
			}
			h.move(time.Second)
			table.Sweep(table.Now())
			for _, n := range []int{1, 10} {
				if ft := tuple(n); table.findTuple(&ft) != nil {
					t.Errorf("the %d. five-tuple leads to what is over", n)
				}
			}
		})
	}
}

// A connection that ends while its client is under way: the ticket is good for CutLifetime, and goes to its new place at
// once, since nothing is served at the old one.
func TestMoveAfterDisconnect(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	conn := &pipe{}
	a := mobile(t, table, 1, func(r *Request) { r.Client.Stream = conn })
	table.Disconnect(&a.FiveTuple, conn)
	b, issued := table.moveTo(t, a.ID, 0, 10)
	if b.FiveTuple != tuple(10) || table.Find(&a.FiveTuple, table.Now()) != nil {
		t.Errorf("it is at %v", b.FiveTuple)
	}
	if again, second := table.moveTo(t, a.ID, 0, 10); again != b || second != issued {
		t.Errorf("a retransmission got %v and ticket %d, want %v and %d", again, second, b, issued)
	}
	table.Refresh(b, DefaultLifetime, table.Now())
	h.move(CutLifetime)
	if table.Find(&b.FiveTuple, table.Now()) != b {
		t.Error("it ended after all")
	}
}

// Readers find an allocation by its relayed transport address at each moment of its moves, and through whatever they
// held before.
func TestMoveWhileRead(t *testing.T) {
	var h hand
	table := newTable(t, &h, nil)
	a := mobile(t, table, 1, func(r *Request) { r.Dual = true })
	now := table.Now()
	peer := netip.MustParseAddrPort("192.0.2.1:50000")
	if err := a.Bind(0x4000, peer, now); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			held := a
			for {
				select {
				case <-done:
					return
				default:
				}
				for f := IPv4; f <= IPv6; f++ {
					if found := table.FindRelayed(a.Half(f).Relayed, now); found == nil || found.Family() != f {
						t.Errorf("%v has %v", a.Half(f).Relayed, found)
						return
					}
				}
				found := table.FindRelayed(a.Relayed, now)
				if held = held.Current(now); held == nil || !found.Permitted(peer.Addr(), now) || found.ChannelTo(peer, now) == nil {
					t.Error("what an allocation has is not there for a moment")
					return
				}
				found.Expected()
				found.Up.Add(1, 1)
				found.Counts()
				if err := found.Permit([]netip.Addr{peer.Addr()}, now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var generation uint32
	for n := range 3000 {
		_, generation = table.moveTo(t, a.ID, generation, 10+n)
		ft := tuple(10 + n)
		if got := table.FindSender(&ft, now); got == nil || got.FiveTuple != ft {
			t.Fatalf("move %d: %v", n, got)
		}
	}
	close(done)
	reading.Wait()
}
