package forward_test

import (
	"bytes"
	"net/netip"
	"runtime"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// A listener is known as soon as somebody is its client, be it in the middle of a batch, and one that is closed costs its
// packets alone.
func TestSocketsChange(t *testing.T) {
	r := newObservedRig(t, quality.Off, false, false)
	second := listen(t)
	first := r.plane.Options.Sockets[0]
	packets := func(to *endpoint, n int) {
		t.Helper()
		for i := range n {
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte{byte(i)}))
		}
		r.forwarder.Flush()
		for i := range n {
			if got := to.got(t); !bytes.HasSuffix(got, []byte{byte(i)}) {
				t.Fatalf("packet %d is %x", i, got)
			}
		}
	}
	r.permit(t)
	r.a.bind(t, r, 0x4001, r.b)
	r.b.bind(t, r, 0x4001, r.a)
	packets(r.b, 3)

	r.forwarder.Begin(r.table.Now())
	r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte("queued")))
	r.plane.SetSockets(forward.Sockets{first, {second}})
	c := r.endpointAt(t, second, 1, false)
	for _, e := range [][2]*endpoint{{r.a, c}, {c, r.a}} {
		if err := e[0].allocation.Permit([]netip.Addr{e[1].allocation.Relayed.Addr()}, r.table.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r.a.bind(t, r, 0x4002, c)
	c.bind(t, r, 0x4002, r.a)
	r.forwarder.Forget()
	r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4002, []byte("new")))
	r.forwarder.Flush()
	if got := r.b.got(t); !bytes.HasSuffix(got, []byte("queued")) {
		t.Errorf("got %q", got)
	}
	if got := c.got(t); !bytes.HasSuffix(got, []byte("new")) {
		t.Errorf("got %q", got)
	}
	if n := r.plane.Totals().Listeners[1][forward.ClientOut].Packets; n != 1 {
		t.Errorf("%d packets to clients of the second listener", n)
	}

	r.forwarder.Begin(r.table.Now())
	r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4002, []byte("lost")))
	r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte("not lost")))
	r.plane.SetSockets(forward.Sockets{first, nil})
	second.Close()
	r.forwarder.Flush()
	if got := r.b.got(t); !bytes.HasSuffix(got, []byte("not lost")) {
		t.Errorf("got %q", got)
	}
	r.forwarder.Begin(r.table.Now())
	r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4002, []byte("lost, too")))
	packets(r.b, 3)
	if n := r.plane.Totals().Dropped[forward.DropSendFailed]; n != 2 {
		t.Errorf("%d packets could not be sent, want 2", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		r.forwarder.Begin(r.table.Now())
		r.forwarder.Flush()
	}); n != 0 {
		t.Errorf("%v heap allocations per batch", n)
	}
}

// What a forwarder has for listeners that it sends nothing to is next to nothing: as each of N listeners has forwarders, they
// would have N² of it.
func TestListenersTakeNoQueuesUnused(t *testing.T) {
	const listeners = 64
	conn := listen(t)
	sockets := make(forward.Sockets, listeners)
	for i := range sockets {
		sockets[i] = append(sockets[i], conn)
	}
	plane := newObservedRig(t, quality.Off, false, false).plane
	plane.SetSockets(sockets)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plane.Retire(plane.NewForwarder(0))
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / listeners; got > 2<<10 {
		t.Errorf("a forwarder takes %d bytes for each listener", got)
	}
}
