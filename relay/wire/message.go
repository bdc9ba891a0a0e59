package wire

import (
	"errors"

	"github.com/pion/stun/v2"
)

var (
	// ErrMalformed says that a message, or the value of the attribute asked for, breaks its format.
	ErrMalformed = errors.New("wire: malformed STUN message")
	// ErrFingerprint says that a message's FINGERPRINT is wrong or not its last attribute: it may not be STUN at all.
	ErrFingerprint = errors.New("wire: wrong FINGERPRINT")
)

// Message is a decoded STUN message. It is owned by one goroutine, which decodes one message after the other into it;
// after the first few, Decode allocates nothing. The zero value is an empty message.
//
// It refers to the bytes that it was decoded from and never writes to them, so they must stay as they are while it is
// in use.
type Message struct {
	decoded stun.Message

	// Where things are in decoded.Attributes, -1 for nowhere.
	visible     int // attributes that count: those before MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256
	integrity   int // MESSAGE-INTEGRITY
	sha256      int // MESSAGE-INTEGRITY-SHA256
	fingerprint int // FINGERPRINT

	integrityAt, sha256At int // offsets of the two in the bytes

	hmac    hmacSHA1
	hmac256 hmacSHA256
	seen    [0x8000 / 64]uint64 // one bit per comprehension-required type; all zero outside of Unknown
}

// Decode reads the STUN message that fills b exactly. It fails with ErrMalformed, ErrFingerprint, or ErrTooLarge; m is
// empty then. None of these may be answered (RFC 8489 §6.3).
func (m *Message) Decode(b []byte) error {
	m.reset()
	if err := header(b); err != nil {
		return err
	}
	if err := m.scan(b); err != nil {
		m.reset()
		return err
	}
	// Everything that pion/stun might object to, at the cost of a formatted error, has been refused by now. b is lent
	// to it without spare capacity, and only its reading half is used on it.
	m.decoded.Raw = b[:len(b):len(b)]
	if err := m.decoded.Decode(); err != nil {
		m.reset()
		return ErrMalformed
	}
	return nil
}

func (m *Message) reset() {
	m.decoded.Raw, m.decoded.Length = nil, 0
	m.decoded.Type = stun.MessageType{}
	m.decoded.TransactionID = [stun.TransactionIDSize]byte{}
	m.decoded.Attributes = m.decoded.Attributes[:0]
	m.visible, m.integrity, m.sha256, m.fingerprint = 0, -1, -1, -1
	m.integrityAt, m.sha256At = 0, 0
}

// scan checks that the attributes fill the message, and finds those that are about the message itself.
func (m *Message) scan(b []byte) error {
	i := 0
	for at := HeaderSize; at < len(b); i++ {
		kind, _, next, ok := attribute(b, at)
		if !ok {
			return ErrMalformed
		}
		switch kind {
		case AttrMessageIntegrity:
			if m.integrity < 0 {
				m.integrity, m.integrityAt = i, at
			}
		case AttrMessageIntegritySHA256:
			if m.sha256 < 0 {
				m.sha256, m.sha256At = i, at
			}
		case AttrFingerprint:
			if !fingerprintAt(b, at) {
				return ErrFingerprint
			}
			m.fingerprint = i
		}
		at = next
	}
	// RFC 8489 §9. Behind either of the two nothing else counts, whichever stands first: what is between a
	// MESSAGE-INTEGRITY-SHA256 and a MESSAGE-INTEGRITY would be covered by the one that is not checked.
	m.visible = i
	if m.integrity >= 0 {
		m.visible = m.integrity
	}
	if m.sha256 >= 0 {
		m.visible = min(m.visible, m.sha256)
	}
	return nil
}

func (m *Message) Method() Method { return Method(m.decoded.Type.Method) }

func (m *Message) Class() Class { return Class(m.decoded.Type.Class) }

func (m *Message) TransactionID() [12]byte { return m.decoded.TransactionID }

// Get returns the value of the first attribute of a type among those that count: all before MESSAGE-INTEGRITY and
// MESSAGE-INTEGRITY-SHA256; these two themselves; and FINGERPRINT (RFC 8489 §9). The value is a part of the decoded
// bytes; it may be empty.
func (m *Message) Get(a Attr) (value []byte, ok bool) {
	i := m.index(a)
	if i < 0 {
		return nil, false
	}
	value = m.decoded.Attributes[i].Value
	return value[:len(value):len(value)], true
}

// Has tells whether Get would find the attribute.
func (m *Message) Has(a Attr) bool { return m.index(a) >= 0 }

// Before tells whether both attributes count and a stands ahead of b. No rule depends on the order of attributes ahead
// of MESSAGE-INTEGRITY, but it tells one client's library from another.
func (m *Message) Before(a, b Attr) bool {
	i, j := m.index(a), m.index(b)
	return i >= 0 && j >= 0 && i < j
}

func (m *Message) index(a Attr) int {
	if len(m.decoded.Attributes) == 0 {
		return -1
	}
	switch a {
	case AttrMessageIntegrity:
		return m.integrity
	case AttrMessageIntegritySHA256:
		return m.sha256
	case AttrFingerprint:
		return m.fingerprint
	}
	for i := range m.decoded.Attributes[:m.visible] {
		if m.decoded.Attributes[i].Type == stun.AttrType(a) {
			return i
		}
	}
	return -1
}

// Unknown appends to dst the comprehension-required attributes that count and that this server does not know, in their
// order, each once: the content of UNKNOWN-ATTRIBUTES (RFC 8489 §6.3.1, §14.13).
func (m *Message) Unknown(dst []Attr) []Attr {
	head := len(dst)
	for i := range m.decoded.Attributes[:m.visible] {
		a := Attr(m.decoded.Attributes[i].Type)
		if a.Known() || m.seen[a/64]&(1<<(a%64)) != 0 {
			continue
		}
		m.seen[a/64] |= 1 << (a % 64)
		dst = append(dst, a)
	}
	for _, a := range dst[head:] {
		m.seen[a/64] = 0
	}
	return dst
}
