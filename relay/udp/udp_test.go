package udp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Every behaviour is shown on each path and for each family.
var paths = []struct {
	name     string
	portable bool
}{{"fast", false}, {"portable", true}}

var families = []struct {
	name     string
	loopback netip.AddrPort
	wildcard netip.AddrPort
}{
	{"v4", netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("0.0.0.0:0")},
	{"v6", netip.MustParseAddrPort("[::1]:0"), netip.MustParseAddrPort("[::]:0")},
}

// each runs f on every path and family.
func each(t *testing.T, f func(t *testing.T, o Options, loopback, wildcard netip.AddrPort)) {
	for _, path := range paths {
		for _, family := range families {
			t.Run(path.name+"/"+family.name, func(t *testing.T) {
				f(t, Options{Portable: path.portable}, family.loopback, family.wildcard)
			})
		}
	}
}

func listen(t testing.TB, addr netip.AddrPort, o Options) *Conn {
	t.Helper()
	c, err := Listen(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// deadline bounds how long a lost datagram makes a test wait.
const deadline = 10 * time.Second

// listenBounded is a socket whose Receive gives up in time, to be a witness that can't hang.
func listenBounded(t testing.TB, addr netip.AddrPort, o Options) *Conn {
	t.Helper()
	c := listen(t, addr, o)
	limit := time.AfterFunc(deadline, func() { c.Close() })
	t.Cleanup(func() { limit.Stop() })
	return c
}

// client is a peer made of nothing but the standard library, connected to the address it expects answers from.
func client(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, c *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c *Conn, b *Batch) {
	t.Helper()
	if err := c.Receive(b); err != nil {
		t.Fatal(err)
	}
	if b.Len() == 0 {
		t.Fatal("Receive returned without a datagram and without an error")
	}
}

func localAddr(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func TestRoundTrip(t *testing.T) {
	long := bytes.Repeat([]byte("hairpin!"), 180)
	answers := []struct {
		name       string
		head, body []byte
		pad        int
		want       string
	}{
		{"body", nil, []byte("body"), 0, "body"},
		{"head", []byte("head"), nil, 0, "head"},
		{"head and body", []byte("head"), []byte("body"), 0, "headbody"},
		{"all parts", []byte("head"), []byte("bod"), 1, "headbod\x00"},
		{"head and padding", []byte("h"), []byte{}, 3, "h\x00\x00\x00"},
		{"padding alone", nil, nil, 2, "\x00\x00"},
		{"nothing", nil, nil, 0, ""},
		{"as large as a packet", long[:36], long[36:], 0, string(long)},
	}
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		server := listenBounded(t, loopback, o)
		if a := server.LocalAddr(); a.Addr() != loopback.Addr() || a.Port() == 0 {
			t.Fatalf("LocalAddr %v", a)
		}
		peer := client(t, server.LocalAddr())
		batch, queue := NewBatch(4, 1500), NewQueue(4)
		got := make([]byte, 2048)
		for _, answer := range answers {
			t.Run(answer.name, func(t *testing.T) {
				write(t, peer, []byte(answer.want))
				receive(t, server, batch)
				d := batch.Datagram(0)
				if batch.Len() != 1 || string(d.Bytes) != answer.want || d.Segment != len(d.Bytes) || d.Truncated {
					t.Fatalf("received %d of %d bytes, %+v", batch.Len(), len(d.Bytes), d)
				}
				if cap(d.Bytes)-len(d.Bytes) < 8 {
					t.Errorf("tailroom of %d bytes", cap(d.Bytes)-len(d.Bytes))
				}
				if d.Source != localAddr(peer) || d.Local.IsValid() || d.Interface != 0 {
					t.Errorf("from %v to %v by %d, want from %v", d.Source, d.Local, d.Interface, localAddr(peer))
				}
				to := NewDestination(d.Source, d.Local, d.Interface)
				if !queue.Append(&to, answer.head, answer.body, answer.pad) {
					t.Fatal("the queue is full")
				}
				if sent, err := server.Flush(queue); sent != 1 || err != nil {
					t.Fatalf("Flush: %d, %v", sent, err)
				}
				n, err := peer.Read(got)
				if err != nil || string(got[:n]) != answer.want {
					t.Fatalf("answered %q, %v; want %q", got[:n], err, answer.want)
				}
			})
		}
	})
}

// A datagram rewritten where it was received, tail included, is what leaves.
func TestRewriteInPlace(t *testing.T) {
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		server := listenBounded(t, loopback, o)
		peer := client(t, server.LocalAddr())
		batch, queue := NewBatch(4, 100), NewQueue(4)
		write(t, peer, []byte("abcde"))
		receive(t, server, batch)
		d := batch.Datagram(0)
		d.Bytes[0] = 'X'
		grown := d.Bytes[:len(d.Bytes)+8]
		copy(grown[5:], "tailroom")
		to := NewDestination(d.Source, d.Local, d.Interface)
		queue.Append(&to, nil, grown, 0)
		if sent, err := server.Flush(queue); sent != 1 || err != nil {
			t.Fatalf("Flush: %d, %v", sent, err)
		}
		got := make([]byte, 100)
		if n, err := peer.Read(got); err != nil || string(got[:n]) != "Xbcdetailroom" {
			t.Fatalf("answered %q, %v", got[:n], err)
		}
	})
}

