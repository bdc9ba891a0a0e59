package secure

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// heard is a session that writes down what it gets.
type heard struct {
	flow    *Flow
	frames  []string
	flushed int
	busy    bool
	closed  int
}

func (h *heard) Frame(b []byte) { h.frames = append(h.frames, string(b)) }
func (h *heard) Flush()         { h.flushed = len(h.frames) }
func (h *heard) Busy() bool     { return h.busy }
func (h *heard) Closed()        { h.closed++ }

type hearing struct{ all []*heard }

func (h *hearing) Began(f *Flow) stream.Session {
	s := &heard{flow: f}
	h.all = append(h.all, s)
	return s
}

const message = "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"

// balancer is where the headers come from.
var balancer = netip.MustParseAddr("127.0.0.1")

// listenFlows makes flows that nobody serves: the test gives them datagrams by itself.
func listenFlows(t *testing.T, limit int) (*Flows, *hearing) {
	t.Helper()
	h := new(hearing)
	l, err := ListenFlows(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{}, []netip.Prefix{netip.PrefixFrom(balancer, 32)}, h, NewShared(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.limit = limit
	return l, h
}

// give has a message come from the client with a number, by a way with that number, with a header or without.
func give(l *Flows, client byte, way uint16, header bool, now time.Time) {
	b := []byte(message)
	if header {
		b = append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c\xc0\x00\x02"), client, 203, 0, 113, 1, 0x30, 0x39, 0x0d, 0x96)
		b = append(b, message...)
	}
	l.receive(udp.Datagram{Bytes: b, Segment: len(b), Source: netip.AddrPortFrom(balancer, way)}, now)
}

// There is an end to flows: the one that was silent for longest gives way, unless it has an allocation.
func TestFlowsAreBounded(t *testing.T) {
	l, h := listenFlows(t, 3)
	now := time.Now()
	for client := range byte(3) {
		give(l, client, 1000+uint16(client), true, now)
	}
	h.all[0].busy = true
	give(l, 3, 1003, true, now)
	closed := func() (list []int) {
		for _, s := range h.all {
			list = append(list, s.closed)
		}
		return list
	}
	if got := closed(); l.Len() != 3 || !slices.Equal(got, []int{0, 1, 0, 0}) {
		t.Fatalf("%d flows, ended %v", l.Len(), got)
	}
	give(l, 1, 1001, false, now)
	if n := l.stats.dropped[DropNoHeader].Load(); n != 1 {
		t.Errorf("%d dropped: the way of a flow that ended is known", n)
	}
	for _, s := range h.all {
		s.busy = true
	}
	give(l, 4, 1004, true, now)
	if n := l.stats.dropped[DropNoRoom].Load(); n != 1 || l.Len() != 3 || len(h.all) != 4 {
		t.Errorf("%d dropped, %d flows: all of them have allocations", n, l.Len())
	}
	if f := h.all[1].flow; f.Send(nil, []byte(message), 0) {
		t.Error("a flow that has ended takes messages")
	}
}

// A flow ends when it was idle, its client has no allocation, and anything comes at all.
func TestFlowsEnd(t *testing.T) {
	l, h := listenFlows(t, 10)
	start := time.Now()
	for client := range byte(4) {
		give(l, client, 1000+uint16(client), true, start)
	}
	h.all[1].busy = true
	late := start.Add(flowIdle)
	give(l, 2, 1002, false, late.Add(-time.Second))
	l.sweep(late)
	if got := l.Len(); got != 2 || h.all[0].closed != 1 || h.all[3].closed != 1 || len(l.ways) != 2 || l.recent.Len() != 2 {
		t.Fatalf("%d flows, %d ways: %+v", got, len(l.ways), h.all)
	}
	h.all[1].busy = false
	l.sweep(late.Add(flowIdle))
	if l.Len() != 0 || len(l.ways) != 0 || l.recent.Len() != 0 {
		t.Errorf("%d flows, %d ways", l.Len(), len(l.ways))
	}
}

// Where each datagram has a header, one that a client writes behind it makes nobody somebody else.
func TestFlowsForgedHeader(t *testing.T) {
	l, h := listenFlows(t, 10)
	now := time.Now()
	give(l, 1, 1001, true, now)
	header := func(client byte) []byte {
		return append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c\xc0\x00\x02"), client, 203, 0, 113, 1, 0x30, 0x39, 0x0d, 0x96)
	}
	b := append(append(header(2), header(1)...), message...)
	l.receive(udp.Datagram{Bytes: b, Segment: len(b), Source: netip.AddrPortFrom(balancer, 1002)}, now)
	if len(h.all) != 2 || len(h.all[0].frames) != 1 || h.all[1].flow.RemoteAddr() != netip.MustParseAddrPort("192.0.2.2:12345") {
		t.Errorf("%d sessions, of which the first has had %q", len(h.all), h.all[0].frames)
	}
}

// Sessions are flushed once for what came in a row, and their messages are those behind the headers.
func TestFlowsFlush(t *testing.T) {
	l, h := listenFlows(t, 10)
	now := time.Now()
	give(l, 1, 1001, true, now)
	give(l, 1, 1001, false, now)
	give(l, 1, 1002, true, now)
	if s := h.all[0]; len(h.all) != 1 || s.flushed != 0 || !slices.Equal(s.frames, []string{message, message, message}) {
		t.Fatalf("%d sessions, %+v", len(h.all), s)
	}
	give(l, 2, 1003, true, now)
	if h.all[0].flushed != 3 {
		t.Error("what another client's message follows is not flushed")
	}
	l.enter(nil)
	if h.all[1].flushed != 1 {
		t.Error("the last one's is not flushed")
	}
}

// Serve ends what there is when it is closed.
func TestFlowsClose(t *testing.T) {
	l, h := listenFlows(t, 10)
	give(l, 1, 1001, true, time.Now())
	l.Close()
	l.Serve()
	if l.Len() != 0 || h.all[0].closed != 1 {
		t.Errorf("%d flows, closed %d times", l.Len(), h.all[0].closed)
	}
}

// For a client that is known nothing is allocated on the heap, up to its session.
func TestFlowsDoNotAllocate(t *testing.T) {
	l, h := listenFlows(t, 10)
	now := time.Now()
	give(l, 1, 1001, true, now)
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c\xc0\x00\x02\x01\xcb\x00\x71\x01\x30\x39\x0d\x96"), message...)
	d := udp.Datagram{Bytes: b, Segment: len(b), Source: netip.AddrPortFrom(balancer, 1001)}
	h.all[0].flow.session = silent{}
	if n := testing.AllocsPerRun(100, func() { l.receive(d, now) }); n != 0 {
		t.Errorf("%v heap allocations", n)
	}
	if len(h.all) != 1 {
		t.Error("it is not the same client")
	}
}

type silent struct{}

func (silent) Frame([]byte) {}
func (silent) Flush()       {}
func (silent) Busy() bool   { return false }
func (silent) Closed()      {}
