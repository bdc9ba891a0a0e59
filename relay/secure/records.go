package secure

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// records is a TLS connection that puts each frame into a record of its own, and all records of one Write into one write
// to the kernel. There are clients that take what one read of TLS brings for one message, coturn's among them.
type records struct {
	*tls.Conn
	under *conn
	left  int // bytes of a frame that are still to be written; owned by whoever writes
}

// Unframed is the connection for a stream of bytes that are no frames.
func (r *records) Unframed() net.Conn { return r.Conn }

// Write takes a part of the stream of frames.
func (r *records) Write(p []byte) (n int, err error) {
	r.under.cork.hold()
	for n < len(p) && err == nil {
		size := len(p) - n
		if r.left == 0 {
			r.left, _ = wire.FrameSize(p[n:]) // 0 when less than a frame's head is there
		}
		if r.left > 0 {
			size = min(size, r.left)
			r.left -= size
		}
		var written int
		written, err = r.Conn.Write(p[n : n+size])
		n += written
	}
	if flushed := r.under.cork.release(r.under.TCPConn.Write); err == nil {
		err = flushed
	}
	if err != nil {
		return 0, err // nobody knows what has arrived, and TLS can't go on
	}
	return n, nil
}

// cork collects what is written while it is held.
type cork struct {
	mu   sync.Mutex
	held bool   // guarded by mu
	all  []byte // guarded by mu
}

func (c *cork) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// take tells whether it is held, and then has copied b.
func (c *cork) take(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		c.all = append(c.all, b...)
	}
	return c.held
}

// release writes what was collected. Nothing else is written at that time: TLS writes under a lock of its own, and what
// it says by itself, such as an alert, waits here.
func (c *cork) release(write func([]byte) (int, error)) error {
	for {
		c.mu.Lock()
		all := c.all
		c.all = nil
		if len(all) == 0 {
			c.held = false
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		if _, err := write(all); err != nil {
			c.mu.Lock()
			c.held, c.all = false, nil
			c.mu.Unlock()
			return err
		}
	}
}
