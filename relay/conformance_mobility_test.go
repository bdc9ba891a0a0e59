package relay_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
)

const attrTicket = stun.AttrType(0x8030) // RFC 8016 §3.3

// mobile makes an allocation that may move and returns its ticket (RFC 8016 §3.1.2).
func (c *caller) mobile(setters ...stun.Setter) []byte {
	c.t.Helper()
	a := c.allocate(append([]stun.Setter{raw(attrTicket)}, setters...)...)
	return a.ticket(c.t)
}

func (a *answer) ticket(t testing.TB) []byte {
	t.Helper()
	b := a.get(attrTicket)
	if len(b) == 0 {
		t.Fatal("the answer has no MOBILITY-TICKET")
	}
	return b
}

// move refreshes with a ticket from here and returns the new one (RFC 8016 §3.2.2).
func (c *caller) move(ticket []byte) []byte {
	c.t.Helper()
	a := c.request(stun.MethodRefresh, raw(attrTicket, ticket...))
	a.want(c.t, 0)
	return a.ticket(c.t)
}

// eachMove runs a test from every transport and family to every.
func eachMove(t *testing.T, test func(t *testing.T, from, to way)) {
	for _, from := range ways {
		for _, to := range ways {
			t.Run(fmt.Sprintf("%v to %v", from, to), func(t *testing.T) { test(t, from, to) })
		}
	}
}

// An allocation goes where its ticket comes from, with its relayed transport address, permissions and channels; it is
// served at both until its client sends data from the new one (RFC 8016 §3.2.2).
func TestConformanceMove(t *testing.T) {
	s := conforming(t, nil)
	eachMove(t, func(t *testing.T, from, to way) {
		before := s.Count()
		c, p := s.call(t, from), s.call(t, overUDP)
		p.allocate()
		ticket := c.mobile()
		relayed := c.relayed
		c.bind(0x4000, p.relayed)
		p.bind(0x4000, relayed)

		d := s.call(t, to)
		next := d.move(ticket)
		if bytes.Equal(next, ticket) {
			t.Error("the new ticket is the old one")
		}
		// The old five-tuple is served as ever; what comes from the peer goes to both.
		p.send(channelData(0x4000, []byte("to either"), true))
		c.wantChannel(0x4000, []byte("to either"))
		d.wantChannel(0x4000, []byte("to either"))
		c.send(channelData(0x4000, []byte("from the old one"), true))
		p.wantChannel(0x4000, []byte("from the old one"))
		c.request(stun.MethodRefresh).want(t, 0)
		// Requests are answered at the new one already.
		q := s.call(t, overUDP)
		q.allocate()
		d.permit(q.relayed)
		d.request(stun.MethodAllocate, udpTransport).want(t, 437)

		d.send(channelData(0x4000, []byte("from the new one"), true))
		p.wantChannel(0x4000, []byte("from the new one"))
		p.send(channelData(0x4000, []byte("to the new one"), true))
		d.wantChannel(0x4000, []byte("to the new one"))
		q.permit(relayed)
		q.sendTo(relayed, []byte("permitted on the way"))
		d.wantData(q.relayed, []byte("permitted on the way"))
		c.quiet()
		c.send(channelData(0x4000, []byte("from where nobody is"), true))
		c.settle()
		p.quiet()
		c.request(stun.MethodRefresh).want(t, 437)

		if got := s.Count() - before; got != 3 {
			t.Errorf("%d allocations, want 3", got)
		}
		s.Allocations(-1, func(n relay.AllocationInfo) bool {
			if n.Relayed == relayed {
				if n.Client != d.local() || n.Transport != to.scheme {
					t.Errorf("shown at %v over %s, is at %v over %s", n.Client, n.Transport, d.local(), to.scheme)
				}
				if n.Counts.Up.Packets != 2 || n.Counts.Down.Packets != 3 {
					t.Errorf("%d packets from and %d to the client, want 2 and 3", n.Counts.Up.Packets, n.Counts.Down.Packets)
				}
			}
			return true
		})
		// And on, with the new ticket; the place that was left may have an allocation of its own.
		e := s.call(t, from)
		e.move(next)
		e.sendTo(p.relayed, []byte("from a third"))
		p.wantChannel(0x4000, []byte("from a third"))
		c.allocate()
		for _, one := range []*caller{c, e, p, q} {
			one.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		}
		if got := s.Count() - before; got != 0 {
			t.Errorf("%d allocations are left", got)
		}
	})
}

