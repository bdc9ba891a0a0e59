package allocation

import (
	"errors"
	"fmt"
	"time"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// ErrBusy is what Options.Open returns when somebody else on the host has the address.
var ErrBusy = errors.New("the transport address is in use by another socket of this host")

// openTries is how many addresses are drawn for one allocation when others on the host have them. With nine of ten ports
// in use one allocation of a thousand fails.
const openTries = 64

// Request says what Create shall make. The control plane has validated it.
type Request struct {
	FiveTuple     FiveTuple
	Client        Client
	User          string
	Account       string        // the beginning or end of User that quotas and bandwidth count, as the rest changes; empty: User
	Family        Family        // of the relayed transport address; ignored with Token
	TCP           bool          // a TCP allocation (RFC 6062), which has neither EVEN-PORT nor RESERVATION-TOKEN
	Dual          bool          // with an IPv6 address beside one of Family, which is IPv4; one of them will do
	Mobile        bool          // it may move
	EvenPort      bool          // EVEN-PORT
	Reserve       bool          // its R bit
	Token         *[8]byte      // RESERVATION-TOKEN; nil: none
	Lifetime      time.Duration // granted
	TransactionID [12]byte
}

// Create makes an allocation (RFC 8656 §7.2), or returns ErrMismatch,
// ErrUserQuota, ErrCapacity, ErrFamily, ErrToken or ErrSocket.
//
//	admit ──► seat ──────────────► settle ──► Born
//	            ▲ ErrBusy │ Open
//	            └─────────┘
//
// The lock is let go between the steps, so that nobody waits while a socket is
// opened; the allocation counts against the quotas from the first one on.
func (t *Table) Create(r *Request, now Time) (*Allocation, error) {
	r.Account = accountOf(r.User, cutOf(r))
	stale, err := t.admit(r, now)
	for _, s := range stale {
		t.died(s)
	}
	if err != nil {
		return nil, err
	}
	s, err := t.seats(r, now)
	var a *Allocation
	if err == nil {
		a, err = t.settle(r, &s, now)
	} else {
		t.mu.Lock()
		t.dismissLocked(r.Account)
		t.mu.Unlock()
	}
	if err == nil && t.options.Born != nil {
		t.options.Born(a)
	}
	return a, err
}

// admit counts a newcomer, unless there is no room for one. stale is what it found
// expired in its place.
func (t *Table) admit(r *Request, now Time) (stale []*Allocation, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if stale, err = t.vacateLocked(&r.FiveTuple, now); err != nil {
		return nil, err
	}
	if t.quotas.total > 0 && t.Count() >= t.quotas.total {
		return stale, ErrCapacity
	}
	if t.quotas.user > 0 && t.perUser[r.Account] >= t.quotas.user {
		return stale, ErrUserQuota
	}
	t.perUser[r.Account]++
	t.count.Add(1)
	return stale, nil
}

// vacateLocked makes room at a five-tuple by ending what is expired there. It returns
// ErrMismatch when somebody is there, or expected.
func (t *Table) vacateLocked(ft *FiveTuple, now Time) (stale []*Allocation, err error) {
	old := t.findTuple(ft)
	if old == nil {
		return nil, nil
	}
	if old.rare == nil {
		if !old.expired(now) {
			return nil, ErrMismatch
		}
		t.endLocked(old, Expired, now)
		return []*Allocation{old}, nil
	}
	if old.rare.pending.Load() || old.rare.live(now) != nil {
		return nil, ErrMismatch
	}
	return t.endAllLocked(old, Expired, now), nil
}

// dismissLocked is admit's inverse.
func (t *Table) dismissLocked(account string) {
	if n := t.perUser[account]; n > 1 {
		t.perUser[account] = n - 1
	} else {
		delete(t.perUser, account)
		delete(t.throttles, account)
	}
	t.count.Add(-1)
}

// seat is a relayed transport address with what is bound to it.
type seat struct {
	pool   *pool
	at     place
	socket *udp.Conn
	tcp    *TCPRelay // of a TCP allocation
	token  [8]byte   // of the port above it
}

// seats finds the relayed transport addresses, by family, both if r is Dual and both can
// be had. A pool of nil says that there is none.
func (t *Table) seats(r *Request, now Time) (s [2]seat, err error) {
	first, err := t.seat(r, r.Family, now)
	if err == nil {
		s[FamilyOf(first.pool.addrPort(first.at).Addr())-IPv4] = first
	}
	if !r.Dual {
		return s, err
	}
	second, other := t.seat(r, IPv6, now)
	if other == nil {
		s[1], err = second, nil
	}
	return s, err
}

// seat finds a relayed transport address: the reserved one of a token, or a
// random one of a family.
func (t *Table) seat(r *Request, family Family, now Time) (seat, error) {
	if r.Token != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		res, ok := t.reservations.claim(*r.Token, now)
		if !ok {
			return seat{}, ErrToken
		}
		return seat{pool: res.pool, at: res.at, socket: res.socket}, nil
	}
	if !t.HasFamily(family) {
		return seat{}, ErrFamily
	}
	s := seat{pool: t.pool(family)}
	for range openTries {
		var ok bool
		if s.at, ok = t.draw(s.pool, r, now); !ok {
			return seat{}, ErrCapacity
		}
		var above *udp.Conn
		var err error
		if r.TCP {
			err = t.openTCP(&s)
		} else {
			s.socket, above, err = t.open(&s, r.Reserve)
		}
		if err == nil {
			if r.Reserve {
				t.mu.Lock()
				s.token = t.reservations.add(reserved{pool: s.pool, at: s.at + 1, socket: above}, now)
				t.mu.Unlock()
			}
			return s, nil
		}
		t.giveUp(&s, r, errors.Is(err, ErrBusy), now)
		if !errors.Is(err, ErrBusy) {
			return seat{}, fmt.Errorf("%w: %w", ErrSocket, err)
		}
	}
	return seat{}, ErrCapacity
}

