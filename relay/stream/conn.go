package stream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Conn is one client's connection. Its exported methods may be called from any goroutine, also after its end.
type Conn struct {
	// Immutable.
	nc            net.Conn
	listener      *Listener
	remote, local netip.AddrPort
	opened        time.Time
	direct        direct // system calls without waiting; unusable for a net.Conn that isn't TCP

	why    atomic.Uint32        // CloseReason; the first one that isn't open stays
	pipe   atomic.Pointer[Pipe] // see TakeOver; nil: frames
	in     input                // owned by the reader
	out    output               // see there
	drains sync.WaitGroup
}

func newConn(nc net.Conn, l *Listener) *Conn {
	c := &Conn{
		nc:       nc,
		listener: l,
		remote:   addrPort(nc.RemoteAddr()),
		local:    addrPort(nc.LocalAddr()),
		opened:   time.Now(),
	}
	c.direct.init(c)

	return c
}

// RemoteAddr is the client's address. The zero value when the connection isn't TCP and doesn't tell.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr is the address that the client connected to, also when the listener is bound to a wildcard.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Secure tells whether the client comes by TLS.
func (c *Conn) Secure() bool {
	_, secure := c.nc.(interface{ ConnectionState() tls.ConnectionState })

	return secure
}

// Close ends the connection without waiting for what is queued, and returns before Session.Closed was called.
func (c *Conn) Close() { c.end(ClosedByServer) }

// end records why the connection ends, unless it has been ending before, and wakes whoever waits for the
// socket. The reader does the rest: closing TLS may block, and end is called by other clients' goroutines.
func (c *Conn) end(why CloseReason) {
	if c.why.CompareAndSwap(uint32(open), uint32(why)) {
		c.abort()
		_ = c.nc.SetDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

// ended must be asked after each setting of a deadline and before the wait that follows, because setting one
// may have overwritten the one by which end wakes.
func (c *Conn) ended() bool { return c.why.Load() != uint32(open) }

// serve is the reader goroutine: a connection's whole life.
func (c *Conn) serve() {
	session := c.listener.handler.Opened(c)

	c.end(c.read(session))
	_ = c.nc.Close() // wakes the drain goroutine, if there is one
	c.out.release(c)
	c.drains.Wait()
	c.in.release()
	session.Closed()
	c.listener.forget(c, CloseReason(c.why.Load()))
}

// read reads and delivers until the connection has to end, and says why.
func (c *Conn) read(session Session) CloseReason {
	limits := &c.listener.limits
	active := c.opened // when a frame last began or ended, or an allocation was last seen
	greeted := false   // the first whole frame has come

	_ = c.nc.SetReadDeadline(c.opened.Add(limits.Handshake))

	for !c.ended() {
		partial := c.in.have > 0
		n, err := c.fill()

		if n > 0 {
			if limits.OpensWithSTUN && !greeted && wire.Classify(c.in.bytes()) != wire.KindSTUN {
				return ClosedNotTURN
			}
			frames, fault := c.deliver(session)
			if fault != open {
				return fault
			}
			if p := c.pipe.Load(); p != nil {
				return c.run(*p)
			}
			if frames > 0 || !partial { // else whoever adds a byte now and then would hold a buffer for good
				active = time.Now()
			}
			if frames > 0 && !greeted {
				greeted = true
				_ = c.nc.SetReadDeadline(active.Add(limits.Idle))
			}
		}

		// A deadline is only moved after it has passed: a busy connection never touches a timer.
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			now := time.Now()
			if !greeted {
				return ClosedHandshake
			}
			if session.Busy() {
				active = now
			}
			if now.Sub(active) >= limits.Idle {
				return ClosedIdle
			}
			_ = c.nc.SetReadDeadline(active.Add(limits.Idle))
		case errors.Is(err, io.EOF):
			return ClosedByClient
		default:
			return ClosedByError
		}
	}

	return ClosedByServer // not recorded: end was called before
}

// fill reads once, behind what is left of a partial frame.
func (c *Conn) fill() (int, error) {
	if c.direct.usable() {
		return c.direct.read()
	}

	return c.in.readFrom(c.nc)
}

// deliver hands over every whole frame of the input, then flushes once. Frames ahead of junk are delivered,
// so what a session sees doesn't depend on how the stream was cut.
func (c *Conn) deliver(session Session) (frames int, fault CloseReason) {
	b := c.in.bytes()
	at := 0

	for fault == open && !c.ended() && c.pipe.Load() == nil {
		n, err := wire.FrameSize(b[at:])
		switch {
		case errors.Is(err, wire.ErrTooLarge):
			fault = ClosedTooLarge
		case err != nil:
			fault = ClosedNotTURN
		}
		if fault != open || n == 0 || n > len(b)-at {
			break
		}

		session.Frame(b[at : at+n : at+n])
		at += n
		frames++
	}

	if frames > 0 {
		session.Flush()
	}
	c.in.consume(at)

	return frames, fault
}
