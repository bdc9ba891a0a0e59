package check

import (
	"strings"
	"unicode/utf8"
)

// What strangers are answered with: RFC 8489 §9.2.4, §14.9 and §14.10, RFC 8656 §5 and §7.2.
var challengeRows = group{
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a request without MESSAGE-INTEGRITY with 401",
		probe: func(x *exam) {
			c := x.challenged()
			x.wants(c.exchange(build(allocate, transport(protocolUDP))), 401)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes REALM in the 401 to a request without MESSAGE-INTEGRITY",
		probe: func(x *exam) { x.has(x.stranded(), attrRealm) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes NONCE in the 401 to a request without MESSAGE-INTEGRITY",
		probe: func(x *exam) { x.has(x.stranded(), attrNonce) }},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes USERNAME, USERHASH, MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 in the 401 to a request without one",
		probe: func(x *exam) {
			x.lacks(x.unauthorized(allocate), attrUsername, attrUserhash, attrIntegrity, attrIntegrity256)
		}},
	{RFC: "8489", Section: "9.2.4", Level: MustNot, Requirement: "chooses the same NONCE for requests from different ports",
		probe: func(x *exam) {
			x.challenged()
			clients, requests := []*client{}, [][]byte{}
			for range 8 {
				clients, requests = append(clients, x.dial()), append(requests, build(allocate))
			}
			for i, c := range clients { // at once, or a clock in the nonce would make the difference
				c.write(requests[i])
			}
			seen := map[string]bool{}
			for i, c := range clients {
				m := c.answerTo(requests[i])
				if m == nil {
					continue // lost
				}
				nonce := string(m.get(attrNonce))
				if seen[nonce] {
					x.fail("%q twice", nonce)
				}
				seen[nonce] = true
			}
			x.saw("%d sockets, %d nonces", len(clients), len(seen))
		}},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "requires that a Refresh request be authenticated",
		probe: func(x *exam) { x.unauthorizedLater(refresh, lifetime(0)) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "requires that a CreatePermission request be authenticated",
		probe: func(x *exam) { x.unauthorizedLater(createPermission, peer(x.somebody())) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "requires that a ChannelBind request be authenticated",
		probe: func(x *exam) { x.unauthorizedLater(channelBind, channel(firstChannel), peer(x.somebody())) }},
	{RFC: "8656", Section: "7.2", Level: Must, Requirement: "requires that a second Allocate request be authenticated, too",
		probe: func(x *exam) { x.unauthorizedLater(allocate, x.usual()...) }},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "authenticates before it looks for unknown attributes",
		probe: func(x *exam) {
			c := x.challenged()
			x.wants(c.exchange(build(allocate, transport(protocolUDP), raw(attrUnknownRequired))), 401)
		}},
	{RFC: "8489", Section: "14.9", Level: Must, Requirement: "names a REALM of less than 128 characters in UTF-8, without quotes",
		probe: func(x *exam) {
			realm := x.unauthorized(allocate).get(attrRealm)
			quoted := len(realm) > 1 && realm[0] == '"' && realm[len(realm)-1] == '"'
			if !utf8.Valid(realm) || utf8.RuneCount(realm) >= 128 || quoted {
				x.fail("it is %q", realm)
			}
			x.saw("%q", realm)
		}},
	{RFC: "8489", Section: "14.10", Level: Must, Requirement: "gives a NONCE of less than 128 characters",
		probe: func(x *exam) {
			nonce := x.unauthorized(allocate).get(attrNonce)
			if utf8.RuneCount(nonce) >= 128 {
				x.fail("it has %d", utf8.RuneCount(nonce))
			}
			x.saw("%d characters", utf8.RuneCount(nonce))
		}},
	{RFC: "8489", Section: "14.10", Level: Must, Requirement: "gives a NONCE of characters that may stand in a quoted string",
		probe: func(x *exam) {
			nonce := string(x.unauthorized(allocate).get(attrNonce))
			if !utf8.ValidString(nonce) || strings.ContainsFunc(nonce, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F || r == '"' }) {
				x.fail("it is %q", nonce)
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a request with MESSAGE-INTEGRITY but without USERNAME with 400",
		probe: func(x *exam) { x.wants(x.without(attrUsername), 400) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a request with MESSAGE-INTEGRITY but without REALM with 400",
		probe: func(x *exam) { x.wants(x.without(attrRealm), 400) }},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a request with MESSAGE-INTEGRITY but without NONCE with 400",
		probe: func(x *exam) { x.wants(x.without(attrNonce), 400) }},
	{RFC: "8489", Section: "9.2.4", Level: ShouldNot, Requirement: "includes USERNAME, USERHASH, NONCE or REALM in that 400",
		probe: func(x *exam) {
			x.lacks(x.refusedWithout(), attrUsername, attrUserhash, attrNonce, attrRealm)
		}},
	{RFC: "8489", Section: "9.2.4", Level: MustNot, Requirement: "signs that 400, for which there is no key",
		probe: func(x *exam) {
			x.lacks(x.refusedWithout(), attrIntegrity, attrIntegrity256)
		}},
	{RFC: "8489", Section: "9.2", Level: Must, Requirement: `begins NONCE with "obMatJos2" and the security features, to say that it supports the RFC`,
		probe: func(x *exam) {
			nonce := x.challenged().nonce
			if !strings.HasPrefix(nonce, nonceCookie) {
				x.fail("it begins with %.12q: the server does not say that it supports RFC 8489", nonce)
			}
			x.saw("it begins with %.13q", nonce)
		}},
	{RFC: "8489", Section: "9.2", Level: Must, Requirement: "encodes the 24 security features behind the nonce cookie in base64",
		probe: func(x *exam) {
			nonce := x.challenged().nonce
			if !strings.HasPrefix(nonce, nonceCookie) {
				x.skip("the nonce has no cookie")
			}
			if bits, ok := features(nonce); !ok {
				x.fail("it begins with %.13q", nonce)
			} else {
				x.saw("features %06X", bits)
			}
		}},
}

// stranded is the 401 to an Allocate request without credentials, whatever it brings.
func (x *exam) stranded() *message {
	if m := x.dial().challenge(); m == nil || m.code() != 401 {
		x.skip("the server asks for no credentials: %s", orSilence(m))
	} else {
		return m
	}
	return nil
}

// unauthorized is the 401 to a request without credentials.
func (x *exam) unauthorized(method uint16, attributes ...attr) *message {
	c := x.challenged()
	return x.wants(c.exchange(build(method, attributes...)), 401)
}

// unauthorizedLater is the 401 to a request without credentials from a client that has an allocation.
func (x *exam) unauthorizedLater(method uint16, attributes ...attr) {
	c := x.challenged()
	x.allocate(c)
	x.wants(c.exchange(build(method, attributes...)), 401)
}

// without is the answer to a signed Allocate request from which one of the credentials' attributes is missing.
func (x *exam) without(kind uint16) *message {
	c := x.challenged()
	b := build(allocate, x.usual()...)
	for _, a := range c.identified() {
		if a.kind != kind {
			b = add(b, a)
		}
	}
	return c.exchange(withIntegrity(b, c.key()))
}

// refusedWithout is the 400 to a request from which one attribute of the credentials is missing: the first that is
// answered so.
func (x *exam) refusedWithout() *message {
	for _, kind := range []uint16{attrUsername, attrRealm, attrNonce} {
		if m := x.without(kind); m != nil && m.code() == 400 {
			return m
		}
	}
	x.skip("no such request is answered with 400")
	return nil
}
