package relay

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// BenchmarkScale makes N allocations, each with one channel and the permission
// that comes with it, by the control plane's own messages from N made-up client
// addresses (401, Allocate, ChannelBind, all authenticated), and reports
//
//	setups/s      of one goroutine
//	rss-B/alloc   resident memory per allocation as the process stands then
//	idle-B/alloc  the same after the collector and the scavenger have been round
//	ns/packet     ChannelData hairpinned between random pairs, without the socket
//	pause-µs      longest time that a reader waited for one look-up while all
//	              of them expired and were swept
//	sweep-ms      that sweep
//
// It is no test of time: run it with -benchtime 1x.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for range b.N {
				scale(b, n)
			}
		})
	}
}

// sink takes frames and forgets them.
type sink struct{ frames int }

func (s *sink) Send(_, _ []byte, _ int) bool { s.frames++; return true }
func (s *sink) Flush()                       {}

func scale(b *testing.B, n int) {
	elapsed := time.Duration(0)
	start := time.Now()
	table, err := allocation.NewTable(allocation.Options{
		Relay: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Ports: DefaultPorts,
		Now: func() time.Time { return start.Add(elapsed) },
	})
	if err != nil {
		b.Fatal(err)
	}
	authenticator, err := auth.New(auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}})
	if err != nil {
		b.Fatal(err)
	}
	worker := control.New(control.Options{Table: table, Auth: authenticator}).NewWorker()
	var out sink
	clients := make([]scaleClient, n)
	for i := range clients {
		clients[i].origin = scaleOrigin(i, &out)
	}
	before := resident(b)
	begun := time.Now()
	for i := range clients {
		clients[i].allocate(b, worker)
	}
	for i := range clients {
		clients[i].bind(b, worker, clients[i^1].relayed)
	}
	b.ReportMetric(float64(n)/time.Since(begun).Seconds(), "setups/s")
	b.ReportMetric(float64(resident(b)-before)/float64(n), "rss-B/alloc")
	debug.FreeOSMemory()
	b.ReportMetric(float64(resident(b)-before)/float64(n), "idle-B/alloc")

	plane := forward.New(forward.Options{Table: table, Sockets: forward.Sockets{nil}})
	forwarder := plane.NewForwarder(0)
	frame := make([]byte, 204)
	const packets = 1 << 20
	var tuples [batchMessages]allocation.FiveTuple
	var scratch [batchMessages]*allocation.Allocation
	arriving := make([]allocation.FiveTuple, n) // in the order of the packets: no part of what is measured
	for i := range arriving {
		arriving[i] = clients[i*7919%n].origin.FiveTuple
	}
	begun = time.Now()
	for i := 0; i < packets; i += batchMessages {
		for j := range tuples {
			tuples[j] = arriving[(i+j)%n]
		}
		forwarder.Begin(table.Now())
		if table.Cold() {
			table.Warm(tuples[:], scratch[:])
		}
		for j := range tuples {
			wire.PutChannelHeader(frame, wire.MinChannel, 200)
			forwarder.ChannelData(&tuples[j], frame)
		}
		forwarder.Flush()
	}
	b.ReportMetric(float64(time.Since(begun).Nanoseconds())/packets, "ns/packet")
	if out.frames != packets {
		b.Fatalf("%d of %d packets were relayed", out.frames, packets)
	}

	longest, swept := expire(table, clients, &elapsed)
	b.ReportMetric(float64(longest.Microseconds()), "pause-µs")
	b.ReportMetric(float64(swept.Microseconds())/1000, "sweep-ms")
	if table.Count() != 0 {
		b.Fatalf("%d allocations left", table.Count())
	}
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(clients)
}

