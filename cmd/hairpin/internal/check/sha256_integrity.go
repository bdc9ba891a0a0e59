package check

// MESSAGE-INTEGRITY-SHA256 and USERHASH: RFC 8489 §9.2.4, §14.4 and §14.6.
var sha256Rows = group{
	{RFC: "8489", Section: "14.6", Level: Must, Requirement: "writes MESSAGE-INTEGRITY-SHA256 of 32 bytes, as TURN allows no truncation",
		probe: func(x *exam) {
			m := x.wants(x.choose(x.choosing256(), algorithmSHA256), 0)
			if n := len(m.get(attrIntegrity256)); n != integrity256Size {
				x.fail("it has %d bytes", n)
			}
		}},
	{RFC: "8489", Section: "14.6", Level: Must, Requirement: "does not accept a truncated MESSAGE-INTEGRITY-SHA256, as TURN allows none",
		probe: func(x *exam) {
			c := x.choosing256()
			b := add(add(build(allocate, x.usual()...), c.identified()...), raw(attrAlgorithms, c.algorithms...), raw(attrAlgorithm, entry(algorithmSHA256)...))
			m := c.exchange(withIntegrity256(b, c.key256(), 16))
			if c.note(m); m != nil && m.code() == 0 {
				x.fail("16 bytes are accepted")
			}
			x.saw("%v", orSilence(m))
		}},
	{RFC: "8489", Section: "14.6", Level: Must, Requirement: "ignores attributes behind MESSAGE-INTEGRITY-SHA256",
		probe: func(x *exam) {
			c := x.choosing256()
			b := add(add(build(refresh), c.identified()...), raw(attrAlgorithms, c.algorithms...), raw(attrAlgorithm, entry(algorithmSHA256)...))
			x.wants(c.exchange(add(withIntegrity256(b, c.key256(), integrity256Size), raw(attrUnknownRequired))), 437)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a wrong MESSAGE-INTEGRITY-SHA256 with 401",
		probe: func(x *exam) {
			c := x.choosing256()
			c.password += "?"
			x.wants(x.choose(c, algorithmSHA256), 401)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "judges by MESSAGE-INTEGRITY-SHA256 where both integrities are present",
		probe: func(x *exam) {
			c := x.choosing256()
			b := add(add(build(refresh), c.identified()...), raw(attrAlgorithms, c.algorithms...), raw(attrAlgorithm, entry(algorithmSHA256)...))
			b = withIntegrity(b, c.key256())
			x.wants(c.exchange(withIntegrity256(b, []byte("another key"), integrity256Size)), 401)
		}},
	{RFC: "8489", Section: "9.2.4", Level: May, Requirement: "supports anonymous user names and says so in the nonce",
		probe: func(x *exam) {
			if bits, _ := features(x.challenged().nonce); bits&featureAnonymity == 0 {
				x.fail("not announced")
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "accepts USERHASH instead of USERNAME",
		probe: func(x *exam) {
			c := x.anonymous()
			m := x.wants(c.exchange(withIntegrity(x.hashed(c, build(allocate, x.usual()...)), c.key())), 0)
			c.note(m)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a USERHASH of nobody with 401",
		probe: func(x *exam) {
			c := x.anonymous()
			c.user = "nobody"
			x.wants(c.exchange(withIntegrity(x.hashed(c, build(allocate, x.usual()...)), c.key())), 401)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "accepts USERHASH together with SHA-256",
		probe: func(x *exam) {
			x.choosing256()
			c := x.anonymous()
			b := add(x.hashed(c, build(allocate, x.usual()...)), raw(attrAlgorithms, c.algorithms...), raw(attrAlgorithm, entry(algorithmSHA256)...))
			m := x.wants(c.exchange(withIntegrity256(b, c.key256(), integrity256Size)), 0)
			c.note(m)
		}},
}

// anonymous is a client that may hide its user name; it skips the row where the server knows of no such thing.
func (x *exam) anonymous() *client {
	c := x.challenged()
	if bits, _ := features(c.nonce); bits&featureAnonymity == 0 {
		x.skip("the server does not support anonymous user names")
	}
	return c
}

// hashed adds USERHASH, REALM and NONCE.
func (x *exam) hashed(c *client, b []byte) []byte {
	return add(b, raw(attrUserhash, c.userhash()...), text(attrRealm, c.realm), text(attrNonce, c.nonce))
}
