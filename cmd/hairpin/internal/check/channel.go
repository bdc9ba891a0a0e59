package check

// ChannelBind requests: RFC 8656 §12 and §12.2.
var channelRows = group{
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "binds a channel to a peer",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), firstChannel, 0), 0) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "binds channel number 0x4FFF, the last one",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), lastChannel, 0), 0) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects a ChannelBind request without CHANNEL-NUMBER with 400",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(channelBind, peer(x.anchors[0])), 400)
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects a ChannelBind request without XOR-PEER-ADDRESS with 400",
		probe: func(x *exam) { x.wants(x.allocated().request(channelBind, channel(firstChannel)), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects channel number 0x3FFF with 400",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), 0x3FFF, 0), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects channel number 0x0000 with 400",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), 0, 0), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects channel number 0x5000 with 400",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), 0x5000, 0), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects channel number 0x7FFF, the last one of RFC 5766, with 400",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), 0x7FFF, 0), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects channel number 0xFFFF with 400",
		probe: func(x *exam) { x.wants(x.bind(x.allocated(), 0xFFFF, 0), 400) }},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects a channel number that is bound to another transport address with 400",
		probe: func(x *exam) {
			c := x.allocated()
			x.wants(x.bind(c, firstChannel, 0), 0)
			x.wants(x.bind(c, firstChannel, 1), 400)
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects a transport address that is bound to another channel number with 400",
		probe: func(x *exam) {
			c := x.allocated()
			x.wants(x.bind(c, firstChannel, 0), 0)
			x.wants(x.bind(c, firstChannel+1, 0), 400)
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "refreshes a binding of the same number to the same transport address",
		probe: func(x *exam) {
			c := x.allocated()
			x.wants(x.bind(c, firstChannel, 0), 0)
			x.wants(x.bind(c, firstChannel, 0), 0)
		}},
	{RFC: "8656", Section: "12", Level: Must, Requirement: "binds several channels of one allocation",
		probe: func(x *exam) {
			c := x.allocated()
			x.wants(x.bind(c, firstChannel, 0), 0)
			x.wants(x.bind(c, lastChannel, 1), 0)
		}},
	{RFC: "8656", Section: "12", Level: Must, Requirement: "keeps the channels of one allocation apart from those of another",
		probe: func(x *exam) {
			c, d := x.allocated(), x.allocated()
			x.wants(x.bind(c, firstChannel, 0), 0)
			x.wants(x.bind(d, firstChannel, 1), 0)
			x.wants(x.bind(d, firstChannel+1, 0), 0)
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "rejects a peer of another family than the relayed transport address with 443",
		probe: func(x *exam) {
			x.wants(x.allocated().request(channelBind, channel(firstChannel), peer(x.otherFamily())), 443)
		}},
	{RFC: "8656", Section: "18.1", Level: Must, Requirement: "ignores the RFFU field of CHANNEL-NUMBER",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(channelBind, raw(attrChannelNumber, 0x40, 0, 0xFF, 0x5A), peer(x.anchors[0])), 0)
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "installs a permission for the peer of a channel",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			x.arrives(func() { f.send(c.relayed, []byte("let in")) }, c.relays, []byte("let in"))
		}},
	{RFC: "8656", Section: "12.2", Level: Must, Requirement: "installs no permission for a channel that it rejects",
		probe: func(x *exam) {
			c, f := x.pair()
			x.refused(c.request(channelBind, channel(0x3FFF), peer(f.address)))
			f.send(c.relayed, x.payload("not let in"))
			x.stopped(c.relays, x.payload("not let in"))
		}},
	{RFC: "8656", Section: "5", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted ChannelBind request with a success, too",
		probe: func(x *exam) {
			x.peers()
			c := x.allocated()
			request := c.sign(build(channelBind, channel(firstChannel), peer(x.anchors[0])))
			x.wants(c.exchange(request), 0)
			x.wants(c.exchange(request), 0)
		}},
}

// bind asks for a channel to one of the two known peers.
func (x *exam) bind(c *client, n uint16, anchor int) *message {
	x.peers()
	return c.request(channelBind, channel(n), peer(x.anchors[anchor]))
}
