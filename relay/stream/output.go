package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// blockSize keeps a block, with its fields and the runtime's header, within the allocator's 16 KiB class.
const blockSize = 16<<10 - 64

// block is a piece of a queue. Frames run on from one block into the next, but for those that somebody below makes records of.
type block struct {
	next     *block
	from, to int // data[from:to] is still to be written
	data     [blockSize]byte
}

var blocks = sync.Pool{New: func() any { return new(block) }}

func (b *block) put() {
	b.next, b.from, b.to = nil, 0, 0
	blocks.Put(b)
}

// chain is a list of blocks in the order of the stream.
type chain struct{ first, last *block }

func (q *chain) append(p []byte) {
	for len(p) > 0 {
		if q.last == nil || q.last.to == blockSize {
			q.grow()
		}

		n := copy(q.last.data[q.last.to:], p)
		q.last.to += n
		p = p[n:]
	}
}

func (q *chain) grow() {
	b := blocks.Get().(*block)
	if q.last == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
}

// keepWhole sees to it that a frame is not cut by the end of a block, unless it is longer, and then behind its head.
func (q *chain) keepWhole(size int) {
	if q.last != nil && q.last.to+size > blockSize {
		q.grow()
	}
}

// pop takes the first block away.
func (q *chain) pop() *block {
	b := q.first
	q.first = b.next
	if q.first == nil {
		q.last = nil
	}
	b.next = nil

	return b
}

// push puts other in front of q.
func (q *chain) push(other chain) {
	if other.first == nil {
		return
	}
	other.last.next = q.first
	if q.last == nil {
		q.last = other.last
	}
	q.first = other.first
}

func (q *chain) release() {
	for q.first != nil {
		q.pop().put()
	}
}

// output is the bounded way out of a connection. Anyone adds with Send; whoever brings the state out of idle
// is the only one who writes until it is idle again, so frames never interleave and keep their order.
//
//	        Flush                      all taken, nothing new
//	idle ──────────► flushing ───────────────────────────────► idle      system calls that never wait
//	                    │ the kernel doesn't take all, or new frames keep coming
//	                    ▼                 empty
//	                 draining ────────────────────────────────► idle      a goroutine that waits
//
// While someone writes, others' Flush returns at once: the writer looks into the queue again before it goes
// idle, and it was they who filled it before.
type output struct {
	mu     sync.Mutex
	queue  chain       // guarded by mu
	queued int         // guarded by mu; bytes in queue and in the writer's hands
	state  outputState // guarded by mu
}

type outputState uint8

const (
	idle outputState = iota
	flushing
	draining
)

// maxRounds is how often one Flush writes what others queued meanwhile, before it lets a goroutine do that.
const maxRounds = 4

var zeros [4]byte

// Send copies one frame, head then body then pad (0..3) zero bytes, into the connection's queue; Flush has to
// follow. It is false when the queue is full or the connection has ended: then nothing of the frame is sent.
func (c *Conn) Send(head, body []byte, pad int) bool {
	size := len(head) + len(body) + pad
	o := &c.out

	o.mu.Lock()
	if o.queued+size > c.listener.limits.Queue && o.state == idle && o.queued > 0 {
		o.mu.Unlock()
		c.Flush() // a burst longer than the queue, not a slow client
		o.mu.Lock()
	}

	if c.ended() {
		o.mu.Unlock()

		return false
	}

	if o.queued+size > c.listener.limits.Queue {
		o.mu.Unlock()
		c.listener.stats.QueueFull.Add(1)

		return false
	}

	if !c.direct.usable() {
		o.queue.keepWhole(size) // each Write below is of whole frames then, which TLS makes records of
	}
	o.queue.append(head)
	o.queue.append(body)
	o.queue.append(zeros[:pad])
	o.queued += size
	o.mu.Unlock()

	return true
}

// Flush sees to it that everything sent so far is on its way: with the kernel when it returns, or with
// somebody who is writing. It never waits for the client.
func (c *Conn) Flush() {
	o := &c.out

	o.mu.Lock()
	if o.state != idle || o.queue.first == nil || c.ended() {
		o.mu.Unlock()

		return
	}

	if !c.direct.usable() {
		c.drainLocked()
		o.mu.Unlock()

		return
	}

	o.state = flushing
	for range maxRounds {
		c.direct.pending, o.queue = o.queue, chain{}
		o.mu.Unlock()

		written, err := c.direct.write()

		o.mu.Lock()
		o.queued -= written
		o.queue.push(c.direct.pending)
		partly := c.direct.pending.first != nil
		c.direct.pending = chain{}

		if err != nil || c.ended() {
			c.abandonLocked()
			o.mu.Unlock()
			c.end(ClosedByError)

			return
		}

		if o.queue.first == nil {
			o.state = idle
			o.mu.Unlock()

			return
		}

		if partly {
			break
		}
	}

	c.drainLocked()
	o.mu.Unlock()
}

// drainLocked leaves the queue to a goroutine. The reader, whose end waits for it, counts on it not being
// started any more once the connection has ended.
func (c *Conn) drainLocked() {
	c.out.state = draining
	c.drains.Go(c.drain)
}

// drain writes, waiting for the client, until the queue is empty or the connection ends.
func (c *Conn) drain() {
	o := &c.out

	o.mu.Lock()
	defer o.mu.Unlock()

	for o.queue.first != nil && !c.ended() {
		b := o.queue.pop()
		o.mu.Unlock()

		size := b.to - b.from
		err := c.writeWaiting(b.data[b.from:b.to])
		b.put()

		o.mu.Lock()
		o.queued -= size

		if err != nil {
			o.mu.Unlock()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.end(ClosedStalled)
			} else {
				c.end(ClosedByError)
			}
			o.mu.Lock()

			break
		}

		if o.queue.first == nil {
			// A deadline left behind would fail a later Flush.
			o.mu.Unlock()
			_ = c.nc.SetWriteDeadline(time.Time{})
			o.mu.Lock()
		}
	}

	if c.ended() {
		c.abandonLocked()
	}
	o.state = idle
}

// writeWaiting writes all of p. It fails with os.ErrDeadlineExceeded when no byte could be written for
// Limits.WriteTimeout.
func (c *Conn) writeWaiting(p []byte) error {
	for {
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.listener.limits.WriteTimeout))
		if c.ended() {
			return net.ErrClosed
		}

		n, err := c.nc.Write(p)
		if err == nil {
			return nil
		}
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
	}
}

// abandonLocked empties the queue of a connection that has ended, or is about to.
func (c *Conn) abandonLocked() {
	c.out.queue.release()
	c.out.queued = 0
	c.out.state = idle
}

// release is the reader's, after the connection has ended: it empties the queue for good, unless somebody still
// writes, who then does it. Having held mu, it also knows that no drain goroutine will start any more.
func (o *output) release(c *Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()

	if o.state == idle {
		c.abandonLocked()
	}
}
