package check

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// TCP allocations: RFC 6062 §5.1.
var tcpAllocationRows = group{
	{RFC: "6062", Section: "5.1", Level: May, reach: overStreams, Requirement: "offers TCP allocations",
		probe: func(x *exam) {
			if missing := x.tcpMissing(); missing != "" {
				x.fail("%s", missing)
			}
		}},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "allocates a TCP relayed transport address where one is asked for, not one of UDP",
		probe: func(x *exam) {
			c := x.dial()
			m := x.answered(c.request(allocate, transport(protocolTCP)), "an Allocate request for TCP")
			if m.code() != 0 {
				x.skip("TCP allocations are not offered: %v", m)
			}
			if c.request(connect) == nil {
				x.fail("the Allocate request succeeds, but Connect requests are not even answered")
			}
		}},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overDatagrams, Requirement: "rejects a TCP allocation over UDP with 400",
		probe: func(x *exam) {
			m := x.dial().request(allocate, transport(protocolTCP))
			if m != nil && m.code() == 442 {
				x.skip("TCP allocations are not offered: %v", m)
			}
			x.wants(m, 400)
		}},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "rejects a TCP allocation with EVEN-PORT with 400",
		probe: func(x *exam) { x.wants(x.tcpRequest(raw(attrEvenPort, 0)), 400) }},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "rejects a TCP allocation with DONT-FRAGMENT with 400",
		probe: func(x *exam) { x.wants(x.tcpRequest(raw(attrDontFragment)), 400) }},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "rejects a TCP allocation with RESERVATION-TOKEN with 400",
		probe: func(x *exam) { x.wants(x.tcpRequest(text(attrToken, "no token")), 400) }},
	{RFC: "6062", Section: "5.1", Level: MustNot, reach: overStreams, Requirement: "includes RESERVATION-TOKEN in the success response for a TCP allocation",
		probe: func(x *exam) {
			x.tcpAllocated()
			x.lacks(x.wants(x.tcpRequest(), 0), attrToken)
		}},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "tells relayed transport address, lifetime and mapped address of a TCP allocation",
		probe: func(x *exam) {
			x.tcpAllocated()
			x.has(x.wants(x.tcpRequest(), 0), attrRelayed, attrLifetime, attrMapped)
		}},
	{RFC: "6062", Section: "5.1", Level: Must, reach: overStreams, Requirement: "refreshes and deletes a TCP allocation as any other",
		probe: func(x *exam) {
			c := x.tcpAllocated()
			x.wants(c.request(refresh), 0)
			x.wants(c.request(refresh, lifetime(0)), 0)
			x.refusedOrSilent(c.request(refresh))
		}},
}

