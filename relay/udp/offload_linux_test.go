package udp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
)

// onOffload listens with everything on, or skips where the kernel lacks it.
func onOffload(t testing.TB, addr string) *Conn {
	t.Helper()
	conn := listenBounded(t, netip.MustParseAddrPort(addr), Options{Offload: Offload{GRO: true, GSO: true}})
	if got, _ := conn.Offload(); got != (Offload{true, true}) {
		t.Skipf("skipped: this kernel has %v only", got)
	}
	return conn
}

// Segments of one message arrive joined where GRO is on, and one by one where it isn't.
func TestSegments(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		from, joined := onOffload(t, addr), onOffload(t, addr)
		single := listenBounded(t, netip.MustParseAddrPort(addr), Options{})
		payload := make([]byte, 8*204-50)
		for i := range payload {
			payload[i] = byte(i / 204)
		}
		for _, to := range []*Conn{joined, single} {
			queue, batch := NewQueue(16), NewBatch(16, 1<<16)
			d := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
			for rest := payload; len(rest) > 0; rest = rest[min(204, len(rest)):] {
				queue.Append(&d, nil, rest[:min(204, len(rest))], 0)
			}
			if sent, err := from.Flush(queue); sent != 8 || err != nil {
				t.Fatalf("sent %d, %v", sent, err)
			}
			var got []byte
			messages := 0
			for len(got) < len(payload) {
				receive(t, to, batch)
				for i := range batch.Len() {
					d := batch.Datagram(i)
					if d.Segment != min(204, len(d.Bytes)) {
						t.Errorf("segments of %d bytes", d.Segment)
					}
					got = append(got, d.Bytes...)
					messages++
				}
			}
			if !bytes.Equal(got, payload) {
				t.Error("bytes differ")
			}
			if want := map[*Conn]int{joined: 1, single: 8}[to]; messages != want {
				t.Errorf("%s: %d messages, want %d", addr, messages, want)
			}
		}
	}
}

