package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
)

// However a stream is cut, the same messages come out of it (RFC 8489 §6.2.2, RFC 8656 §12.5).
func TestConformanceStreamCut(t *testing.T) {
	s := conforming(t, nil)
	a, b, metronome := s.call(t, overTCP), s.call(t, overTCP6), s.call(t, overTCP)
	a.allocate()
	b.allocate()
	a.bind(0x4000, b.relayed)
	b.permit(a.relayed)

	ask, refresh := a.unsigned(stun.MethodBinding), a.signed(stun.MethodRefresh)
	whole := slices.Concat(ask, a.indication(b.relayed, []byte("by Send")), channelData(0x4000, []byte("by channel"), true),
		channelData(0x4000, nil, true), refresh, channelData(0x4000, []byte("!"), true))
	pass := func(pieces ...[]byte) {
		t.Helper()
		for _, piece := range pieces {
			a.send(piece)
			metronome.binding() // meanwhile the piece has arrived
		}
		a.answerTo(ask).want(t, 0)
		a.answerTo(refresh).want(t, 0)
		for _, data := range []string{"by Send", "by channel", "", "!"} {
			b.wantData(a.relayed, []byte(data))
		}
	}
	pass(whole)
	for cut := 1; cut < len(whole); cut++ {
		pass(whole[:cut], whole[cut:])
	}
	pass(slices.Collect(slices.Chunk(whole, 1))...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var pieces [][]byte
		for rest := whole; len(rest) > 0; {
			n := min(1+random.IntN(60), len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		pass(pieces...)
	}
	a.quiet()
	b.quiet()
}

// However many messages come at once, each is answered or relayed, in order.
func TestConformanceStreamJoined(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.call(t, overTCP), s.call(t, overTCP)
	a.allocate()
	b.allocate()
	a.bind(0x4000, b.relayed)
	b.bind(0x4001, a.relayed)
	const rounds = 1000
	var whole []byte
	asked := make([][]byte, rounds)
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i%70) }
	for i := range asked {
		asked[i] = a.unsigned(stun.MethodBinding)
		whole = slices.Concat(whole, asked[i], channelData(0x4000, data(i), true))
	}
	a.send(whole)
	for i, request := range asked {
		a.answerTo(request).want(t, 0)
		b.wantChannel(0x4001, data(i))
	}
	b.quiet()
}

// Small ChannelData is delivered at once: nothing waits for more to come or for an acknowledgement.
func TestConformanceStreamPrompt(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.call(t, overTCP), s.call(t, overTCP)
	a.allocate()
	b.allocate()
	a.bind(0x4000, b.relayed)
	b.bind(0x4000, a.relayed)
	begun := time.Now()
	const rounds = 100
	for range rounds {
		// A first segment on the way is what makes Nagle's algorithm hold back a second one, for as long as the other
		// side delays its acknowledgement: 40 ms as a rule.
		for _, way := range [][2]*caller{{a, b}, {b, a}} {
			way[0].send(channelData(0x4000, []byte("."), true))
			way[0].send(channelData(0x4000, []byte(":"), true))
			way[1].wantChannel(0x4000, []byte("."))
			way[1].wantChannel(0x4000, []byte(":"))
		}
	}
	if took := time.Since(begun); took > rounds*40*time.Millisecond {
		t.Errorf("%d rounds of two bytes there and back took %v", rounds, took)
	}
}

