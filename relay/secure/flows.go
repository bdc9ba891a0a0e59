package secure

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hairpin-turn/hairpin/relay/proxy"
	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Tuning constants.
const (
	maxFlows = 100_000 // per listener, as for connections

	// flowIdle is without a datagram and without an allocation. A balancer that writes one header per flow must forget the
	// flow first: AWS does so after two minutes, nginx after ten.
	flowIdle  = 10 * time.Minute
	sweepStep = time.Second // between two looks for idle ones

	waysPerFlow = 4  // of balancers that a client's datagrams came by lately
	askedAtMost = 16 // flows, whether they can give way to a newcomer

	batchMessages = 64      // datagrams taken from the kernel at a time
	batchBytes    = 1 << 16 // room for each: the largest datagram there is
	flushMessages = 64      // datagrams given to the kernel at a time
)

// FlowHandler makes the Session of each new flow.
type FlowHandler interface {
	// Began is called once per flow, by Serve. It must not return nil.
	Began(f *Flow) stream.Session
}

// Flows are the clients that come through load balancers to one UDP address, each datagram with a PROXY header ahead, or at
// least the first one by each way.
//
//	         way (balancer's address and ours) ──┐
//	datagram ─► trusted? ─► header? ─► client ───┴─► Flow ─► Session ─► (package relay)
//	                                     balancer ◄── Flow ◄── answers and packets, without a header
//
// A client is who the header says: its address and the one that it sends to, whatever way it comes by. So it keeps what it
// has when a balancer gives it another port, or another balancer takes over; what goes to it takes the way by which it was
// heard last. A way belongs to one client at a time, to the last one that a header there has named: nothing for the one
// before goes there any longer.
type Flows struct {
	// Immutable.
	conn    *udp.Conn
	handler FlowHandler
	trusted proxy.Trusted
	stats   *Stats

	queues sync.Pool // of *udp.Queue
	count  atomic.Int64

	// Owned by Serve.
	limit   int
	ways    map[pair]*Flow // by the balancer's address and ours
	clients map[pair]*Flow // by the client's address and the one that it sends to
	recent  list.List      // of *Flow; the front was heard last
	current *Flow          // whose session has frames to flush; nil: none
	swept   time.Time
}

// ListenFlows binds addr. Serve has to follow. Of options ReusePort is not for it.
func ListenFlows(addr netip.AddrPort, options udp.Options, trusted []netip.Prefix, handler FlowHandler, shared *Shared) (*Flows, error) {
	options.PacketInfo = addr.Addr().IsUnspecified()
	conn, err := udp.Listen(addr, options)
	if err != nil {
		return nil, err
	}
	return &Flows{
		conn: conn, handler: handler, trusted: slices.Clone(trusted), stats: shared.Stats, limit: maxFlows,
		queues: sync.Pool{New: func() any { return udp.NewQueue(flushMessages) }},
		ways:   make(map[pair]*Flow), clients: make(map[pair]*Flow),
	}, nil
}

// Addr is the bound address, with the port that was picked.
func (l *Flows) Addr() netip.AddrPort { return l.conn.LocalAddr() }

// Conn is the socket, to ask it about itself.
func (l *Flows) Conn() *udp.Conn { return l.conn }

// Len is how many flows there are.
func (l *Flows) Len() int { return int(l.count.Load()) }

// Close closes the socket, at which Serve ends every flow and returns.
func (l *Flows) Close() error { return l.conn.Close() }

// Serve receives until Close, then ends every flow.
func (l *Flows) Serve() {
	defer func() {
		for _, f := range l.clients {
			l.end(f)
		}
	}()
	batch := udp.NewBatch(batchMessages, batchBytes)
	for {
		if err := l.conn.Receive(batch); errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			time.Sleep(receivePause)
			continue
		}
		now := time.Now()
		for i := range batch.Len() {
			l.receive(batch.Datagram(i), now)
		}
		l.enter(nil)
		l.sweep(now)
	}
}

