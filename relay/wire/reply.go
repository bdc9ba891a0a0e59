package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v2"
)

// Reply builds one STUN message after the other: a start (Success, Error, Request, Indication), attributes in the order
// in which they shall stand, Finish. It is owned by one goroutine; after the first few messages it allocates nothing.
// The zero value is ready for a start.
type Reply struct {
	built   stun.Message
	scratch []byte // an attribute's value on its way into built
	hmac    hmacSHA1
	hmac256 hmacSHA256
}

// Success begins a success response: the request's method and transaction ID (RFC 8489 §6.3.1.1).
func (r *Reply) Success(req *Message) {
	r.SuccessTo(req.Method(), req.TransactionID())
}

// SuccessTo is Success for a request that is no longer at hand.
func (r *Reply) SuccessTo(method Method, tid [12]byte) {
	r.start(method, ClassSuccess, tid)
}

// Error begins an error response with its ERROR-CODE. code must be 300 to 699; reason is for people, at most 127
// characters (RFC 8489 §6.3.1.1, §14.8).
func (r *Reply) Error(req *Message, code int, reason string) {
	r.ErrorTo(req.Method(), req.TransactionID(), code, reason)
}

// ErrorTo is Error for a request that is no longer at hand.
func (r *Reply) ErrorTo(method Method, tid [12]byte, code int, reason string) {
	r.start(method, ClassError, tid)
	r.scratch = append(r.scratch[:0], 0, 0, byte(code/100), byte(code%100))
	r.scratch = append(r.scratch, reason...)
	r.AddBytes(AttrErrorCode, r.scratch)
}

// Request begins a request, for clients.
func (r *Reply) Request(method Method, tid [12]byte) {
	r.start(method, ClassRequest, tid)
}

// Indication begins an indication.
func (r *Reply) Indication(method Method, tid [12]byte) {
	r.start(method, ClassIndication, tid)
}

func (r *Reply) start(method Method, class Class, tid [12]byte) {
	r.built.Reset()
	r.built.Type = stun.NewType(stun.Method(method), stun.MessageClass(class))
	r.built.TransactionID = tid
	r.built.WriteHeader()
}

// AddAddress adds an attribute of a XOR-encoded kind: XOR-MAPPED-ADDRESS, XOR-RELAYED-ADDRESS, XOR-PEER-ADDRESS (RFC
// 8489 §14.2). The family sent is the address's own: an IPv4-mapped IPv6 address goes as IPv6.
func (r *Reply) AddAddress(a Attr, addr netip.AddrPort) {
	var value [addressSizeIPv6]byte
	putXORAddress(value[:], (*[12]byte)(&r.built.TransactionID), addr)
	r.AddBytes(a, value[:addressSize(addr.Addr())])
}

// AddPlainAddress adds an attribute in the format of MAPPED-ADDRESS, which is not XOR-encoded: ALTERNATE-SERVER (RFC
// 8489 §14.1, §14.15). The family sent is the address's own.
func (r *Reply) AddPlainAddress(a Attr, addr netip.AddrPort) {
	family := FamilyIPv6
	if addr.Addr().Is4() {
		family = FamilyIPv4
	}
	r.scratch = append(r.scratch[:0], 0, family)
	r.scratch = binary.BigEndian.AppendUint16(r.scratch, addr.Port())
	r.scratch, _ = addr.Addr().WithZone("").AppendBinary(r.scratch) // its error is the interface's
	r.AddBytes(a, r.scratch)
}

// AddUint32 adds an attribute of four bytes, most significant first. LIFETIME is the plain case; CHANNEL-NUMBER,
// REQUESTED-TRANSPORT and the address families have their value in the upper bits.
func (r *Reply) AddUint32(a Attr, v uint32) {
	var value [4]byte
	binary.BigEndian.PutUint32(value[:], v)
	r.AddBytes(a, value[:])
}

// AddBytes adds an attribute; v is copied, and padded with zeros (RFC 8489 §14).
func (r *Reply) AddBytes(a Attr, v []byte) {
	r.built.Add(stun.AttrType(a), v)
}

// AddString adds an attribute of text, which must be UTF-8.
func (r *Reply) AddString(a Attr, v string) {
	r.scratch = append(r.scratch[:0], v...)
	r.AddBytes(a, r.scratch)
}

// AddUnknown adds UNKNOWN-ATTRIBUTES (RFC 8489 §14.13).
func (r *Reply) AddUnknown(attrs []Attr) {
	r.scratch = r.scratch[:0]
	for _, a := range attrs {
		r.scratch = binary.BigEndian.AppendUint16(r.scratch, uint16(a))
	}
	r.AddBytes(AttrUnknownAttributes, r.scratch)
}

// AddPasswordAlgorithms adds PASSWORD-ALGORITHMS: a list of algorithms without parameters, which those of RFC 8489
// §18.5 are (§14.11).
func (r *Reply) AddPasswordAlgorithms(numbers []uint16) {
	r.scratch = r.scratch[:0]
	for _, n := range numbers {
		r.scratch = appendAlgorithm(r.scratch, n)
	}
	r.AddBytes(AttrPasswordAlgorithms, r.scratch)
}

// AddPasswordAlgorithm adds PASSWORD-ALGORITHM, for clients: an algorithm without parameters (RFC 8489 §14.12).
func (r *Reply) AddPasswordAlgorithm(number uint16) {
	r.scratch = appendAlgorithm(r.scratch[:0], number)
	r.AddBytes(AttrPasswordAlgorithm, r.scratch)
}

// Finish appends the message to dst: with MESSAGE-INTEGRITY if there is a key, with FINGERPRINT always (RFC 8489 §14.5,
// §14.7). The next message needs a new start.
func (r *Reply) Finish(dst []byte, key []byte) []byte {
	if key != nil {
		r.AddBytes(AttrMessageIntegrity, r.hmac.message(key, r.built.Raw))
	}
	return r.finish(dst)
}

// FinishSHA256 does what Finish does, with MESSAGE-INTEGRITY-SHA256 in place of MESSAGE-INTEGRITY (RFC 8489 §14.6).
func (r *Reply) FinishSHA256(dst []byte, key []byte) []byte {
	if key != nil {
		r.AddBytes(AttrMessageIntegritySHA256, r.hmac256.message(key, r.built.Raw))
	}
	return r.finish(dst)
}

func (r *Reply) finish(dst []byte) []byte {
	// It fails never: its error is the interface's.
	_ = stun.Fingerprint.AddTo(&r.built)
	return append(dst, r.built.Raw...)
}
