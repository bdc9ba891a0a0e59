package allocation

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// ChannelLifetime is fixed by RFC 8656 §12.
	ChannelLifetime = 600 * time.Second
	// ChannelCooldown is how long a channel's number and peer stay bound together
	// after the binding expired (RFC 8656 §12: five minutes).
	ChannelCooldown = 300 * time.Second
	// MaxChannels bounds what one allocation can make the server hold.
	MaxChannels = 512
)

// ErrConflict is returned when a channel number is bound to another peer or a
// peer to another number; the answer is 400 (RFC 8656 §12.2).
var ErrConflict = errors.New("channel number or peer is bound otherwise")

// Channel binds a number to a peer's transport address (RFC 8656 §12). Number and
// Peer are immutable.
type Channel struct {
	Peer    netip.AddrPort
	Number  uint16
	expires atomic.Int64 // Time

	// target is who had Peer as its relayed transport address when the data plane
	// last looked: a hint, which Table.Target checks.
	target atomic.Pointer[Allocation]
}

// Target returns the allocation that has the channel's peer as its relayed
// transport address, nil when there is none at now. It looks it up once and
// remembers it for as long as it lives.
func (t *Table) Target(c *Channel, now Time) *Allocation {
	if a := c.target.Load(); a != nil {
		if !a.expired(now) {
			return a
		}
		c.target.Store(nil) // don't keep its memory
	}
	a := t.FindRelayed(c.Peer, now)
	if a != nil {
		c.target.Store(a)
	}
	return a
}

// Expires returns the end of the binding.
func (c *Channel) Expires() Time { return Time(c.expires.Load()) }

func (c *Channel) bound(now Time) bool { return c != nil && Time(c.expires.Load()) > now }

// held says whether number and peer may not be bound otherwise yet.
func (c *Channel) held(now Time) bool {
	return c != nil && Time(c.expires.Load()).Add(ChannelCooldown) > now
}

// channelSet is immutable but for the expiry times. It keeps bindings until
// their cool-down has passed. The usual one channel lies in the set itself.
type channelSet struct {
	list     []Channel
	byNumber map[uint16]*Channel // both nil up to linearLimit
	byPeer   map[netip.AddrPort]*Channel
	single   [1]Channel
}

// newChannelSet returns an empty set with room for n channels.
func newChannelSet(n int) *channelSet {
	s := &channelSet{}
	if n > len(s.single) {
		s.list = make([]Channel, 0, n)
	} else {
		s.list = s.single[:0]
	}
	return s
}

// add appends a channel; there must be room.
func (s *channelSet) add(number uint16, peer netip.AddrPort, expires int64, target *Allocation) *Channel {
	s.list = s.list[:len(s.list)+1]
	c := &s.list[len(s.list)-1]
	c.Number, c.Peer = number, peer
	c.expires.Store(expires)
	c.target.Store(target)
	return c
}

func (s *channelSet) number(n uint16) *Channel {
	if s == nil {
		return nil
	}
	if s.byNumber != nil {
		return s.byNumber[n]
	}
	for i := range s.list {
		if s.list[i].Number == n {
			return &s.list[i]
		}
	}
	return nil
}

func (s *channelSet) peer(p netip.AddrPort) *Channel {
	if s == nil {
		return nil
	}
	if s.byPeer != nil {
		return s.byPeer[p]
	}
	for i := range s.list {
		if s.list[i].Peer == p {
			return &s.list[i]
		}
	}
	return nil
}

// Channel returns the channel of that number, nil when none is bound at now.
func (a *Allocation) Channel(number uint16, now Time) *Channel {
	if c := a.channels.Load().number(number); c.bound(now) {
		return c
	}
	return nil
}

// ChannelTo returns the channel that is bound to peer, nil when none is at now.
func (a *Allocation) ChannelTo(peer netip.AddrPort, now Time) *Channel {
	if c := a.channels.Load().peer(peer); c.bound(now) {
		return c
	}
	return nil
}

