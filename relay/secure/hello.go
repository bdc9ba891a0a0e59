package secure

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// Protocol constants of DTLS 1.2 (RFC 6347 §4.1, §4.2.2).
const (
	recordHead    = 13 // bytes: content type, version, epoch, sequence number, length
	handshakeHead = 12 // bytes: type, length, message sequence, fragment offset, fragment length

	contentAlert     = 21
	contentHandshake = 22

	typeClientHello        = 1
	typeHelloVerifyRequest = 3

	cookieSize = 20 // bytes; as many as pion's
)

// clientHello is a ClientHello that is the first record of a datagram, whole and unencrypted. Its fields are parts of the
// datagram.
type clientHello struct {
	record   []byte // with its head
	sequence uint64 // of the record, 48 bits
	version  []byte // of the record
	before   []byte // the body up to the cookie: version, random, session ID
	cookie   []byte
	suites   []byte // cipher suites and compression methods
	rest     []byte // the body behind the cookie
	message  uint16 // message sequence
}

// parseClientHello is false for anything else, fragments of a ClientHello included: to put those together would be state.
func parseClientHello(b []byte) (h clientHello, ok bool) {
	if len(b) < recordHead+handshakeHead || b[0] != contentHandshake || b[1] != 0xFE || b[3] != 0 || b[4] != 0 {
		return h, false
	}
	size := int(binary.BigEndian.Uint16(b[11:]))
	if size < handshakeHead || len(b) < recordHead+size {
		return h, false
	}
	h.record = b[:recordHead+size]
	h.version = b[1:3]
	h.sequence = binary.BigEndian.Uint64(b[3:]) & (1<<48 - 1)
	m := h.record[recordHead:]
	length := int(m[1])<<16 | int(binary.BigEndian.Uint16(m[2:]))
	fragment := int(m[9])<<16 | int(binary.BigEndian.Uint16(m[10:]))
	if m[0] != typeClientHello || length != fragment || length != size-handshakeHead || m[6] != 0 || m[7] != 0 || m[8] != 0 {
		return h, false
	}
	h.message = binary.BigEndian.Uint16(m[4:])

	body := m[handshakeHead:]
	at := 2 + 32 // version and random
	if len(body) < at+1 {
		return h, false
	}
	at += 1 + int(body[at]) // session ID
	if len(body) < at+1 {
		return h, false
	}
	h.before = body[:at]
	end := at + 1 + int(body[at])
	if len(body) < end+2 {
		return h, false
	}
	h.cookie, h.rest = body[at+1:end], body[end:]
	suites := 2 + int(binary.BigEndian.Uint16(h.rest))
	if len(h.rest) < suites+1 {
		return h, false
	}
	suites += 1 + int(h.rest[suites]) // compression methods
	if len(h.rest) < suites {
		return h, false
	}
	h.suites = h.rest[:suites]
	return h, true
}

// digest is of what must be the same in a ClientHello and in the one that repeats it with a cookie (RFC 6347 §4.2.1).
func (h *clientHello) digest() [sha256.Size]byte {
	parameters := append(append(make([]byte, 0, len(h.before)+len(h.suites)), h.before...), h.suites...)
	return sha256.Sum256(parameters)
}

// without is the record of the ClientHello that came, or would have come, before this one: without a cookie, the first
// message of the handshake, in the record before.
func (h *clientHello) without() []byte {
	length := len(h.before) + 1 + len(h.rest)
	b := make([]byte, 0, recordHead+handshakeHead+length)
	b = append(b, contentHandshake, h.version[0], h.version[1])
	b = binary.BigEndian.AppendUint64(b, h.sequence-1) // epoch 0 and 48 bits
	b = binary.BigEndian.AppendUint16(b, uint16(handshakeHead+length))
	b = appendHandshakeHead(b, typeClientHello, length)
	b = append(b, h.before...)
	b = append(b, 0)
	return append(b, h.rest...)
}

