package check

const (
	defaultLifetime = 600  // seconds (RFC 8656 §6)
	maximumLifetime = 3600 // seconds, recommended (RFC 8656 §7.2)
)

// Allocate requests: RFC 8656 §7.2, without reservations and families.
var allocateRows = group{
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "creates an allocation for a UDP relayed transport address",
		probe: func(x *exam) {
			c := x.dial()
			x.wants(c.request(allocate, x.usual()...), 0)
			x.saw("relayed transport address %v", c.relayed)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "tells XOR-RELAYED-ADDRESS in the Allocate success response",
		probe: func(x *exam) {
			c := x.dial()
			x.allocate(c)
			if a := c.relayed; a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
				x.fail("it is %v", a)
			}
			x.saw("it is %v", c.relayed)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "tells LIFETIME in the Allocate success response",
		probe: func(x *exam) { x.seconds(x.allocate(x.dial())) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "tells the client's transport address in XOR-MAPPED-ADDRESS of the Allocate success response",
		probe: func(x *exam) {
			c := x.dial()
			x.isClient(c, x.allocate(c).address(attrMapped), "XOR-MAPPED-ADDRESS")
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "tells no RESERVATION-TOKEN unless a port was reserved",
		probe: func(x *exam) { x.lacks(x.allocate(x.dial()), attrToken) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "gives each allocation a relayed transport address of its own",
		probe: func(x *exam) {
			a, b, c := x.allocated(), x.allocated(), x.allocated()
			if a.relayed == b.relayed || b.relayed == c.relayed || a.relayed == c.relayed {
				x.fail("%v, %v, %v", a.relayed, b.relayed, c.relayed)
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects an Allocate request on a five-tuple that is in use with 437",
		probe: func(x *exam) { x.wants(x.allocated().request(allocate, x.usual()...), 437) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "keeps the allocation whose five-tuple was asked for again",
		probe: func(x *exam) {
			c := x.allocated()
			c.request(allocate, x.usual()...)
			x.wants(c.request(refresh), 0)
		}},
	{RFC: "8656", Section: "5", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted Allocate request as it did the first one",
		probe: func(x *exam) {
			c := x.dial()
			if x.authenticates && c.challenge() == nil {
				x.fail("no nonce")
			}
			request := c.sign(build(allocate, x.usual()...))
			first := x.wants(c.exchange(request), 0)
			c.note(first)
			second := x.wants(c.exchange(request), 0)
			if first.address(attrRelayed) != second.address(attrRelayed) {
				x.fail("%v, then %v", first.address(attrRelayed), second.address(attrRelayed))
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects an Allocate request without REQUESTED-TRANSPORT with 400",
		probe: func(x *exam) { x.wants(x.dial().request(allocate), 400) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects a malformed REQUESTED-TRANSPORT with 400",
		probe: func(x *exam) { x.wants(x.dial().request(allocate, raw(attrRequestedTransport, protocolUDP)), 400) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects a transport protocol that it does not support with 442",
		probe: func(x *exam) { x.wants(x.dial().request(allocate, transport(254)), 442) }},
	{RFC: "8656", Section: "18.8", Level: Must, Requirement: "ignores the RFFU field of REQUESTED-TRANSPORT",
		probe: func(x *exam) {
			usual := x.usual()
			usual[0] = raw(attrRequestedTransport, protocolUDP, 0xFF, 0x5A, 1)
			x.wants(x.dial().request(allocate, usual...), 0)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "lets an Allocate request succeed behind one that was rejected",
		probe: func(x *exam) {
			c := x.dial()
			c.request(allocate)
			c.request(allocate, transport(254))
			x.wants(c.request(allocate, x.usual()...), 0)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "takes DONT-FRAGMENT in an Allocate request, or answers it as an unknown attribute with 420",
		probe: func(x *exam) {
			m := x.wants(x.dial().request(allocate, append(x.usual(), raw(attrDontFragment))...), 0, 420)
			if m.code() == 420 {
				x.lists(m, attrDontFragment)
			}
		}},
	{RFC: "8656", Section: "7.2", Level: May, Requirement: "supports DONT-FRAGMENT",
		probe: func(x *exam) { x.wants(x.dial().request(allocate, append(x.usual(), raw(attrDontFragment))...), 0) }},
	{RFC: "8656", Section: "7.2", Level: Should, Requirement: "allocates ports from 49152 to 65535",
		probe: func(x *exam) {
			for range 3 {
				if c := x.allocated(); c.relayed.Port() < 49152 {
					x.fail("port %d", c.relayed.Port())
				}
			}
		}},
	{RFC: "8656", Section: "7.2", Level: ShouldNot, Requirement: "allocates ports from 0 to 1023",
		probe: func(x *exam) {
			for range 3 {
				if c := x.allocated(); c.relayed.Port() < 1024 {
					x.fail("port %d", c.relayed.Port())
				}
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "grants the default lifetime of 600 s where none is asked for",
		probe: func(x *exam) { x.grants(x.allocate(x.dial()), defaultLifetime, defaultLifetime) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "grants the default lifetime where less is asked for",
		probe: func(x *exam) { x.grants(x.allocate(x.dial(), lifetime(60)), defaultLifetime, defaultLifetime) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "grants the default lifetime where zero is asked for, and makes the allocation",
		probe: func(x *exam) {
			c := x.dial()
			x.grants(x.wants(c.request(allocate, append(x.usual(), lifetime(0))...), 0), defaultLifetime, defaultLifetime)
			x.wants(c.request(refresh), 0)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "grants no more than what is asked for and no less than the default",
		probe: func(x *exam) { x.grants(x.allocate(x.dial(), lifetime(900)), defaultLifetime, 900) }},
	{RFC: "8656", Section: "7.2", Level: Should, Requirement: "grants at most 3600 s",
		probe: func(x *exam) { x.grants(x.allocate(x.dial(), lifetime(1<<31)), defaultLifetime, maximumLifetime) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "ignores FINGERPRINT or its absence: an Allocate request without one succeeds",
		probe: func(x *exam) {
			c := x.dial()
			b := build(allocate, x.usual()...)
			if x.authenticates {
				if c.challenge() == nil {
					x.fail("no nonce")
				}
				b = withIntegrity(add(b, c.identified()...), c.key())
			}
			m := x.wants(c.exchange(b), 0)
			c.note(m)
		}},
}

// seconds is the LIFETIME of a response.
func (x *exam) seconds(m *message) uint32 {
	seconds, ok := m.number(attrLifetime)
	if !ok {
		x.fail("LIFETIME is missing or malformed: %x", m.get(attrLifetime))
	}
	x.saw("LIFETIME %d", seconds)
	return seconds
}

// grants fails the row unless LIFETIME lies within bounds.
func (x *exam) grants(m *message, least, most uint32) {
	if s := x.seconds(m); s < least || s > most {
		if least == most {
			x.fail("LIFETIME %d, not %d", s, most)
		}
		x.fail("LIFETIME %d, not from %d to %d", s, least, most)
	}
}
