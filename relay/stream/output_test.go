package stream

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// numbered is a ChannelData message of n payload bytes (n >= 8) that tells who sent it and which it is.
func numbered(sender, seq, n int) []byte {
	b := channelData(0x4000+uint16(sender), n, byte(seq))
	binary.BigEndian.PutUint32(b[4:], uint32(sender))
	binary.BigEndian.PutUint32(b[8:], uint32(seq))

	return b
}

// eachFrame reads whole frames until the stream ends or f is false.
func eachFrame(t testing.TB, r io.Reader, f func(sender, seq int, frame []byte) bool) {
	t.Helper()

	header := make([]byte, 4)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			if err != io.EOF {
				t.Errorf("the stream ends within a frame: %v", err)
			}

			return
		}
		n, err := wire.FrameSize(header)
		if err != nil {
			t.Errorf("a broken frame: %v", err)

			return
		}
		frame := append(header[:4:4], make([]byte, n-4)...)
		if _, err := io.ReadFull(r, frame[4:]); err != nil {
			t.Errorf("the stream ends within a frame: %v", err)

			return
		}
		if !f(int(binary.BigEndian.Uint32(frame[4:])), int(binary.BigEndian.Uint32(frame[8:])), frame) {
			return
		}
	}
}

// TestPush: what the kernel left of a queue goes ahead of what was queued meanwhile, and the queue grows on behind.
func TestPush(t *testing.T) {
	for _, tc := range []struct{ left, queued int }{{0, 0}, {0, 5}, {5, 0}, {5, 5}, {3 * blockSize, 5}, {5, 3 * blockSize}, {2 * blockSize, 2*blockSize + 1}} {
		var left, queue chain
		left.append(bytes.Repeat([]byte{'l'}, tc.left))
		queue.append(bytes.Repeat([]byte{'q'}, tc.queued))
		queue.push(left)
		queue.append([]byte("end"))

		var got []byte
		for queue.first != nil {
			b := queue.pop()
			got = append(got, b.data[b.from:b.to]...)
			b.put()
		}
		want := append(bytes.Repeat([]byte{'l'}, tc.left), bytes.Repeat([]byte{'q'}, tc.queued)...)
		if want = append(want, "end"...); !bytes.Equal(got, want) {
			t.Errorf("%d bytes left and %d queued: got %d, or in another order", tc.left, tc.queued, len(got))
		}
		if queue.last != nil {
			t.Error("an empty queue has a last block")
		}
	}
}

// TestSlowReader: a client that doesn't read costs the queue's limit and no more, loses whole frames only,
// and the others notice nothing.
func TestSlowReader(t *testing.T) {
	const queue = 100_000

	h := newRecorder()
	h.onFrame = echo
	l := start(t, loopback, Limits{Queue: queue}, h)
	slow, s := dial(t, l, h)
	other, _ := dial(t, l, h)

	var taken []int // sequence numbers
	dropped := 0
	for seq := 0; dropped < 100; seq++ {
		frame := numbered(1, seq, 8+seq%3000)
		if s.conn.Send(frame[:4], frame[4:4+8+seq%3000], wire.Padding(8+seq%3000)) {
			taken = append(taken, seq)
		} else {
			dropped++
		}
		s.conn.Flush()
		s.conn.out.mu.Lock()
		if s.conn.out.queued > queue {
			t.Fatalf("%d bytes are queued, limit %d", s.conn.out.queued, queue)
		}
		s.conn.out.mu.Unlock()
	}
	if got := l.Stats().QueueFull.Load(); got != uint64(dropped) {
		t.Errorf("%d drops counted, want %d", got, dropped)
	}

	ping := channelData(0x4000, 3, 'p')
	if _, err := other.Write(ping); err != nil {
		t.Fatal(err)
	}
	if got := readFull(t, other, len(ping)); !bytes.Equal(got, ping) {
		t.Errorf("the other got %x", got)
	}

	next := 0
	eachFrame(t, slow, func(_, seq int, frame []byte) bool {
		if seq != taken[next] || !bytes.Equal(frame, numbered(1, seq, 8+seq%3000)) {
			t.Errorf("frame %d has number %d, want %d", next, seq, taken[next])

			return false
		}
		next++

		return next < len(taken)
	})

	s.conn.drains.Wait()
	s.conn.out.mu.Lock()
	defer s.conn.out.mu.Unlock()
	if o := &s.conn.out; o.queued != 0 || o.queue != (chain{}) || o.state != idle {
		t.Errorf("after everything was read: %d bytes queued, blocks %v, state %d", o.queued, o.queue, o.state)
	}
}

// TestBurst: a burst longer than the queue isn't lost when the client is there to take it.
func TestBurst(t *testing.T) {
	h := newRecorder()
	l := start(t, loopback, Limits{Queue: 10_000}, h)
	client, s := dial(t, l, h)

	const frames = 20
	for seq := range frames {
		if !s.conn.Send(numbered(1, seq, 1000), nil, 0) {
			t.Fatalf("frame %d was dropped", seq)
		}
	}
	s.conn.Flush()

	next := 0
	eachFrame(t, client, func(_, seq int, _ []byte) bool {
		if seq != next {
			t.Errorf("got number %d, want %d", seq, next)
		}
		next++

		return next < frames
	})
}

