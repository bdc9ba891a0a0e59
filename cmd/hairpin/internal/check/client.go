package check

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// credentials are a user's long-term credentials.
type credentials struct {
	user, password, realm string
}

// key is the HMAC key of RFC 8489 §9.2.2 for MD5.
func (c credentials) key() []byte {
	sum := md5.Sum([]byte(c.user + ":" + c.realm + ":" + c.password))
	return sum[:]
}

// key256 is the one for SHA-256.
func (c credentials) key256() []byte {
	sum := sha256.Sum256([]byte(c.user + ":" + c.realm + ":" + c.password))
	return sum[:]
}

// userhash is the value of USERHASH (RFC 8489 §14.4).
func (c credentials) userhash() []byte {
	sum := sha256.Sum256([]byte(c.user + ":" + c.realm))
	return sum[:]
}

// client is one socket towards the server, with what the server gave it. It belongs to one row.
type client struct {
	server *server
	conn   net.Conn
	stream bool
	credentials

	nonce      string
	algorithms []byte // PASSWORD-ALGORITHMS that came with the nonce
	relayed    netip.AddrPort
	holds      bool   // an allocation, as far as is known
	ticket     []byte // MOBILITY-TICKET
	buffer     []byte // of a stream: read and not yet taken apart
	inbox      [][]byte
	broken     error // why nothing can be read any more
}

// retransmissions are when a request over datagrams is sent again, after the first time.
var retransmissions = []time.Duration{400 * time.Millisecond, 1000 * time.Millisecond, 1800 * time.Millisecond}

const largestDatagram = 65535

func (c *client) local() netip.AddrPort {
	a, _ := netip.ParseAddrPort(c.conn.LocalAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// write sends bytes as they are. A connection that is gone shows when an answer is awaited.
func (c *client) write(b []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.server.timeout))
	_, _ = c.conn.Write(b)
}

// await returns the first frame that match wants, from what came before or what comes until the deadline; nil when none
// does. Other frames are kept.
func (c *client) await(deadline time.Time, match func([]byte) bool) []byte {
	for i, frame := range c.inbox {
		if match(frame) {
			c.inbox = append(c.inbox[:i:i], c.inbox[i+1:]...)
			return frame
		}
	}
	for {
		frame := c.read(deadline)
		if frame == nil {
			return nil
		}
		if match(frame) {
			return frame
		}
		c.inbox = append(c.inbox, frame)
	}
}

// read returns the next datagram or the next frame of a stream, padding included; nil when none comes in time.
func (c *client) read(deadline time.Time) []byte {
	if !c.stream {
		b := make([]byte, largestDatagram)
		for {
			_ = c.conn.SetReadDeadline(deadline)
			n, err := c.conn.Read(b)
			switch {
			case err == nil:
				return b[:n:n]
			case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
				return nil
			case !time.Now().Before(deadline): // an ICMP error is not the end of a datagram socket
				return nil
			}
		}
	}
	for {
		if n := frameSize(c.buffer); n > 0 && n <= len(c.buffer) {
			frame := c.buffer[:n:n]
			c.buffer = c.buffer[n:]
			return frame
		}
		if !c.fill(deadline) {
			return nil
		}
	}
}

// fill reads more of a stream.
func (c *client) fill(deadline time.Time) bool {
	if c.broken != nil {
		return false
	}
	b := make([]byte, 16<<10)
	_ = c.conn.SetReadDeadline(deadline)
	n, err := c.conn.Read(b)
	c.buffer = append(c.buffer, b[:n]...)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken = err
	}
	return n > 0
}

// frameSize is how long the frame at the head of a stream is; 0 when that can't be said yet.
func frameSize(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>6 == 1 {
		return 4 + n + padding(n)
	}
	return headerSize + n
}

// closed says whether the server has closed the connection by the deadline.
func (c *client) closed(deadline time.Time) bool {
	for c.broken == nil && c.fill(deadline) {
	}
	return c.broken != nil
}

// gone says how a connection ended, for a report.
func (c *client) gone() string {
	switch {
	case c.broken == nil:
		return ""
	case errors.Is(c.broken, io.EOF):
		return "the server closed the connection"
	}
	return "the connection broke"
}

// exchange sends a request, again and again over datagrams, and returns the response; nil when none comes in time.
func (c *client) exchange(request []byte) *message {
	start := time.Now()
	end := start.Add(c.server.timeout)
	id := identity(request)
	ours := func(b []byte) bool {
		return len(b) >= headerSize && b[0]&0xC0 == 0 && identity(b) == id && kindOf(b)&classSuccess != 0
	}
	c.write(request)
	if !c.stream {
		for _, after := range retransmissions {
			if again := start.Add(after); again.Before(end) {
				if b := c.await(again, ours); b != nil {
					m, _ := parse(b)
					return m
				}
				c.write(request)
			}
		}
	}
	if b := c.await(end, ours); b != nil {
		m, _ := parse(b)
		return m
	}
	return nil
}

// challenge asks for a nonce with a request that can't succeed, and returns the answer.
func (c *client) challenge() *message {
	m := c.exchange(build(allocate))
	if m != nil {
		c.learn(m)
	}
	return m
}

// learn takes realm, nonce and algorithms from an answer and says whether it brought a nonce.
func (c *client) learn(m *message) bool {
	if c.realm == "" {
		c.realm = string(m.get(attrRealm))
	}
	if !m.has(attrNonce) {
		return false
	}
	c.nonce, c.algorithms = string(m.get(attrNonce)), m.get(attrAlgorithms)
	return true
}

// identified are the attributes that name the user.
func (c *client) identified() []attr {
	return []attr{text(attrUsername, c.user), text(attrRealm, c.realm), text(attrNonce, c.nonce)}
}

// sign completes a request: credentials as far as the server asked for some, and FINGERPRINT.
func (c *client) sign(b []byte) []byte {
	if c.server.authenticates {
		b = withIntegrity(add(b, c.identified()...), c.key())
	}
	return withFingerprint(b)
}

// request signs and sends a request and returns the response; nil when there is none. A stale nonce is replaced.
func (c *client) request(method uint16, attributes ...attr) *message {
	for range 3 {
		if c.server.authenticates && c.nonce == "" && c.challenge() == nil {
			return nil
		}
		request := c.sign(build(method, attributes...))
		m := c.exchange(request)
		if m == nil || m.code() != 438 || !c.learn(m) {
			c.note(m)
			return m
		}
	}
	return nil
}

// note keeps track of the allocation.
func (c *client) note(m *message) {
	if m == nil || m.code() != 0 {
		return
	}
	switch m.method() {
	case allocate:
		c.relayed, c.holds = m.address(attrRelayed), true
	case refresh:
		if seconds, ok := m.number(attrLifetime); ok && seconds == 0 {
			c.holds = false
		}
	}
}

// leave deletes the allocation and closes the socket. On a stream closing says both.
func (c *client) leave() {
	if c.holds && !c.stream {
		c.request(refresh, lifetime(0))
	}
	c.conn.Close()
}