// Connect, ConnectionBind and ConnectionAttempt: RFC 6062 §5.2 to §5.5.
var connectionRows = group{
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "connects to a peer and tells CONNECTION-ID in the Connect success response",
		probe: func(x *exam) {
			_, _, m := x.connected()
			if n := len(m.get(attrConnectionID)); n != 4 {
				x.fail("CONNECTION-ID has %d bytes", n)
			}
		}},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "answers a Connect request without an allocation with 437",
		probe: func(x *exam) {
			x.tcpAllocated()
			x.wants(x.dial().request(connect, peer(x.somebody())), 437)
		}},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "answers a Connect request without XOR-PEER-ADDRESS with 400",
		probe: func(x *exam) { x.wants(x.tcpAllocated().request(connect), 400) }},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "answers a Connect request with an invalid XOR-PEER-ADDRESS with 400",
		probe: func(x *exam) { x.wants(x.tcpAllocated().request(connect, raw(attrPeer, 0, 7, 1, 2)), 400) }},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "answers a Connect request for a peer that is connected already with 446",
		probe: func(x *exam) {
			a, b, _ := x.connected()
			x.wants(a.request(connect, peer(b.relayed)), 446)
		}},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "answers a Connect request for a peer that can't be connected with 447",
		probe: func(x *exam) {
			a, b := x.tcpPair()
			nobody := netip.AddrPortFrom(b.relayed.Addr(), b.relayed.Port()^1)
			m := a.request(connect, peer(nobody))
			if m == nil {
				x.skip("no answer within %v; the server may try for 30 s and longer", x.timeout)
			}
			x.wants(m, 447)
		}},
	{RFC: "6062", Section: "5.2", Level: Must, reach: overStreams, Requirement: "gives each peer data connection a CONNECTION-ID of its own",
		probe: func(x *exam) {
			_, _, one := x.connected()
			_, _, two := x.connected()
			if bytes.Equal(one.get(attrConnectionID), two.get(attrConnectionID)) {
				x.fail("%x twice", one.get(attrConnectionID))
			}
		}},
	{RFC: "6062", Section: "5.3", Level: Must, reach: overStreams, Requirement: "sends for an accepted connection a ConnectionAttempt with XOR-PEER-ADDRESS and CONNECTION-ID",
		probe: func(x *exam) {
			a, b, _ := x.connected()
			m := x.attempt(b)
			x.has(m, attrPeer, attrConnectionID)
			if from := m.address(attrPeer); from != a.relayed {
				x.fail("the peer is told to be %v, not %v", from, a.relayed)
			}
		}},
	{RFC: "6062", Section: "5.3", Level: Must, reach: overStreams, Requirement: "closes a connection from a peer without a permission and sends no ConnectionAttempt",
		probe: func(x *exam) {
			a, b := x.tcpAllocated(), x.tcpAllocated()
			x.permits(a, b.relayed)
			a.write(a.sign(build(connect, peer(b.relayed))))
			if b.await(time.Now().Add(2*x.quiet), isAttempt) != nil {
				x.fail("a ConnectionAttempt came")
			}
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "binds a client data connection with a ConnectionBind request",
		probe: func(x *exam) {
			a, _, m := x.connected()
			x.bound(a, m)
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overDatagrams, Requirement: "answers a ConnectionBind request over UDP with 400",
		probe: func(x *exam) {
			x.wants(x.beside(x.tcpAllocated(), true).request(connectionBind, number(attrConnectionID, 1)), 400)
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "answers a ConnectionBind request without CONNECTION-ID with 400",
		probe: func(x *exam) {
			x.wants(x.beside(x.tcpAllocated(), false).request(connectionBind), 400)
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "answers a ConnectionBind request for no pending connection with 400",
		probe: func(x *exam) {
			a, _, m := x.connected()
			id := binary.BigEndian.Uint32(m.get(attrConnectionID))
			x.wants(x.beside(a, false).request(connectionBind, number(attrConnectionID, id^0x5A5A5A5A)), 400)
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "answers a second ConnectionBind request for one connection with 400",
		probe: func(x *exam) {
			a, _, m := x.connected()
			x.bound(a, m)
			x.wants(x.beside(a, false).request(connectionBind, raw(attrConnectionID, m.get(attrConnectionID)...)), 400)
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "passes data of a client data connection to the peer data connection as it is, and back",
		probe: func(x *exam) {
			here, there := x.piped()
			x.passes(here, there, []byte("as it is, \x00\x01\x40\x00"))
			x.passes(there, here, bytes.Repeat([]byte("and back "), 1000))
		}},
	{RFC: "6062", Section: "5.4", Level: Must, reach: overStreams, Requirement: "keeps what the peer sent before the ConnectionBind request and passes it on",
		probe: func(x *exam) {
			a, b, m := x.connected()
			here := x.bound(a, m)
			early := []byte("sent early")
			here.write(early)
			attempt := x.attempt(b)
			if there := x.bound(b, attempt); !bytes.Equal(there.bytes(len(early), x.timeout), early) {
				x.fail("it does not arrive")
			}
		}},
	{RFC: "6062", Section: "5.5", Level: Must, reach: overStreams, Requirement: "closes the peer data connection when the client data connection is closed, and the other way round",
		probe: func(x *exam) {
			here, there := x.piped()
			x.passes(here, there, []byte("before"))
			here.conn.Close()
			if !there.closed(time.Now().Add(x.timeout)) {
				x.fail("the other end stays open")
			}
		}},
	{RFC: "6062", Section: "5.5", Level: Must, reach: overStreams, Requirement: "closes data connections with their allocation",
		probe: func(x *exam) {
			a, b, m := x.connected()
			here := x.bound(a, m)
			x.bound(b, x.attempt(b))
			x.wants(a.request(refresh, lifetime(0)), 0)
			if !here.closed(time.Now().Add(x.timeout)) {
				x.fail("the client data connection stays open")
			}
		}},
}

// tcpAllocated is a client with a TCP allocation over a connection of its own, whatever the run is over; it skips the row
// where the server makes none.
func (x *exam) tcpAllocated() *client {
	if missing := x.tcpMissing(); missing != "" {
		x.skip("%s", missing)
	}
	c := x.dialOver(false)
	x.wants(c.request(allocate, transport(protocolTCP)), 0)
	return c
}

// tcpMissing says why TCP allocations count as not offered; empty: they are.
func (x *exam) tcpMissing() string {
	return x.tcpAllocations.look(func() string {
		stream, err := x.open(x.ctx, false)
		if err != nil {
			return "TCP allocations are not offered: no TCP on this port"
		}
		x.clients = append(x.clients, stream)
		if m := stream.request(allocate, transport(protocolTCP)); m == nil || m.code() != 0 {
			return "TCP allocations are not offered: " + orSilence(m)
		}
		if stream.request(connect) == nil {
			return "TCP allocations are not offered: Connect requests are not answered"
		}
		return ""
	})
}

// tcpRequest is the answer to an Allocate request for TCP with more attributes.
func (x *exam) tcpRequest(more ...attr) *message {
	x.tcpAllocated()
	return x.dial().request(allocate, append([]attr{transport(protocolTCP)}, more...)...)
}

// tcpPair is two clients with TCP allocations that permit each other.
func (x *exam) tcpPair() (a, b *client) {
	x.peers()
	if x.options.Peer.IsValid() {
		x.skip("with --peer allocations are not each other's peers")
	}
	a, b = x.tcpAllocated(), x.tcpAllocated()
	x.permits(a, b.relayed)
	x.permits(b, a.relayed)
	return a, b
}

// connected is such a pair after the first has connected to the second, and the Connect success response.
func (x *exam) connected() (a, b *client, m *message) {
	a, b = x.tcpPair()
	m = x.wants(a.request(connect, peer(b.relayed)), 0)
	x.has(m, attrConnectionID)
	return a, b, m
}

func isAttempt(b []byte) bool {
	return len(b) >= headerSize && kindOf(b) == connectionAttempt|classIndication
}

// attempt waits for the ConnectionAttempt indication.
func (x *exam) attempt(c *client) *message {
	frame := c.await(time.Now().Add(x.timeout), isAttempt)
	if frame == nil {
		x.fail("no ConnectionAttempt came %s", c.gone())
	}
	m, err := parse(frame)
	if err != nil {
		x.fail("ConnectionAttempt: %v", err)
	}
	return m
}

// beside is a new socket of a client, which knows the nonce of the control connection: that is what clients try first
// (RFC 8489 §9.2.3.2), and a server that binds nonces to addresses answers it with 438 and another one.
func (x *exam) beside(control *client, datagrams bool) *client {
	c := x.dialOver(datagrams)
	c.nonce, c.algorithms = control.nonce, control.algorithms
	return c
}

// bound is a new connection of a client that has become the client data connection that a message names.
func (x *exam) bound(control *client, m *message) *client {
	c := x.beside(control, false)
	x.wants(c.request(connectionBind, raw(attrConnectionID, m.get(attrConnectionID)...)), 0)
	return c
}

// piped is both ends of a connection between two TCP allocations.
func (x *exam) piped() (here, there *client) {
	a, b, m := x.connected()
	return x.bound(a, m), x.bound(b, x.attempt(b))
}

// passes fails the row unless bytes come out of the other end.
func (x *exam) passes(from, to *client, payload []byte) {
	from.write(payload)
	if got := to.bytes(len(payload), x.timeout); !bytes.Equal(got, payload) {
		x.fail("of %d bytes %d arrive, or others", len(payload), len(got))
	}
	x.saw("%d bytes arrive", len(payload))
}

// bytes reads n bytes of a stream, or as many as come.
func (c *client) bytes(n int, patience time.Duration) []byte {
	deadline := time.Now().Add(patience)
	for len(c.buffer) < n && c.fill(deadline) {
	}
	taken := c.buffer[:min(n, len(c.buffer))]
	c.buffer = c.buffer[len(taken):]
	return taken
}
