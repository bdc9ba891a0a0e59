package allocation

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Lifetimes of allocations (RFC 8656 §3.2, §7.2).
const (
	DefaultLifetime = 600 * time.Second
	MaxLifetime     = 3600 * time.Second
)

// What Create may answer instead of an allocation.
var (
	ErrMismatch  = errors.New("the five-tuple has an allocation already")           // 437
	ErrUserQuota = errors.New("the user holds as many allocations as one may")      // 486
	ErrCapacity  = errors.New("no relayed transport address is free")               // 508
	ErrFamily    = errors.New("no relay address of the requested family")           // 440
	ErrToken     = errors.New("no reservation under this token, or not any longer") // 508
	ErrSocket    = errors.New("no socket for the relayed transport address")        // 508
)

// Options configure a Table. The zero value of each field but Relay and Ports is
// usable.
type Options struct {
	Relay      []netip.Prefix // single addresses are prefixes of full length
	Ports      PortRange
	Cooldown   time.Duration // 0: DefaultCooldown
	UserQuota  int           // allocations per account; 0: no limit
	TotalQuota int           // allocations; 0: no limit but addresses and memory
	// Bits of application data per second and direction, at most MaxBandwidth; 0: no limit.
	MaxBandwidth  int64 // of an allocation
	UserBandwidth int64 // of all allocations of an account together

	Now        func() time.Time  // nil: time.Now
	Born, Died func(*Allocation) // nil: nobody listens; called without locks held
	// Moved is called when an allocation's client has moved, with a half of what was and of what has taken its place,
	// one move after the other; Closed when a half has ended and its socket is closed, before Died. Otherwise as Born.
	Moved  func(from, to *Allocation)
	Closed func(*Allocation)

	// Open binds a socket to a relayed transport address that was drawn; nil, or nil without an error: there shall be
	// none. ErrBusy has another address drawn. Called without locks held. The Table closes the sockets.
	Open func(netip.AddrPort) (*udp.Conn, error)
	// Listen does the same for a TCP allocation (RFC 6062).
	Listen func(netip.AddrPort) (net.Listener, error)
}

// Table holds all allocations of a server.
type Table struct {
	clock   clock
	options Options
	key     hashKey
	pools   [2]pool // by family; blocks are immutable, the rest guarded by mu

	byTuple, byRelayed index // read without lock, written under mu

	count  atomic.Int64
	lastID uint64 // guarded by mu

	moving       sync.Mutex // has moves told in their order: held while one is made, and Options.Moved called
	mu           sync.Mutex
	quotas       quotas               // guarded by mu
	perUser      map[string]int       // by account
	throttles    map[string]*throttle // likewise; empty without Options.UserBandwidth
	mobile       map[uint64]*rare     // those that may move, by ID
	reservations reservations
	wheel        wheel
}

