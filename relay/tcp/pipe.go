package tcp

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// halfClosed is how long a link is kept of which one end has closed its stream and
	// the other sends nothing. RFC 6062 §5.5 has a connection closed with its other half;
	// but a stream's end may as well mean that an answer is awaited, and TCP doesn't tell.
	halfClosed = 60 * time.Second

	copyBytes = 32 << 10
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// Run implements stream.Pipe: it relays what the client sends, until the link is over.
func (e *end) Run(nc net.Conn, first []byte) {
	l, other := e.link, e.other()
	if !l.arrive(e, nc) {
		return
	}
	select {
	case <-l.joined:
	case <-l.closed:
		if !l.wasJoined() {
			return
		}
	}
	if other.group == nil {
		var back sync.WaitGroup
		back.Go(func() { l.relay(other, e, nil) })
		defer back.Wait()
	}
	l.relay(e, other, first)
	<-l.closed // until then the other one writes to nc
}

// wasJoined says of a link that is over whether it was ever joined. Then each way has to settle.
func (l *link) wasJoined() bool {
	l.connections.mu.Lock()
	defer l.connections.mu.Unlock()
	return l.ways > 0
}

// Abort implements stream.Pipe.
func (e *end) Abort() { e.link.close() }

// relay copies from one end to the other. The end of the stream is passed on, and what
// comes the other way goes on; anything else ends the link.
func (l *link) relay(from, to *end, first []byte) {
	defer l.settle()
	if l.copy(from, to, first) != nil || !l.finish(from, to) {
		l.close()
	}
}

// finish passes on that nothing more comes from an end; false: nor from the other.
func (l *link) finish(from, to *end) bool {
	half, ok := to.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return false
	}
	from.ended.Store(true)
	return l.setDeadline(to.conn, time.Now().Add(halfClosed)) == nil && !to.ended.Load()
}

// arm sets the deadline by which an end has to send something: none, unless the other end
// has closed its stream.
func (l *link) arm(from *end) error {
	for {
		until := from.patience()
		if err := l.setDeadline(from.conn, until); err != nil {
			return err
		}
		if !until.IsZero() || !from.other().ended.Load() { // else finish may have come in between
			return nil
		}
	}
}

// patience is until when an end may send nothing; zero: for ever.
func (e *end) patience() time.Time {
	if e.other().ended.Load() {
		return time.Now().Add(halfClosed)
	}
	return time.Time{}
}

var errOver = errors.New("the link is over")

var longAgo = time.Unix(1, 0)

// setDeadline sets the read deadline, but not in place of the one by which close wakes:
// that is set after closed is closed, and put back here where it came in between. Whoever
// sets it need not be who reads.
func (l *link) setDeadline(conn net.Conn, at time.Time) error {
	_ = conn.SetReadDeadline(at)
	if l.isClosed() {
		_ = conn.SetReadDeadline(longAgo)
		return errOver
	}
	return nil
}

// copy relays until the end of the stream, which is no error.
func (l *link) copy(from, to *end, first []byte) error {
	p := l.pace(from, to)
	if err := p.pass(from, to, first); err != nil {
		return err
	}
	if copied, err := l.splice(from, to, p); copied {
		return err
	}
	b := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(b)
	for {
		if err := l.arm(from); err != nil {
			return err
		}
		n, err := from.conn.Read(b[:p.piece])
		if fault := p.pass(from, to, b[:n]); fault != nil {
			return fault
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
