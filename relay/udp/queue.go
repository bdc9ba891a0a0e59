package udp

import "net"

// Queue collects outgoing datagrams of one goroutine, which adds them, and which drains them by Flush.
type Queue struct {
	// owned by the goroutine that appends
	messages []message // of these the first n are waiting
	n        int
	fast     *sender
	scratch  []byte // the portable path joins a datagram's parts here
	control  []byte
}

// message is one datagram by reference.
type message struct {
	head, body []byte
	to         Destination
	pad        uint8
}

// padding is what the padding of every datagram refers to. Nobody writes it.
var padding [3]byte

// NewQueue makes room for so many datagrams. It panics unless there is room for one.
func NewQueue(messages int) *Queue {
	if messages <= 0 {
		panic("udp: a queue needs room for at least one datagram")
	}
	return &Queue{messages: make([]message, messages), fast: newSender(messages), control: make([]byte, controlSize)}
}

// Append adds the datagram head + body + pad zero bytes (0 to 3). head and body may be empty. They are kept by reference
// and must not change until Flush has returned; to is copied. It returns false, and adds nothing, when the Queue is full:
// Flush first.
func (q *Queue) Append(to *Destination, head, body []byte, pad int) bool {
	if uint(pad) > uint(len(padding)) {
		panic("udp: padding is 0 to 3 bytes")
	}
	if q.n == len(q.messages) {
		return false
	}
	m := &q.messages[q.n]
	m.head, m.body, m.to, m.pad = head, body, *to, uint8(pad)
	q.n++
	return true
}

// Len tells how many datagrams are waiting for Flush.
func (q *Queue) Len() int { return q.n }

// Flush sends what the Queue holds, in order, and empties it whatever happens. A datagram that can't be sent is dropped and
// the rest go on; sent is how many the kernel took, and err why the first of the others wasn't taken: net.ErrClosed after
// Close, else a reason to count or log and not one to stop. When the socket's send buffer is full, the rest of the Queue is
// dropped as a router would drop it (EAGAIN); the portable path waits for room instead. There is no heap allocation unless
// the portable path meets an error.
func (c *Conn) Flush(q *Queue) (sent int, err error) {
	if q.n == 0 {
		return 0, nil
	}
	if c.portable {
		sent, err = c.flushPortable(q)
	} else {
		sent, err = c.flushFast(q)
	}
	clear(q.messages[:q.n]) // hold no buffer of the caller's any longer
	q.n = 0
	return sent, err
}

// firstError keeps the first of a Flush's errors, of which net.ErrClosed outranks the others.
func firstError(first, err error) error {
	err = closedOr(err)
	if first == nil || err == net.ErrClosed {
		return err
	}
	return first
}