// What a request with a ticket is refused for (RFC 8016 §3.1.2, §3.2.2).
func TestConformanceTicket(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		s.call(t, w).request(stun.MethodAllocate, udpTransport, raw(attrTicket, []byte("not empty")...)).want(t, 400)
		c := s.call(t, w)
		ticket := c.mobile(familyOf(w.v6))
		forged := bytes.Clone(ticket)
		forged[len(forged)/2] ^= 1
		for _, row := range []struct {
			section, says string
			from          *caller
			setters       setters
			code          int
		}{
			{"RFC 8016 §3.2.2", "forged", s.call(t, w), setters{raw(attrTicket, forged...)}, 400},
			{"RFC 8016 §3.2.2", "empty", s.call(t, w), setters{raw(attrTicket)}, 400},
			{"RFC 8016 §3.2.2", "cut", s.call(t, w), setters{raw(attrTicket, ticket[:20]...)}, 400},
			{"RFC 8016 §3.2.2", "long", s.call(t, w), setters{raw(attrTicket, append(bytes.Clone(ticket), ticket...)...)}, 400},
			{"RFC 8016 §3.2.2", "from where the allocation is", c, setters{raw(attrTicket, ticket...)}, 400},
			{"RFC 8016 §3.2.2", "another user's", s.call(t, w).as("bob", "builder"), setters{raw(attrTicket, ticket...)}, 441},
			{"RFC 8016 §3.2.2", "a wrong password", s.call(t, w).as("alice", "guess"), setters{raw(attrTicket, ticket...)}, 401},
			{"RFC 8656 §8.2", "of the other family", s.call(t, w), setters{raw(attrTicket, ticket...), familyOf(!w.v6)}, 443},
			{"RFC 8656 §18.2", "with a malformed LIFETIME", s.call(t, w), setters{raw(attrTicket, ticket...), raw(stun.AttrLifetime, 1)}, 400},
		} {
			if got := row.from.request(stun.MethodRefresh, row.setters...).code(); got != row.code {
				t.Errorf("%s: %s: %d, want %d", row.section, row.says, got, row.code)
			}
		}
		occupied := s.call(t, w)
		occupied.allocate()
		occupied.request(stun.MethodRefresh, raw(attrTicket, ticket...)).want(t, 437)
		c.request(stun.MethodRefresh).want(t, 0) // none of that did anything

		d := s.call(t, w)
		request := d.signed(stun.MethodRefresh, raw(attrTicket, ticket...))
		a := d.signedAnswer(request)
		a.want(t, 0)
		if again := d.signedAnswer(request); !bytes.Equal(again.raw, a.raw) {
			t.Error("a retransmission got another answer (RFC 8016 §3.2.2)")
		}
		if got := s.call(t, w).request(stun.MethodRefresh, raw(attrTicket, ticket...)).code(); got != 400 {
			t.Errorf("a used ticket from somewhere else: %d, want 400", got)
		}
		next := a.ticket(t)
		if got := d.request(stun.MethodRefresh, raw(attrTicket, next...)).code(); got != 400 {
			t.Errorf("the new ticket from where it was given: %d, want 400", got)
		}
		if got := c.request(stun.MethodRefresh, raw(attrTicket, next...)).code(); got != 400 {
			t.Errorf("the new ticket from where the allocation still is: %d, want 400", got)
		}
		d.sendTo(occupied.relayed, []byte("here"))
		d.settle()
		if again := d.signedAnswer(request); !bytes.Equal(again.raw, a.raw) {
			t.Error("a retransmission that comes late got another answer")
		}
		if got := c.request(stun.MethodRefresh, raw(attrTicket, ticket...)).code(); got != 400 {
			t.Errorf("a used ticket from where it was first given: %d, want 400", got)
		}
		d.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		s.call(t, w).request(stun.MethodRefresh, raw(attrTicket, next...)).want(t, 437)
		occupied.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	})
}

