package check

import (
	"bytes"
	"net"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// Binding requests, and what every response looks like: RFC 8489 §5, §6.3.1, §12 and §14.
var bindingRows = group{
	{RFC: "8489", Section: "6.3.1.1", Level: Must, Requirement: "answers a Binding request with a success response",
		probe: func(x *exam) { x.binding(x.dial()) }},
	{RFC: "8489", Section: "6.3.1.1", Level: Must, Requirement: "gives a response the method of its request",
		probe: func(x *exam) {
			for _, m := range x.samples() {
				if m.method() != binding && m.method() != allocate {
					x.fail("method 0x%03X", m.method())
				}
			}
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Must, Requirement: "tells in XOR-MAPPED-ADDRESS where the Binding request came from",
		probe: func(x *exam) {
			c := x.dial()
			x.isClient(c, x.binding(c).address(attrMapped), "XOR-MAPPED-ADDRESS")
		}},
	{RFC: "8489", Section: "14.2", Level: Must, Requirement: "encodes XOR-MAPPED-ADDRESS with family 0x01 in 8 or 0x02 in 20 bytes",
		probe: func(x *exam) {
			v := x.binding(x.dial()).get(attrMapped)
			if !(len(v) == 8 && v[1] == familyIPv4 || len(v) == 20 && v[1] == familyIPv6) {
				x.fail("the value is %x", v)
			}
		}},
	{RFC: "8489", Section: "14.2", Level: Must, Requirement: "sets the first byte of XOR-MAPPED-ADDRESS to zero",
		probe: func(x *exam) {
			if v := x.binding(x.dial()).get(attrMapped); len(v) == 0 || v[0] != 0 {
				x.fail("the value is %x", v)
			}
		}},
	{RFC: "8489", Section: "6.3.1.2", Level: Must, reach: overDatagrams, Requirement: "sends the response from where the request was sent to, back to where it came from",
		probe: func(x *exam) {
			x.bindings()
			socket, request := x.socket(), build(binding)
			for range 3 {
				_, _ = socket.WriteTo(request, net.UDPAddrFromAddrPort(x.address))
				if from, m := receiveOn(socket, request, x.timeout/3); m != nil {
					if x.wants(m, 0); from != x.address {
						x.fail("the response comes from %v", from)
					}
					x.saw("the response comes from %v", from)
					return
				}
			}
			x.fail("no answer within %v", x.timeout)
		}},
	{RFC: "8489", Section: "6.3.1", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted Binding request as it did the first one",
		probe: func(x *exam) {
			x.bindings()
			c := x.dial()
			request := build(binding)
			first, second := x.wants(c.exchange(request), 0), x.wants(c.exchange(request), 0)
			if first.address(attrMapped) != second.address(attrMapped) {
				x.fail("%v, then %v", first.address(attrMapped), second.address(attrMapped))
			}
		}},
	{RFC: "8489", Section: "6.3.1", Level: Must, Requirement: "replies to unknown comprehension-required attributes of a Binding request with 420",
		probe: func(x *exam) {
			x.bindings()
			x.wants(x.dial().exchange(build(binding, raw(attrUnknownRequired, 1, 2, 3))), 420)
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Must, Requirement: "includes UNKNOWN-ATTRIBUTES with a 420",
		probe: func(x *exam) {
			x.bindings()
			m := x.given(x.dial().exchange(build(binding, raw(attrUnknownRequired))), 420)
			x.has(m, attrUnknownAttributes)
			x.lists(m, attrUnknownRequired)
		}},
	{RFC: "8489", Section: "6.3.1", Level: Must, Requirement: "lists each of the unknown comprehension-required attributes, not only the first",
		probe: func(x *exam) {
			x.bindings()
			m := x.given(x.dial().exchange(build(binding, raw(attrUnknownRequired), raw(attrUnknownRequired2, 1))), 420)
			x.lists(m, attrUnknownRequired, attrUnknownRequired2)
		}},
	{RFC: "8489", Section: "14.13", Level: Must, Requirement: "lists in UNKNOWN-ATTRIBUTES 16-bit types of attributes, and none that the request has not",
		probe: func(x *exam) {
			x.bindings()
			m := x.given(x.dial().exchange(build(binding, raw(attrUnknownRequired), raw(attrUnknownOptional))), 420)
			v := m.get(attrUnknownAttributes)
			if len(v)%2 != 0 {
				x.fail("the value is %x", v)
			}
			for i := 0; i < len(v); i += 2 {
				if kindOf(v[i:]) != attrUnknownRequired {
					x.fail("0x%04X is listed, too", kindOf(v[i:]))
				}
			}
		}},
	{RFC: "8489", Section: "6.3", Level: Must, Requirement: "ignores unknown comprehension-optional attributes",
		probe: func(x *exam) { x.binding(x.dial(), raw(attrUnknownOptional, 1, 2, 3, 4, 5)) }},
	{RFC: "8489", Section: "6.3", Level: Should, Requirement: "ignores attributes that it knows and does not expect (LIFETIME in a Binding request)",
		probe: func(x *exam) { x.binding(x.dial(), lifetime(600)) }},
	{RFC: "8489", Section: "14", Level: Must, Requirement: "ignores the padding bits of attributes",
		probe: func(x *exam) {
			x.bindings()
			b := build(binding, text(attrSoftware, "check"))
			copy(b[len(b)-3:], "\xFF\xA5\x5A")
			x.wants(x.dial().exchange(b), 0)
		}},
	{RFC: "8489", Section: "14", Level: Must, Requirement: "sets the padding bits of the attributes that it sends to zero",
		probe: func(x *exam) {
			padded := 0
			for _, m := range x.samples() {
				for _, a := range m.attributes {
					padded += len(a.pad)
					if len(bytes.Trim(a.pad, "\x00")) != 0 {
						x.fail("%s is padded with %x", nameOf(a.kind), a.pad)
					}
				}
			}
			if padded == 0 {
				x.skip("no attribute that comes needs padding")
			}
			x.saw("%d bytes of padding, all zero", padded)
		}},
	{RFC: "8489", Section: "5", Level: Must, Requirement: "writes well-formed messages: magic cookie, length, whole attributes",
		probe: func(x *exam) {
			x.samples()
			c := x.dial()
			c.write(build(binding))
			c.write(build(allocate))
			for range 2 {
				frame := c.await(time.Now().Add(x.timeout), func([]byte) bool { return true })
				if frame == nil {
					return // lost, or one of them is not served
				}
				if _, err := parse(frame); err != nil {
					x.fail("%v", err)
				}
			}
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Must, Requirement: "adds ERROR-CODE to each error response",
		probe: func(x *exam) {
			for _, m := range x.errorSamples() {
				x.has(m, attrErrorCode)
			}
		}},
	{RFC: "8489", Section: "14.8", Level: Must, Requirement: "writes ERROR-CODE with a class from 3 to 6, a number from 0 to 99 and reserved bits of zero",
		probe: func(x *exam) {
			for _, m := range x.errorSamples() {
				v := m.get(attrErrorCode)
				if len(v) < 4 || v[0] != 0 || v[1] != 0 || v[2] < 3 || v[2] > 6 || v[3] > 99 {
					x.fail("the value begins with %x", v[:min(len(v), 4)])
				}
				x.saw("%v", m)
			}
		}},
	{RFC: "8489", Section: "14.8", Level: Must, Requirement: "writes reason phrases in UTF-8 of less than 128 characters",
		probe: func(x *exam) {
			for _, m := range x.errorSamples() {
				if v := m.get(attrErrorCode); len(v) < 4 || !utf8.Valid(v[4:]) || utf8.RuneCount(v[4:]) >= 128 {
					x.fail("the value is %q", v)
				}
			}
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Should, Requirement: "gives a reason phrase that suits the error code",
		probe: func(x *exam) {
			for _, m := range x.errorSamples() {
				if v := m.get(attrErrorCode); len(v) <= 4 {
					x.fail("%d comes without a reason phrase", m.code())
				}
				x.saw("%v", m)
			}
		}},
	{RFC: "8489", Section: "6.3.1.1", Level: Should, Requirement: "adds SOFTWARE to a Binding response",
		probe: func(x *exam) { x.has(x.binding(x.dial()), attrSoftware) }},
	{RFC: "8489", Section: "14.14", Level: Must, Requirement: "writes SOFTWARE in UTF-8 of less than 128 characters",
		probe: func(x *exam) {
			any := false
			c := x.allocated()
			for _, m := range append(x.samples(), c.request(refresh)) {
				if m == nil || !m.has(attrSoftware) {
					continue
				}
				any = true
				if v := m.get(attrSoftware); !utf8.Valid(v) || utf8.RuneCount(v) >= 128 {
					x.fail("the value is %q", v)
				}
			}
			if !any {
				x.skip("the server sends no SOFTWARE")
			}
		}},
	{RFC: "8489", Section: "14.7", Level: Must, Requirement: "writes FINGERPRINT as the CRC-32 of the message up to it, XORed with 0x5354554E",
		probe: func(x *exam) {
			for _, m := range x.fingerprinted() {
				for _, a := range m.attributes {
					if want := withFingerprint(bytes.Clone(m.raw[:a.offset])); a.kind == attrFingerprint && !bytes.HasSuffix(want, a.value) {
						x.fail("the value is %x, not %x", a.value, want[len(want)-4:])
					}
				}
			}
		}},
	{RFC: "8489", Section: "14.7", Level: Must, Requirement: "puts FINGERPRINT last",
		probe: func(x *exam) {
			for _, m := range x.fingerprinted() {
				if last := m.attributes[len(m.attributes)-1]; last.kind != attrFingerprint {
					x.fail("%s stands behind it", nameOf(last.kind))
				}
			}
		}},
	{RFC: "8489", Section: "12", Level: MustNot, Requirement: "requires FINGERPRINT in a Binding request",
		probe: func(x *exam) { x.binding(x.dial()) }},
	{RFC: "8489", Section: "7", Level: May, Requirement: "adds FINGERPRINT to its responses",
		probe: func(x *exam) {
			if m := x.dial().challenge(); m == nil || !m.has(attrFingerprint) {
				if m = x.dial().exchange(withFingerprint(build(binding))); m == nil || !m.has(attrFingerprint) {
					x.fail("not seen")
				}
			}
		}},
	{RFC: "8656", Section: "5", Level: Must, Requirement: "supports UDP between client and server",
		probe: func(x *exam) { x.serves(true) }},
	{RFC: "8656", Section: "5", Level: Should, Requirement: "supports TCP between client and server",
		probe: func(x *exam) { x.serves(false) }},
}

// samples are an answer to a Binding request, where there is one, and one to an Allocate request without credentials.
func (x *exam) samples() (all []*message) {
	c := x.dial()
	if m := c.exchange(withFingerprint(build(binding))); m != nil {
		all = append(all, m)
	}
	return append(all, x.answered(c.challenge(), "an Allocate request without credentials"))
}

// errorSamples are error responses of the server.
func (x *exam) errorSamples() (all []*message) {
	for _, m := range x.samples() {
		if m.class() == classError {
			all = append(all, m)
		}
	}
	if m := x.dial().request(refresh); m != nil && m.class() == classError { // without an allocation
		all = append(all, m)
	}
	if len(all) == 0 {
		x.fail("neither an Allocate without REQUESTED-TRANSPORT nor a Refresh without an allocation is refused")
	}
	return all
}

// fingerprinted are those of the samples that bear FINGERPRINT.
func (x *exam) fingerprinted() []*message {
	with := slices.DeleteFunc(x.samples(), func(m *message) bool { return !m.has(attrFingerprint) })
	if len(with) == 0 {
		x.skip("the server sends no FINGERPRINT")
	}
	return with
}

// lists fails the row unless UNKNOWN-ATTRIBUTES holds every kind.
func (x *exam) lists(m *message, kinds ...uint16) {
	v := m.get(attrUnknownAttributes)
	for _, kind := range kinds {
		found := false
		for i := 0; i+1 < len(v); i += 2 {
			found = found || kindOf(v[i:]) == kind
		}
		if !found {
			x.fail("%v without %s in UNKNOWN-ATTRIBUTES (%x)", m, nameOf(kind), v)
		}
	}
}

// serves fails the row unless the server answers over a transport on the port that is being checked.
func (x *exam) serves(datagrams bool) {
	if x.Secure {
		x.skip("the run is over TLS")
	}
	over := "TCP"
	if datagrams {
		over = "UDP"
	}
	if datagrams == (x.Server.Transport == probe.UDP) {
		x.saw("this run is over %s", over)
		return
	}
	c, err := x.open(x.ctx, datagrams)
	if err != nil {
		x.fail("nothing on port %d over %s", x.address.Port(), over)
	}
	x.clients = append(x.clients, c)
	x.answered(c.challenge(), "an Allocate request over "+over)
	x.saw("an Allocate request over %s is answered", over)
}