// giveUp gives back a place that nothing could be bound to. One that somebody else has rests, so that it isn't drawn again
// at once; where the host refuses every socket, resting places would be missed when it doesn't any more.
func (t *Table) giveUp(s *seat, r *Request, busy bool, now Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	give := s.pool.free
	if busy {
		give = func(at place) { s.pool.release(at, now) }
	}
	give(s.at)
	if r.Reserve {
		give(s.at + 1)
	}
}

// draw takes a free place.
func (t *Table) draw(p *pool, r *Request, now Time) (at place, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := t.coolLocked(now)
	at, ok = p.draw(r.EvenPort, r.Reserve)
	for !ok && more {
		more = t.coolLocked(now)
		at, ok = p.draw(r.EvenPort, r.Reserve)
	}
	return at, ok
}

// open binds the sockets of a place and, for a reservation, of the port above it.
func (t *Table) open(s *seat, pair bool) (socket, above *udp.Conn, err error) {
	if t.options.Open == nil {
		return nil, nil, nil
	}
	if socket, err = t.options.Open(s.pool.addrPort(s.at)); err != nil || !pair {
		return socket, nil, err
	}
	if above, err = t.options.Open(s.pool.addrPort(s.at + 1)); err != nil && socket != nil {
		socket.Close()
		socket = nil
	}
	return socket, above, err
}

// settle makes the allocation at its seats, unless somebody else has made one for the
// five-tuple since admit.
func (t *Table) settle(r *Request, s *[2]seat, now Time) (*Allocation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.findTuple(&r.FiveTuple) != nil {
		t.dismissLocked(r.Account)
		for i := range s {
			s[i].leaveLocked(now)
		}
		return nil, ErrMismatch
	}
	t.lastID++
	var extra *rare
	reserved := r.Reserve && r.Token == nil
	limit := t.newBandwidthLocked(r.Account, r.TCP)
	if r.Mobile || reserved || limit != nil || r.TCP || s[0].pool != nil && s[1].pool != nil {
		extra = &rare{mobile: r.Mobile, reserved: reserved, limit: limit}
	}
	if r.TCP {
		extra.tcp = s[r.Family-IPv4].tcp
	}
	if reserved {
		extra.token = s[r.Family-IPv4].token
	}
	var first *Allocation
	cut := cutOf(r)
	for i := range s {
		if s[i].pool == nil {
			continue
		}
		a := &Allocation{
			ID: t.lastID, FiveTuple: r.FiveTuple, Client: r.Client, User: r.User, Socket: s[i].socket,
			Relayed: s[i].pool.addrPort(s[i].at), TransactionID: r.TransactionID,
			Lifetime: r.Lifetime, CreatedAt: now, rare: extra, cut: cut,
		}
		a.expires.Store(int64(now.Add(r.Lifetime)))
		if extra != nil {
			extra.halves[i] = a
		}
		t.wheel.put(a, now)
		if first == nil {
			first = a
		}
	}
	if r.Mobile {
		t.mobile[first.ID] = extra
	}
	if first.TCP() == nil {
		t.byRelayed.insert(t.key.relayed(first.Relayed), first)
	}
	if second := first.other(); second != nil {
		t.byRelayed.insert(t.key.relayed(second.Relayed), second)
	}
	t.byTuple.insert(t.key.tuple(&first.FiveTuple), first)
	return first, nil
}

// leaveLocked is seat's inverse.
func (s *seat) leaveLocked(now Time) {
	if s.pool == nil {
		return
	}
	s.pool.release(s.at, now)
	s.close()
}
