package relay_test

import (
	"testing"

	"github.com/pion/stun/v2"
)

// Whatever needs an allocation and finds none gets 437, whatever else it says (RFC 8656 §5).
func TestConformanceNoAllocation(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		other := s.call(t, w)
		other.allocate(familyOf(w.v6))
		c := s.call(t, w)
		for _, row := range []struct {
			says    string
			method  stun.Method
			setters setters
			code    int
		}{
			{"Refresh", stun.MethodRefresh, nil, 437},
			{"Refresh to zero", stun.MethodRefresh, setters{lifetime(0)}, 437},
			{"Refresh of a family", stun.MethodRefresh, setters{wantIPv6}, 437},
			{"CreatePermission", stun.MethodCreatePermission, setters{peer(other.relayed)}, 437},
			{"CreatePermission without a peer", stun.MethodCreatePermission, nil, 437},
			{"ChannelBind", stun.MethodChannelBind, setters{channel(0x4000), peer(other.relayed)}, 437},
			{"ChannelBind outside of the range", stun.MethodChannelBind, setters{channel(0), peer(other.relayed)}, 437},
			{"with something that is not understood", stun.MethodRefresh, setters{raw(0x7FFF)}, 420},
		} {
			t.Run(row.says, func(t *testing.T) {
				c.t = t
				c.request(row.method, row.setters...).want(t, row.code)
			})
		}
	})
}

// What a Refresh may say (RFC 8656 §8.2). How long it grants is in TestConformanceLifetime.
func TestConformanceRefresh(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		own, others := familyOf(w.v6), familyOf(!w.v6)
		for _, row := range []struct {
			section, says string
			setters       setters
			code          int
		}{
			{"RFC 8656 §8.2", "without LIFETIME", nil, 0},
			{"RFC 8656 §8.2", "of its own family", setters{own}, 0},
			{"RFC 8656 §8.2", "of the other family", setters{others}, 443},
			{"RFC 8656 §8.2", "to zero of the other family", setters{others, lifetime(0)}, 443},
			{"RFC 8656 §8.2", "of no family", setters{number32(stun.AttrRequestedAddressFamily, 7<<24)}, 443},
			{"RFC 8656 §18.6", "of a malformed family", setters{raw(stun.AttrRequestedAddressFamily, 1)}, 400},
			{"RFC 8656 §18.2", "malformed LIFETIME", setters{raw(stun.AttrLifetime, 0, 0)}, 400},
			{"RFC 8656 §18.2", "empty LIFETIME", setters{raw(stun.AttrLifetime)}, 400},
			{"RFC 8489 §6.3.1", "attribute that is not understood", setters{raw(0x7FFF), lifetime(0)}, 420},
			{"RFC 8489 §6.3.1", "attributes of other methods", setters{udpTransport, channel(1), evenPort}, 0},
		} {
			t.Run(row.section+" "+row.says, func(t *testing.T) {
				c := s.call(t, w)
				c.allocate(own)
				a := c.request(stun.MethodRefresh, row.setters...)
				a.want(t, row.code)
				if row.code == 420 {
					a.wantUnknown(t, 0x7FFF)
				}
				c.request(stun.MethodRefresh).want(t, 0) // it still lives
			})
		}
	})
}

// A Refresh to zero ends the allocation with everything that belongs to it, at once (RFC 8656 §8.2, §9, §12).
func TestConformanceRefreshToZero(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		before := s.Count()
		c, other := s.call(t, w), s.call(t, w)
		c.allocate()
		other.allocate()
		c.bind(0x4000, other.relayed)
		other.bind(0x4001, c.relayed)
		c.send(channelData(0x4000, []byte("ahead"), true))
		other.wantChannel(0x4001, []byte("ahead"))

		a := c.request(stun.MethodRefresh, lifetime(0))
		a.want(t, 0)
		if got := a.seconds(t); got != 0 {
			t.Errorf("LIFETIME is %d, want 0", got)
		}
		if got := s.Count() - before; got != 1 {
			t.Errorf("%d allocations, want 1", got)
		}
		c.request(stun.MethodRefresh, lifetime(0)).want(t, 437)
		c.request(stun.MethodRefresh).want(t, 437)
		c.request(stun.MethodCreatePermission, peer(other.relayed)).want(t, 437)
		c.request(stun.MethodChannelBind, channel(0x4000), peer(other.relayed)).want(t, 437)

		c.send(channelData(0x4000, []byte("behind"), true))
		c.sendTo(other.relayed, []byte("behind"))
		c.settle()
		other.quiet()
		other.send(channelData(0x4001, []byte("to nobody"), true))
		other.settle()
		c.quiet()

		// The next allocation begins with nothing: another address, no permission, no channel.
		old := c.relayed
		c.allocate()
		if c.relayed == old {
			t.Errorf("%v again, without a rest", old)
		}
		c.send(channelData(0x4000, []byte("of another life"), true))
		c.sendTo(other.relayed, []byte("of another life"))
		c.settle()
		other.quiet()
		other.send(channelData(0x4001, []byte("to the one before"), true))
		other.settle()
		c.quiet()
		other.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	})
}