func TestBatchOfMany(t *testing.T) {
	const total, capacity = 100, 32
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		from, to := listen(t, loopback, o), listenBounded(t, loopback, o)
		destination := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
		queue := NewQueue(total)
		for i := range total {
			if !queue.Append(&destination, []byte{byte(i)}, fmt.Append(nil, "datagram ", i), i%4) {
				t.Fatalf("full after %d", i)
			}
		}
		if queue.Append(&destination, nil, nil, 0) || queue.Len() != total {
			t.Fatalf("%d datagrams where %d fit", queue.Len(), total)
		}
		if sent, err := from.Flush(queue); sent != total || err != nil {
			t.Fatalf("Flush: %d, %v", sent, err)
		}
		if queue.Len() != 0 {
			t.Fatal("Flush left the queue filled")
		}
		batch := NewBatch(capacity, 64)
		calls, next := 0, 0
		for ; next < total; calls++ {
			receive(t, to, batch)
			for i := range batch.Len() {
				d := batch.Datagram(i)
				want := string([]byte{byte(next)}) + fmt.Sprint("datagram ", next) + "\x00\x00\x00"[:next%4]
				if string(d.Bytes) != want || d.Source != from.LocalAddr() {
					t.Fatalf("datagram %d: %q from %v", next, d.Bytes, d.Source)
				}
				next++
			}
		}
		if !o.Portable && hasFastPath && calls > total/2 {
			t.Errorf("%d calls for %d datagrams: nothing was batched", calls, total)
		}
	})
}

// A datagram that can't be sent takes none of its neighbours with it, wherever in the queue it stands.
func TestPartialFailure(t *testing.T) {
	huge := make([]byte, 70000) // EMSGSIZE: more than an IP packet holds
	layouts := []string{"b", "bg", "gb", "gbg", "bbgg", "ggbb", "bgbgb", "ggggg", "bbb"}
	bad := []struct {
		name string
		to   func(good, other netip.AddrPort) Destination
		body []byte
	}{
		{"too large", func(good, _ netip.AddrPort) Destination { return NewDestination(good, netip.Addr{}, 0) }, huge},
		{"other family", func(_, other netip.AddrPort) Destination { return NewDestination(other, netip.Addr{}, 0) }, []byte("bad")},
		{"nowhere", func(_, _ netip.AddrPort) Destination { return Destination{} }, []byte("bad")},
	}
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		from, to := listen(t, loopback, o), listenBounded(t, loopback, o)
		other := netip.MustParseAddrPort("127.0.0.1:9")
		if loopback.Addr().Is4() {
			other = netip.MustParseAddrPort("[::1]:9")
		}
		good := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
		batch, queue := NewBatch(8, 64), NewQueue(8)
		for _, b := range bad {
			wrong := b.to(to.LocalAddr(), other)
			for _, layout := range layouts {
				t.Run(b.name+"/"+layout, func(t *testing.T) {
					var want []string
					for i, kind := range layout {
						if kind == 'b' {
							queue.Append(&wrong, []byte("head"), b.body, 0)
							continue
						}
						want = append(want, fmt.Sprint("good ", i))
						queue.Append(&good, nil, []byte(want[len(want)-1]), 0)
					}
					sent, err := from.Flush(queue)
					if sent != len(want) || (err != nil) != (len(want) < len(layout)) || queue.Len() != 0 {
						t.Fatalf("Flush: %d, %v, %d left; want %d sent", sent, err, queue.Len(), len(want))
					}
					for len(want) > 0 {
						receive(t, to, batch)
						for i := range batch.Len() {
							if got := string(batch.Datagram(i).Bytes); len(want) == 0 || got != want[0] {
								t.Fatalf("received %q, want %q", got, want)
							}
							want = want[1:]
						}
					}
				})
			}
		}
	})
}

// Nobody listens at a destination: the others hear nothing of it, and the socket goes on.
func TestClosedPort(t *testing.T) {
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		from, to := listenBounded(t, loopback, o), listenBounded(t, loopback, o)
		gone := listen(t, loopback, o)
		gone.Close()
		dead, alive := NewDestination(gone.LocalAddr(), netip.Addr{}, 0), NewDestination(to.LocalAddr(), netip.Addr{}, 0)
		back := NewDestination(from.LocalAddr(), netip.Addr{}, 0)
		batch, queue := NewBatch(4, 64), NewQueue(4)
		for round := range 3 {
			for _, d := range []*Destination{&dead, &alive, &dead} {
				queue.Append(d, nil, []byte{byte(round)}, 0)
			}
			if sent, err := from.Flush(queue); sent != 3 || err != nil {
				t.Fatalf("Flush: %d, %v", sent, err)
			}
			receive(t, to, batch)
			if d := batch.Datagram(0); batch.Len() != 1 || d.Bytes[0] != byte(round) {
				t.Fatalf("round %d: %d datagrams, %v", round, batch.Len(), d.Bytes)
			}
			queue.Append(&back, nil, []byte("back"), 0)
			if sent, err := to.Flush(queue); sent != 1 || err != nil {
				t.Fatalf("Flush: %d, %v", sent, err)
			}
			receive(t, from, batch)
		}
	})
}