// Who never asked for a ticket gets none, and where mobility is forbidden nobody does (RFC 8016 §3.1.2, §3.2.2).
func TestConformanceMobilityForbidden(t *testing.T) {
	s := conforming(t, nil)
	c := s.call(t, overUDP)
	if a := c.allocate(); a.has(attrTicket) {
		t.Error("MOBILITY-TICKET without having been asked for")
	}
	if a := c.request(stun.MethodRefresh); a.has(attrTicket) {
		t.Error("MOBILITY-TICKET of a Refresh without one")
	}
	c = s.call(t, overTCP) // TCP allocations don't move, nor are there two addresses of one
	c.request(stun.MethodAllocate, tcpTransport, raw(attrTicket)).want(t, 405)
	a := c.request(stun.MethodAllocate, tcpTransport, alsoIPv6)
	a.want(t, 0)
	if got := string(a.get(attrAddressErrorCode)); len(a.relayed(t)) != 1 || got != "\x02\x00\x04\x28Address Family not Supported" {
		t.Errorf("a TCP allocation with two families got %v and ADDRESS-ERROR-CODE %q", a.relayed(t), got)
	}
	s = conforming(t, func(c *relay.Config) { c.ForbidMobility = true })
	c = s.call(t, overUDP)
	c.request(stun.MethodAllocate, udpTransport, raw(attrTicket)).want(t, 405)
	c.allocate()
	s.call(t, overUDP).request(stun.MethodRefresh, raw(attrTicket, bytes.Repeat([]byte("A"), 32)...)).want(t, 405)
}

// Moving gives nobody a second allocation, and takes nobody's place (the fault that coturn's quota had).
func TestConformanceMoveQuota(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.UserQuota = 2 })
	c := s.call(t, overUDP)
	ticket := c.mobile()
	s.call(t, overUDP).allocate()
	for i := range 5 {
		d := s.call(t, ways[i%2])
		ticket = d.move(ticket)
		if i%2 == 0 { // otherwise it goes on without having been here
			d.sendTo(c.relayed, []byte("here"))
			d.settle()
		}
		d.call(s).request(stun.MethodAllocate, udpTransport).want(t, 486)
		if got := s.Count(); got != 2 {
			t.Fatalf("%d allocations, want 2", got)
		}
	}
}

// call is another socket of the same kind.
func (c *caller) call(s *served) *caller {
	c.t.Helper()
	if c.stream != nil {
		return s.call(c.t, overTCP)
	}
	return s.call(c.t, overUDP)
}

// An allocation that may move outlives its connection for a while; one that has moved doesn't notice (RFC 8016 §3.2.2).
func TestConformanceMoveFromClosed(t *testing.T) {
	s := conforming(t, nil)
	p := s.call(t, overUDP)
	p.allocate()
	begin := func() (*caller, []byte) {
		c := s.call(t, overTCP)
		ticket := c.mobile()
		c.bind(0x4000, p.relayed)
		p.permit(c.relayed)
		return c, ticket
	}
	for _, to := range ways {
		t.Run("closed, then moved to "+to.String(), func(t *testing.T) {
			c, ticket := begin()
			c.conn.Close()
			d := s.call(t, to)
			d.move(ticket)
			p.sendTo(c.relayed, []byte("at once"))
			d.wantChannel(0x4000, []byte("at once"))
			d.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		})
		t.Run("closed on the way to "+to.String(), func(t *testing.T) {
			c, ticket := begin()
			d := s.call(t, to)
			d.move(ticket)
			c.conn.Close()
			eventually(t, "the allocation is at its new place", func() (there bool) {
				s.Allocations(-1, func(n relay.AllocationInfo) bool {
					there = there || n.Relayed == c.relayed && n.Client == d.local()
					return true
				})
				return there
			})
			p.sendTo(c.relayed, []byte("without a word from there"))
			d.wantChannel(0x4000, []byte("without a word from there"))
			d.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		})
		t.Run("moved, then closed, to "+to.String(), func(t *testing.T) {
			c, ticket := begin()
			d := s.call(t, to)
			d.move(ticket)
			d.send(channelData(0x4000, []byte("here"), true))
			p.wantData(c.relayed, []byte("here"))
			c.conn.Close()
			p.sendTo(c.relayed, []byte("still there"))
			d.wantChannel(0x4000, []byte("still there"))
			d.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		})
	}
	t.Run("what it was to move to closed", func(t *testing.T) {
		c, ticket := begin()
		d := s.call(t, overTCP)
		next := d.move(ticket)
		d.conn.Close()
		// Whether the server has noticed doesn't matter: both are sent to until then.
		p.sendTo(c.relayed, []byte("where it was"))
		c.wantChannel(0x4000, []byte("where it was"))
		e := s.call(t, overUDP)
		e.move(next)
		e.send(channelData(0x4000, []byte("elsewhere"), true))
		p.wantData(c.relayed, []byte("elsewhere"))
		e.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	})
}

