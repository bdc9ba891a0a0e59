package stream

import (
	"net"
	"time"
)

// Pipe takes a connection over whose bytes are no frames any longer: a client data connection (RFC 6062 §5.4).
type Pipe interface {
	// Run is called once, on the connection's reader goroutine, when all that was sent before is written; not when the
	// connection has ended by then. first is what was read behind the last frame, lent until Run returns. The connection
	// is closed when Run returns.
	Run(nc net.Conn, first []byte)
	// Abort is called when the connection ends otherwise, from any goroutine, also ahead of Run and more than once. It must
	// not wait. Once it has returned, and not before, a deadline in the past is set.
	Abort()
}

// TakeOver hands the connection to p from the frame in hand on. It is for a Session within its Frame. Whoever sends
// frames to the connection later spoils it.
func (c *Conn) TakeOver(p Pipe) {
	c.pipe.Store(&p)
	if c.ended() {
		c.abort() // end may have looked before
	}
}

func (c *Conn) abort() {
	if p := c.pipe.Load(); p != nil {
		(*p).Abort()
	}
}

// run is the reader's, after TakeOver.
func (c *Conn) run(p Pipe) CloseReason {
	c.drains.Wait() // for the answer that went before
	_ = c.nc.SetDeadline(time.Time{})
	if !c.ended() {
		p.Run(unframed(c.nc), c.in.bytes())
	}

	return ClosedPipe
}

// unframed is a connection without what serves frames, or stands in the way of the kernel.
func unframed(nc net.Conn) net.Conn {
	switch under := nc.(type) {
	case interface{ Unframed() net.Conn }:
		return under.Unframed()
	case interface{ Direct() *net.TCPConn }:
		if tcp := under.Direct(); tcp != nil {
			return tcp
		}
	}

	return nc
}
