package udp

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A socket bound to the unspecified address answers from the address that it was spoken to, since the peer takes an answer
// from nowhere else.
func TestPacketInfo(t *testing.T) {
	cases := []struct {
		name, bind, to string
		zone           bool
	}{
		{"wildcard", "0.0.0.0:0", "127.0.0.1", false},
		{"wildcard, another address", "0.0.0.0:0", "127.0.0.2", false},
		{"bound address", "127.0.0.3:0", "127.0.0.3", false},
		{"v6 wildcard", "[::]:0", "::1", false},
		{"v6 bound address", "[::1]:0", "::1", false},
	}
	for _, path := range paths {
		for _, c := range cases {
			t.Run(path.name+"/"+c.name, func(t *testing.T) {
				server := listenBounded(t, netip.MustParseAddrPort(c.bind), Options{PacketInfo: true, Portable: path.portable})
				to := netip.MustParseAddr(c.to)
				peer := client(t, netip.AddrPortFrom(to, server.LocalAddr().Port()))
				// The peer's own address is 127.0.0.1 or ::1, so that an answer left to the routes comes from there too.
				batch, queue := NewBatch(4, 64), NewQueue(4)
				write(t, peer, []byte("ping"))
				receive(t, server, batch)
				d := batch.Datagram(0)
				if d.Local != to || d.Interface == 0 || d.Source != localAddr(peer) {
					t.Fatalf("came from %v to %v by interface %d", d.Source, d.Local, d.Interface)
				}
				answer := NewDestination(d.Source, d.Local, d.Interface)
				queue.Append(&answer, []byte("po"), []byte("ng"), 0)
				if sent, err := server.Flush(queue); sent != 1 || err != nil {
					t.Fatalf("Flush: %d, %v", sent, err)
				}
				got := make([]byte, 64)
				if n, err := peer.Read(got); err != nil || string(got[:n]) != "pong" {
					t.Fatalf("answered %q, %v", got[:n], err)
				}
			})
		}
	}
}

func TestReusePort(t *testing.T) {
	const peers = 64
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		o.ReusePort = true
		first := listen(t, loopback, o)
		second := listen(t, first.LocalAddr(), o)
		if first.LocalAddr() != second.LocalAddr() {
			t.Fatalf("%v and %v", first.LocalAddr(), second.LocalAddr())
		}
		var got [2]atomic.Int32
		all := make(chan struct{}, peers)
		done := make(chan error, 2)
		for i, c := range []*Conn{first, second} {
			go func() {
				batch := NewBatch(8, 64)
				for {
					if err := c.Receive(batch); err != nil {
						done <- err
						return
					}
					for range batch.Len() {
						got[i].Add(1)
						all <- struct{}{}
					}
				}
			}()
		}
		for range peers {
			write(t, client(t, first.LocalAddr()), []byte("hello"))
		}
		late := time.After(deadline)
		for n := range peers {
			select {
			case <-all:
			case <-late:
				t.Fatalf("%d of %d datagrams", n, peers)
			}
		}
		first.Close()
		second.Close()
		<-done
		<-done
		// That 64 five-tuples hash to the same socket has a chance of one in 2⁶³.
		if got[0].Load() == 0 || got[1].Load() == 0 {
			t.Errorf("%d and %d of %d datagrams", got[0].Load(), got[1].Load(), peers)
		}
	})
}