// The same Batch serves Conns of either kind and path.
func TestBatchChangesConn(t *testing.T) {
	var conns []*Conn
	for _, path := range paths {
		for _, info := range []bool{false, true} {
			conns = append(conns, listenBounded(t, families[0].loopback, Options{Portable: path.portable, PacketInfo: info}))
		}
	}
	batch := NewBatch(4, 64)
	for round := range 3 {
		for i, c := range conns {
			peer := client(t, c.LocalAddr())
			write(t, peer, []byte{byte(round), byte(i)})
			receive(t, c, batch)
			d := batch.Datagram(0)
			if batch.Len() != 1 || !bytes.Equal(d.Bytes, []byte{byte(round), byte(i)}) || d.Source != localAddr(peer) {
				t.Fatalf("conn %d: %+v", i, d)
			}
			if hasFastPath && d.Local.IsValid() != c.packetInfo {
				t.Errorf("conn %d: local address %v with packet information %v", i, d.Local, c.packetInfo)
			}
		}
	}
}

func TestConcurrentFlush(t *testing.T) {
	const goroutines, rounds, perRound = 4, 20, 8
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		o.ReceiveBuffer = 1 << 20
		from, to := listen(t, loopback, o), listenBounded(t, loopback, o)
		destination := NewDestination(to.LocalAddr(), netip.Addr{}, 0)
		var wait sync.WaitGroup
		for range goroutines {
			wait.Go(func() {
				queue := NewQueue(perRound)
				for range rounds {
					for queue.Append(&destination, []byte("he"), []byte("llo"), 3) {
					}
					if sent, err := from.Flush(queue); sent != perRound || err != nil {
						t.Errorf("Flush: %d, %v", sent, err)
					}
				}
			})
		}
		batch := NewBatch(16, 64)
		for n := 0; n < goroutines*rounds*perRound; n += batch.Len() {
			receive(t, to, batch)
			for i := range batch.Len() {
				if string(batch.Datagram(i).Bytes) != "hello\x00\x00\x00" {
					t.Fatalf("received %q", batch.Datagram(i).Bytes)
				}
			}
		}
		wait.Wait()
	})
}

// What was flushed is not held any longer: a queue that idles keeps no buffer alive.
func TestFlushLetsGo(t *testing.T) {
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		c := listen(t, loopback, o)
		to := NewDestination(c.LocalAddr(), netip.Addr{}, 0)
		queue := NewQueue(4)
		for queue.Append(&to, []byte("head"), []byte("body"), 1) {
		}
		if _, err := c.Flush(queue); err != nil {
			t.Fatal(err)
		}
		for i, m := range queue.messages {
			if m.head != nil || m.body != nil {
				t.Errorf("message %d is still held", i)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	for _, info := range []bool{false, true} {
		t.Run(fmt.Sprint("info=", info), func(t *testing.T) {
			each(t, func(t *testing.T, o Options, loopback, wildcard netip.AddrPort) {
				o.PacketInfo = info
				addr := loopback
				if info {
					addr = wildcard
				}
				server, peer := listen(t, addr, o), listenBounded(t, loopback, o)
				to := NewDestination(netip.AddrPortFrom(loopback.Addr(), server.LocalAddr().Port()), netip.Addr{}, 0)
				batch, queue := NewBatch(8, 256), NewQueue(8)
				head, body := make([]byte, 36), make([]byte, 123)
				echo := func() {
					for range 3 {
						queue.Append(&to, head, body, 1)
					}
					if sent, err := peer.Flush(queue); sent != 3 || err != nil {
						t.Fatalf("Flush: %d, %v", sent, err)
					}
					for n := 0; n < 3; n += batch.Len() {
						receive(t, server, batch)
						for i := range batch.Len() {
							d := batch.Datagram(i)
							back := NewDestination(d.Source, d.Local, d.Interface)
							queue.Append(&back, nil, d.Bytes, 0)
						}
						if sent, err := server.Flush(queue); sent != batch.Len() || err != nil {
							t.Fatalf("Flush: %d, %v", sent, err)
						}
					}
					for n := 0; n < 3; n += batch.Len() {
						receive(t, peer, batch)
					}
				}
				if n := testing.AllocsPerRun(200, echo); n != 0 {
					t.Errorf("%v allocations for 3 datagrams there and back", n)
				}
			})
		})
	}
}
