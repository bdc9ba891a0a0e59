package allocation

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// PermissionLifetime is fixed by RFC 8656 §9.
	PermissionLifetime = 300 * time.Second
	// MaxPermissions bounds what one allocation can make the server hold. A
	// browser's call uses a handful.
	MaxPermissions = 512
	// linearLimit is the size up to which walking a set beats hashing the key.
	linearLimit = 8
)

// ErrTooMany is returned when an allocation would hold more than MaxPermissions
// permissions or MaxChannels channels; the answer is 508 (RFC 8656 §10.2, §12.2).
var ErrTooMany = errors.New("allocation holds as many peers as one may")

// permission lets datagrams from one peer's IP address through (RFC 8656 §9).
type permission struct {
	peer    netip.Addr
	expires atomic.Int64 // Time
}

// permissionSet is immutable but for the expiry times. The usual one permission
// lies in the set itself, so that looking at it is one step in memory.
type permissionSet struct {
	list   []permission
	byPeer map[netip.Addr]*permission // nil up to linearLimit
	single [1]permission
}

// newPermissionSet returns an empty set with room for n permissions.
func newPermissionSet(n int) *permissionSet {
	s := &permissionSet{}
	if n > len(s.single) {
		s.list = make([]permission, 0, n)
	} else {
		s.list = s.single[:0]
	}
	return s
}

// add appends a permission; there must be room.
func (s *permissionSet) add(peer netip.Addr, expires int64) {
	s.list = s.list[:len(s.list)+1]
	p := &s.list[len(s.list)-1]
	p.peer = peer
	p.expires.Store(expires)
}

func (s *permissionSet) find(peer netip.Addr) *permission {
	if s == nil {
		return nil
	}
	if s.byPeer != nil {
		return s.byPeer[peer]
	}
	for i := range s.list {
		if s.list[i].peer == peer {
			return &s.list[i]
		}
	}
	return nil
}

// Permitted says whether datagrams from peer may reach the client now, and
// whether the client may send to it (RFC 8656 §9, §11.2, §11.3).
func (a *Allocation) Permitted(peer netip.Addr, now Time) bool {
	p := a.permissions.Load().find(peer)
	return p != nil && Time(p.expires.Load()) > now
}

// Permit installs or refreshes a permission for each of peers, for all of them
// or, with ErrTooMany, for none (RFC 8656 §10.2).
func (a *Allocation) Permit(peers []netip.Addr, now Time) error {
	if a.rare != nil {
		return a.rare.permit(peers, now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.permitLocked(peers, now)
}

func (a *Allocation) permitLocked(peers []netip.Addr, now Time) error {
	set, err := a.roomLocked(peers, now)
	if err == nil {
		a.grantLocked(set, peers, now)
	}
	return err
}

// roomLocked returns a set that has a permission for each of peers, in force or not, or
// ErrTooMany.
func (a *Allocation) roomLocked(peers []netip.Addr, now Time) (*permissionSet, error) {
	set := a.permissions.Load()
	if !missesAny(set, peers) {
		return set, nil
	}
	grown := set.with(peers, now)
	if len(grown.list) > MaxPermissions {
		return nil, ErrTooMany
	}
	return grown, nil
}

// grantLocked puts roomLocked's set in force.
func (a *Allocation) grantLocked(set *permissionSet, peers []netip.Addr, now Time) {
	for _, peer := range peers {
		set.find(peer).expires.Store(int64(now.Add(PermissionLifetime)))
	}
	a.permissions.Store(set)
}

func missesAny(s *permissionSet, peers []netip.Addr) bool {
	for _, peer := range peers {
		if s.find(peer) == nil {
			return true
		}
	}
	return false
}

// with returns a set of peers' permissions, over until somebody sets their time, and
// of those of s that are in force.
func (s *permissionSet) with(peers []netip.Addr, now Time) *permissionSet {
	if s == nil {
		s = &permissionSet{}
	}
	var live []*permission
	for i := range s.list {
		if p := &s.list[i]; Time(p.expires.Load()) > now {
			live = append(live, p)
		}
	}
	var fresh []netip.Addr
	for _, peer := range peers {
		if p := s.find(peer); (p == nil || Time(p.expires.Load()) <= now) && !slices.Contains(fresh, peer) {
			fresh = append(fresh, peer)
		}
	}
	grown := newPermissionSet(len(live) + len(fresh))
	for _, p := range live {
		grown.add(p.peer, p.expires.Load())
	}
	for _, peer := range fresh {
		grown.add(peer, 0)
	}
	grown.index()
	return grown
}

func (s *permissionSet) index() {
	if len(s.list) <= linearLimit {
		return
	}
	s.byPeer = make(map[netip.Addr]*permission, len(s.list))
	for i := range s.list {
		s.byPeer[s.list[i].peer] = &s.list[i]
	}
}

// sweepPermissionsLocked forgets permissions that are over, and returns how many
// there were of all.
func (a *Allocation) sweepPermissionsLocked(now Time) int {
	old := a.permissions.Load()
	if old == nil {
		return 0
	}
	live := 0
	for i := range old.list {
		if Time(old.list[i].expires.Load()) > now {
			live++
		}
	}
	switch live {
	case len(old.list):
	case 0:
		a.permissions.Store(nil)
	default:
		a.permissions.Store(old.with(nil, now))
	}
	return len(old.list)
}

// Permission is a permission in force, for display.
type Permission struct {
	Peer    netip.Addr
	Expires Time
}

// Permissions lists the permissions in force at now.
func (a *Allocation) Permissions(now Time) []Permission {
	set := a.permissions.Load()
	if set == nil {
		return nil
	}
	list := make([]Permission, 0, len(set.list))
	for i := range set.list {
		if e := Time(set.list[i].expires.Load()); e > now {
			list = append(list, Permission{set.list[i].peer, e})
		}
	}
	return list
}
