package relay_test

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/pion/stun/v2"
	"golang.org/x/sys/unix"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// segmented has the kernel cut each write into datagrams of this size, which arrive joined where the server takes them
// so (UDP_SEGMENT, UDP_GRO).
func (c *caller) segmented(size int) {
	c.t.Helper()
	conn, err := c.conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	}); err != nil {
		c.t.Fatal(err)
	}
	if err != nil {
		c.t.Skipf("this kernel has no UDP_SEGMENT: %v", err)
	}
}

// Datagrams that come joined are taken apart, each goes its own way, and the last one may be shorter.
func TestConformanceJoinedDatagrams(t *testing.T) {
	eachPath(t, nil, func(t *testing.T, s *served) {
		for _, w := range []way{overUDP, overUDP6} {
			for _, to := range []way{overUDP, overTCP, overUDP6} {
				t.Run(fmt.Sprintf("%s to %s", w, to), func(t *testing.T) {
					a, b, c := s.call(t, w), s.call(t, to), s.call(t, to)
					for _, one := range []*caller{a, b, c} {
						one.allocate()
					}
					for _, other := range []*caller{b, c} {
						other.permit(a.relayed)
					}
					b.bind(0x4444, a.relayed)
					a.bind(0x4000, b.relayed)
					a.bind(0x4001, c.relayed)
					asked := a.unsigned(stun.MethodBinding, raw(stun.AttrSoftware, make([]byte, 100-24)...))
					if len(asked) != 100 {
						t.Fatal(len(asked))
					}
					malformed := bytes.Clone(asked)
					malformed[3] -= 4 // its length
					send := a.indication(b.relayed, bytes.Repeat([]byte("s"), 64))
					if len(send) != 100 {
						t.Fatal(len(send))
					}
					whole := slices.Concat(
						channelData(0x4000, bytes.Repeat([]byte("1"), 96), false),
						channelData(0x4001, bytes.Repeat([]byte("2"), 96), false),
						channelData(0x4000, bytes.Repeat([]byte("3"), 96), false),
						asked,
						channelData(0x4001, bytes.Repeat([]byte("4"), 90), false), make([]byte, 6), // padding is not data
						bytes.Repeat([]byte{0xFF}, 100),                    // junk in the middle
						channelData(0x4000, make([]byte, 97), false)[:100], // too short for its length
						send,
						malformed,
						channelData(0x4000, []byte("short"), false), // the last one
					)
					a.segmented(100)
					for range 5 {
						a.send(whole)
						a.answerTo(asked).want(t, 0)
						b.wantChannel(0x4444, bytes.Repeat([]byte("1"), 96))
						b.wantChannel(0x4444, bytes.Repeat([]byte("3"), 96))
						b.wantChannel(0x4444, bytes.Repeat([]byte("s"), 64))
						b.wantChannel(0x4444, []byte("short"))
						c.wantData(a.relayed, bytes.Repeat([]byte("2"), 96))
						c.wantData(a.relayed, bytes.Repeat([]byte("4"), 90))
					}
					a.segmented(0)
					a.quiet()
					b.quiet()
					c.quiet()
				})
			}
		}
	})
}

// As many datagrams as can be joined, all of them requests or all of them data: queues and answers have to turn over.
func TestConformanceJoinedMany(t *testing.T) {
	for _, offload := range []udp.Offload{{}, {GRO: true}, {GSO: true}, {GRO: true, GSO: true}} {
		t.Run(offload.String(), func(t *testing.T) {
			s := conforming(t, func(c *relay.Config) { c.Offload = offload })
			a, b := s.call(t, overUDP), s.call(t, overTCP)
			a.allocate()
			b.allocate()
			a.bind(0x4000, b.relayed)
			b.permit(a.relayed)
			const joined = 64 // UDP_MAX_SEGMENTS of older kernels
			var asked [joined][]byte
			for i := range asked {
				asked[i] = a.unsigned(stun.MethodBinding)
			}
			a.segmented(20)
			for range 20 {
				a.send(slices.Concat(asked[:]...))
				for _, request := range asked {
					a.answerTo(request).want(t, 0)
				}
			}
			data := func(i int) []byte { return fmt.Appendf(nil, "%016d", i) }
			var whole []byte
			for i := range joined {
				whole = append(whole, channelData(0x4000, data(i), true)...)
			}
			for range 20 {
				a.send(whole)
				for i := range joined {
					b.wantData(a.relayed, data(i))
				}
			}
			a.segmented(0)
			a.quiet()
		})
	}
}
