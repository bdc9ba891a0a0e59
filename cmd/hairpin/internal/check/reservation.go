package check

import "net/netip"

// EVEN-PORT and RESERVATION-TOKEN: RFC 8656 §7.2, §18.7 and §18.10.
var reservationRows = group{
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates an even port for EVEN-PORT without R",
		probe: func(x *exam) {
			for range 3 {
				if c := x.allocated(raw(attrEvenPort, 0)); c.relayed.Port()%2 != 0 {
					x.fail("port %d", c.relayed.Port())
				}
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates an even port for EVEN-PORT with R",
		probe: func(x *exam) {
			c, _ := x.reserving()
			if c.relayed.Port()%2 != 0 {
				x.fail("port %d", c.relayed.Port())
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "includes RESERVATION-TOKEN in the success response to EVEN-PORT with R",
		probe: func(x *exam) { x.reserving() }},
	{RFC: "8656", Section: "18.10", Level: Must, Requirement: "gives a RESERVATION-TOKEN of 8 bytes",
		probe: func(x *exam) {
			if _, token := x.reserving(); len(token) != 8 {
				x.fail("it has %d", len(token))
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "gives no RESERVATION-TOKEN for EVEN-PORT without R",
		probe: func(x *exam) { x.lacks(x.allocate(x.dial(), raw(attrEvenPort, 0)), attrToken) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates for a RESERVATION-TOKEN the next port on the same IP address",
		probe: func(x *exam) {
			c, token := x.reserving()
			d := x.dial()
			x.wants(d.request(allocate, transport(protocolUDP), raw(attrToken, token...)), 0)
			if want := netip.AddrPortFrom(c.relayed.Addr(), c.relayed.Port()+1); d.relayed != want {
				x.fail("%v behind %v", d.relayed, c.relayed)
			}
			x.saw("%v behind %v", d.relayed, c.relayed)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects a RESERVATION-TOKEN that was used already with 508",
		probe: func(x *exam) {
			_, token := x.reserving()
			x.wants(x.dial().request(allocate, transport(protocolUDP), raw(attrToken, token...)), 0)
			x.wants(x.dial().request(allocate, transport(protocolUDP), raw(attrToken, token...)), 508)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects a RESERVATION-TOKEN that nobody was given with 508",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), text(attrToken, "no token")), 508)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, slow: true, Requirement: "holds a reservation for at least 30 s",
		probe: func(x *exam) {
			_, token := x.reserving()
			x.wait(29)
			x.wants(x.dial().request(allocate, transport(protocolUDP), raw(attrToken, token...)), 0)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects RESERVATION-TOKEN together with EVEN-PORT with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), text(attrToken, "no token"), raw(attrEvenPort, 0)), 400)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects RESERVATION-TOKEN together with REQUESTED-ADDRESS-FAMILY with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), text(attrToken, "no token"), family(attrRequestedFamily, familyIPv4)), 400)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects RESERVATION-TOKEN together with ADDITIONAL-ADDRESS-FAMILY with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), text(attrToken, "no token"), family(attrAdditionalFamily, familyIPv6)), 400)
		}},
	{RFC: "8656", Section: "18.7", Level: Must, Requirement: "ignores the RFFU field of EVEN-PORT",
		probe: func(x *exam) {
			c := x.dial()
			x.lacks(x.allocate(c, raw(attrEvenPort, 0x7F)), attrToken)
			if c.relayed.Port()%2 != 0 {
				x.fail("port %d", c.relayed.Port())
			}
		}},
}

// reserving is a client with an even port and the token for the next one.
func (x *exam) reserving() (*client, []byte) {
	c := x.dial()
	m := x.allocate(c, raw(attrEvenPort, 0x80))
	x.has(m, attrToken)
	return c, m.get(attrToken)
}
