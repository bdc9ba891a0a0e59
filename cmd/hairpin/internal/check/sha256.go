package check

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// nonceCookie begins the nonces of servers that support RFC 8489 (RFC 8489 §9.2).
const nonceCookie = "obMatJos2"

// Security features, RFC 8489 §18.1: bit 0 is the most significant of 24.
const (
	featureAlgorithms = 1 << 23
	featureAnonymity  = 1 << 22
)

// Password algorithms, RFC 8489 §18.5.
const (
	algorithmMD5    = 1
	algorithmSHA256 = 2
)

// features are the security features that a nonce announces.
func features(nonce string) (bits uint32, ok bool) {
	rest, found := strings.CutPrefix(nonce, nonceCookie)
	if !found || len(rest) < 4 {
		return 0, false
	}
	b, err := base64.StdEncoding.DecodeString(rest[:4])
	if err != nil || len(b) != 3 {
		return 0, false
	}
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), true
}

// entry is the value of PASSWORD-ALGORITHM, or one entry of PASSWORD-ALGORITHMS, without parameters.
func entry(n uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, n), 0, 0) }

// offered takes PASSWORD-ALGORITHMS apart; ok says whether it is well-formed (RFC 8489 §14.11).
func offered(v []byte) (numbers []uint16, parameters bool, ok bool) {
	for len(v) > 0 {
		if len(v) < 4 {
			return numbers, parameters, false
		}
		n := int(binary.BigEndian.Uint16(v[2:]))
		if len(v) < 4+n {
			return numbers, parameters, false
		}
		numbers, parameters = append(numbers, kindOf(v)), parameters || n > 0
		v = v[min(len(v), 4+n+padding(n)):]
	}
	return numbers, parameters, len(numbers) > 0
}