// pair returns the channel that holds number and peer together, nil when both are
// free; conflict when one of them is held otherwise.
func (s *channelSet) pair(number uint16, peer netip.AddrPort, now Time) (c *Channel, conflict bool) {
	c, other := s.number(number), s.peer(peer)
	if !c.held(now) {
		c = nil
	}
	if !other.held(now) {
		other = nil
	}
	return c, c != other
}

// Conflicts says whether Bind would return ErrConflict.
func (a *Allocation) Conflicts(number uint16, peer netip.AddrPort, now Time) bool {
	if a.rare != nil {
		a = a.rare.half(FamilyOf(peer.Addr()))
		if elsewhere := a.numberElsewhere(number, now); elsewhere || a.expired(now) {
			return elsewhere
		}
	}
	_, conflict := a.channels.Load().pair(number, peer, now)
	return conflict
}

// Bind binds number to peer, or refreshes that binding, and installs or refreshes
// the permission for peer's IP address (RFC 8656 §12.2). It returns ErrConflict or
// ErrTooMany and then has changed nothing.
func (a *Allocation) Bind(number uint16, peer netip.AddrPort, now Time) error {
	if a.rare != nil {
		return a.rare.bind(number, peer, now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bindLocked(number, peer, now)
}

func (a *Allocation) bindLocked(number uint16, peer netip.AddrPort, now Time) error {
	set := a.channels.Load()
	channel, conflict := set.pair(number, peer, now)
	if conflict {
		return ErrConflict
	}
	if channel == nil {
		set = set.kept(now, 1)
		if len(set.list) == MaxChannels {
			return ErrTooMany
		}
		channel = set.add(number, peer, 0, nil)
		set.index()
	}
	if err := a.permitLocked([]netip.Addr{peer.Addr()}, now); err != nil {
		return err
	}
	channel.expires.Store(int64(now.Add(ChannelLifetime)))
	a.channels.Store(set)
	return nil
}

// kept returns an unindexed copy without what is past its cool-down, with room for
// some more.
func (s *channelSet) kept(now Time, more int) *channelSet {
	if s == nil {
		return newChannelSet(more)
	}
	k := newChannelSet(len(s.list) + more)
	for i := range s.list {
		if c := &s.list[i]; c.held(now) {
			k.add(c.Number, c.Peer, c.expires.Load(), c.target.Load())
		}
	}
	return k
}

func (s *channelSet) index() {
	if len(s.list) <= linearLimit {
		return
	}
	s.byNumber = make(map[uint16]*Channel, len(s.list))
	s.byPeer = make(map[netip.AddrPort]*Channel, len(s.list))
	for i := range s.list {
		c := &s.list[i]
		s.byNumber[c.Number], s.byPeer[c.Peer] = c, c
	}
}

// sweepChannelsLocked forgets channels that are past their cool-down, and whom
// channels led to that has ended. It returns how many channels there were.
func (a *Allocation) sweepChannelsLocked(now Time) int {
	old := a.channels.Load()
	if old == nil {
		return 0
	}
	held := 0
	for i := range old.list {
		c := &old.list[i]
		if c.held(now) {
			held++
		}
		if target := c.target.Load(); target != nil && target.expired(now) {
			c.target.CompareAndSwap(target, nil)
		}
	}
	switch held {
	case len(old.list):
	case 0:
		a.channels.Store(nil)
	default:
		set := old.kept(now, 0)
		set.index()
		a.channels.Store(set)
	}
	return len(old.list)
}

// Channels lists the channels bound at now.
func (a *Allocation) Channels(now Time) []*Channel {
	set := a.channels.Load()
	if set == nil {
		return nil
	}
	list := make([]*Channel, 0, len(set.list))
	for i := range set.list {
		if c := &set.list[i]; c.bound(now) {
			list = append(list, c)
		}
	}
	return list
}
