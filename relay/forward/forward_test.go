package forward_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/udp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// rig is a data plane with one real UDP socket as its only listener and two
// clients, of which each has a socket of its own or a recording stream.
type rig struct {
	table     *allocation.Table
	plane     *forward.Plane
	forwarder *forward.Forwarder
	a, b      *endpoint
}

type endpoint struct {
	allocation *allocation.Allocation
	conn       *udp.Conn // nil with a stream
	stream     *recorder
	batch      *udp.Batch
}

// recorder is a stream that keeps the last frame.
type recorder struct {
	frame   []byte
	full    bool
	flushes int
}

func (r *recorder) Send(head, body []byte, pad int) bool {
	if r.full {
		return false
	}
	r.frame = append(append(append(r.frame[:0], head...), body...), make([]byte, pad)...)
	return true
}

func (r *recorder) Flush() { r.flushes++ }

func newRig(t testing.TB, aStream, bStream bool) *rig {
	t.Helper()
	return newObservedRig(t, quality.Off, aStream, bStream)
}

func newObservedRig(t testing.TB, media quality.Mode, aStream, bStream bool, change ...func(*allocation.Options)) *rig {
	t.Helper()
	options := allocation.Options{
		Relay: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Ports: allocation.PortRange{Min: 50000, Max: 50999},
	}
	for _, f := range change {
		f(&options)
	}
	table, err := allocation.NewTable(options)
	if err != nil {
		t.Fatal(err)
	}
	server := listen(t)
	r := &rig{table: table, plane: forward.New(forward.Options{Table: table, Sockets: forward.Sockets{{server}}, Quality: media})}
	r.forwarder = r.plane.NewForwarder(0)
	r.a, r.b = r.endpoint(t, server, aStream), r.endpoint(t, server, bStream)
	r.forwarder.Begin(table.Now())
	return r
}

func listen(t testing.TB) *udp.Conn {
	t.Helper()
	conn, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

var nextPort uint16 = 1000

func (r *rig) endpoint(t testing.TB, server *udp.Conn, stream bool) *endpoint {
	t.Helper()
	return r.endpointAt(t, server, 0, stream)
}

// endpointAt makes a client of the listener with a number.
func (r *rig) endpointAt(t testing.TB, server *udp.Conn, listener int32, stream bool) *endpoint {
	t.Helper()
	e := &endpoint{}
	request := allocation.Request{
		FiveTuple: allocation.FiveTuple{Server: server.LocalAddr()},
		User:      "user", Family: allocation.IPv4, Lifetime: allocation.DefaultLifetime,
	}
	request.Client.Listener = listener
	if stream {
		nextPort++
		e.stream = &recorder{frame: make([]byte, 0, 1<<17)}
		request.FiveTuple.Client = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), nextPort)
		request.FiveTuple.Transport = allocation.TCP
		request.Client.Stream = e.stream
	} else {
		e.conn, e.batch = listen(t), udp.NewBatch(1, 1<<16)
		request.FiveTuple.Client, request.FiveTuple.Transport = e.conn.LocalAddr(), allocation.UDP
		request.Client.Destination = udp.NewDestination(e.conn.LocalAddr(), netip.Addr{}, 0)
	}
	var err error
	if e.allocation, err = r.table.Create(&request, r.table.Now()); err != nil {
		t.Fatal(err)
	}
	return e
}