// appendHandshakeHead writes the head of an unfragmented message 0.
func appendHandshakeHead(b []byte, kind byte, length int) []byte {
	size := [3]byte{byte(length >> 16), byte(length >> 8), byte(length)}
	b = append(b, kind, size[0], size[1], size[2], 0, 0, 0, 0, 0)
	return append(b, size[:]...)
}

// isHelloVerifyRequest tells whether a datagram is one.
func isHelloVerifyRequest(b []byte) bool {
	return len(b) > recordHead && b[0] == contentHandshake && b[3] == 0 && b[4] == 0 && b[recordHead] == typeHelloVerifyRequest
}

// cookieLife is how long a cookie is good for, at least; at most it is twice that.
const cookieLife = 30 * time.Second

// cookies make and judge cookies without remembering any: they are sealed with a key of this process.
type cookies struct{ key [32]byte }

func newCookies() *cookies {
	c := new(cookies)
	rand.Read(c.key[:]) // never fails (crypto/rand)
	return c
}

// seal is the cookie for a client, its ClientHello and a period of time.
func (c *cookies) seal(client, server netip.AddrPort, hello [sha256.Size]byte, period int64) []byte {
	h := hmac.New(sha256.New, c.key[:])
	var fixed [2*18 + 8]byte
	for i, a := range []netip.AddrPort{client, server} {
		ip := a.Addr().As16()
		copy(fixed[i*18:], ip[:])
		binary.BigEndian.PutUint16(fixed[i*18+16:], a.Port())
	}
	binary.BigEndian.PutUint64(fixed[36:], uint64(period))
	h.Write(fixed[:])
	h.Write(hello[:])
	return h.Sum(nil)[:cookieSize]
}

func period(now time.Time) int64 { return now.UnixNano() / int64(cookieLife) }

func (c *cookies) valid(cookie []byte, client, server netip.AddrPort, hello [sha256.Size]byte, now time.Time) bool {
	if len(cookie) != cookieSize {
		return false
	}
	p := period(now)
	return hmac.Equal(cookie, c.seal(client, server, hello, p)) || hmac.Equal(cookie, c.seal(client, server, hello, p-1))
}

// challenge appends the HelloVerifyRequest for a ClientHello. Its record has the sequence number of the ClientHello's and
// says DTLS 1.0, whatever is negotiated later (RFC 6347 §4.2.1). It is shorter than any ClientHello.
func (c *cookies) challenge(b []byte, h *clientHello, client, server netip.AddrPort, now time.Time) []byte {
	const length = 2 + 1 + cookieSize
	b = append(b, contentHandshake, 0xFE, 0xFF)
	b = binary.BigEndian.AppendUint64(b, h.sequence)
	b = binary.BigEndian.AppendUint16(b, handshakeHead+length)
	b = appendHandshakeHead(b, typeHelloVerifyRequest, length)
	b = append(b, 0xFE, 0xFF, cookieSize)
	return append(b, c.seal(client, server, h.digest(), period(now))...)
}

// hasPlainAlert tells whether there is an unencrypted alert in a datagram. Once a handshake is done nobody honest sends
// one, and anybody could.
func hasPlainAlert(b []byte) bool {
	for len(b) >= recordHead {
		if b[0] == contentAlert && b[3] == 0 && b[4] == 0 {
			return true
		}
		b = b[min(recordHead+int(binary.BigEndian.Uint16(b[11:])), len(b)):]
	}
	return false
}

// shiftSequence adds to the sequence numbers of the unencrypted records of a datagram, which are part of no checksum. The
// server goes on where the ClientHello stood that had the cookie (RFC 6347 §4.2.1); pion counts from its own beginning.
func shiftSequence(b []byte, by uint64) {
	for len(b) >= recordHead {
		if b[3] == 0 && b[4] == 0 {
			binary.BigEndian.PutUint64(b[3:], binary.BigEndian.Uint64(b[3:])+by)
		}
		b = b[min(recordHead+int(binary.BigEndian.Uint16(b[11:])), len(b)):]
	}
}
