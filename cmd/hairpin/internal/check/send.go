package check

import "bytes"

// Send and Data indications: RFC 8656 §11.
var sendRows = group{
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays the DATA of a Send indication to a permitted peer, unchanged",
		probe: func(x *exam) { x.relaysOut([]byte("thirty-one bytes, and one byte more")) }},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays DATA of one, two, three and four bytes without its padding",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			for n := 1; n <= 4; n++ {
				payload := bytes.Repeat([]byte{byte(n)}, n)
				x.arrives(func() { c.sends(f.address, payload) }, f.receive, payload)
			}
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays 1,200 bytes of DATA",
		probe: func(x *exam) { x.relaysOut(bytes.Repeat([]byte("0123456789"), 120)) }},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays DATA of zero bytes as an empty datagram",
		probe: func(x *exam) { x.relaysOut(nil) }},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "sends from the relayed transport address of the allocation",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			payload := []byte("where from?")
			r := x.arrives(func() { c.sends(f.address, payload) }, f.receive, payload)
			if r.from != c.relayed {
				x.fail("from %v, not from %v", r.from, c.relayed)
			}
			x.saw("from %v", r.from)
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "discards a Send indication without XOR-PEER-ADDRESS",
		probe: func(x *exam) {
			c := x.allocated()
			x.discarded(c, build(send|classIndication, text(attrData, "to nobody")))
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "discards a Send indication without DATA",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			c.write(build(send|classIndication, peer(f.address)))
			x.stopped(f.receive, nil)
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "discards a Send indication whose XOR-PEER-ADDRESS is invalid",
		probe: func(x *exam) {
			x.discarded(x.allocated(), build(send|classIndication, raw(attrPeer, 0, 7, 1, 2), text(attrData, "to nobody")))
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "discards a Send indication to a peer without a permission",
		probe: func(x *exam) {
			c, f := x.pair()
			c.sends(f.address, x.payload("not permitted"))
			x.stopped(f.receive, x.payload("not permitted"))
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "installs no permission for a Send indication",
		probe: func(x *exam) {
			c, f := x.pair()
			c.sends(f.address, x.payload("not permitted"))
			x.stopped(f.receive, x.payload("not permitted"))
			f.send(c.relayed, x.payload("not permitted"))
			x.stopped(c.relays, x.payload("not permitted"))
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "discards a Send indication with an unknown comprehension-required attribute",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			c.sends(f.address, x.payload("unknown"), raw(attrUnknownRequired))
			x.stopped(f.receive, x.payload("unknown"))
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays a Send indication with an unknown comprehension-optional attribute",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			payload := []byte("optional")
			x.arrives(func() { c.sends(f.address, payload, raw(attrUnknownOptional, 1)) }, f.receive, payload)
		}},
	{RFC: "8656", Section: "11.2", Level: Must, Requirement: "relays a Send indication with DONT-FRAGMENT if it supports that, and else discards it",
		probe: func(x *exam) {
			c, f := x.pair()
			supported := x.dial().request(allocate, append(x.usual(), raw(attrDontFragment))...)
			x.permits(c, f.address)
			payload := x.payload("in one piece")
			if supported != nil && supported.code() == 0 {
				x.arrives(func() { c.sends(f.address, payload, raw(attrDontFragment)) }, f.receive, payload)
				return
			}
			c.sends(f.address, payload, raw(attrDontFragment))
			x.stopped(f.receive, payload)
		}},
	{RFC: "8656", Section: "17", Level: Must, Requirement: "answers no Send indication",
		probe: func(x *exam) {
			c := x.allocated()
			x.discarded(c, build(send|classIndication, peer(x.somebody()), text(attrData, "no answer")))
		}},
	{RFC: "8656", Section: "11.3", Level: Must, Requirement: "forwards from a permitted peer in a Data indication with XOR-PEER-ADDRESS and DATA",
		probe: func(x *exam) {
			r, _ := x.dataIndication([]byte("from the peer"))
			x.has(r.message, attrPeer, attrData)
		}},
	{RFC: "8656", Section: "11.3", Level: Must, Requirement: "sets XOR-PEER-ADDRESS of a Data indication to the source transport address of the datagram",
		probe: func(x *exam) {
			if r, f := x.dataIndication([]byte("from whom?")); r.from != f.address {
				x.fail("it is %v, the peer is %v", r.from, f.address)
			}
		}},
	{RFC: "8656", Section: "11.3", Level: Must, Requirement: "sets DATA of a Data indication to the datagram's data, of any length",
		probe: func(x *exam) {
			for _, n := range []int{1, 2, 3, 1200} {
				x.dataIndication(bytes.Repeat([]byte{7}, n))
			}
		}},
	{RFC: "8656", Section: "11.3", Level: Must, Requirement: "forwards an empty datagram in a Data indication with an empty DATA",
		probe: func(x *exam) {
			r, _ := x.dataIndication(nil)
			x.has(r.message, attrData)
		}},
	{RFC: "8489", Section: "14", Level: Must, Requirement: "pads the attributes of a Data indication with zeros",
		probe: func(x *exam) {
			r, _ := x.dataIndication([]byte("padding")) // seven bytes
			for _, a := range r.message.attributes {
				if len(bytes.Trim(a.pad, "\x00")) != 0 {
					x.fail("%s is padded with %x", nameOf(a.kind), a.pad)
				}
			}
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "does not authenticate indications: a Data indication bears no MESSAGE-INTEGRITY",
		probe: func(x *exam) {
			r, _ := x.dataIndication([]byte("once"))
			x.lacks(r.message, attrIntegrity, attrIntegrity256)
		}},
	{RFC: "8656", Section: "12.5", Level: Must, Requirement: "takes a Send indication to a peer that a channel is bound to",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			payload := []byte("beside the channel")
			x.arrives(func() { c.sends(f.address, payload) }, f.receive, payload)
		}},
}

// relaysOut fails the row unless a payload reaches a peer in a Send indication.
func (x *exam) relaysOut(payload []byte) {
	c, f := x.pair()
	x.permits(c, f.address)
	x.arrives(func() { c.sends(f.address, payload) }, f.receive, payload)
}

// dataIndication is what a client gets when its peer sends a payload.
func (x *exam) dataIndication(payload []byte) (*relayed, *far) {
	c, f := x.pair()
	x.permits(c, f.address)
	r := x.arrives(func() { f.send(c.relayed, payload) }, c.relays, payload)
	if r.message == nil {
		x.fail("%v instead of a Data indication", r)
	}
	return r, f
}