// Password algorithms: RFC 8489 §9.2, §14.6, §14.11 and §14.12.
var algorithmRows = group{
	{RFC: "8489", Section: "9.2.4", Level: May, Requirement: "supports other password algorithms and lists them in PASSWORD-ALGORITHMS",
		probe: func(x *exam) {
			if c := x.challenged(); c.algorithms == nil {
				x.fail("no PASSWORD-ALGORITHMS")
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: `sets the "password algorithms" bit of the nonce if it adds PASSWORD-ALGORITHMS`,
		probe: func(x *exam) {
			c := x.challenged()
			if c.algorithms == nil {
				x.skip("the server lists no password algorithms")
			}
			if bits, ok := features(c.nonce); !ok || bits&featureAlgorithms == 0 {
				x.fail("the nonce begins with %.13q", c.nonce)
			}
		}},
	{RFC: "8489", Section: "14.11", Level: Must, Requirement: "writes PASSWORD-ALGORITHMS as algorithm, length and padded parameters of each entry",
		probe: func(x *exam) {
			c := x.choosing()
			if _, _, ok := offered(c.algorithms); !ok {
				x.fail("it is %x", c.algorithms)
			}
			x.saw("%x", c.algorithms)
		}},
	{RFC: "8489", Section: "18.5", Level: Must, Requirement: "lists MD5 and SHA-256 without parameters",
		probe: func(x *exam) {
			c := x.choosing()
			if numbers, parameters, _ := offered(c.algorithms); parameters && (len(numbers) <= 2) {
				x.fail("it is %x", c.algorithms)
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "accepts each algorithm that it lists",
		probe: func(x *exam) {
			c := x.choosing()
			numbers, _, _ := offered(c.algorithms)
			for _, n := range numbers {
				if n != algorithmMD5 && n != algorithmSHA256 {
					continue
				}
				c := x.choosing()
				x.wants(x.choose(c, n), 0)
			}
			x.saw("%d algorithms accepted", len(numbers))
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "signs the response to a request with PASSWORD-ALGORITHM with MESSAGE-INTEGRITY-SHA256",
		probe: func(x *exam) {
			c := x.choosing256()
			m := x.wants(x.choose(c, algorithmSHA256), 0)
			if !m.signedBy256(c.key256()) {
				x.fail("MESSAGE-INTEGRITY-SHA256 is missing or wrong")
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "signs the error response to such a request with MESSAGE-INTEGRITY-SHA256, too",
		probe: func(x *exam) {
			c := x.choosing256()
			m := x.wants(c.exchange(x.chosen(c, build(refresh), c.algorithms, algorithmSHA256)), 437)
			if !m.signedBy256(c.key256()) {
				x.fail("MESSAGE-INTEGRITY-SHA256 is missing or wrong")
			}
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "takes a request with neither PASSWORD-ALGORITHMS nor PASSWORD-ALGORITHM as one with MD5",
		probe: func(x *exam) {
			c := x.choosing()
			x.allocate(c)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "signs the response to such a request with MESSAGE-INTEGRITY",
		probe: func(x *exam) {
			c := x.choosing()
			x.signed(c, x.allocate(c))
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers PASSWORD-ALGORITHM without PASSWORD-ALGORITHMS with 400",
		probe: func(x *exam) {
			c := x.choosing()
			b := add(build(allocate, x.usual()...), c.identified()...)
			b = add(b, raw(attrAlgorithm, entry(algorithmMD5)...))
			x.wants(c.exchange(withIntegrity256(b, c.key(), integrity256Size)), 400)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers PASSWORD-ALGORITHMS without PASSWORD-ALGORITHM with 400",
		probe: func(x *exam) {
			c := x.choosing()
			b := add(build(allocate, x.usual()...), c.identified()...)
			b = add(b, raw(attrAlgorithms, c.algorithms...))
			x.wants(c.exchange(withIntegrity256(b, c.key(), integrity256Size)), 400)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers PASSWORD-ALGORITHMS that differ from those it sent with 400",
		probe: func(x *exam) {
			c := x.choosing()
			changed := append(append([]byte{}, c.algorithms...), entry(0x7777)...)
			if numbers, _, _ := offered(c.algorithms); len(numbers) > 1 {
				changed = entry(algorithmMD5) // an attacker's list of the weakest only
			}
			x.wants(c.exchange(x.chosen(c, build(allocate, x.usual()...), changed, algorithmMD5)), 400)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "answers a PASSWORD-ALGORITHM that is not in PASSWORD-ALGORITHMS with 400",
		probe: func(x *exam) {
			c := x.choosing()
			x.wants(c.exchange(x.chosen(c, build(allocate, x.usual()...), c.algorithms, 0x7777)), 400)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes PASSWORD-ALGORITHMS in the 401 to an unknown user",
		probe: func(x *exam) {
			x.choosing()
			x.has(x.given(x.stranger(), 401), attrAlgorithms)
		}},
	{RFC: "8489", Section: "9.2.4", Level: Must, Requirement: "includes PASSWORD-ALGORITHMS in a 438",
		probe: func(x *exam) {
			c := x.choosing()
			x.has(x.given(x.stale(c), 438), attrAlgorithms)
		}},
	{RFC: "8489", Section: "9.2.1", Level: Must, Requirement: "does not accept a nonce whose security features were taken away",
		probe: func(x *exam) {
			c := x.choosing()
			c.nonce = nonceCookie + "AAAA" + c.nonce[len(nonceCookie)+4:]
			m := c.exchange(c.sign(build(allocate, x.usual()...)))
			if x.answered(m, "the request").code() == 0 {
				c.holds = true
				x.fail("accepted")
			}
			x.saw("%v", m)
		}},
}

// choosing is a client that was told of password algorithms; it skips the row where the server knows of none.
func (x *exam) choosing() *client {
	c := x.challenged()
	if bits, _ := features(c.nonce); bits&featureAlgorithms == 0 {
		x.skip("the server offers no password algorithms")
	}
	if c.algorithms == nil {
		x.skip("the server announces password algorithms and lists none")
	}
	return c
}

// choosing256 is one that was offered SHA-256.
func (x *exam) choosing256() *client {
	c := x.choosing()
	numbers, _, _ := offered(c.algorithms)
	for _, n := range numbers {
		if n == algorithmSHA256 {
			return c
		}
	}
	x.skip("the server does not offer SHA-256")
	return nil
}

// chosen is a request that names a password algorithm and the list it was chosen from.
func (x *exam) chosen(c *client, b, list []byte, n uint16) []byte {
	key := c.key()
	if n == algorithmSHA256 {
		key = c.key256()
	}
	b = add(add(b, c.identified()...), raw(attrAlgorithms, list...), raw(attrAlgorithm, entry(n)...))
	return withFingerprint(withIntegrity256(b, key, integrity256Size))
}

// choose is the answer to an Allocate request with a password algorithm. The client's allocation is given back signed
// with MD5, which every server takes.
func (x *exam) choose(c *client, n uint16) *message {
	m := c.exchange(x.chosen(c, build(allocate, x.usual()...), c.algorithms, n))
	c.note(m)
	return m
}
