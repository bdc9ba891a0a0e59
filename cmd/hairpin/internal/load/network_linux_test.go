package load

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func eventsFor(t *testing.T, server string, o networkOptions) (*events, *collector) {
	t.Helper()
	c := &collector{}
	o.server = netip.MustParseAddrPort(server)
	n, err := newNetwork(o, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.shutdown)
	return n.(*events), c
}

// Datagrams from elsewhere, or to an address that nobody has, reach no client.
func TestStrays(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stranger, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	n, c := eventsFor(t, server.LocalAddr().String(), networkOptions{from: loopback})
	if err := n.open(0, UDP); err != nil {
		t.Fatal(err)
	}
	local, err := unix.Getsockname(n.lanes[0].fd)
	if err != nil {
		t.Fatal(err)
	}
	port := local.(*unix.SockaddrInet4).Port
	for _, s := range []struct {
		from net.PacketConn
		to   net.IP
	}{{stranger, net.IPv4(127, 64, 0, 1)}, {server, net.IPv4(127, 64, 0, 2)}, {server, net.IPv4(127, 0, 0, 1)}, {server, net.IPv4(127, 64, 0, 1)}} {
		if _, err := s.from.WriteTo([]byte("x"), &net.UDPAddr{IP: s.to, Port: port}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, n, "the one that is for a client", func() bool { return len(c.got) == 1 })
	if got := n.counts().stray; got != 3 {
		t.Errorf("%d strays, want 3", got)
	}
}

// When all addresses of a prefix were used, another port makes them new.
func TestLanes(t *testing.T) {
	n, _ := eventsFor(t, "127.0.0.1:9", networkOptions{from: netip.MustParsePrefix("127.64.0.0/26")})
	for i := range int32(200) {
		if err := n.open(i%8, UDP); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.lanes) != 4 { // of 63 addresses each
		t.Errorf("%d sockets", len(n.lanes))
	}
}

// The kernel counts what a socket's buffer has no room for, and this is where that can be seen.
func TestOverflow(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	n, _ := eventsFor(t, server.LocalAddr().String(), networkOptions{own: true})
	if err := n.open(0, UDP); err != nil {
		t.Fatal(err)
	}
	fd := n.places[0].lane.fd
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := server.WriteTo(make([]byte, 1000), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: local.(*unix.SockaddrInet4).Port}); err != nil {
			t.Fatal(err)
		}
	}
	got := n.counts().overflow
	if got == 0 || got >= 100 {
		t.Errorf("%d of 100 datagrams overflowed", got)
	}
	if n.close(0); n.counts().overflow != got {
		t.Errorf("%d overflowed, %d after the socket was closed", got, n.counts().overflow)
	}
}

// A connection whose server reads late loses nothing; one whose server never reads fills up, and says so.
func TestSlowServer(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	n, _ := eventsFor(t, server.Addr().String(), networkOptions{})
	if err := n.open(0, TCP); err != nil {
		t.Fatal(err)
	}
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	frame := bytes.Repeat([]byte("0123456789abcdef"), 64)
	frames := 0
	for n.counts().unsent == 0 {
		b := n.room(0, len(frame), 0)
		if b != nil {
			copy(b, frame)
			frames++
		}
		n.flush()
		n.receive(0)
		if frames > 1<<20 {
			t.Fatal("a gigabyte has found room somewhere")
		}
	}
	if n.counts().failure != errBacklog {
		t.Errorf("%v", n.counts().failure)
	}

	heard := make(chan error, 1)
	go func() {
		b := make([]byte, len(frame))
		for range frames {
			if _, err := io.ReadFull(conn, b); err != nil || !bytes.Equal(b, frame) {
				heard <- fmt.Errorf("%v, %q", err, b)
				return
			}
		}
		heard <- nil
	}()
	var verdict error
	until(t, n, "everything", func() bool {
		select {
		case verdict = <-heard:
			return true
		default:
			return false
		}
	})
	if verdict != nil {
		t.Error(verdict)
	}
}

func TestPin(t *testing.T) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	first := 0
	for !before.IsSet(first) {
		first++
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pin(first); err != nil {
		t.Fatal(err)
	}
	var got unix.CPUSet
	if err := unix.SchedGetaffinity(0, &got); err != nil || got.Count() != 1 || !got.IsSet(first) {
		t.Errorf("%v, %v", got, err)
	}
	for _, wrong := range []int{-1, 1 << 20} {
		if pin(wrong) == nil {
			t.Errorf("pinned to %d", wrong)
		}
	}
	// The other threads were pinned too.
	threads, err := processThreads(unix.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, tid := range threads {
		_ = unix.SchedSetaffinity(tid, &before)
	}
}

// Another process's threads are seen, too: threads' clocks are one's own business, files are not.
func TestOtherProcess(t *testing.T) {
	p, err := openProcess(os.Getppid())
	if err != nil {
		t.Skip(err) // the first process of a namespace has no parent
	}
	u, err := p.usage()
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, thread := range u.threads {
		sum += thread.cpu
	}
	if u.cpu <= 0 || sum <= 0 {
		t.Errorf("%+v", u)
	}
}

// A process sees its own clocks move, its own memory, and its own sockets' drops.
func TestProcess(t *testing.T) {
	p, err := openProcess(unix.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.cores) == 0 {
		t.Error("no core to run on")
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	before, err := p.usage()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := conn.WriteTo(make([]byte, 1000), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	for begun := ownUsage(); ownUsage().cpu-begun.cpu < int64(5*time.Millisecond); {
	}
	after, err := p.usage()
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for tid, u := range after.threads {
		sum += u.cpu - before.threads[tid].cpu
	}
	if used := after.cpu - before.cpu; used < int64(5*time.Millisecond) || sum < int64(4*time.Millisecond) {
		t.Errorf("%v used by the process, %v by its threads, at least 5 ms expected", time.Duration(used), time.Duration(sum))
	}
	if !after.queues || after.drops <= before.drops {
		t.Errorf("%d datagrams dropped before, %d after (known: %v)", before.drops, after.drops, after.queues)
	}
	if m, err := p.memory(); err != nil || m < 1<<20 {
		t.Errorf("%d bytes, %v", m, err)
	}
	if _, err := openProcess(1 << 30); err == nil {
		t.Error("a process that isn't there is opened")
	}
}

// The server is this process, so its memory includes the generator's: only that there are figures can be told.
func TestHold(t *testing.T) {
	for _, indications := range []bool{false, true} {
		o := basic(serve(t, "127.0.0.1", nil))
		o.Mode, o.Count, o.PID, o.Indications = Hold, 501, unix.Getpid(), indications
		r := run(t, o)
		m := r.Memory
		if m == nil || m.Allocations != 501 || m.Before == 0 || m.SetUp == 0 || m.Held == 0 || m.Released == 0 || m.SetUpRate <= 0 || r.Refused > 0 {
			t.Errorf("%+v, refusals %v", m, r.Refusals)
		}
		if r.Server == nil || r.Server.CPU <= 0 || r.Server.Load <= 0 || r.Server.Memory == 0 {
			t.Errorf("%+v", r.Server)
		}
	}
}
