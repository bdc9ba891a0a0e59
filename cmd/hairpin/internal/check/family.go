package check

// REQUESTED-ADDRESS-FAMILY, ADDITIONAL-ADDRESS-FAMILY and ADDRESS-ERROR-CODE: RFC 8656 §7.2, §8.2, §18.6, §18.11 and §18.12.
var familyRows = group{
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates an IPv4 address where no family is requested, or answers 440 where it relays no IPv4",
		probe: func(x *exam) {
			c := x.dial()
			if m := x.wants(c.request(allocate, transport(protocolUDP)), 0, 440); m.code() == 0 && !c.relayed.Addr().Is4() {
				x.fail("%v", c.relayed)
			}
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates an IPv4 address for REQUESTED-ADDRESS-FAMILY IPv4, or answers 440",
		probe: func(x *exam) { x.ofFamily(familyIPv4) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "allocates an IPv6 address for REQUESTED-ADDRESS-FAMILY IPv6, or answers 440",
		probe: func(x *exam) { x.ofFamily(familyIPv6) }},
	{RFC: "8656", Section: "7.2", Level: May, Requirement: "relays IPv6",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), family(attrRequestedFamily, familyIPv6)), 0)
		}},
	{RFC: "8656", Section: "18.6", Level: Must, Requirement: "ignores the reserved bits of REQUESTED-ADDRESS-FAMILY",
		probe: func(x *exam) {
			f := byte(familyIPv4)
			if x.onlyIPv6 {
				f = familyIPv6
			}
			x.wants(x.dial().request(allocate, transport(protocolUDP), raw(attrRequestedFamily, f, 0xFF, 1, 0x80)), 0)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects REQUESTED-ADDRESS-FAMILY together with ADDITIONAL-ADDRESS-FAMILY with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), family(attrRequestedFamily, familyIPv4), family(attrAdditionalFamily, familyIPv6)), 400)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects ADDITIONAL-ADDRESS-FAMILY IPv4 with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), family(attrAdditionalFamily, familyIPv4)), 400)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "rejects ADDITIONAL-ADDRESS-FAMILY together with EVEN-PORT and its R bit with 400",
		probe: func(x *exam) {
			x.wants(x.dial().request(allocate, transport(protocolUDP), family(attrAdditionalFamily, familyIPv6), raw(attrEvenPort, 0x80)), 400)
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "answers ADDITIONAL-ADDRESS-FAMILY with two XOR-RELAYED-ADDRESS, or one and ADDRESS-ERROR-CODE",
		probe: func(x *exam) {
			m := x.additional()
			all := m.addresses(attrRelayed)
			switch {
			case len(all) == 2 && all[0].Addr().Is4() != all[1].Addr().Is4():
				x.saw("%v and %v", all[0], all[1])
			case len(all) == 1 && m.has(attrAddressError):
				x.saw("%v and ADDRESS-ERROR-CODE %x", all[0], m.get(attrAddressError)[:min(4, len(m.get(attrAddressError)))])
			default:
				x.fail("%d addresses, ADDRESS-ERROR-CODE: %v", len(all), m.has(attrAddressError))
			}
		}},
	{RFC: "8656", Section: "7.2", Level: May, Requirement: "makes dual allocations",
		probe: func(x *exam) {
			if n := len(x.additional().addresses(attrRelayed)); n != 2 {
				x.fail("%d relayed transport address", n)
			}
		}},
	{RFC: "8656", Section: "18.12", Level: Must, Requirement: "writes ADDRESS-ERROR-CODE with the family that failed, reserved bits of zero and 440 or 508",
		probe: func(x *exam) {
			m := x.additional()
			v := m.get(attrAddressError)
			if v == nil {
				x.skip("no ADDRESS-ERROR-CODE is sent")
			}
			missing := byte(familyIPv6)
			if a := m.address(attrRelayed); a.Addr().Is6() {
				missing = familyIPv4
			}
			if len(v) < 4 || v[0] != missing || v[1] != 0 || v[2]>>3 != 0 || !(v[2] == 4 && v[3] == 40 || v[2] == 5 && v[3] == 8) {
				x.fail("it begins with %x", v[:min(len(v), 4)])
			}
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "answers a Refresh request for a family that the allocation does not have with 443",
		probe: func(x *exam) {
			other := byte(familyIPv6)
			if x.onlyIPv6 {
				other = familyIPv4
			}
			x.wants(x.allocated().request(refresh, family(attrRequestedFamily, other)), 443)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "refreshes for a REQUESTED-ADDRESS-FAMILY that is the allocation's",
		probe: func(x *exam) {
			own := byte(familyIPv4)
			if x.onlyIPv6 {
				own = familyIPv6
			}
			x.wants(x.allocated().request(refresh, family(attrRequestedFamily, own)), 0)
		}},
	{RFC: "8656", Section: "8.1", Level: Must, Requirement: "deletes with REQUESTED-ADDRESS-FAMILY one half of a dual allocation and keeps the other",
		probe: func(x *exam) {
			c := x.dualAllocated()
			x.wants(c.request(refresh, lifetime(0), family(attrRequestedFamily, familyIPv6)), 0)
			c.holds = true
			x.wants(c.request(refresh, family(attrRequestedFamily, familyIPv4)), 0)
			x.wants(c.request(refresh, family(attrRequestedFamily, familyIPv6)), 443, 437)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "deletes a dual allocation whole without REQUESTED-ADDRESS-FAMILY",
		probe: func(x *exam) {
			c := x.dualAllocated()
			x.wants(c.request(refresh, lifetime(0)), 0)
			x.refusedOrSilent(c.request(refresh))
		}},
}

// ofFamily allocates for a family and fails the row when another one comes.
func (x *exam) ofFamily(f byte) {
	c := x.dial()
	m := x.wants(c.request(allocate, transport(protocolUDP), family(attrRequestedFamily, f)), 0, 440)
	if m.code() == 0 {
		if c.relayed.Addr().Is4() != (f == familyIPv4) {
			x.fail("%v", c.relayed)
		}
		x.saw("%v", c.relayed)
	}
}

// additional is the success response to an Allocate request for both families.
func (x *exam) additional() *message {
	return x.wants(x.dial().request(allocate, transport(protocolUDP), family(attrAdditionalFamily, familyIPv6)), 0)
}

// dualAllocated is a client with a dual allocation; it skips the row where there are none.
func (x *exam) dualAllocated() *client {
	c := x.dial()
	m := c.request(allocate, transport(protocolUDP), family(attrAdditionalFamily, familyIPv6))
	if m == nil || len(m.addresses(attrRelayed)) != 2 {
		x.skip("the server makes no dual allocation")
	}
	return c
}
