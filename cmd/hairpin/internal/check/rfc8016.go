package check

import (
	"bytes"
)

// Mobility: RFC 8016 §3.1 and §3.2.
var mobilityRows = group{
	{RFC: "8016", Section: "3.1.2", Level: May, Requirement: "offers mobility: a MOBILITY-TICKET for an Allocate request with an empty one",
		probe: func(x *exam) {
			x.has(x.wants(x.dial().request(allocate, append(x.usual(), raw(attrTicket))...), 0), attrTicket)
		}},
	{RFC: "8016", Section: "3.1.2", Level: Must, Requirement: "ignores MOBILITY-TICKET if it does not know it, answers with one, or with 405 where mobility is forbidden",
		probe: func(x *exam) {
			m := x.wants(x.dial().request(allocate, append(x.usual(), raw(attrTicket))...), 0, 405)
			x.saw("%v, MOBILITY-TICKET: %v", m, m.has(attrTicket))
		}},
	{RFC: "8016", Section: "3.1.2", Level: Must, Requirement: "rejects an Allocate request whose MOBILITY-TICKET is not empty with 400",
		probe: func(x *exam) {
			x.mobile()
			x.wants(x.dial().request(allocate, append(x.usual(), text(attrTicket, "ticket"))...), 400)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "moves an allocation to the address that a Refresh request with its MOBILITY-TICKET comes from",
		probe: func(x *exam) { x.moved() }},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "tells a new MOBILITY-TICKET in that Refresh success response",
		probe: func(x *exam) {
			_, _, m, _ := x.moved()
			x.has(m, attrTicket)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "makes the new MOBILITY-TICKET differ from the old one",
		probe: func(x *exam) {
			_, _, m, old := x.moved()
			if bytes.Equal(m.get(attrTicket), old) {
				x.fail("it is the same")
			}
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "forwards from the peer to the new address once the client has sent from there",
		probe: func(x *exam) {
			x.mobile()
			c, f := x.mobilePair()
			d, _ := x.move(c)
			x.arrives(func() { d.sends(f.address, []byte("from here")) }, f.receive, []byte("from here"))
			x.arrives(func() { f.send(c.relayed, []byte("to there")) }, d.relays, []byte("to there"))
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "goes on with the old address until the client has sent from the new one",
		probe: func(x *exam) {
			x.mobile()
			c, f := x.mobilePair()
			x.move(c)
			x.arrives(func() { f.send(c.relayed, []byte("to the old one")) }, c.relays, []byte("to the old one"))
			x.arrives(func() { c.sends(f.address, []byte("from the old one")) }, f.receive, []byte("from the old one"))
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "relays from the same relayed transport address after the move",
		probe: func(x *exam) {
			x.mobile()
			c, f := x.mobilePair()
			d, _ := x.move(c)
			if r := x.arrives(func() { d.sends(f.address, []byte("who?")) }, f.receive, []byte("who?")); r.from != c.relayed {
				x.fail("from %v, not from %v", r.from, c.relayed)
			}
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "rejects an invalid MOBILITY-TICKET with 400",
		probe: func(x *exam) {
			_, ticket := x.mobile()
			ticket[len(ticket)/2] ^= 1
			x.wants(x.dial().request(refresh, raw(attrTicket, ticket...)), 400)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "rejects a MOBILITY-TICKET from the address that the allocation has already with 400",
		probe: func(x *exam) {
			c, ticket := x.mobile()
			x.wants(c.request(refresh, raw(attrTicket, ticket...)), 400)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "rejects a MOBILITY-TICKET whose allocation is gone with 437",
		probe: func(x *exam) {
			c, ticket := x.mobile()
			x.wants(c.request(refresh, lifetime(0)), 0)
			x.wants(x.dial().request(refresh, raw(attrTicket, ticket...)), 437)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "rejects a MOBILITY-TICKET in another user's hands with 441",
		probe: func(x *exam) {
			if x.other == nil {
				x.skip("no second user is known: give --other-user and --other-password, or --secret")
			}
			_, ticket := x.mobile()
			thief := x.dial()
			thief.credentials = *x.other
			x.wants(thief.request(refresh, raw(attrTicket, ticket...)), 441)
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, reach: overDatagrams, Requirement: "recognises a retransmitted Refresh request with the old MOBILITY-TICKET",
		probe: func(x *exam) {
			_, ticket := x.mobile()
			d := x.dial()
			if x.authenticates && d.challenge() == nil {
				x.fail("no nonce")
			}
			request := d.sign(build(refresh, raw(attrTicket, ticket...)))
			x.wants(d.exchange(request), 0)
			x.wants(d.exchange(request), 0)
			d.holds = true
		}},
	{RFC: "8016", Section: "3.2.2", Level: Must, Requirement: "does not move an allocation by a MOBILITY-TICKET that was used and replaced",
		probe: func(x *exam) {
			x.mobile()
			c, f := x.mobilePair()
			old := c.ticket
			d, _ := x.move(c)
			x.arrives(func() { d.sends(f.address, []byte("settled")) }, f.receive, []byte("settled"))
			x.wants(x.dial().request(refresh, raw(attrTicket, old...)), 400, 437)
		}},
}

// mobile is a client with an allocation that can move, and its ticket; it skips the row where the server gives none.
func (x *exam) mobile() (*client, []byte) {
	c := x.dial()
	m := c.request(allocate, append(x.usual(), raw(attrTicket))...)
	if m == nil || m.code() != 0 {
		x.skip("mobility is not offered: %s", orSilence(m))
	}
	if !m.has(attrTicket) {
		x.skip("mobility is not offered: no MOBILITY-TICKET")
	}
	c.ticket = m.get(attrTicket)
	if len(c.ticket) == 0 {
		x.fail("the MOBILITY-TICKET is empty")
	}
	return c, bytes.Clone(c.ticket)
}

// mobilePair is a mobile client and a peer that it has a permission for.
func (x *exam) mobilePair() (*client, *far) {
	x.peers()
	c, _ := x.mobile()
	f := x.far(c)
	x.permits(c, f.address)
	return c, f
}

// move takes a client's allocation to a new socket.
func (x *exam) move(c *client) (*client, *message) {
	d := x.dial()
	m := x.wants(d.request(refresh, raw(attrTicket, c.ticket...)), 0)
	d.relayed, d.holds, d.ticket = c.relayed, true, m.get(attrTicket)
	return d, m
}

// moved is a client, where it has moved to, the Refresh success response and the ticket that was used.
func (x *exam) moved() (from, to *client, m *message, old []byte) {
	from, old = x.mobile()
	to, m = x.move(from)
	return from, to, m, old
}