// permit lets a and b talk with each other.
func (r *rig) permit(t testing.TB) {
	t.Helper()
	for _, e := range [][2]*endpoint{{r.a, r.b}, {r.b, r.a}} {
		if err := e[0].allocation.Permit([]netip.Addr{e[1].allocation.Relayed.Addr()}, r.table.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *endpoint) bind(t testing.TB, r *rig, number uint16, peer *endpoint) {
	t.Helper()
	if err := e.allocation.Bind(number, peer.allocation.Relayed, r.table.Now()); err != nil {
		t.Fatal(err)
	}
}

// got returns what reached the client.
func (e *endpoint) got(t testing.TB) []byte {
	t.Helper()
	if e.stream != nil {
		return e.stream.frame
	}
	if err := e.conn.Receive(e.batch); err != nil {
		t.Fatal(err)
	}
	return e.batch.Datagram(0).Bytes
}

func channelData(number uint16, payload []byte) []byte {
	b := make([]byte, 4, 4+len(payload)+8)
	wire.PutChannelHeader(b, number, len(payload))
	return append(b, payload...)
}

// sendIndication writes a Send indication (RFC 8656 §11.1).
func sendIndication(peer netip.AddrPort, payload []byte) []byte {
	b := make([]byte, wire.DataHeaderSize(peer.Addr()), 2048)
	id := [12]byte{1, 2, 3}
	wire.PutDataHeader(b, &id, peer, len(payload))
	b[1] = 0x16 // Send instead of Data, which look alike
	b = append(b, payload...)
	return append(b, make([]byte, wire.Padding(len(payload)))...)
}

// Each way of sending meets each way of receiving, over each transport, with
// payloads of every alignment.
func TestHairpin(t *testing.T) {
	for _, sendBound := range []bool{true, false} {
		for _, receiveBound := range []bool{true, false} {
			for _, streams := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
				for _, length := range []int{0, 1, 2, 3, 4, 200, 1201} {
					r := newRig(t, streams[0], streams[1])
					r.permit(t)
					payload := bytes.Repeat([]byte{0xA5}, length)
					var in []byte
					if sendBound {
						r.a.bind(t, r, 0x4001, r.b)
						in = channelData(0x4001, payload)
					} else {
						in = sendIndication(r.b.allocation.Relayed, payload)
					}
					if receiveBound {
						r.b.bind(t, r, 0x4ABC, r.a)
					}
					if sendBound {
						r.forwarder.ChannelData(&r.a.allocation.FiveTuple, in)
					} else {
						r.forwarder.Send(&r.a.allocation.FiveTuple, in)
					}
					r.forwarder.Flush()
					check(t, r, r.b.got(t), receiveBound, payload)
					wantCount := allocation.Count{Packets: 1, Bytes: uint64(length)}
					if up, down := r.a.allocation.Counts().Up, r.b.allocation.Counts().Down; up != wantCount || down != wantCount {
						t.Errorf("counted %v up, %v down, want %v", up, down, wantCount)
					}
					totals := r.plane.Totals()
					for d, n := range totals.Listeners[0] {
						if n != wantCount {
							t.Errorf("%v counted %v, want %v", forward.Direction(d), n, wantCount)
						}
					}
					if totals.Hairpin != 1 {
						t.Errorf("counted %d hairpins", totals.Hairpin)
					}
				}
			}
		}
	}
}

func check(t *testing.T, r *rig, got []byte, bound bool, payload []byte) {
	t.Helper()
	if bound {
		number, data, ok := wire.ParseChannelData(got)
		if !ok || number != 0x4ABC || !bytes.Equal(data, payload) {
			t.Fatalf("got % x, want ChannelData 0x4ABC with %d bytes", got, len(payload))
		}
		if r.b.stream != nil && len(got)%4 != 0 {
			t.Errorf("frame of %d bytes on a stream isn't padded (RFC 8656 §12.5)", len(got))
		}
		return
	}
	var m wire.Message
	if err := m.Decode(got); err != nil {
		t.Fatalf("%v: % x", err, got)
	}
	if m.Method() != wire.MethodData || m.Class() != wire.ClassIndication {
		t.Fatalf("got %v %v", m.Method(), m.Class())
	}
	peers, err := m.Peers(nil)
	if err != nil || len(peers) != 1 || peers[0] != r.a.allocation.Relayed {
		t.Fatalf("from %v (%v), want %v", peers, err, r.a.allocation.Relayed)
	}
	if data, ok := m.Get(wire.AttrData); !ok || !bytes.Equal(data, payload) {
		t.Fatalf("data % x, want % x", data, payload)
	}
}

// A batch longer than every queue loses nothing, and counts all of it.
func TestLongBatch(t *testing.T) {
	for _, bound := range []bool{true, false} {
		const packets = 300
		r := newRig(t, false, true)
		r.permit(t)
		r.a.bind(t, r, 0x4001, r.b)
		if bound {
			r.b.bind(t, r, 0x4ABC, r.a)
		}
		var back [packets][]byte
		for i := range back {
			back[i] = channelData(0x4001, []byte{byte(i), byte(i >> 8), 0, 0})
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, back[i])
		}
		r.forwarder.Flush()
		want := allocation.Count{Packets: packets, Bytes: packets * 4}
		if up, down := r.a.allocation.Counts().Up, r.b.allocation.Counts().Down; up != want || down != want || r.plane.Totals().Hairpin != packets {
			t.Errorf("bound %v: counted %v up, %v down, want %v", bound, up, down, want)
		}
	}
}

// What the batch has learnt is forgotten when an allocation may have changed.
func TestForget(t *testing.T) {
	r := newRig(t, false, true)
	r.permit(t)
	r.a.bind(t, r, 0x4001, r.b)
	send := func() { r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte("data"))) }
	send()
	r.table.Delete(r.b.allocation, allocation.Released)
	r.forwarder.Forget()
	send()
	r.table.Delete(r.a.allocation, allocation.Released)
	r.forwarder.Forget()
	send()
	r.forwarder.Flush()
	dropped := r.plane.Totals().Dropped
	if dropped[forward.DropNoPeer] != 1 || dropped[forward.DropNoAllocation] != 1 || r.plane.Totals().Hairpin != 1 {
		t.Errorf("dropped %v, hairpins %d", dropped, r.plane.Totals().Hairpin)
	}
}