// What is no TURN ends the connection that it comes on, with its allocation, and no other.
func TestConformanceJunk(t *testing.T) {
	s := conforming(t, nil)
	header := func(b ...byte) []byte { return append(b, "\x21\x12\xA4\x42transaction1"...) }
	random := make([]byte, 4096)
	for i, r := 0, rand.New(rand.NewPCG(3, 4)); i < len(random); i++ {
		random[i] = byte(r.Uint32())
	}
	random[0] |= 0x80
	watcher, other := s.call(t, overTCP), s.call(t, overUDP)
	watcher.allocate()
	other.allocate()
	watcher.bind(0x4000, other.relayed)
	other.bind(0x4000, watcher.relayed)
	for _, row := range []struct {
		section, says string
		junk          []byte
		first         bool // it is junk only as the first thing on a connection
	}{
		{"RFC 8656 §12", "the highest byte", []byte{0xFF}, false},
		{"RFC 8656 §12", "RTP", []byte{0x80, 96, 0, 1}, false},
		{"RFC 8656 §12", "random bytes", random, false},
		{"RFC 8656 §12", "HTTP", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), true},
		{"RFC 8656 §12", "ChannelData", channelData(0x4000, []byte("data"), true), true},
		{"RFC 8489 §5", "TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03aaaaaaaaaaaaa"), false},
		{"RFC 8489 §5", "zeros", make([]byte, 20), false},
		{"RFC 8489 §5", "another magic cookie", append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43}, "transaction1"...), false},
		{"RFC 8489 §5", "RFC 3489's header", append([]byte{0, 1, 0, 0}, "sixteen bytes ID"...), false},
		{"RFC 8489 §5", "length not a multiple of four", header(0, 1, 0, 2), false},
		{"RFC 8489 §5", "a request as long as can be", header(0, 1, 0xFF, 0xFC), false},
	} {
		t.Run(row.section+" "+row.says, func(t *testing.T) {
			before := s.Count()
			stranger := s.call(t, overTCP)
			stranger.send(row.junk)
			stranger.closed()
			if row.first {
				return
			}
			c := s.call(t, overTCP)
			c.allocate()
			ask := c.unsigned(stun.MethodBinding)
			c.send(append(bytes.Clone(ask), row.junk...))
			c.answerTo(ask).want(t, 0) // what came whole is answered first
			c.closed()
			eventually(t, "the allocation ends with its connection", func() bool { return s.Count() == before })
			watcher.t, other.t = t, t
			watcher.send(channelData(0x4000, []byte("still here"), true))
			other.wantChannel(0x4000, []byte("still here"))
			other.send(channelData(0x4000, []byte("so am I"), true))
			watcher.wantChannel(0x4000, []byte("so am I"))
		})
	}
}

// However a connection ends, its allocation ends with it, and its relayed address is nobody's.
func TestConformanceConnectionEnds(t *testing.T) {
	s := conforming(t, nil)
	other := s.call(t, overUDP)
	other.allocate()
	for says, end := range map[string]func(c *net.TCPConn) error{
		"close":      func(c *net.TCPConn) error { return c.Close() },
		"half close": func(c *net.TCPConn) error { return c.CloseWrite() },
		"reset":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"in a frame": func(c *net.TCPConn) error {
			_, err := c.Write(channelData(0x4000, make([]byte, 100), true)[:50])
			return errors.Join(err, c.Close())
		},
	} {
		for _, w := range []way{overTCP, overTCP6} {
			t.Run(w.String()+" "+says, func(t *testing.T) {
				other.t = t
				c := s.call(t, w)
				c.allocate()
				c.bind(0x4000, other.relayed)
				other.permit(c.relayed)
				other.sendTo(c.relayed, []byte("hello"))
				c.wantChannel(0x4000, []byte("hello"))
				ended := dropped(s.Server, "no_peer")
				if err := end(c.conn.(*net.TCPConn)); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the allocation ends with its connection", func() bool {
					other.binding()
					return s.Count() == 1
				})
				if says == "half close" {
					c.closed()
				}
				other.sendTo(c.relayed, []byte("anybody?"))
				eventually(t, "its address is nobody's", func() bool { return dropped(s.Server, "no_peer") == ended+1 })
			})
		}
	}
}

// dropped is how many packets were dropped for a reason.
func dropped(s *relay.Server, reason string) uint64 {
	for _, c := range s.Snapshot().Dropped {
		if c.Name == reason {
			return c.Value
		}
	}
	panic("no reason " + reason)
}

