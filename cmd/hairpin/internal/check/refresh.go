package check

// Refresh requests: RFC 8656 §5, §8.2.
var refreshRows = group{
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "tells LIFETIME in the Refresh success response",
		probe: func(x *exam) { x.seconds(x.wants(x.allocated().request(refresh), 0)) }},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "sets the default lifetime of 600 s where a Refresh request asks for none",
		probe: func(x *exam) {
			x.grants(x.wants(x.allocated(lifetime(1200)).request(refresh), 0), defaultLifetime, defaultLifetime)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "sets the default lifetime where a Refresh request asks for less",
		probe: func(x *exam) {
			x.grants(x.wants(x.allocated().request(refresh, lifetime(1)), 0), defaultLifetime, defaultLifetime)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "sets no more than what a Refresh request asks for and no less than the default",
		probe: func(x *exam) {
			x.grants(x.wants(x.allocated().request(refresh, lifetime(900)), 0), defaultLifetime, 900)
		}},
	{RFC: "8656", Section: "8.2", Level: Should, Requirement: "sets at most 3600 s",
		probe: func(x *exam) {
			x.grants(x.wants(x.allocated().request(refresh, lifetime(1<<32-1)), 0), defaultLifetime, maximumLifetime)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "answers a Refresh request with LIFETIME zero with a success and LIFETIME zero",
		probe: func(x *exam) { x.grants(x.wants(x.allocated().request(refresh, lifetime(0)), 0), 0, 0) }},
	{RFC: "8656", Section: "8.2", Level: Must, Requirement: "deletes the allocation for LIFETIME zero",
		probe: func(x *exam) { x.refusedOrSilent(x.deleted().request(refresh)) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "lets the five-tuple of a deleted allocation be allocated anew",
		probe: func(x *exam) { x.wants(x.deleted().request(allocate, x.usual()...), 0) }},
	{RFC: "8656", Section: "9", Level: Must, Requirement: "lets permissions expire with their allocation",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			x.arrives(func() { f.send(c.relayed, []byte("permitted")) }, c.relays, []byte("permitted"))
			x.wants(c.request(refresh, lifetime(0)), 0)
			x.allocate(c)
			f.welcomes(c)
			f.send(c.relayed, x.payload("not permitted"))
			x.stopped(c.relays, x.payload("not permitted"))
		}},
	{RFC: "8656", Section: "12", Level: Must, Requirement: "lets channel bindings expire with their allocation",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			x.wants(c.request(refresh, lifetime(0)), 0)
			x.allocate(c)
			f.welcomes(c)
			c.write(c.frame(firstChannel, x.payload("not bound")))
			x.stopped(f.receive, x.payload("not bound"))
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects a Refresh request on a five-tuple without an allocation with 437",
		probe: func(x *exam) { x.wants(x.dial().request(refresh), 437) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects a Refresh request with LIFETIME zero without an allocation with 437",
		probe: func(x *exam) { x.wants(x.dial().request(refresh, lifetime(0)), 437) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects a CreatePermission request without an allocation with 437",
		probe: func(x *exam) { x.wants(x.dial().request(createPermission, peer(x.somebody())), 437) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects a ChannelBind request without an allocation with 437",
		probe: func(x *exam) {
			x.wants(x.dial().request(channelBind, channel(firstChannel), peer(x.somebody())), 437)
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "ignores a Send indication on a five-tuple without an allocation",
		probe: func(x *exam) {
			x.discarded(x.dial(), build(send|classIndication, peer(x.somebody()), text(attrData, "from nobody")))
		}},
	{RFC: "8656", Section: "5", Level: Must, reach: overDatagrams, Requirement: "ignores ChannelData on a five-tuple without an allocation",
		probe: func(x *exam) {
			c := x.dial()
			c.write(c.frame(firstChannel, []byte("from nobody")))
			x.silent(c)
		}},
	{RFC: "8656", Section: "5", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted Refresh request with a success, too",
		probe: func(x *exam) {
			c := x.allocated()
			request := c.sign(build(refresh, lifetime(700)))
			x.wants(c.exchange(request), 0)
			x.wants(c.exchange(request), 0)
		}},
	{RFC: "8656", Section: "8.2", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted deletion with a success or 437",
		probe: func(x *exam) {
			c := x.allocated()
			request := c.sign(build(refresh, lifetime(0)))
			c.note(x.wants(c.exchange(request), 0))
			x.wants(c.exchange(request), 0, 437)
		}},
}

// deleted is a client whose allocation is gone.
func (x *exam) deleted() *client {
	c := x.allocated()
	x.wants(c.request(refresh, lifetime(0)), 0)
	return c
}

// refusedOrSilent fails the row on a success. Which code is due without an allocation is another row's matter.
func (x *exam) refusedOrSilent(m *message) {
	if m != nil && m.code() == 0 {
		x.fail("a later Refresh request is answered with %v", m)
	}
	x.saw("a later Refresh request: %s", orSilence(m))
}

// welcomes lets a client in again whose relayed transport address has changed.
func (f *far) welcomes(c *client) {
	if f.client != nil {
		f.x.permits(f.client, c.relayed)
	}
}
