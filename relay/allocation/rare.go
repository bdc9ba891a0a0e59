package allocation

import (
	"net/netip"
	"sync/atomic"
)

// rare is what few allocations have, so that it costs the others no more than a
// pointer: a reservation's token, what a TCP allocation has (RFC 6062), a second
// relayed transport address (RFC 8656 §7.2), the right to move (RFC 8016).
//
// A dual allocation is two of them, its halves, one for each family: each with its own
// life, permissions and channels (RFC 8656 §8.1). They share the five-tuple, of which
// one stands in the index, the ID and this. One that moves gets a new rare, with halves
// of their own (mobility.go).
type rare struct {
	// Immutable once it can be found.
	halves   [2]*Allocation // by family; the one that is missing is nil
	token    [8]byte        // RESERVATION-TOKEN that its answer carried
	reserved bool           // there is one
	tcp      *TCPRelay      // of a TCP allocation, which is neither dual nor mobile; else nil
	mobile   bool           // its client was given a ticket
	limit    *Bandwidth     // shared by the halves and those who take their place; nil: none

	arriving atomic.Pointer[rare]  // where its client is expected; nil: nowhere; written under Table.mu, as the others
	pending  atomic.Bool           // its client is expected here, but is still where it was
	heir     atomic.Pointer[rare]  // what has taken its place after a move; nil: nothing
	before   atomic.Pointer[rare]  // whose place it took; packets may still be counted there
	trail    atomic.Pointer[Trail] // of its moves; nil: it is where it was made

	// Guarded by Table.mu.
	issued uint32    // generation of the last ticket
	came   uint32    // generation of the ticket that its client came by, plus one; 0: it was made here
	cameAt Time      // when its client asked to come
	cut    bool      // its connection has ended
	past   [2]Counts // by halves of those before before
}

// other returns the other half, ended or not; nil: it was never there.
func (a *Allocation) other() *Allocation {
	if a.rare == nil {
		return nil
	}
	return a.rare.halves[IPv6-a.Family()]
}

// live returns a half that is not over, nil when there is none.
func (r *rare) live(now Time) *Allocation {
	for _, h := range r.halves {
		if h != nil && !h.expired(now) {
			return h
		}
	}
	return nil
}

// any returns a half, ended or not.
func (r *rare) any() *Allocation {
	if h := r.halves[0]; h != nil {
		return h
	}
	return r.halves[1]
}

// half returns the half for peers of a family; where there is no such half, the one that
// there is, which has no permission for them.
func (r *rare) half(f Family) *Allocation {
	if h := r.halves[f-IPv4]; h != nil {
		return h
	}
	return r.any()
}

// Half returns what of the allocation has a relayed transport address of that family,
// over or not; nil: nothing had.
func (a *Allocation) Half(f Family) *Allocation {
	if a.Family() == f {
		return a
	}
	if f != IPv4 && f != IPv6 {
		return nil
	}
	return a.other()
}

// Serves says whether the allocation has a relayed transport address of that family now.
func (a *Allocation) Serves(f Family, now Time) bool {
	h := a.Half(f)
	return h != nil && !h.expired(now)
}

// Toward returns the half from which the client's packets to a peer leave: that of the
// peer's family (RFC 8656 §7.2).
func (a *Allocation) Toward(peer netip.Addr, now Time) *Allocation {
	if a.rare == nil {
		return a
	}
	if h := a.rare.half(FamilyOf(peer)); !h.expired(now) {
		return h
	}
	return a
}

// Bound returns the channel of that number, of whichever half, and the half; nil when
// none is bound at now.
func (a *Allocation) Bound(number uint16, now Time) (*Allocation, *Channel) {
	if c := a.Channel(number, now); c != nil {
		return a, c
	}
	if h := a.other(); h != nil && !h.expired(now) {
		if c := h.Channel(number, now); c != nil {
			return h, c
		}
	}
	return nil, nil
}

// Current returns what goes on for a: itself or, when its client has moved, what took
// its place; nil when it is over.
func (a *Allocation) Current(now Time) *Allocation {
	for a.expired(now) {
		if a.rare == nil {
			return nil
		}
		heir := a.rare.heir.Load()
		if heir == nil {
			return nil
		}
		a = heir.halves[a.Family()-IPv4]
	}
	return a
}

// latest returns a, or what has taken its place. Called with Table.mu held.
func (a *Allocation) latest() *Allocation {
	for a.rare != nil {
		heir := a.rare.heir.Load()
		if heir == nil {
			break
		}
		a = heir.halves[a.Family()-IPv4]
	}
	return a
}

// Halves yields the halves that are not over at now, of most allocations the allocation
// itself.
func (a *Allocation) Halves(now Time) func(yield func(*Allocation) bool) {
	return func(yield func(*Allocation) bool) {
		if a.rare == nil {
			yield(a)
			return
		}
		for _, h := range a.rare.halves {
			if h != nil && !h.expired(now) && !yield(h) {
				return
			}
		}
	}
}

// ReservationToken returns the RESERVATION-TOKEN that the answer to its Allocate carried.
func (a *Allocation) ReservationToken() (token [8]byte, ok bool) {
	if a.rare == nil {
		return token, false
	}
	return a.rare.token, a.rare.reserved
}

// Mobile says whether the client was given a ticket to move with (RFC 8016 §3.1.2).
func (a *Allocation) Mobile() bool { return a.rare != nil && a.rare.mobile }

// counts adds up what a half has counted, here and where its client was before.
func (r *rare) counts(half int) Counts {
	n := r.halves[half].counted()
	n.add(r.past[half])
	if before := r.before.Load(); before != nil {
		n.add(before.halves[half].counted())
	}
	return n
}

// lock locks every half's mu, of what has taken r's place if its client has moved, and
// returns that.
func (r *rare) lock() *rare {
	for {
		r.lockHalves()
		heir := r.heir.Load()
		if heir == nil {
			return r
		}
		r.unlock()
		r = heir
	}
}

func (r *rare) lockHalves() {
	for _, h := range r.halves {
		if h != nil {
			h.mu.Lock()
		}
	}
}

func (r *rare) unlock() {
	for _, h := range r.halves {
		if h != nil {
			h.mu.Unlock()
		}
	}
}

// permit is Permit for both halves: each gets the permissions for peers of its family.
func (r *rare) permit(peers []netip.Addr, now Time) error {
	r = r.lock()
	defer r.unlock()
	var parts [2][]netip.Addr
	for _, peer := range peers {
		i := r.half(FamilyOf(peer)).Family() - IPv4
		parts[i] = append(parts[i], peer)
	}
	var sets [2]*permissionSet
	for i, part := range parts {
		if len(part) == 0 {
			continue
		}
		var err error
		if sets[i], err = r.halves[i].roomLocked(part, now); err != nil {
			return err
		}
	}
	for i, part := range parts {
		if len(part) > 0 {
			r.halves[i].grantLocked(sets[i], part, now)
		}
	}
	return nil
}

// bind is Bind: a channel belongs to the half of its peer's family, but a number to one
// of them only, because ChannelData doesn't say the family (RFC 8656 §12.2).
func (r *rare) bind(number uint16, peer netip.AddrPort, now Time) error {
	r = r.lock()
	defer r.unlock()
	h := r.half(FamilyOf(peer.Addr()))
	if h.numberElsewhere(number, now) {
		return ErrConflict
	}
	return h.bindLocked(number, peer, now)
}

// numberElsewhere says whether the other half holds a channel number.
func (a *Allocation) numberElsewhere(number uint16, now Time) bool {
	h := a.other()
	return h != nil && !h.expired(now) && h.channels.Load().number(number).held(now)
}