// NewTable makes an empty table. It returns an error when Options.Relay is empty
// or overlaps itself, or the port range is empty.
func NewTable(o Options) (*Table, error) {
	if o.Cooldown == 0 {
		o.Cooldown = DefaultCooldown
	}
	t := &Table{
		clock: newClock(o.Now), options: o, key: newHashKey(), quotas: quotas{user: o.UserQuota, total: o.TotalQuota},
		perUser: make(map[string]int), throttles: make(map[string]*throttle),
		mobile:       make(map[uint64]*rare),
		reservations: reservations{byToken: make(map[[8]byte]reserved)},
	}
	t.byTuple.init()
	t.byRelayed.init()
	for i := range t.pools {
		t.pools[i] = pool{
			ports: o.Ports, cooldown: o.Cooldown,
			taken: make(map[place]struct{}), perAddress: make(map[uint64]usage),
		}
	}
	if len(o.Relay) == 0 {
		return nil, errNoRelay
	}
	if o.Ports.Min == 0 || o.Ports.Min > o.Ports.Max {
		return nil, errors.New("relay ports " + o.Ports.String() + ": give MIN-MAX with 1 <= MIN <= MAX <= 65535")
	}
	for _, prefix := range o.Relay {
		if err := t.pool(FamilyOf(prefix.Addr())).add(prefix); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Capacity is how many relayed transport addresses of a family there are.
func (t *Table) Capacity(f Family) uint64 { return t.pool(f).size * uint64(t.options.Ports.size()) }

// pool returns the family's pool; f is IPv4 or IPv6.
func (t *Table) pool(f Family) *pool { return &t.pools[f-IPv4] }

// RelayPrefixes returns Options.Relay.
func (t *Table) RelayPrefixes() []netip.Prefix { return t.options.Relay }

// HasFamily says whether relayed transport addresses of that family can be had.
func (t *Table) HasFamily(f Family) bool {
	return (f == IPv4 || f == IPv6) && t.pool(f).size > 0
}

// Relays says whether ip is one of the addresses that relayed transport addresses
// are drawn from. It is the peer rule of loop mode: an address in another
// spelling (IPv4-mapped, IPv4-compatible, NAT64, 6to4, with a zone) is not.
func (t *Table) Relays(ip netip.Addr) bool { return t.pool(FamilyOf(ip)).contains(ip) }

// RelaysPort says the same of a transport address, its port included.
func (t *Table) RelaysPort(a netip.AddrPort) bool {
	return t.options.Ports.Contains(a.Port()) && t.Relays(a.Addr())
}

// Find returns the allocation of a five-tuple, nil when there is none at now.
func (t *Table) Find(ft *FiveTuple, now Time) *Allocation {
	a := t.findTuple(ft)
	if a == nil || !a.expired(now) {
		return a
	}
	return t.standIn(a, now)
}

// FindSender does what Find does for a five-tuple that application data came on: that
// completes a move to it (RFC 8016 §3.2.2).
func (t *Table) FindSender(ft *FiveTuple, now Time) *Allocation {
	a := t.findTuple(ft)
	if a == nil || !a.expired(now) {
		return a
	}
	if a.rare != nil && a.rare.pending.Load() {
		t.arrive(a, now)
	}
	return t.standIn(a, now)
}

// standIn returns what of an allocation goes on although its entry for a five-tuple is
// over: its other half or, where its client is only expected, what it has elsewhere.
func (t *Table) standIn(a *Allocation, now Time) *Allocation {
	if a.rare == nil {
		return nil
	}
	if !a.rare.pending.Load() {
		return a.rare.live(now)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.mobile[a.ID]; r != nil && (r.arriving.Load() == a.rare || r == a.rare) {
		return r.live(now)
	}
	return nil
}

func (t *Table) findTuple(ft *FiveTuple) *Allocation {
	p := t.byTuple.probe(t.key.tuple(ft))
	for {
		if a := p.next(); a == nil || a.FiveTuple == *ft {
			return a
		}
	}
}

// FindRelayed returns the allocation that has addr as its relayed transport
// address of UDP, nil when there is none at now.
func (t *Table) FindRelayed(addr netip.AddrPort, now Time) *Allocation {
	p := t.byRelayed.probe(t.key.relayed(addr))
	for {
		a := p.next()
		if a == nil || a.Relayed == addr {
			if a == nil {
				return nil
			}
			return a.Current(now)
		}
	}
}

// quotas are Options.UserQuota and Options.TotalQuota, or what SetQuotas made of them.
type quotas struct{ user, total int }

// SetQuotas replaces Options.UserQuota and Options.TotalQuota. Allocations that are above them stay; only new ones are
// refused.
func (t *Table) SetQuotas(user, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.quotas = quotas{user: user, total: total}
}

// Count returns the number of allocations, those included that expired within the
// last second.
func (t *Table) Count() int { return int(t.count.Load()) }

// Each calls yield for each live allocation, in no order, until it returns false.
// Allocations that come or go meanwhile may or may not be seen.
func (t *Table) Each(yield func(*Allocation) bool) {
	now := t.Now()
	for i := range t.byTuple.shards {
		slots := *t.byTuple.shards[i].slots.Load()
		for j := range slots {
			a := slots[j].allocation.Load()
			if a == nil || a == tombstone {
				continue
			}
			if a.expired(now) {
				if a.rare == nil {
					continue
				}
				if a = a.rare.live(now); a == nil {
					continue
				}
			}
			if !yield(a) {
				return
			}
		}
	}
}

// Refresh sets the allocation's life to lifetime from now on (RFC 8656 §8.2), that of
// each half.
func (t *Table) Refresh(a *Allocation, lifetime time.Duration, now Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for h := range a.latest().Halves(now) {
		t.extendLocked(h, now.Add(lifetime), now)
	}
}

// RefreshHalf does the same for one half of a dual allocation.
func (t *Table) RefreshHalf(a *Allocation, f Family, lifetime time.Duration, now Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := a.latest().Half(f); h != nil && !h.expired(now) {
		t.extendLocked(h, now.Add(lifetime), now)
	}
}

func (t *Table) extendLocked(a *Allocation, end, now Time) {
	if a.ended {
		return
	}
	a.expires.Store(int64(end))
	t.wheel.take(a)
	t.wheel.put(a, now)
}

// Delete ends an allocation, both halves of it; ending it twice is no error.
func (t *Table) Delete(a *Allocation, why Reason) {
	t.mu.Lock()
	ended := t.endAllLocked(a.latest(), why, t.Now())
	t.mu.Unlock()
	for _, h := range ended {
		t.died(h)
	}
}

// DeleteHalf ends one half of a dual allocation (RFC 8656 §8.1).
func (t *Table) DeleteHalf(a *Allocation, f Family, why Reason) {
	t.mu.Lock()
	h := a.latest().Half(f)
	done := h != nil && t.endLocked(h, why, t.Now())
	t.mu.Unlock()
	if done {
		t.died(h)
	}
}

// endAllLocked ends every half and returns those that had not ended.
func (t *Table) endAllLocked(a *Allocation, why Reason, now Time) []*Allocation {
	var ended []*Allocation
	other := a.other()
	if t.endLocked(a, why, now) {
		ended = append(ended, a)
	}
	if other != nil && t.endLocked(other, why, now) {
		ended = append(ended, other)
	}
	return ended
}

func (t *Table) endLocked(a *Allocation, why Reason, now Time) bool {
	if a.ended {
		return false
	}
	other := a.other()
	a.ended, a.why, a.last = true, why, other == nil || other.ended
	if a.last {
		t.byTuple.remove(t.key.tuple(&a.FiveTuple), a)
		t.dismissLocked(a.account())
		if a.Mobile() {
			t.cancelLocked(a.rare)
			delete(t.mobile, a.ID)
		}
	} else {
		t.byTuple.replace(t.key.tuple(&a.FiveTuple), a, other)
	}
	a.expires.Store(0)
	t.byRelayed.remove(t.key.relayed(a.Relayed), a)
	t.wheel.take(a)
	p := t.pool(a.Family())
	p.release(p.placeOf(a.Relayed), now)
	return true
}

func (t *Table) died(a *Allocation) {
	if a.Socket != nil {
		a.Socket.Close()
	}
	a.TCP().close()
	if t.options.Closed != nil {
		t.options.Closed(a)
	}
	if a.last && t.options.Died != nil {
		t.options.Died(a)
	}
}

// DeleteAll ends every allocation.
func (t *Table) DeleteAll(why Reason) {
	t.Each(func(a *Allocation) bool {
		t.Delete(a, why)
		return true
	})
}

// Close ends every allocation and reservation, with their sockets. Nothing may be created any longer.
func (t *Table) Close() {
	t.DeleteAll(Shutdown)
	t.mu.Lock()
	defer t.mu.Unlock()
	for token := range t.reservations.byToken {
		t.reservations.giveBack(token)
	}
}
