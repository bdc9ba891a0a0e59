package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkEcho is the loop of a relay without the relay: receive, send back. cpu-ns/packet is the processor time of that loop
// alone, per datagram there and back; ns/op is the wall's and has the client in it, which uses the fast path throughout.
//
//	GOMAXPROCS=1 go test ./relay/udp -run '^$' -bench Echo
func BenchmarkEcho(b *testing.B) {
	const size = 200
	for _, family := range families {
		for _, info := range []bool{false, true} {
			for _, burst := range []int{1, 8, 64} {
				for _, path := range paths {
					name := fmt.Sprintf("family=%s/info=%v/burst=%d/path=%s", family.name, info, burst, path.name)
					b.Run(name, func(b *testing.B) {
						addr := family.loopback
						if info {
							addr = family.wildcard
						}
						server := listen(b, addr, Options{Portable: path.portable, PacketInfo: info, ReceiveBuffer: 1 << 20})
						peer := listen(b, family.loopback, Options{ReceiveBuffer: 1 << 20})
						to := NewDestination(netip.AddrPortFrom(family.loopback.Addr(), server.LocalAddr().Port()), netip.Addr{}, 0)
						echo(b, server, peer, &to, burst, size)
					})
				}
			}
		}
	}
}

func echo(b *testing.B, server, peer *Conn, to *Destination, burst, size int) {
	batch, queue := NewBatch(64, 1500), NewQueue(64)
	answers, questions := NewBatch(64, 1500), NewQueue(64)
	payload := make([]byte, size)
	var busy time.Duration
	packets := 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	for b.Loop() {
		for range burst {
			questions.Append(to, nil, payload, 0)
		}
		if sent, err := peer.Flush(questions); sent != burst {
			b.Fatalf("sent %d of %d: %v", sent, burst, err)
		}
		start := processor()
		for n := 0; n < burst; n += batch.Len() {
			if err := server.Receive(batch); err != nil {
				b.Fatal(err)
			}
			for i := range batch.Len() {
				d := batch.Datagram(i)
				back := NewDestination(d.Source, d.Local, d.Interface)
				queue.Append(&back, nil, d.Bytes, 0)
			}
			if sent, err := server.Flush(queue); sent != batch.Len() {
				b.Fatalf("sent %d of %d: %v", sent, batch.Len(), err)
			}
		}
		busy += processor() - start
		packets += burst
		for n := 0; n < burst; n += answers.Len() {
			if err := peer.Receive(answers); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(busy.Nanoseconds())/float64(packets), "cpu-ns/packet")
}
