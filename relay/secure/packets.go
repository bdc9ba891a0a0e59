package secure

import (
	"errors"
	"net"
	"reflect"
	"time"

	"github.com/pion/dtls/v3"
)

// packets is the socket that pion believes to have: an association's share of the listener's.
type packets struct{ *Association }

var _ net.PacketConn = packets{}

// ReadFrom takes the next datagram of this client.
func (p packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.inbox.take(b)
	return n, net.UDPAddrFromAddrPort(p.client), err
}

// WriteTo sends a datagram to the client. One that can't be sent costs only itself.
func (p packets) WriteTo(b []byte, _ net.Addr) (int, error) {
	a := p.Association
	if !a.open.Load() && isHelloVerifyRequest(b) {
		// The client has had that question, and given the answer.
		return len(b), giveCookie(a.conn, a.cookie)
	}
	a.letGo()
	shiftSequence(b, a.shift)
	a.datagram.Append(&a.to, nil, b, 0)
	a.listener.conn.Flush(a.datagram)
	return len(b), nil
}

// Close ends the association.
func (p packets) Close() error {
	p.end(net.ErrClosed)
	return nil
}

// LocalAddr is the server's address.
func (p packets) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.server) }

// SetDeadline sets that of reads; writes don't wait.
func (p packets) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline ends waits in ReadFrom.
func (p packets) SetReadDeadline(t time.Time) error {
	p.inbox.setDeadline(t)
	return nil
}

// SetWriteDeadline does nothing: writes don't wait.
func (p packets) SetWriteDeadline(time.Time) error { return nil }

// errOtherPion says that pion/dtls has changed within, which TestCookie finds before anybody else.
var errOtherPion = errors.New("secure: this release of pion/dtls keeps its cookie elsewhere")

// giveCookie makes pion accept the cookie that we have accepted. pion draws a cookie at random for each association,
// ahead of which there is one already: state for whoever forges an address. So it is asked only when the client's cookie
// has come back and been found good, is shown the ClientHello that came before, and told which cookie it has sent. It
// has no option for that, and the message numbers of the exchange are part of what both sides sign, so its own exchange
// can't just be skipped (InsecureSkipVerifyHello). It is called on the goroutine that owns the field, while that sends.
func giveCookie(c *dtls.Conn, cookie []byte) error {
	state := reflect.ValueOf(c).Elem().FieldByName("state")
	if !state.IsValid() || state.Kind() != reflect.Struct {
		return errOtherPion
	}
	field := state.FieldByName("cookie")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]byte]() || field.Len() != len(cookie) {
		return errOtherPion
	}
	copy(field.Bytes(), cookie)
	return nil
}