// Everything that must not get through is dropped, and counted under its reason.
func TestDrops(t *testing.T) {
	stranger := allocation.FiveTuple{Client: netip.MustParseAddrPort("127.0.0.1:9"), Server: netip.MustParseAddrPort("127.0.0.1:3478"), Transport: allocation.UDP}
	for _, c := range []struct {
		name  string
		want  forward.Drop
		drive func(t *testing.T, r *rig)
	}{
		{"ChannelData that lies about its length", forward.DropMalformed, func(t *testing.T, r *rig) {
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, []byte{0x40, 1, 0, 9, 1})
		}},
		{"ChannelData without allocation", forward.DropNoAllocation, func(t *testing.T, r *rig) {
			r.forwarder.ChannelData(&stranger, channelData(0x4001, []byte("x")))
		}},
		{"channel not bound", forward.DropNoChannel, func(t *testing.T, r *rig) {
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte("x")))
		}},
		{"Send without permission", forward.DropNoPermission, func(t *testing.T, r *rig) {
			r.forwarder.Send(&r.a.allocation.FiveTuple, sendIndication(r.b.allocation.Relayed, []byte("x")))
		}},
		{"malformed Send", forward.DropMalformed, func(t *testing.T, r *rig) {
			b := sendIndication(r.b.allocation.Relayed, []byte("x"))
			r.forwarder.Send(&r.a.allocation.FiveTuple, b[:len(b)-1])
		}},
		{"peer's address belongs to nobody", forward.DropNoPeer, func(t *testing.T, r *rig) {
			r.permit(t)
			nobody := netip.AddrPortFrom(r.b.allocation.Relayed.Addr(), r.b.allocation.Relayed.Port()^1)
			r.forwarder.Send(&r.a.allocation.FiveTuple, sendIndication(nobody, []byte("x")))
		}},
		{"peer has no permission for the sender", forward.DropPeerNoPermission, func(t *testing.T, r *rig) {
			r.a.bind(t, r, 0x4001, r.b)
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, []byte("x")))
		}},
		{"peer reads too slowly", forward.DropQueueFull, func(t *testing.T, r *rig) {
			r.permit(t)
			r.b.stream.full = true
			r.forwarder.Send(&r.a.allocation.FiveTuple, sendIndication(r.b.allocation.Relayed, []byte("x")))
		}},
		{"payload too large for a Data indication", forward.DropTooLarge, func(t *testing.T, r *rig) {
			r.permit(t)
			r.a.bind(t, r, 0x4001, r.b)
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, make([]byte, 65533)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, false, true)
			c.drive(t, r)
			r.forwarder.Flush()
			for d, n := range r.plane.Totals().Dropped {
				want := uint64(0)
				if forward.Drop(d) == c.want {
					want = 1
				}
				if n != want {
					t.Errorf("%v: counted %d, want %d", forward.Drop(d), n, want)
				}
			}
			if len(r.b.stream.frame) > 0 {
				t.Errorf("% x got through", r.b.stream.frame)
			}
		})
	}
}

// No heap allocation per relayed packet, whatever it comes and goes as.
func TestNoHeapAllocation(t *testing.T) {
	for _, sendBound := range []bool{true, false} {
		for _, receiveBound := range []bool{true, false} {
			for _, streams := range [][2]bool{{false, false}, {false, true}} {
				r := newObservedRig(t, quality.Full, streams[0], streams[1])
				r.permit(t)
				payload := rtp(1, 1, 188)
				in := sendIndication(r.b.allocation.Relayed, payload)
				if sendBound {
					r.a.bind(t, r, 0x4001, r.b)
					in = channelData(0x4001, payload)
				}
				if receiveBound {
					r.b.bind(t, r, 0x4002, r.a)
				}
				scratch := make([]byte, len(in), len(in)+8)
				allocations := testing.AllocsPerRun(100, func() {
					copy(scratch, in)
					r.forwarder.Begin(r.table.Now())
					if sendBound {
						r.forwarder.ChannelData(&r.a.allocation.FiveTuple, scratch)
					} else {
						r.forwarder.Send(&r.a.allocation.FiveTuple, scratch)
					}
					r.forwarder.Flush()
					r.b.got(t)
				})
				if allocations != 0 {
					t.Errorf("sender bound %v, receiver bound %v, stream %v: %v heap allocations per packet", sendBound, receiveBound, streams[1], allocations)
				}
			}
		}
	}
}