func TestFrameLongerThanQueue(t *testing.T) {
	_, c := tcpPair(t, Limits{Queue: 100})
	for _, tc := range []struct {
		size int
		want bool
	}{{100, true}, {101, false}, {1, true}} {
		if got := c.Send(make([]byte, tc.size), nil, 0); got != tc.want {
			t.Errorf("Send of %d bytes is %v", tc.size, got)
		}
		c.Flush()
	}
}

// TestManySenders: frames of many goroutines never interleave, and keep each sender's order.
func TestManySenders(t *testing.T) {
	const senders, each = 6, 1000

	for _, way := range []string{"tcp", "pipe"} {
		t.Run(way, func(t *testing.T) {
			h := newRecorder()
			var client net.Conn
			var s *recorded
			if way == "tcp" {
				client, s = dial(t, start(t, loopback, Limits{Queue: 64 << 10}, h), h)
			} else {
				_, p := startPipes(t, Limits{Queue: 64 << 10}, h)
				client = p.dial()
				s = <-h.opened
			}

			var wg sync.WaitGroup
			for sender := range senders {
				wg.Go(func() {
					for seq := range each {
						n := 8 + (seq*7+sender)%1500
						frame := numbered(sender, seq, n)
						for !s.conn.Send(frame[:4], frame[4:4+n], wire.Padding(n)) {
							s.conn.Flush()
							runtime.Gosched()
						}
						if seq%3 == 0 {
							s.conn.Flush()
						}
					}
					s.conn.Flush()
				})
			}

			next := make([]int, senders)
			total := 0
			eachFrame(t, client, func(sender, seq int, frame []byte) bool {
				if seq != next[sender] || !bytes.Equal(frame, numbered(sender, seq, 8+(seq*7+sender)%1500)) {
					t.Errorf("sender %d: frame %d, want %d", sender, seq, next[sender])

					return false
				}
				next[sender]++
				total++

				return total < senders*each
			})
			if t.Failed() {
				_ = client.Close()
				s.conn.Close()
				t.FailNow() // the senders of a closed connection never succeed
			}
			wg.Wait()
		})
	}
}

// TestSendWhileClosing: connections may end at any moment, while anyone sends to them.
func TestSendWhileClosing(t *testing.T) {
	h := newRecorder()
	l := start(t, loopback, Limits{Queue: 64 << 10}, h)
	frame := channelData(0x4000, 1000, 'x')

	for round := range 24 {
		client, s := dial(t, l, h)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					s.conn.Send(frame, nil, 0)
					s.conn.Flush()
					select {
					case <-s.closed:
						return
					default:
					}
				}
			})
		}
		switch round % 3 {
		case 0:
			_ = client.Close() // with unread bytes: a reset
		case 1:
			s.conn.Close()
		case 2:
			_, _ = client.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF})
		}
		wg.Wait()

		if s.closes != 1 || s.sendable {
			t.Fatalf("Closed was called %d times, Send took frames then: %v", s.closes, s.sendable)
		}
		s.conn.out.mu.Lock()
		if o := &s.conn.out; o.queued != 0 || o.queue != (chain{}) || o.state != idle {
			t.Fatalf("a closed connection holds %d bytes, blocks %v, state %d", o.queued, o.queue, o.state)
		}
		s.conn.out.mu.Unlock()
	}
}

// TestNoAllocation: a frame that comes in, is handled and sent out costs no heap allocation.
func TestNoAllocation(t *testing.T) {
	if raceDetector {
		t.Skip("sync.Pool drops items under the race detector")
	}

	client, c := tcpPair(t, Limits{})
	s := &forgetful{conn: c}
	frame := channelData(0x4000, 200, 'x')
	answer := make([]byte, len(frame))

	if got := testing.AllocsPerRun(2000, func() {
		_, _ = client.Write(frame)
		for c.in.have == 0 {
			if _, err := c.fill(); err != nil {
				t.Fatal(err)
			}
		}
		c.deliver(s)
		_, _ = io.ReadFull(client, answer)
	}); got != 0 {
		t.Errorf("%v allocations per frame", got)
	}
	if !bytes.Equal(answer, frame) {
		t.Errorf("the answer is %x", answer)
	}
}

// forgetful is a Session that sends every frame back.
type forgetful struct{ conn *Conn }

func (s *forgetful) Frame(b []byte) { s.conn.Send(b[:4], b[4:], 0) }
func (s *forgetful) Flush()         { s.conn.Flush() }
func (s *forgetful) Busy() bool     { return true }
func (s *forgetful) Closed()        {}

type forgetfulHandler struct{}

func (forgetfulHandler) Opened(c *Conn) Session { return &forgetful{conn: c} }

// BenchmarkEcho pushes bursts through one connection and back.
func BenchmarkEcho(b *testing.B) {
	for _, burst := range []int{1, 8, 64} {
		b.Run(map[int]string{1: "1", 8: "8", 64: "64"}[burst], func(b *testing.B) {
			l := start(b, loopback, Limits{}, forgetfulHandler{})
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			out := bytes.Repeat(channelData(0x4000, 200, 'x'), burst)
			in := make([]byte, len(out))

			b.ReportAllocs()
			for b.Loop() {
				_, _ = client.Write(out)
				_, _ = io.ReadFull(client, in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*burst), "ns/frame")
		})
	}
}