// Whatever is queued for whomever, in parts of any size: each receiver gets its
// datagrams whole and in order.
func TestGroupingKeepsOrder(t *testing.T) {
	const receivers, datagrams = 5, 100
	random := rand.New(rand.NewPCG(1, 2))
	from := onOffload(t, "127.0.0.1:0")
	var to [receivers]*Conn
	var destinations [receivers]Destination
	for i := range to {
		to[i] = listenBounded(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
		destinations[i] = NewDestination(to[i].LocalAddr(), netip.Addr{}, 0)
	}
	sizes := []int{1, 100, 100, 100, 104, 1200}
	queue := NewQueue(datagrams)
	batch := NewBatch(datagrams, 2048)
	for range 20 {
		var want [receivers][][]byte
		for range datagrams {
			n := random.IntN(receivers)
			head := []byte(fmt.Sprintf("%03d", len(want[n])))
			body := bytes.Repeat([]byte{byte('a' + n)}, sizes[random.IntN(len(sizes))])
			pad := random.IntN(4)
			queue.Append(&destinations[n], head, body, pad)
			want[n] = append(want[n], append(append(head[:3:3], body...), make([]byte, pad)...))
		}
		if sent, err := from.Flush(queue); sent != datagrams || err != nil {
			t.Fatalf("sent %d, %v", sent, err)
		}
		for n := range to {
			for len(want[n]) > 0 {
				receive(t, to[n], batch)
				for i := range batch.Len() {
					if got := batch.Datagram(i).Bytes; !bytes.Equal(got, want[n][0]) {
						t.Fatalf("receiver %d got %d bytes %.8q, want %d bytes %.8q", n, len(got), got, len(want[n][0]), want[n][0])
					}
					want[n] = want[n][1:]
				}
			}
		}
	}
}

// A refusal of segments is survived: the datagrams go one by one, and GSO is kept to what works.
func TestSegmentsRefused(t *testing.T) {
	from := onOffload(t, "127.0.0.1:0")
	to := listenBounded(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	d := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
	queue, batch := NewQueue(8), NewBatch(8, 1<<16)
	// UDP_SEGMENT refuses what the loopback device's MTU of 65,536 doesn't hold with its header; a lower limit of this
	// socket's own stands in for a small MTU here.
	if err := control(from.raw, func(fd uintptr) error { return set(int(fd), "SO_NO_CHECK", syscall.SOL_SOCKET, syscall.SO_NO_CHECK, 1) }); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		queue.Append(&d, nil, bytes.Repeat([]byte{byte(i)}, 100), 0)
	}
	if sent, err := from.Flush(queue); sent != 4 || err != nil {
		t.Fatalf("sent %d, %v", sent, err)
	}
	for got := 0; got < 4; got += batch.Len() {
		receive(t, to, batch)
		for i := range batch.Len() {
			if b := batch.Datagram(i).Bytes; len(b) != 100 || b[0] != byte(got+i) {
				t.Fatalf("datagram %d is % x", got+i, b[:1])
			}
		}
	}
	after, why := from.Offload()
	t.Logf("after a refusal: %v, %v", after, why)
	if why == nil {
		t.Error("the refusal wasn't noted")
	}
}

// A destination that nobody can send to doesn't cost the others their segments.
func TestSegmentsToNowhere(t *testing.T) {
	from := onOffload(t, "127.0.0.1:0")
	nowhere := NewDestination(netip.MustParseAddrPort("127.0.0.1:0"), netip.Addr{}, 0)
	queue := NewQueue(8)
	for range 4 {
		queue.Append(&nowhere, nil, make([]byte, 100), 0)
	}
	if sent, err := from.Flush(queue); sent != 0 || err == nil {
		t.Fatalf("sent %d, %v", sent, err)
	}
	if o, why := from.Offload(); !o.GSO || why != nil {
		t.Errorf("%v, %v", o, why)
	}
}

// The kernel's drops are counted without asking for a control message with each datagram.
func TestDropped(t *testing.T) {
	to := listenBounded(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{ReceiveBuffer: 4096})
	from := listenBounded(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	d := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
	queue := NewQueue(100)
	for range 100 {
		queue.Append(&d, nil, make([]byte, 1000), 0)
	}
	from.Flush(queue)
	if n := to.Dropped(); n == 0 || n >= 100 {
		t.Errorf("%d of 100 datagrams dropped by a buffer of some", n)
	}
}

// What can't be joined isn't overtaken by what can: order within a destination is kept whatever the sizes and the limit.
func TestGroupsDoNotOvertake(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	to := NewDestination(netip.MustParseAddrPort("127.0.0.1:9"), netip.Addr{}, 0)
	for _, messages := range []int{8, 400} {
		g := newGrouping(messages)
		var o offload
		o.limit.Store(1399)
		for range 200 {
			queued := make([]message, messages)
			for i := range queued {
				queued[i] = message{body: make([]byte, []int{0, 100, 100, 100, 1400}[random.IntN(5)]), to: to}
			}
			g.sort(queued, &o)
			last := -1
			for i := range g.groups[:g.n] {
				for m := g.groups[i].first; m >= 0; m = g.next[m] {
					if m != last+1 {
						t.Fatalf("of %d messages, number %d leaves after %d", messages, m, last)
					}
					last = m
				}
			}
		}
	}
}

// One client's small MTU, which it may choose, costs nobody else the segments; nor does a fault that isn't theirs.
func TestRefusalsStayWhereTheyAre(t *testing.T) {
	here := NewDestination(netip.MustParseAddrPort("192.0.2.1:5000"), netip.Addr{}, 0)
	samePath := NewDestination(netip.MustParseAddrPort("192.0.2.1:6000"), netip.Addr{}, 0)
	elsewhere := NewDestination(netip.MustParseAddrPort("192.0.2.2:5000"), netip.Addr{}, 0)
	for _, tc := range []struct {
		errno                  syscall.Errno
		size, here, there, gso int
	}{
		{syscall.EPERM, 900, 65535, 65535, 65535},
		{syscall.ENOBUFS, 900, 65535, 65535, 65535},
		{syscall.EINVAL, 1200, 1199, 65535, 65535},
		{syscall.EMSGSIZE, 600, 599, 65535, 65535},
		{syscall.EINVAL, 800, 599, 65535, 65535}, // it came late
		{syscall.EIO, 500, 0, 0, 0},
	} {
		var o offload
		o.limit.Store(maxSegment)
		if tc.size == 800 {
			o.refused(syscall.EINVAL, network(&here), 600)
		}
		o.refused(tc.errno, network(&here), tc.size)
		if a, b, c, all := o.limitTo(network(&here)), o.limitTo(network(&samePath)), o.limitTo(network(&elsewhere)), o.segmentLimit(); a != tc.here || b != tc.here || c != tc.there || all != tc.gso {
			t.Errorf("%v for segments of %d bytes: %d to the same address, %d to its other port, %d elsewhere, %d at all", tc.errno, tc.size, a, b, c, all)
		}
	}
}