// A client that never reads costs others nothing: what it does not take is dropped, and not kept.
func TestConformanceSlowReader(t *testing.T) {
	s := conforming(t, nil)
	const size, rounds = 8000, 1500 // 12 MB, beyond what the kernel takes for a connection
	a, b := s.call(t, overUDP), s.call(t, overTCP)
	for _, one := range []*caller{a, b} {
		one.allocate()
	}
	a.bind(0x4000, b.relayed)
	b.bind(0x4000, a.relayed)
	for _, w := range []way{overUDP, overTCP} {
		t.Run("fed over "+w.scheme, func(t *testing.T) {
			a.t, b.t = t, t
			slow, feeder := s.call(t, overTCP), s.call(t, w)
			slow.allocate()
			feeder.allocate()
			slow.bind(0x4000, feeder.relayed)
			feeder.bind(0x4000, slow.relayed)
			payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2) }

			before, full := heap(), dropped(s.Server, "queue_full")
			for i := range rounds {
				feeder.send(channelData(0x4000, payload(i), true))
				if i%20 == 0 {
					feeder.binding() // no faster than the server
					a.send(channelData(0x4000, []byte("undisturbed"), true))
					b.wantChannel(0x4000, []byte("undisturbed"))
					b.send(channelData(0x4000, []byte("and back"), true))
					a.wantChannel(0x4000, []byte("and back"))
				}
			}
			feeder.settle()
			if grown := int64(heap() - before); grown > 4<<20 {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
			if dropped(s.Server, "queue_full") == full {
				t.Error("nothing was dropped: the reader was not slow enough for this test")
			}

			// What it gets when it reads again is whole and in order, and then there is room again.
			room := []byte("room")
			for last := -1; ; {
				feeder.send(channelData(0x4000, room, true))
				m := slow.receive()
				if bytes.Equal(m[4:], room) {
					break
				}
				i := int(m[4]) | int(m[5])<<8
				if i <= last || !bytes.Equal(m[4:], payload(i)) {
					t.Fatalf("packet %d behind %d, %d bytes", i, last, len(m)-4)
				}
				last = i
			}
			feeder.settle()
			ask := slow.unsigned(stun.MethodBinding)
			slow.send(ask)
			for {
				if m := slow.receive(); m[0] != 0x40 {
					if !bytes.Equal(m[8:20], ask[8:20]) {
						t.Fatalf("what came is not the answer: %x", trim(m))
					}
					break
				}
			}
		})
	}
}

// heap is what is in use after a collection, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools give up what they hold at the second
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A client that asks and never reads the answers does not stop the server from reading, nor does it make it remember.
func TestConformanceUnreadAnswers(t *testing.T) {
	s := conforming(t, nil)
	c, other := s.call(t, overTCP), s.call(t, overTCP)
	var strange setters // makes an answer of about a kilobyte
	for i := range 500 {
		strange = append(strange, stun.RawAttribute{Type: stun.AttrType(0x7000 + i)})
	}
	c.ask(c.unsigned(stun.MethodBinding, strange...)).want(t, 420)
	request := bytes.Repeat(c.unsigned(stun.MethodBinding, strange...), 16)
	before := heap()
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	for i := range 500 { // 8 MB of answers
		if _, err := c.conn.Write(request); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the server has stopped reading")
		} else if err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			other.binding()
		}
	}
	other.settle()
	if grown := int64(heap() - before); grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}

	// Those that it gets when it reads at last are whole, and fewer than were asked for.
	answers, plain := 0, c.unsigned(stun.MethodBinding)
	for {
		c.send(plain)
		a, err := readAnswer(c.receive())
		if err != nil {
			t.Fatal(err)
		}
		if a.code() == 0 {
			break
		}
		answers++
	}
	if answers >= 500*16 {
		t.Errorf("%d answers: the reader was not slow enough for this test", answers)
	}
}

// Many connections live side by side, each with its own allocation, and end together when the server does.
func TestConformanceManyConnections(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = relays16 })
	callers := make([]*caller, 300)
	for i := range callers {
		callers[i] = s.call(t, []way{overTCP, overTCP6}[i%2])
		callers[i].allocate()
	}
	if got := s.Count(); got != len(callers) {
		t.Errorf("%d allocations, want %d", got, len(callers))
	}
	for i, c := range callers {
		next := callers[(i+1)%len(callers)]
		c.permit(next.relayed)
		next.permit(c.relayed)
		c.sendTo(next.relayed, fmt.Append(nil, i))
		next.wantData(c.relayed, fmt.Append(nil, i))
	}
}
