package allocation

import (
	"errors"
	"time"
)

// Mobility (RFC 8016): a client that holds a ticket takes its allocation to another
// five-tuple. What of an allocation the data plane reads without a lock never changes,
// so a move makes new halves that take over everything but the client's address:
//
//	at the old five-tuple ──Move──► the old one served, the new one pending ──arrive──► at the new one
//	    │                             │        ▲                │   (data came there, or the
//	 Disconnect                    Move again ─┘             Disconnect   old connection ended)
//	    ▼                                                       ▼
//	cut: 30 s to move                                 the old one as before
//
// Whoever still holds an old half finds it expired and asks Current. A ticket is an ID
// and a generation; only the last one issued opens anything, and the one before it the
// answer to its own retransmission.

const (
	// TicketRetention is how long a used ticket is recognised in a retransmission
	// (RFC 8016 §3.2.2: at least 30 s).
	TicketRetention = 30 * time.Second
	// CutLifetime is how long an allocation that may move outlives its connection.
	CutLifetime = 30 * time.Second
)

// What Move may answer instead of an allocation, beside ErrMismatch.
var (
	ErrGone      = errors.New("the ticket's allocation is over")                // 437
	ErrTicket    = errors.New("the ticket was used")                            // 400
	ErrSamePlace = errors.New("the ticket's allocation is at this five-tuple")  // 400
	ErrElsewhere = errors.New("the ticket's allocation is at another listener") // 405
	ErrOwner     = errors.New("the ticket's allocation is another user's")      // 441
)

// Move says where an allocation is to go. The control plane has authenticated the client
// and opened the ticket.
type Move struct {
	ID         uint64 // of the allocation, as the ticket says
	Generation uint32 // of the ticket
	FiveTuple  FiveTuple
	Client     Client
	User       string
	Family     Family // that it has to have; 0: whichever
	Stay       bool   // it has to be at Client.Listener already
}

// Move has an allocation's client expected at another five-tuple (RFC 8016 §3.2.2). The
// old one is served until data comes on the new one (FindSender). It returns the allocation as it is now and the
// generation of the ticket that replaces the used one; of a retransmission the same as
// before.
func (t *Table) Move(m *Move, now Time) (*Allocation, uint32, error) {
	t.moving.Lock()
	defer t.moving.Unlock()
	t.mu.Lock()
	r, err := t.moverLocked(m, now)
	if err != nil {
		t.mu.Unlock()
		return nil, 0, err
	}
	if r.last().any().FiveTuple == m.FiveTuple { // a retransmission
		defer t.mu.Unlock()
		return r.live(now), r.issued, nil
	}
	if m.Stay && r.any().Client.Listener != m.Client.Listener {
		t.mu.Unlock()
		return nil, 0, ErrElsewhere
	}
	stale, err := t.vacateLocked(&m.FiveTuple, now)
	var from, to *Allocation
	if err == nil {
		t.cancelLocked(r)
		t.expectLocked(r, m, now)
		if r.cut {
			from, to = t.settleLocked(r, now)
			r = to.rare
		}
	}
	a, issued := r.live(now), r.issued
	t.mu.Unlock()

	for _, s := range stale {
		t.died(s)
	}
	if err != nil {
		return nil, 0, err
	}
	t.moved(from, to)
	return a, issued, nil
}

// Expected returns where the client of a half is expected beside where it is, nil when
// it is nowhere else. Until it has shown at which of the two it is, it is sent to at both:
// RFC 8016 §3.2.2 has the old one served so long, and who left it before hears nothing
// there.
func (a *Allocation) Expected() *Allocation {
	if a.rare == nil {
		return nil
	}
	next := a.rare.arriving.Load()
	if next == nil {
		return nil
	}
	return next.halves[a.Family()-IPv4]
}

// last is where the client was last expected.
func (r *rare) last() *rare {
	if next := r.arriving.Load(); next != nil {
		return next
	}
	return r
}

// moverLocked finds what a ticket is for and checks it in the order of RFC 8016 §3.2.2.
func (t *Table) moverLocked(m *Move, now Time) (*rare, error) {
	r := t.mobile[m.ID]
	if r == nil || r.live(now) == nil {
		return nil, ErrGone
	}
	last := r.last()
	there := last.any().FiveTuple == m.FiveTuple
	switch {
	case there && m.Generation+1 == last.came && now.Sub(last.cameAt) < TicketRetention:
	case m.Generation != r.issued:
		return nil, ErrTicket
	case there || r.any().FiveTuple == m.FiveTuple:
		return nil, ErrSamePlace
	}
	switch {
	case r.any().User != m.User:
		return nil, ErrOwner
	case m.Family != 0 && !r.live(now).Serves(m.Family, now):
		return nil, ErrFamily
	}
	return r, nil
}

// expectLocked makes the halves that are to take the place of r's.
func (t *Table) expectLocked(r *rare, m *Move, now Time) {
	next := &rare{token: r.token, reserved: r.reserved, mobile: true, limit: r.limit, came: m.Generation + 1, cameAt: now}
	next.pending.Store(true)
	for i, old := range r.halves {
		if old == nil {
			continue
		}
		next.halves[i] = &Allocation{
			ID: old.ID, FiveTuple: m.FiveTuple, Client: m.Client, User: old.User, Socket: old.Socket, Relayed: old.Relayed,
			TransactionID: old.TransactionID, Lifetime: old.Lifetime, CreatedAt: old.CreatedAt, rare: next, cut: old.cut,
		}
	}
	r.arriving.Store(next)
	r.issued++
	t.byTuple.insert(t.key.tuple(&m.FiveTuple), next.any())
}

