package relay_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pion/stun/v2"
)

// What comes in a burst leaves whole and in order, whatever it is mixed of: packets of equal and of unequal sizes, for
// one client and for several, by channels and by indications, with requests in between.
func TestConformanceBursts(t *testing.T) {
	eachPath(t, nil, func(t *testing.T, s *served) {
		for _, v6 := range []bool{false, true} {
			for _, from := range ways {
				t.Run(fmt.Sprintf("%s, relayed as IPv6: %v", from, v6), func(t *testing.T) {
					a := s.call(t, from)
					a.allocate(familyOf(v6))
					// Some have a channel to a, and to some a has one.
					others := make([]*caller, 8)
					for i := range others {
						others[i] = s.call(t, ways[i%len(ways)])
						others[i].allocate(familyOf(v6))
						others[i].permit(a.relayed)
						if i%2 == 0 {
							others[i].bind(0x4F00, a.relayed)
						}
						a.bind(uint16(0x4000+i), others[i].relayed)
					}
					random := rand.New(rand.NewPCG(1, uint64(len(from.scheme))))
					for range 4 {
						var asked, burst [][]byte
						heard := make([][][]byte, len(others))
						to, size, mean := 0, 100, false
						for range 100 {
							if random.IntN(4) == 0 {
								to = random.IntN(len(others))
							}
							if random.IntN(4) == 0 {
								size = []int{0, 1, 3, 100, 100, 101, 104, 700, 1200}[random.IntN(9)]
							}
							if random.IntN(6) == 0 {
								mean = !mean
							}
							data := bytes.Repeat([]byte{byte(len(burst))}, size)
							heard[to] = append(heard[to], data)
							if mean {
								burst = append(burst, a.indication(others[to].relayed, data))
							} else {
								burst = append(burst, channelData(uint16(0x4000+to), data, a.stream != nil || random.IntN(2) == 0))
							}
							if random.IntN(12) == 0 {
								asked = append(asked, a.unsigned(stun.MethodBinding))
								burst = append(burst, asked[len(asked)-1])
							}
						}
						a.sendAll(burst)
						for _, request := range asked {
							a.answerTo(request).want(t, 0)
						}
						for i, other := range others {
							for _, data := range heard[i] {
								if i%2 == 0 {
									other.wantChannel(0x4F00, data)
								} else {
									other.wantData(a.relayed, data)
								}
							}
							other.quiet()
						}
					}
				})
			}
		}
	})
}

// sendAll sends messages as fast as can be: over a stream all in one write.
func (c *caller) sendAll(messages [][]byte) {
	c.t.Helper()
	if c.stream != nil {
		messages = [][]byte{slices.Concat(messages...)}
	}
	for _, b := range messages {
		c.send(b)
	}
}

// What a client changes counts from its next packet on, however close behind that comes, and what it ends is over.
func TestConformanceInOrder(t *testing.T) {
	eachPath(t, nil, func(t *testing.T, s *served) {
		eachWay(t, func(t *testing.T, w way) {
			for range 10 {
				a, b := s.call(t, w), s.call(t, overUDP)
				a.allocate()
				b.allocate()
				b.permit(a.relayed)
				permit := a.signed(stun.MethodCreatePermission, peer(b.relayed))
				bind := a.signed(stun.MethodChannelBind, channel(0x4000), peer(b.relayed))
				end := a.signed(stun.MethodRefresh, lifetime(0))
				a.sendAll([][]byte{
					a.indication(b.relayed, []byte("before the permission")),
					permit,
					a.indication(b.relayed, []byte("1")),
					channelData(0x4000, []byte("before the channel"), true),
					bind,
					channelData(0x4000, []byte("2"), true),
					a.indication(b.relayed, []byte("3")),
					channelData(0x4000, []byte("4"), true),
					end,
					channelData(0x4000, []byte("after the end"), true),
					a.indication(b.relayed, []byte("after the end")),
				})
				for _, request := range [][]byte{permit, bind, end} {
					a.answerTo(request).want(t, 0)
				}
				a.settle()
				for _, data := range []string{"1", "2", "3", "4"} {
					b.wantData(a.relayed, []byte(data))
				}
				b.quiet()
			}

			// The same as the receiver, who is the sender here.
			c := s.call(t, w)
			c.allocate()
			permit := c.signed(stun.MethodCreatePermission, peer(c.relayed))
			bind := c.signed(stun.MethodChannelBind, channel(0x4000), peer(c.relayed))
			self := func(says string) []byte { return c.indication(c.relayed, []byte(says)) }
			c.sendAll([][]byte{self("forbidden"), permit, self("as Data"), self("as Data too"), bind, self("as ChannelData")})
			var heard []string
			for range 5 {
				b := c.receive()
				switch {
				case b[0] == 0x40:
					heard = append(heard, "channel")
				case methodOf(b) == stun.MethodData:
					heard = append(heard, "data")
				default:
					heard = append(heard, "answer")
				}
			}
			// Over a stream answers may overtake what is relayed, and nothing else may.
			relayed := slices.DeleteFunc(slices.Clone(heard), func(s string) bool { return s == "answer" })
			if !slices.Equal(relayed, []string{"data", "data", "channel"}) || len(heard) != 5 {
				t.Errorf("heard %v", heard)
			}
			c.quiet()
		})
	})
}

// One read of a stream may hold packets for more clients than anything counts on.
func TestConformanceFanOut(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overTCP, overUDP} {
		a := s.call(t, overTCP)
		a.allocate()
		others := make([]*caller, 100)
		var burst [][]byte
		for i := range others {
			others[i] = s.call(t, w)
			others[i].allocate()
			others[i].permit(a.relayed)
			a.bind(uint16(0x4000+i), others[i].relayed)
		}
		for round := range 3 {
			for i := range others {
				burst = append(burst, channelData(uint16(0x4000+i), fmt.Append(nil, round, i), true))
			}
		}
		a.sendAll(burst)
		for i, other := range others {
			for round := range 3 {
				other.wantData(a.relayed, fmt.Append(nil, round, i))
			}
			other.quiet()
			other.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		}
	}
}
