package check

import "time"

// Messages that a server silently discards: RFC 8489 §6.3, §6.3.2 and §7.
var messageRows = group{
	{RFC: "8489", Section: "6.3.2", Level: Must, Requirement: "sends no response to a Binding indication",
		probe: func(x *exam) { x.discarded(x.dial(), build(binding|classIndication)) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a message whose magic cookie is wrong",
		probe: func(x *exam) {
			b := build(allocate)
			b[4] ^= 0xFF
			x.discarded(x.dial(), b)
		}},
	{RFC: "8489", Section: "6.3", Level: Must, reach: overDatagrams, Requirement: "discards a message whose first two bits are not zero",
		probe: func(x *exam) {
			for _, bits := range []byte{0x80, 0xC0} {
				b := build(allocate)
				b[0] |= bits
				x.discarded(x.dial(), b)
			}
		}},
	{RFC: "8489", Section: "6.3", Level: Must, reach: overDatagrams, Requirement: "discards a message whose length is no multiple of four",
		probe: func(x *exam) {
			b := append(build(allocate), 0, 0)
			setLength(b, 2)
			x.discarded(x.dial(), b)
		}},
	{RFC: "8489", Section: "6.3", Level: Must, reach: overDatagrams, Requirement: "discards a message whose length is greater than the datagram",
		probe: func(x *exam) {
			b := build(allocate)
			setLength(b, 8)
			x.discarded(x.dial(), b)
		}},
	{RFC: "8489", Section: "6.3", Level: Must, reach: overDatagrams, Requirement: "discards a datagram that is shorter than a STUN header",
		probe: func(x *exam) {
			c := x.dial()
			b := build(allocate)
			c.write(b[:headerSize-1])
			x.discarded(c, b[:headerSize-4])
		}},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a request of a method that it does not support",
		probe: func(x *exam) { x.discarded(x.dial(), build(0x20AB)) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a Send request: the class is not allowed for the method",
		probe: func(x *exam) {
			c := x.dial()
			x.discarded(c, build(send))
		}},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a Data request: the class is not allowed for the method",
		probe: func(x *exam) { x.discarded(x.dial(), build(data)) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards an Allocate indication: the class is not allowed for the method",
		probe: func(x *exam) { x.discarded(x.dial(), build(allocate|classIndication, transport(protocolUDP))) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a success response to a transaction that it did not begin",
		probe: func(x *exam) { x.discarded(x.dial(), build(binding|classSuccess)) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards an error response to a transaction that it did not begin",
		probe: func(x *exam) { x.discarded(x.dial(), build(binding|classError, raw(attrErrorCode, 0, 0, 4, 0))) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "discards a message whose FINGERPRINT is wrong, where it uses FINGERPRINT itself",
		probe: func(x *exam) {
			x.fingerprinted()
			b := withFingerprint(build(allocate))
			b[len(b)-1] ^= 1
			x.discarded(x.dial(), b)
		}},
	{RFC: "8489", Section: "6.3.2", Level: Must, Requirement: "discards a Binding indication with an unknown comprehension-required attribute",
		probe: func(x *exam) { x.discarded(x.dial(), build(binding|classIndication, raw(attrUnknownRequired))) }},
	{RFC: "8656", Section: "12", Level: Must, reach: overDatagrams, Requirement: "drops datagrams whose first byte belongs to no protocol that is multiplexed (RFC 7983)",
		probe: func(x *exam) {
			c := x.dial()
			for _, first := range []byte{4, 80, 127, 192, 255} {
				c.write(append([]byte{first, 0, 0, 4}, make([]byte, 20)...))
			}
			if frame := c.await(time.Now().Add(x.quiet), func([]byte) bool { return true }); frame != nil {
				x.fail("answered with %d bytes", len(frame))
			}
			x.alive(c)
		}},
}

// alive fails the row unless the server still answers a client.
func (x *exam) alive(c *client) {
	x.answered(c.exchange(build(allocate)), "the next request")
	x.saw("the next request is answered")
}