// receive takes one message of the kernel's, which is several datagrams of equal size where the kernel joined them.
func (l *Flows) receive(d udp.Datagram, now time.Time) {
	way := pair{client: d.Source, server: l.conn.LocalAddr()}
	if d.Local.IsValid() {
		way.server = netip.AddrPortFrom(d.Local, way.server.Port())
	}
	trusted := l.trusted.Contains(d.Source.Addr())
	for rest := d.Bytes; ; {
		n := min(d.Segment, len(rest))
		switch {
		case !trusted:
			l.stats.drop(DropUntrusted, 1)
		case d.Truncated:
			l.stats.drop(DropTruncated, 1)
		default:
			l.datagram(rest[:n:n], way, &d, now)
		}
		if rest = rest[n:]; len(rest) == 0 {
			return
		}
	}
}

// datagram gives one datagram to the session of the client that it is from.
func (l *Flows) datagram(b []byte, way pair, d *udp.Datagram, now time.Time) {
	header, message, found, err := proxy.Cut(b)
	if err != nil {
		l.stats.drop(DropMalformedHeader, 1)
		return
	}
	f := l.ways[way]
	if !found && f == nil {
		l.stats.drop(DropNoHeader, 1)
		return
	}
	if len(message) > 0 && wire.Classify(message) == wire.KindOther {
		l.stats.drop(DropNotTURN, 1)
		return
	}
	if found {
		client := pair{client: header.Source, server: header.Destination}
		if header.Local {
			client = way
		}
		if f == nil || f.at != client {
			if f = l.come(client, way); f == nil {
				l.stats.drop(DropNoRoom, 1)
				return
			}
		}
	}
	f.heardBy(way, d)
	f.heard = now
	l.recent.MoveToFront(f.place)
	if len(message) > 0 { // else the header came ahead by itself
		l.enter(f)
		f.session.Frame(message)
	}
}

// enter flushes the session that had the frames so far, unless it is the next one's as well.
func (l *Flows) enter(f *Flow) {
	if l.current != f && l.current != nil {
		l.current.session.Flush()
	}
	l.current = f
}

// come finds or makes the flow of a client that comes by a way that isn't its own yet; nil: there is no room.
func (l *Flows) come(client, way pair) *Flow {
	f := l.clients[client]
	if f == nil {
		if len(l.clients) >= l.limit && !l.displace() {
			return nil
		}
		f = &Flow{flows: l, at: client}
		f.place = l.recent.PushFront(f)
		f.session = l.handler.Began(f)
		l.clients[client] = f
		l.count.Add(1)
		l.stats.add(ProxyCompleted)
	}
	if before := l.ways[way]; before != nil {
		before.leave(way)
	}
	l.ways[way] = f
	f.ways = append(f.ways, way)
	if len(f.ways) > waysPerFlow {
		delete(l.ways, f.ways[0])
		f.leave(f.ways[0])
	}
	return f
}

// displace ends the flow that was silent for longest, of those without an allocation.
func (l *Flows) displace() bool {
	for range askedAtMost {
		f := l.recent.Back().Value.(*Flow)
		if !f.session.Busy() {
			l.end(f)
			return true
		}
		l.recent.MoveToFront(f.place) // or the next one would ask it again
	}
	return false
}

// sweep ends flows that were idle for too long. It looks only when datagrams come: without any, flows cost nothing but
// memory.
func (l *Flows) sweep(now time.Time) {
	if now.Sub(l.swept) < sweepStep {
		return
	}
	l.swept = now
	for e := l.recent.Back(); e != nil; e = l.recent.Back() {
		f := e.Value.(*Flow)
		if now.Sub(f.heard) < flowIdle {
			return
		}
		if f.session.Busy() {
			f.heard = now
			l.recent.MoveToFront(e)
			continue
		}
		l.end(f)
	}
}

// end forgets a flow.
func (l *Flows) end(f *Flow) {
	if l.current == f {
		l.enter(nil)
	}
	for _, way := range f.ways {
		delete(l.ways, way)
	}
	delete(l.clients, f.at)
	l.recent.Remove(f.place)
	l.count.Add(-1)
	f.close()
	f.session.Closed()
}