// expire lets everything expire at once and sweeps it, while a reader looks up.
func expire(table *allocation.Table, clients []scaleClient, elapsed *time.Duration) (longest, swept time.Duration) {
	*elapsed = allocation.DefaultLifetime + time.Second
	now := table.Now()
	stop, stopped := make(chan struct{}), make(chan time.Duration)
	go func() {
		var longest time.Duration
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- longest
				return
			default:
			}
			begun := time.Now()
			table.Find(&clients[i*7919%len(clients)].origin.FiveTuple, 0)
			longest = max(longest, time.Since(begun))
		}
	}()
	begun := time.Now()
	table.Sweep(now)
	swept = time.Since(begun)
	close(stop)
	return <-stopped, swept
}

// scaleClient is a client without a socket.
type scaleClient struct {
	origin  control.Origin
	nonce   string
	relayed netip.AddrPort
}

func scaleOrigin(i int, out *sink) control.Origin {
	return control.Origin{
		FiveTuple: allocation.FiveTuple{
			Client:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16 + byte(i>>20), byte(i >> 12), byte(i >> 4)}), uint16(40000+i&15)),
			Server:    netip.MustParseAddrPort("192.0.2.1:3478"),
			Transport: allocation.TCP,
		},
		Client: allocation.Client{Stream: out},
	}
}

func (c *scaleClient) allocate(b *testing.B, w *control.Worker) {
	transport := func(r *wire.Reply) { r.AddUint32(wire.AttrRequestedTransport, 17<<24) }
	var m wire.Message
	c.ask(b, w, wire.MethodAllocate, nil, transport, &m, 401)
	nonce, _ := m.Get(wire.AttrNonce)
	c.nonce = string(nonce)
	c.ask(b, w, wire.MethodAllocate, scaleKey, transport, &m, 0)
	relayed, ok, err := m.Address(wire.AttrXORRelayedAddress)
	if !ok || err != nil {
		b.Fatal("no XOR-RELAYED-ADDRESS")
	}
	c.relayed = relayed
}

func (c *scaleClient) bind(b *testing.B, w *control.Worker, peer netip.AddrPort) {
	var m wire.Message
	c.ask(b, w, wire.MethodChannelBind, scaleKey, func(r *wire.Reply) {
		r.AddUint32(wire.AttrChannelNumber, wire.MinChannel<<16)
		r.AddAddress(wire.AttrXORPeerAddress, peer)
	}, &m, 0)
	c.nonce = ""
}

// ask sends one request and decodes its answer into m.
func (c *scaleClient) ask(b *testing.B, w *control.Worker, method wire.Method, key []byte, add func(*wire.Reply), m *wire.Message, code int) {
	scaleSerial++
	id := [12]byte{byte(scaleSerial), byte(scaleSerial >> 8), byte(scaleSerial >> 16), byte(scaleSerial >> 24)}
	scaleRequest.Request(method, id)
	add(&scaleRequest)
	if key != nil {
		scaleRequest.AddString(wire.AttrUsername, "alice")
		scaleRequest.AddString(wire.AttrRealm, "hairpin")
		scaleRequest.AddString(wire.AttrNonce, c.nonce)
	}
	scaleBytes = scaleRequest.Finish(scaleBytes[:0], key)
	scaleAnswer = w.Handle(scaleBytes, &c.origin, scaleAnswer[:0])
	if err := m.Decode(scaleAnswer); err != nil {
		b.Fatal(err)
	}
	if got, _, _, _ := m.ErrorCode(); got != code {
		b.Fatalf("%v: %d, want %d", method, got, code)
	}
}

// Scratch of the one goroutine that sets up.
var (
	scaleRequest            wire.Reply
	scaleBytes, scaleAnswer []byte
	scaleSerial             uint32
	scaleSum                = md5.Sum([]byte("alice:hairpin:wonder")) // RFC 8489 §9.2.2
	scaleKey                = scaleSum[:]
)

// resident reads this process' resident memory in bytes.
func resident(b *testing.B) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("skipped: resident memory can't be read here: %v", err)
	}
	for line := range bytes.Lines(status) {
		var kib int
		if _, err := fmt.Sscanf(string(line), "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