// With IP_RECVERR the kernel reports an ICMP error on whatever call comes next, as other systems do unasked.
func TestPendingError(t *testing.T) {
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		from, to := listenBounded(t, loopback, o), listenBounded(t, loopback, o)
		err := control(from.raw, func(fd uintptr) error {
			if loopback.Addr().Is4() {
				return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
			}
			return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		gone := listen(t, loopback, o)
		gone.Close()
		dead, alive := NewDestination(gone.LocalAddr(), netip.Addr{}, 0), NewDestination(to.LocalAddr(), netip.Addr{}, 0)
		batch, queue := NewBatch(4, 64), NewQueue(8)

		pending := func() (errno int) {
			if err := control(from.raw, func(fd uintptr) (err error) {
				errno, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return errno
		}
		kill := func() {
			queue.Append(&dead, nil, []byte("dead"), 0)
			if sent, err := from.Flush(queue); sent != 1 || err != nil {
				t.Fatalf("Flush: %d, %v", sent, err)
			}
		}
		kill()
		if errno := pending(); errno != int(unix.ECONNREFUSED) {
			t.Fatalf("the test's premise fails: pending error %d", errno)
		}

		kill() // leaves an error for the next Flush, and the dead one within leaves one for the message after it
		for _, d := range []*Destination{&alive, &dead, &alive, &alive} {
			queue.Append(d, nil, []byte("alive"), 0)
		}
		if sent, err := from.Flush(queue); sent != 4 || err != nil {
			t.Fatalf("Flush: %d, %v", sent, err)
		}
		for n := 0; n < 3; n += batch.Len() {
			receive(t, to, batch)
		}

		kill() // leaves an error for Receive
		back := NewDestination(from.LocalAddr(), netip.Addr{}, 0)
		queue.Append(&back, nil, []byte("back"), 0)
		if sent, err := to.Flush(queue); sent != 1 || err != nil {
			t.Fatalf("Flush: %d, %v", sent, err)
		}
		receive(t, from, batch)
		if d := batch.Datagram(0); !bytes.Equal(d.Bytes, []byte("back")) {
			t.Fatalf("received %q", d.Bytes)
		}
	})
}

// Relayed datagrams leave without DF (RFC 8656 §14), and the kernel's buffers are those that were asked for.
func TestSocketOptions(t *testing.T) {
	const size = 100 << 10 // within the limit of every distribution
	for _, path := range paths {
		c := listen(t, families[0].loopback, Options{ReceiveBuffer: size, SendBuffer: size, Portable: path.portable})
		if receive, send := c.Buffers(); receive != size || send != size {
			t.Errorf("%s: buffers of %d and %d bytes, want %d", path.name, receive, send, size)
		}
		err := control(c.raw, func(fd uintptr) error {
			mode, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
			if mode != unix.IP_PMTUDISC_DONT {
				t.Errorf("%s: IP_MTU_DISCOVER %d", path.name, mode)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// The kernel's view of a queue holds no buffer after Flush.
func TestVectorsLetGo(t *testing.T) {
	c := listen(t, families[0].loopback, Options{})
	to := NewDestination(c.LocalAddr(), netip.Addr{}, 0)
	queue := NewQueue(4)
	for queue.Append(&to, []byte("head"), []byte("body"), 1) {
	}
	if _, err := c.Flush(queue); err != nil {
		t.Fatal(err)
	}
	for i := range queue.fast.vectors {
		if queue.fast.vectors[i].Base != nil {
			t.Errorf("vector %d is still held", i)
		}
	}
}

// The sockaddr that is written is the one that is read, for every byte of address and port.
func TestSockaddr(t *testing.T) {
	for _, s := range []string{"1.2.3.4:258", "255.254.253.252:65534", "[102:304:506:708:90a:b0c:d0e:f10]:513", "[fe80::1%7]:1"} {
		want := netip.MustParseAddrPort(s)
		to := NewDestination(want, netip.Addr{}, 0)
		var sa sockaddr
		if size := putSockaddr(&sa, &to); size == 0 {
			t.Errorf("%s: no address", s)
		}
		if got := parseSockaddr(&sa); got != want {
			t.Errorf("%s is read as %v", s, got)
		}
	}
}

// Control messages cut short or of other kinds are passed over.
func TestParsePacketInfo(t *testing.T) {
	build := func(to Destination) []byte {
		b := make([]byte, controlSize)
		return b[:putPacketInfo(b, &to)]
	}
	remote4, remote6 := netip.MustParseAddrPort("192.0.2.9:1"), netip.MustParseAddrPort("[fe80::9]:1")
	local4, local6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")
	four, six := build(NewDestination(remote4, local4, 0)), build(NewDestination(remote6, local6, 7))
	other := bytes.Clone(four)
	other[cmsgHeader-4] ^= 0x7f // its type
	other[cmsgHeader-1] ^= 0x7f
	cases := []struct {
		name    string
		b       []byte
		local   netip.Addr
		ifindex uint32
	}{
		{"v4", four, local4, 0},
		{"v6", six, local6, 7},
		{"none", nil, netip.Addr{}, 0},
		{"another first", append(bytes.Clone(other), six...), local6, 7},
		{"another only", other, netip.Addr{}, 0},
		{"cut in the header", six[:cmsgHeader-1], netip.Addr{}, 0},
		{"cut in the address", six[:cmsgHeader+8], netip.Addr{}, 0},
		{"length zero", make([]byte, 64), netip.Addr{}, 0},
	}
	for _, c := range cases {
		var d Datagram
		if parseControl(c.b, &d); d.Local != c.local || d.Interface != c.ifindex {
			t.Errorf("%s: %v by %d", c.name, d.Local, d.Interface)
		}
	}
}