// cancelLocked has nobody expected any longer.
func (t *Table) cancelLocked(r *rare) {
	next := r.arriving.Swap(nil)
	if next == nil {
		return
	}
	next.pending.Store(false)
	t.byTuple.remove(t.key.tuple(&next.any().FiveTuple), next.any())
}

// arrive completes the move to where a half is pending.
func (t *Table) arrive(a *Allocation, now Time) {
	t.moving.Lock()
	defer t.moving.Unlock()
	t.mu.Lock()
	r := t.mobile[a.ID]
	if r == nil || r.arriving.Load() != a.rare || r.live(now) == nil {
		t.mu.Unlock()
		return
	}
	from, to := t.settleLocked(r, now)
	t.mu.Unlock()
	t.moved(from, to)
}

// settleLocked lets what is arriving take r's place, and returns a half of each that
// correspond. Readers meet the old halves or the new ones, and never none: what they
// would miss by holding an old one that is over, Current tells them.
func (t *Table) settleLocked(r *rare, now Time) (from, to *Allocation) {
	next := r.arriving.Swap(nil)
	next.issued = r.issued
	for i, old := range r.halves {
		if old == nil {
			continue
		}
		next.past[i] = r.past[i]
		if before := r.before.Load(); before != nil {
			next.past[i].add(before.halves[i].counted())
		}
	}
	next.trail.Store(r.trail.Load().from(r.any()))
	next.before.Store(r)
	r.before.Store(nil) // or every place that it ever was at would stay in memory

	r.lockHalves() // permissions and channels that come from now on go to the new halves
	for i, old := range r.halves {
		if old != nil {
			next.halves[i].inherit(old)
		}
	}
	r.heir.Store(next)
	r.unlock()

	entry := next.any()
	for i, old := range r.halves {
		if old == nil {
			continue
		}
		fresh := next.halves[i]
		if old.ended {
			fresh.ended = true
			continue
		}
		from, to = old, fresh
		fresh.expires.Store(old.expires.Load())
		t.byRelayed.replace(t.key.relayed(old.Relayed), old, fresh)
		t.wheel.take(old)
		t.wheel.put(fresh, now)
	}
	if entry.ended {
		t.byTuple.replace(t.key.tuple(&entry.FiveTuple), entry, to)
	}
	next.pending.Store(false)
	t.mobile[to.ID] = next
	for _, old := range r.halves {
		if old == nil {
			continue
		}
		t.byTuple.remove(t.key.tuple(&old.FiveTuple), old)
		if !old.ended {
			old.ended, old.why = true, Moved
			old.expires.Store(0)
		}
	}
	return from, to
}

// inherit takes over what an allocation has come to have in its life. Both sets go on
// being shared until one of them is replaced.
func (a *Allocation) inherit(old *Allocation) {
	a.permissions.Store(old.permissions.Load())
	a.channels.Store(old.channels.Load())
	a.Credential.Store(old.Credential.Load())
	a.UpMedia.Follow(&old.UpMedia)
	a.DownMedia.Follow(&old.DownMedia)
}

// Trail is how often an allocation's client has moved, and from where. It is immutable; nil is that of who never has.
type Trail struct {
	Moves  uint64
	Latest []FiveTuple // where it was before, in that order, TrailPlaces at most
}

// TrailPlaces is how many places a Trail has room for: enough for a day between two networks to be understood.
const TrailPlaces = 8

// Trail returns where the client was before it was where a has it; nil: nowhere else.
func (a *Allocation) Trail() *Trail {
	if a.rare == nil {
		return nil
	}
	return a.rare.trail.Load()
}

// from returns the trail of who has followed t and now leaves a.
func (t *Trail) from(a *Allocation) *Trail {
	next := &Trail{Moves: 1}
	if t != nil {
		next.Moves = t.Moves + 1
		next.Latest = append(next.Latest, t.Latest[max(0, len(t.Latest)-TrailPlaces+1):]...)
	}
	next.Latest = append(next.Latest, a.FiveTuple)
	return next
}

func (t *Table) moved(from, to *Allocation) {
	if to != nil && t.options.Moved != nil {
		t.options.Moved(from, to)
	}
}

// Disconnect says that the connection of a five-tuple has ended, and with it the
// allocation (RFC 8656 §3.1), unless it may move: then it waits CutLifetime for its client
// to come back by another one, or goes at once where that is expected.
func (t *Table) Disconnect(ft *FiveTuple, connection Stream) {
	a := t.findTuple(ft)
	// A later connection may have the same five-tuple.
	if a == nil || a.Client.Stream != connection {
		return
	}
	now := t.Now()
	if !a.Mobile() {
		if t.Find(ft, now) != nil { // else it has expired, and is the sweeper's
			t.Delete(a, ConnectionClosed)
		}
		return
	}
	t.moving.Lock()
	defer t.moving.Unlock()
	t.mu.Lock()
	r := t.mobile[a.ID]
	var from, to *Allocation
	switch {
	case r == nil || r.live(now) == nil:
	case r.arriving.Load() == a.rare: // it closed what it was to move to
		t.cancelLocked(r)
	case r != a.rare: // it has gone already
	case r.arriving.Load() != nil:
		from, to = t.settleLocked(r, now)
	default:
		r.cut = true
		for h := range r.any().Halves(now) {
			if end := now.Add(CutLifetime); end < h.Expires() {
				t.extendLocked(h, end, now)
			}
		}
	}
	t.mu.Unlock()
	t.moved(from, to)
}