// A dual allocation moves with both of its addresses, or what is left of them.
func TestConformanceMoveDual(t *testing.T) {
	s := conforming(t, nil)
	eachMove(t, func(t *testing.T, from, to way) {
		c := s.call(t, from)
		a := c.allocate(alsoIPv6, raw(attrTicket))
		two, ticket := a.twoAddresses(t), a.ticket(t)
		peers := [2]*caller{s.call(t, overUDP), s.call(t, overUDP)}
		for i, p := range peers {
			p.allocate([2]stun.Setter{wantIPv4, wantIPv6}[i])
			p.permit(two[i])
			c.bind(0x4000+uint16(i), p.relayed)
		}
		d := s.call(t, to)
		ticket = d.move(ticket)
		for i, p := range peers {
			d.send(channelData(0x4000+uint16(i), []byte("here"), true))
			p.wantData(two[i], []byte("here"))
			p.sendTo(two[i], []byte("there"))
			d.wantChannel(0x4000+uint16(i), []byte("there"))
		}
		// A half that ends between asking and coming is not found at the new place.
		e := s.call(t, from)
		e.move(ticket)
		d.request(stun.MethodRefresh, wantIPv4, lifetime(0)).want(t, 0)
		e.send(channelData(0x4001, []byte("the half"), true))
		peers[1].wantData(two[1], []byte("the half"))
		e.send(channelData(0x4000, []byte("nothing"), true))
		e.settle()
		peers[0].quiet()
		e.request(stun.MethodRefresh, wantIPv4).want(t, 443)
		e.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		e.request(stun.MethodRefresh).want(t, 437)
	})
}

// Peers beyond the process notice nothing of a move: the socket stays, and what is read from it goes to the new place.
func TestConformanceMovePeers(t *testing.T) {
	eachReading(t, func(t *testing.T, s *served) {
		eachMove(t, func(t *testing.T, from, to way) {
			c, h := s.call(t, from), newHost(t, false)
			ticket := c.mobile()
			relayed := c.relayed
			c.permit(h.address())
			for range 3 {
				c.sendTo(h.address(), []byte("out"))
				h.want(relayed, []byte("out"))
				h.send(relayed, []byte("in"))
				c.wantData(h.address(), []byte("in"))
				next := s.call(t, to)
				ticket = next.move(ticket)
				c = next
			}
			c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		})
	})
}

// While packets flow both ways an allocation moves again and again: none gets lost that was sent when its way was clear,
// and none goes astray.
func TestConformanceMoveUnderLoad(t *testing.T) {
	s := conforming(t, nil)
	c, p := s.call(t, overUDP), s.call(t, overUDP)
	p.allocate()
	ticket := c.mobile()
	relayed := c.relayed
	c.bind(0x4000, p.relayed)
	p.bind(0x4000, relayed)

	var flowing sync.WaitGroup
	noise := channelData(0x4000, []byte("noise"), true)
	var moves [2]chan struct{}
	for i := range moves { // two send to it during each move, no more than fits a socket's buffer
		moves[i] = make(chan struct{}, 1)
		q := s.call(t, overUDP)
		q.allocate()
		c.permit(q.relayed)
		q.bind(0x4000, relayed)
		flowing.Go(func() {
			for range moves[i] {
				for range 40 {
					if _, err := q.conn.Write(noise); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	defer flowing.Wait()
	defer func() {
		for _, m := range moves {
			close(m)
		}
	}()
	for i := range 50 {
		d := s.call(t, ways[i%len(ways)])
		d.challenge()
		for _, m := range moves {
			m <- struct{}{}
		}
		d.send(d.signed(stun.MethodRefresh, raw(attrTicket, ticket...)))
		for ticket = nil; ticket == nil; {
			if a, err := parseMessage(d.receive()); err == nil && a.method == stun.MethodRefresh {
				a.want(t, 0)
				ticket = a.ticket(t)
			}
		}
		data := []byte(fmt.Sprint("move ", i))
		d.send(channelData(0x4000, data, true))
		p.wantChannel(0x4000, data)
		p.send(channelData(0x4000, data, true))
		for {
			if b := d.receive(); len(b) >= 4+len(data) && b[0] == 0x40 && bytes.Equal(b[4:4+len(data)], data) {
				break
			}
		}
	}
}
