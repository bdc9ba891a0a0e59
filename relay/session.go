package relay

import (
	"net/netip"
	"sync"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// connection is a client's TCP or TLS connection, DTLS association or flow through a load balancer.
type connection interface {
	allocation.Stream
	RemoteAddr() netip.AddrPort
	LocalAddr() netip.AddrPort
}

// session is the packet path of one connection. It belongs to the connection's
// reader goroutine.
type session struct {
	server *Server
	conn   connection
	origin control.Origin
	tools  *tools // borrowed from the first frame of a read until its Flush
}

// sessions makes the sessions of one socket's connections.
type sessions struct {
	server *Server
	socket *socket
}

// Opened implements stream.Handler.
func (h sessions) Opened(c *stream.Conn) stream.Session {
	transport := allocation.TCP
	if c.Secure() {
		transport = allocation.TLS
	}
	return h.session(c, transport)
}

func (h sessions) session(c connection, transport allocation.Transport) *session {
	return &session{server: h.server, conn: c, origin: control.Origin{
		FiveTuple: allocation.FiveTuple{Client: c.RemoteAddr(), Server: c.LocalAddr(), Transport: transport},
		Client:    allocation.Client{Listener: h.socket.index, Loop: -1, Stream: c},
		Gate:      &h.socket.of.gate,
	}}
}

// Frame sends one frame its way.
func (s *session) Frame(b []byte) {
	if s.tools == nil {
		s.tools = s.server.toolbox.borrow()
		s.tools.forwarder.Begin(s.server.table.Now())
	}
	switch {
	case wire.Classify(b) == wire.KindChannelData:
		s.tools.forwarder.ChannelData(&s.origin.FiveTuple, b)
	case wire.IsSend(b):
		s.tools.forwarder.Send(&s.origin.FiveTuple, b)
	default:
		s.answer(b)
	}
}

// answer lets the control plane answer a message. A client that lets its answers
// pile up doesn't get more of them.
func (s *session) answer(b []byte) {
	s.tools.reply = s.tools.control.Handle(b, &s.origin, s.tools.reply[:0])
	s.tools.forwarder.Forget()
	if len(s.tools.reply) > 0 && s.conn.Send(nil, s.tools.reply, 0) {
		s.conn.Flush()
	}
}

// Flush ends a read: what was queued leaves.
func (s *session) Flush() {
	if s.tools == nil {
		return
	}
	s.tools.forwarder.Flush()
	s.server.toolbox.giveBack(s.tools)
	s.tools = nil
}

// Busy says whether the client holds an allocation.
func (s *session) Busy() bool {
	return s.server.table.Find(&s.origin.FiveTuple, s.server.table.Now()) != nil
}

// Closed ends the allocation with its connection.
func (s *session) Closed() {
	s.Flush()
	s.server.table.Disconnect(&s.origin.FiveTuple, s.conn)
}

// tools are what handling frames takes: too much to hold for each quiet
// connection.
type tools struct {
	forwarder *forward.Forwarder
	control   *control.Worker
	reply     []byte
}

// toolbox lends tools to the readers. It makes as many as are in use at once, which is
// about as many as there are CPUs, unless something holds the readers up all together.
// Then it doesn't keep them.
type toolbox struct {
	make   func() *tools
	retire func(*tools)
	keep   int // how many

	mu   sync.Mutex
	free []*tools // guarded by mu
}

// toolsPerProcessor is how many tools are kept: readers that are in a system call hold
// theirs as well.
const toolsPerProcessor = 16

func (b *toolbox) borrow() *tools {
	b.mu.Lock()
	if n := len(b.free); n > 0 {
		defer b.mu.Unlock()
		t := b.free[n-1]
		b.free = b.free[:n-1]
		return t
	}
	b.mu.Unlock()
	return b.make()
}

func (b *toolbox) giveBack(t *tools) {
	b.mu.Lock()
	kept := len(b.free) < b.keep
	if kept {
		b.free = append(b.free, t)
	}
	b.mu.Unlock()
	if !kept {
		b.retire(t)
	}
}
