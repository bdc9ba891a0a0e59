package control

import (
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// RFC 8656 §8.2.
func TestRefresh(t *testing.T) {
	const age = 100 * time.Second
	for _, test := range []struct {
		name     string
		family   byte
		setters  []stun.Setter
		code     int
		lifetime time.Duration
	}{
		{"no LIFETIME", ipv4, nil, 0, 600 * time.Second},
		{"below the default", ipv4, []stun.Setter{lifetime(1)}, 0, 600 * time.Second},
		{"between", ipv4, []stun.Setter{lifetime(601)}, 0, 601 * time.Second},
		{"above the maximum", ipv4, []stun.Setter{lifetime(100_000)}, 0, 3600 * time.Second},
		{"its own family", ipv4, []stun.Setter{family(ipv4)}, 0, 600 * time.Second},
		{"its own family, IPv6", ipv6, []stun.Setter{family(ipv6)}, 0, 600 * time.Second},
		{"to zero", ipv4, []stun.Setter{lifetime(0)}, 0, 0},
		{"to zero, its own family", ipv6, []stun.Setter{lifetime(0), family(ipv6)}, 0, 0},
		{"LIFETIME malformed", ipv4, []stun.Setter{raw(stun.AttrLifetime, 0, 0, 0, 0, 0)}, 400, 0},
		{"REQUESTED-ADDRESS-FAMILY malformed", ipv4, []stun.Setter{raw(stun.AttrRequestedAddressFamily)}, 400, 0},
		{"the other family", ipv4, []stun.Setter{family(ipv6)}, 443, 0},
		{"the other family, IPv6", ipv6, []stun.Setter{family(ipv4)}, 443, 0},
		{"to zero, the other family", ipv4, []stun.Setter{lifetime(0), family(ipv6)}, 443, 0},
		{"family of nobody", ipv4, []stun.Setter{family(9)}, 443, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)
			a := c.allocate(family(test.family))
			before := a.Expires()
			s.clock.advance(age)

			answer := c.do(stun.MethodRefresh, test.setters...)
			wantCode(t, answer, test.code)
			wantSigned(t, answer, true)
			if test.code != 0 {
				wantAttributes(t, answer, stun.AttrErrorCode, stun.AttrMessageIntegrity, stun.AttrFingerprint)
				if c.allocation() != a || a.Expires() != before {
					t.Error("a refused Refresh changed the allocation")
				}
				return
			}
			wantAttributes(t, answer, stun.AttrLifetime, stun.AttrMessageIntegrity, stun.AttrFingerprint)
			if got := lifetimeOf(t, answer); got != test.lifetime {
				t.Errorf("LIFETIME %v, want %v", got, test.lifetime)
			}
			if test.lifetime == 0 {
				if c.allocation() != nil || s.table.Count() != 0 || a.Why() != allocation.Released {
					t.Errorf("allocation is not deleted, or for the reason %v", a.Why())
				}
				wantCode(t, c.do(stun.MethodRefresh, lifetime(0)), 437)
				return
			}
			if got := a.Expires().Sub(s.table.Now()); got != test.lifetime {
				t.Errorf("allocation lives %v, want %v", got, test.lifetime)
			}
			// It is over at the end of the new life, and not at that of the first one.
			s.clock.advance(test.lifetime - 1)
			if c.allocation() != a {
				t.Error("the allocation ended early")
			}
			s.clock.advance(1)
			if c.allocation() != nil {
				t.Error("the allocation outlived its lifetime")
			}
		})
	}
}

func TestSeconds(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want uint32
	}{
		{0, 0}, {1, 1}, {time.Second - 1, 1}, {time.Second, 1}, {time.Second + 1, 2}, {time.Hour, 3600},
	} {
		if got := seconds(test.d); got != test.want {
			t.Errorf("seconds(%v) = %d, want %d", test.d, got, test.want)
		}
	}
}
