package check

import "strings"

// Requests with credentials, right and wrong: RFC 8489 §9.2.4 and §14.5, RFC 8656 §5.
var credentialRows = group{
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers an unknown user with 401",
		probe: func(x *exam) { x.wants(x.stranger(), 401) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes REALM and NONCE in the 401 to an unknown user",
		probe: func(x *exam) { x.has(x.given(x.stranger(), 401), attrRealm, attrNonce) }},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes USERNAME or USERHASH in the 401 to an unknown user",
		probe: func(x *exam) { x.lacks(x.given(x.stranger(), 401), attrUsername, attrUserhash) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a wrong MESSAGE-INTEGRITY with 401",
		probe: func(x *exam) { x.wants(x.wrongPassword(""), 401) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes REALM and NONCE in the 401 to a wrong MESSAGE-INTEGRITY",
		probe: func(x *exam) { x.has(x.given(x.wrongPassword(""), 401), attrRealm, attrNonce) }},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes USERNAME, USERHASH, MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 in the 401 to a wrong MESSAGE-INTEGRITY",
		probe: func(x *exam) {
			x.lacks(x.given(x.wrongPassword(""), 401), attrUsername, attrUserhash, attrIntegrity, attrIntegrity256)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a NONCE that is not valid with 438",
		probe: func(x *exam) { x.wants(x.stale(x.challenged()), 438) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes NONCE and REALM in a 438",
		probe: func(x *exam) { x.has(x.given(x.stale(x.challenged()), 438), attrNonce, attrRealm) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "gives with a 438 a NONCE that is valid",
		probe: func(x *exam) {
			c := x.challenged()
			c.learn(x.given(x.stale(c), 438))
			x.wants(c.exchange(c.sign(build(allocate, x.usual()...))), 0)
			c.holds = true
		}},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes USERNAME or USERHASH in a 438",
		probe: func(x *exam) { x.lacks(x.given(x.stale(x.challenged()), 438), attrUsername, attrUserhash) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "judges MESSAGE-INTEGRITY before the NONCE: both wrong is 401",
		probe: func(x *exam) { x.wants(x.wrongPassword(staleNonce), 401) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "signs the success response to an authenticated request with the same key",
		probe: func(x *exam) {
			c := x.known()
			x.signed(c, x.allocate(c))
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "signs the error response to an authenticated request with the same key",
		probe: func(x *exam) {
			c := x.known()
			m := x.answered(c.request(allocate, transport(254)), "an Allocate request for protocol 254")
			if m.class() != classError {
				x.skip("an Allocate request for protocol 254 is answered with %v", m)
			}
			x.signed(c, m)
		}},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes REALM, NONCE, USERNAME or USERHASH in the response to an authenticated request",
		probe: func(x *exam) {
			c := x.known()
			x.lacks(x.allocate(c), attrRealm, attrNonce, attrUsername, attrUserhash)
		}},
	{RFC: "8489", Section: "14.5", Level: Must, Requirement: "writes MESSAGE-INTEGRITY of 20 bytes",
		probe: func(x *exam) {
			c := x.known()
			if m := x.allocate(c); len(m.get(attrIntegrity)) != integritySize {
				x.fail("it has %d", len(m.get(attrIntegrity)))
			}
		}},
	{RFC: "8489", Section: "14.5", Level: Must, Requirement: "does not accept a MESSAGE-INTEGRITY that is cut short",
		probe: func(x *exam) {
			c := x.known()
			b := add(build(allocate, x.usual()...), c.identified()...)
			setLength(b, len(b)-headerSize+8)
			whole := withIntegrity(b, c.key())
			m := c.exchange(add(b[:len(b):len(b)], raw(attrIntegrity, whole[len(b)+4:len(b)+8]...)))
			if m != nil && m.code() == 0 {
				c.holds = true
				x.fail("four bytes are accepted")
			}
			x.saw("%v", orSilence(m))
		}},
	{RFC: "8489", Section: "14.5", Level: Must, Requirement: "ignores attributes behind MESSAGE-INTEGRITY: an unknown one",
		probe: func(x *exam) {
			c := x.known()
			x.allocate(c)
			x.wants(c.exchange(x.behind(c, build(refresh), raw(attrUnknownRequired))), 0)
		}},
	{RFC: "8489", Section: "14.5", Level: Must, Requirement: "ignores attributes behind MESSAGE-INTEGRITY: LIFETIME",
		probe: func(x *exam) {
			c := x.known()
			x.allocate(c)
			m := x.wants(c.exchange(x.behind(c, build(refresh), lifetime(0))), 0)
			if seconds, _ := m.number(attrLifetime); seconds == 0 {
				c.holds = false
				x.fail("LIFETIME 0 behind MESSAGE-INTEGRITY deletes the allocation")
			}
		}},
	{RFC: "8489", Section: "14.5", Level: Must, Requirement: "ignores attributes behind MESSAGE-INTEGRITY: XOR-PEER-ADDRESS",
		probe: func(x *exam) {
			x.peers()
			c := x.known()
			x.allocate(c)
			x.wants(c.exchange(x.behind(c, build(createPermission), peer(x.anchors[0]))), 400)
		}},
	{RFC: "8489", Section: "6.3.1", Level: Must, Requirement: "replies to unknown comprehension-required attributes of an authenticated request with 420",
		probe: func(x *exam) {
			m := x.wants(x.dial().request(allocate, transport(protocolUDP), raw(attrUnknownRequired)), 420)
			x.lists(m, attrUnknownRequired)
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Should, Requirement: "adds the authentication attributes to a 420, too",
		probe: func(x *exam) {
			c := x.known()
			x.signed(c, x.given(c.request(allocate, transport(protocolUDP), raw(attrUnknownRequired)), 420))
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects another user's Refresh request with 441",
		probe: func(x *exam) { x.wants(x.asOther().request(refresh, lifetime(600)), 441) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects another user's CreatePermission request with 441",
		probe: func(x *exam) { x.wants(x.asOther().request(createPermission, peer(x.anchors[0])), 441) }},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "rejects another user's ChannelBind request with 441",
		probe: func(x *exam) {
			x.wants(x.asOther().request(channelBind, channel(firstChannel), peer(x.anchors[0])), 441)
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "keeps an allocation that another user tries to delete",
		probe: func(x *exam) {
			c := x.asOther()
			c.request(refresh, lifetime(0))
			c.credentials, c.holds = x.credentials, true
			x.wants(c.request(refresh), 0)
		}},
	{RFC: "8656", Section: "5", Level: Should, Requirement: "includes SOFTWARE in an Allocate success response",
		probe: func(x *exam) { x.has(x.allocate(x.dial()), attrSoftware) }},
	{RFC: "8656", Section: "5", Level: Should, Requirement: "includes SOFTWARE in an Allocate error response",
		probe: func(x *exam) { x.has(x.refused(x.dial().request(allocate, transport(254))), attrSoftware) }},
	{RFC: "8656", Section: "5", Level: Should, Requirement: "includes SOFTWARE in a Refresh success response",
		probe: func(x *exam) { x.has(x.wants(x.allocated().request(refresh), 0), attrSoftware) }},
	{RFC: "8656", Section: "5", Level: Should, Requirement: "includes SOFTWARE in a Refresh error response",
		probe: func(x *exam) { x.has(x.refused(x.dial().request(refresh)), attrSoftware) }},
}

const staleNonce = "a nonce that nobody gave"

// known is a client that has been given a nonce.
func (x *exam) known() *client { return x.challenged() }

// stranger is the answer to a user that nobody knows.
func (x *exam) stranger() *message {
	c := x.challenged()
	c.user, c.password = "nobody-"+strings.ToLower(x.row.ID), "guessed"
	return c.exchange(c.sign(build(allocate, x.usual()...)))
}

// wrongPassword is the answer to the right user with a wrong password, and another nonce than was given unless it is empty.
func (x *exam) wrongPassword(nonce string) *message {
	c := x.challenged()
	c.password += "?"
	if nonce != "" {
		c.nonce = nonce
	}
	return c.exchange(c.sign(build(allocate, x.usual()...)))
}

// stale is the answer to the right credentials with a nonce that was never given.
func (x *exam) stale(c *client) *message {
	c.nonce = staleNonce
	return c.exchange(c.sign(build(allocate, x.usual()...)))
}

// behind is a signed request with attributes behind its MESSAGE-INTEGRITY.
func (x *exam) behind(c *client, b []byte, attributes ...attr) []byte {
	return add(withIntegrity(add(b, c.identified()...), c.key()), attributes...)
}

// signed fails the row unless a message bears the client's MESSAGE-INTEGRITY.
func (x *exam) signed(c *client, m *message) {
	switch {
	case !m.has(attrIntegrity):
		x.fail("%v without MESSAGE-INTEGRITY", m)
	case !m.signedBy(c.key()):
		x.fail("%v with a wrong MESSAGE-INTEGRITY", m)
	}
	x.saw("%v, signed", m)
}

// refused is an error response, whatever its code; it skips the row where there is none.
func (x *exam) refused(m *message) *message {
	if m == nil || m.class() != classError {
		x.skip("there is no error response to look at: %s", orSilence(m))
	}
	return m
}

// asOther is a client with an allocation that has become another user since.
func (x *exam) asOther() *client {
	if x.other == nil {
		x.skip("no second user is known: give --other-user and --other-password, or --secret")
	}
	if !x.authenticates {
		x.skip("the server asks for no credentials")
	}
	x.peers()
	c := x.allocated()
	c.credentials = *x.other
	return c
}
