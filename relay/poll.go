package relay

import (
	"errors"
	"net"
	"sync"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// listenerToken stands for the loop's own listener among what it polls.
const listenerToken = 1<<32 - 2

// pollEvents is how many sockets are looked at between two waits.
const pollEvents = 64

// polled is what one loop waits for when its clients' relayed transport addresses have sockets.
type polled struct {
	poller *udp.Poller

	mu     sync.Mutex
	list   []*allocation.Allocation          // by token; nil: nobody has it; guarded by mu
	free   []uint32                          // tokens that nobody has; guarded by mu
	tokens map[*allocation.Allocation]uint32 // guarded by mu

	// Owned by the loop: what the last wait found.
	ready  [pollEvents]*allocation.Allocation // nil: the listener, or closed since
	isOwn  [pollEvents]bool                   // the listener
	failed [pollEvents]bool                   // the kernel has an error to tell
}

// newPolled polls conn, the loop's listener, which may be nil.
func newPolled(conn *udp.Conn) (*polled, error) {
	poller, err := udp.NewPoller()
	if err != nil {
		return nil, err
	}
	p := &polled{poller: poller, tokens: make(map[*allocation.Allocation]uint32)}
	if conn != nil {
		if err := poller.Add(conn, listenerToken); err != nil {
			poller.Close()
			return nil, err
		}
	}
	return p, nil
}

// add polls an allocation's socket.
func (p *polled) add(a *allocation.Allocation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := uint32(len(p.list))
	if n := len(p.free); n > 0 {
		token, p.free = p.free[n-1], p.free[:n-1]
		p.list[token] = a
	} else {
		p.list = append(p.list, a)
	}
	p.tokens[a] = token
	err := p.poller.Add(a.Socket, token)
	if errors.Is(err, net.ErrClosed) { // it has ended meanwhile, and perhaps been removed before it came
		p.removeLocked(a)
		return nil
	}
	return err
}

// remove forgets an allocation whose socket is closed. A stale event for its token costs whoever has it next one vain read.
func (p *polled) remove(a *allocation.Allocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(a)
}

// leave forgets an allocation whose socket stays open.
func (p *polled) leave(a *allocation.Allocation) {
	p.poller.Remove(a.Socket)
	p.remove(a)
}

// rename gives an allocation's place to another one that has its socket.
func (p *polled) rename(a, b *allocation.Allocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if token, ok := p.tokens[a]; ok {
		delete(p.tokens, a)
		p.tokens[b], p.list[token] = token, b
	}
}

func (p *polled) removeLocked(a *allocation.Allocation) {
	if token, ok := p.tokens[a]; ok {
		delete(p.tokens, a)
		p.list[token] = nil
		p.free = append(p.free, token)
	}
}

// look turns the n events of a wait into whom they are for.
func (p *polled) look(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		token, failed := p.poller.Ready(i)
		p.ready[i], p.isOwn[i], p.failed[i] = nil, token == listenerToken, failed
		if int64(token) < int64(len(p.list)) {
			p.ready[i] = p.list[token]
		}
	}
}

// poll is run for a loop that reads sockets of relayed transport addresses beside its listener. Each wait's packets, from
// wherever they come, leave together.
func (l *udpLoop) poll() {
	p := l.relayed
	for {
		n, err := p.poller.Wait()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !l.pause(err) {
				return
			}
			continue
		}
		p.look(n)
		l.forwarder.Begin(l.table.Now())
		for i := range n {
			switch a := p.ready[i]; {
			case p.isOwn[i]:
				l.take(l.conn, nil)
			case a != nil:
				if p.failed[i] {
					l.icmp(a)
				}
				l.take(a.Socket, a)
			}
		}
		l.flush()
		l.batch.Reset()
	}
}

// take relays what a socket holds, up to a batch; the rest stays ready. to is whose socket it is, nil for the listener.
func (l *udpLoop) take(conn *udp.Conn, to *allocation.Allocation) {
	if l.batch.Full() {
		l.flush()
		l.batch.Reset()
	}
	start := l.batch.Len()
	n, err := conn.Take(l.batch, batchMessages)
	if err != nil {
		if to == nil && !errors.Is(err, net.ErrClosed) {
			l.pause(err)
		}
		return
	}
	for i := start; i < start+n; i++ {
		if d := l.batch.Datagram(i); to == nil {
			l.datagram(d)
		} else {
			fromPeer(l.forwarder, to, d)
		}
	}
}

// fromPeer relays one message of the kernel's, which may be several datagrams of one peer.
func fromPeer(f *forward.Forwarder, to *allocation.Allocation, d udp.Datagram) {
	if d.Truncated {
		f.Drop(forward.DropTruncated, 1)
		return
	}
	for rest := d.Bytes; ; {
		n := min(d.Segment, len(rest))
		f.FromPeer(to, d.Source, rest[:n:n])
		if rest = rest[n:]; len(rest) == 0 {
			return
		}
	}
}

// icmpMessages is how many messages about one socket are taken at a time: a flood of them must not starve packets.
const icmpMessages = 16

// icmp tells the client of an allocation what the network says of its packets to peers.
func (l *udpLoop) icmp(to *allocation.Allocation) {
	var m udp.ICMP
	for range icmpMessages {
		if !to.Socket.ICMP(&m) {
			return
		}
		l.forwarder.ICMP(to, &m)
	}
}
