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
}

// Expires returns the end of the binding.
func (c *Channel) Expires() Time { return Time(c.expires.Load()) }

func (c *Channel) bound(now Time) bool { return c != nil && Time(c.expires.Load()) > now }

// held says whether number and peer may not be bound otherwise yet.
func (c *Channel) held(now Time) bool {
	return c != nil && Time(c.expires.Load()).Add(ChannelCooldown) > now
}

// channelSet is immutable but for the expiry times. It keeps bindings until
// their cool-down has passed.
type channelSet struct {
	list     []*Channel
	byNumber map[uint16]*Channel // both nil up to linearLimit
	byPeer   map[netip.AddrPort]*Channel
}

func (s *channelSet) number(n uint16) *Channel {
	if s == nil {
		return nil
	}
	if s.byNumber != nil {
		return s.byNumber[n]
	}
	for _, c := range s.list {
		if c.Number == n {
			return c
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
	for _, c := range s.list {
		if c.Peer == p {
			return c
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

// Bind binds number to peer, or refreshes that binding, and installs or refreshes
// the permission for peer's IP address (RFC 8656 §12.2). It returns ErrConflict or
// ErrTooMany and then has changed nothing.
func (a *Allocation) Bind(number uint16, peer netip.AddrPort, now Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	set := a.channels.Load()
	channel, other := set.number(number), set.peer(peer)
	if !channel.held(now) {
		channel = nil
	}
	if !other.held(now) {
		other = nil
	}
	if channel != other {
		return ErrConflict
	}
	if channel == nil {
		channel = &Channel{Number: number, Peer: peer}
		set = set.with(channel, now)
		if len(set.list) > MaxChannels {
			return ErrTooMany
		}
	}
	if err := a.permitLocked([]netip.Addr{peer.Addr()}, now); err != nil {
		return err
	}
	channel.expires.Store(int64(now.Add(ChannelLifetime)))
	a.channels.Store(set)
	return nil
}

// with returns a set of c and those of s that still hold number and peer.
func (s *channelSet) with(c *Channel, now Time) *channelSet {
	grown := s.swept(now)
	grown.list = append(grown.list, c)
	grown.index()
	return grown
}

// swept returns an unindexed copy without what is past its cool-down.
func (s *channelSet) swept(now Time) *channelSet {
	kept := &channelSet{}
	if s == nil {
		return kept
	}
	for _, c := range s.list {
		if c.held(now) {
			kept.list = append(kept.list, c)
		}
	}
	return kept
}

func (s *channelSet) index() {
	if len(s.list) <= linearLimit {
		return
	}
	s.byNumber = make(map[uint16]*Channel, len(s.list))
	s.byPeer = make(map[netip.AddrPort]*Channel, len(s.list))
	for _, c := range s.list {
		s.byNumber[c.Number], s.byPeer[c.Peer] = c, c
	}
}

// sweepChannelsLocked forgets channels that are past their cool-down.
func (a *Allocation) sweepChannelsLocked(now Time) {
	old := a.channels.Load()
	if old == nil {
		return
	}
	set := old.swept(now)
	switch {
	case len(set.list) == len(old.list):
		return
	case len(set.list) == 0:
		set = nil
	default:
		set.index()
	}
	a.channels.Store(set)
}

// Channels lists the channels bound at now.
func (a *Allocation) Channels(now Time) []*Channel {
	set := a.channels.Load()
	if set == nil {
		return nil
	}
	list := make([]*Channel, 0, len(set.list))
	for _, c := range set.list {
		if c.bound(now) {
			list = append(list, c)
		}
	}
	return list
}
