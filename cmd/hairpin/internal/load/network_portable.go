package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// maxFailures is how many errors in a row a socket's reader takes for news about single datagrams.
const maxFailures = 16

// portable is the network over the standard library: a socket and a reading goroutine for each client. What they read
// goes through one channel to the goroutine that owns the network.
type portable struct {
	// immutable
	options networkOptions
	to      receiver
	arrived chan arrivalOf // readers add; receive drains; never closed
	done    chan struct{}  // closed by shutdown: readers stop
	readers sync.WaitGroup // shutdown waits

	// owned by the network's goroutine
	addresses addresses
	conns     []*portableConn // by client
	queue     []portableMessage
	total     networkCounts
	timer     *time.Timer
}

type portableConn struct {
	net.Conn
	client int32
	stream bool
}

type portableMessage struct {
	conn    *portableConn
	bytes   []byte
	segment int
}

// arrivalOf is a message that has arrived, or the end of a connection.
type arrivalOf struct {
	conn  *portableConn
	bytes []byte
	err   error
}

func newPortable(o networkOptions, to receiver) *portable {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &portable{
		options: o, to: to, addresses: addresses{prefix: o.from}, timer: timer,
		arrived: make(chan arrivalOf, 1024), done: make(chan struct{}),
	}
}

func (p *portable) open(client int32, t Transport) error {
	p.close(client)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	dialer := net.Dialer{}
	if ip := p.addresses.next(); ip.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
		if t == TCP {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
		}
	}
	conn, err := dialer.DialContext(ctx, string(t), p.options.server.String())
	if err != nil {
		return err
	}
	for int(client) >= len(p.conns) {
		p.conns = append(p.conns, nil)
	}
	c := &portableConn{Conn: conn, client: client, stream: t == TCP}
	p.conns[client] = c
	p.readers.Add(1)
	go p.read(c) // ends when its connection does; shutdown waits
	return nil
}

func (p *portable) close(client int32) {
	if int(client) < len(p.conns) && p.conns[client] != nil {
		p.flush()
		_ = p.conns[client].Close()
		p.conns[client] = nil
	}
}

func (p *portable) read(c *portableConn) {
	defer p.readers.Done()
	buffer := make([]byte, wire.MaxFrame+4)
	held := 0 // of a stream: bytes of a frame that isn't whole
	for failures := 0; failures < maxFailures; {
		n, err := c.Read(buffer[held:])
		if n > 0 && !c.stream {
			p.hand(arrivalOf{c, append([]byte(nil), buffer[:n]...), nil})
		} else if n > 0 {
			frames := buffer[:held+n]
			for err == nil && len(frames) > 0 {
				var size int
				if size, err = wire.FrameSize(frames); err != nil || size == 0 || size > len(frames) {
					if err != nil || size > len(buffer) {
						err = errNotTURN
					}
					break
				}
				p.hand(arrivalOf{c, append([]byte(nil), frames[:size]...), nil})
				frames = frames[size:]
			}
			held = copy(buffer, frames)
		}
		switch failures++; {
		case err == nil:
			failures = 0
		case errors.Is(err, net.ErrClosed):
			return
		case !c.stream && !errors.Is(err, syscall.ECONNREFUSED):
			// about one datagram that was sent
		default:
			if errors.Is(err, io.EOF) {
				err = errClosed
			}
			p.hand(arrivalOf{c, nil, err})
			if c.stream {
				return
			}
		}
	}
}

func (p *portable) hand(a arrivalOf) {
	select {
	case p.arrived <- a:
	case <-p.done:
	}
}

func (p *portable) room(client int32, size, segment int) []byte {
	m := portableMessage{p.conns[client], make([]byte, size), segment}
	p.queue = append(p.queue, m)
	return m.bytes
}

func (p *portable) flush() {
	for _, m := range p.queue {
		if m.conn.stream {
			// A server that doesn't read must not stop the generator for ever.
			_ = m.conn.SetWriteDeadline(time.Now().Add(time.Second))
		}
		step := len(m.bytes)
		if m.segment > 0 {
			step = m.segment
		}
		for from := 0; from < len(m.bytes); from += step {
			if _, err := m.conn.Write(m.bytes[from:min(from+step, len(m.bytes))]); err != nil {
				if p.total.unsent++; p.total.failure == nil {
					p.total.failure = err
				}
			}
		}
	}
	clear(p.queue)
	p.queue = p.queue[:0]
}

func (p *portable) receive(wait time.Duration) int {
	n := 0
	for n < batchSize {
		select {
		case a := <-p.arrived:
			p.deliver(a)
			n++
			continue
		default:
		}
		if n > 0 || wait <= 0 {
			break
		}
		p.timer.Reset(wait)
		wait = 0
		select {
		case a := <-p.arrived:
			p.timer.Stop()
			p.deliver(a)
			n++
		case <-p.timer.C:
		}
	}
	return n
}

func (p *portable) deliver(a arrivalOf) {
	p.to.batch()
	switch client := a.conn.client; {
	case p.conns[client] != a.conn:
		p.total.stray++ // of a connection that is closed by now
	case a.err != nil:
		p.to.broken(client, a.err)
	default:
		p.to.message(client, a.bytes)
	}
}

func (p *portable) counts() networkCounts { return p.total }

func (p *portable) shutdown() {
	close(p.done)
	for client := range p.conns {
		p.close(int32(client))
	}
	p.readers.Wait()
}
