package stream

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

var conversation = [][]byte{
	channelData(0x4000, 1, 'a'),
	binding(0),
	channelData(0x4FFF, 0, 0),
	channelData(0x4001, 4, 'b'),
	binding(8),
	channelData(0x4001, 7, 'c'),
}

// TestCuts cuts a conversation at each pair of places and looks at what arrives, in both ways of reading.
func TestCuts(t *testing.T) {
	whole := bytes.Join(conversation, nil)

	// A pipe's Write returns when its bytes were read, so each part is a read of its own.
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newRecorder()
			_, p := startPipes(t, Limits{}, h)

			for i := range whole {
				for j := i; j <= len(whole); j++ {
					client := p.dial()
					s := <-h.opened
					for _, part := range [][]byte{whole[:i], whole[i:j], whole[j:]} {
						if len(part) > 0 {
							if _, err := client.Write(part); err != nil {
								t.Fatal(err)
							}
						}
					}
					_ = client.Close()
					<-s.closed
					checkFrames(t, s, conversation)
				}
			}
		})
	})

	// On TCP the test is the reader, so that it sees when a part has come.
	t.Run("tcp", func(t *testing.T) {
		client, c := tcpPair(t, Limits{})
		s := &recorded{conn: c, handler: newRecorder()}

		for i := range whole {
			for j := i; j <= len(whole); j++ {
				s.frames = nil
				for _, part := range [][]byte{whole[:i], whole[i:j], whole[j:]} {
					if _, err := client.Write(part); err != nil {
						t.Fatal(err)
					}
					for read := 0; read < len(part); {
						n, err := c.fill()
						if err != nil {
							t.Fatal(err)
						}
						read += n
						if _, fault := c.deliver(s); fault != open {
							t.Fatalf("cut at %d and %d: %v", i, j, fault)
						}
					}
				}
				checkFrames(t, s, conversation)
				if c.in.buffer != nil {
					t.Fatal("a buffer is held though no byte is")
				}
			}
		}
	})
}

// tcpPair is a client's connection and the Conn at its other end, which nobody reads.
func tcpPair(t testing.TB, limits Limits) (*net.TCPConn, *Conn) {
	t.Helper()

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()

	l, err := NewListener(inner, limits, newRecorder())
	if err != nil {
		t.Fatal(err)
	}

	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := inner.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	deadline := time.Now().Add(time.Minute)
	_ = client.SetDeadline(deadline)
	_ = server.SetDeadline(deadline)

	c := newConn(server, l)
	if !c.direct.usable() {
		t.Skip("no direct system calls here")
	}

	return client.(*net.TCPConn), c
}

func checkFrames(t testing.TB, s *recorded, want [][]byte) {
	t.Helper()

	if len(s.frames) != len(want) {
		t.Fatalf("%d frames, want %d", len(s.frames), len(want))
	}
	for i := range want {
		if !bytes.Equal(s.frames[i], want[i]) {
			t.Fatalf("frame %d is %x, want %x", i, s.frames[i], want[i])
		}
	}
	if s.unflushed != 0 {
		t.Fatalf("%d frames were not flushed", s.unflushed)
	}
}

// TestOneFlushPerRead: what came together is forwarded together.
func TestOneFlushPerRead(t *testing.T) {
	client, c := tcpPair(t, Limits{})
	s := &recorded{conn: c, handler: newRecorder()}

	whole := bytes.Join(conversation, nil)
	if _, err := client.Write(whole); err != nil {
		t.Fatal(err)
	}
	if n, err := c.fill(); n != len(whole) || err != nil {
		t.Fatalf("read %d bytes, %v; want %d", n, err, len(whole))
	}
	if _, fault := c.deliver(s); fault != open {
		t.Fatal(fault)
	}
	checkFrames(t, s, conversation)
	if s.flushes != 1 {
		t.Errorf("%d flushes, want 1", s.flushes)
	}
}

// TestHeldBuffer: a waiting partial frame costs about what came of it, not what it announces.
func TestHeldBuffer(t *testing.T) {
	frame := channelData(0x4000, 65535, 'x')

	for _, tc := range []struct{ sent, held int }{
		{1, 2 << 10}, {2048, 2 << 10}, {2049, 16 << 10}, {16 << 10, 16 << 10}, {len(frame) - 1, 68 << 10},
	} {
		client, c := tcpPair(t, Limits{})
		s := &recorded{conn: c, handler: newRecorder()}
		if _, err := client.Write(frame[:tc.sent]); err != nil {
			t.Fatal(err)
		}
		for c.in.have < tc.sent {
			if _, err := c.fill(); err != nil {
				t.Fatal(err)
			}
			if _, fault := c.deliver(s); fault != open {
				t.Fatal(fault)
			}
		}
		if got := len(c.in.buffer.data); got != tc.held {
			t.Errorf("after %d bytes %d are held, want %d", tc.sent, got, tc.held)
		}
		if !bytes.Equal(c.in.bytes(), frame[:tc.sent]) {
			t.Errorf("after %d bytes: wrong bytes are held", tc.sent)
		}
	}
}

// TestReadAhead: a connection that must be waited for with a buffer in hand gets a small one, while it isn't busy.
func TestReadAhead(t *testing.T) {
	_, server := net.Pipe()
	nc := &chunks{Conn: server, rest: [][]byte{make([]byte, 100), make([]byte, 5000), make([]byte, 100)}}
	var in input

	for i, want := range []struct{ n, buffer int }{
		{100, bufferSizes[0]}, {2048, bufferSizes[0]}, {2952, bufferSizes[largest]}, {100, bufferSizes[0]},
	} {
		n, err := in.readFrom(nc)
		if n != want.n || err != nil || len(in.buffer.data) != want.buffer {
			t.Errorf("read %d: %d bytes into %d, %v; want %d into %d", i, n, len(in.buffer.data), err, want.n, want.buffer)
		}
		in.consume(n)
	}
}

func TestBadStreams(t *testing.T) {
	good := channelData(0x4000, 8, 'g')
	tooLarge := binding(0)
	tooLarge[2] = 0xFF
	largestSend := binding(65528) // nothing longer fits the length field
	largestSend[1] = 0x16
	noCookie := binding(0)
	noCookie[5]++

	for _, tc := range []struct {
		name   string
		stream []byte
		frames int
		why    CloseReason
	}{
		{"nothing", nil, 0, ClosedByClient},
		{"a partial frame", good[:7], 0, ClosedByClient},
		{"a frame and a partial one", append(good[:len(good):len(good)], good[:5]...), 1, ClosedByClient},
		{"a TLS hello", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 0, ClosedNotTURN},
		{"zeros", make([]byte, 64), 0, ClosedNotTURN},
		{"a wrong magic cookie", noCookie, 0, ClosedNotTURN},
		{"a number that is no channel", channelData(0x8000, 8, 0), 0, ClosedNotTURN},
		{"junk behind a frame", append(good[:len(good):len(good)], 0xFF, 0xFF, 0xFF, 0xFF), 1, ClosedNotTURN},
		{"a huge message", tooLarge, 0, ClosedTooLarge},
		{"the largest Send indication", largestSend, 1, ClosedByClient},
		{"the largest ChannelData", channelData(0x4000, 65535, 'm'), 1, ClosedByClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newRecorder()
			l := start(t, loopback, Limits{}, h)
			other, _ := dial(t, l, h)
			client, s := dial(t, l, h)

			if _, err := client.Write(tc.stream); err != nil {
				t.Fatal(err)
			}
			if tc.why == ClosedByClient {
				_ = client.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, client) // until the server closes
			<-s.closed

			if len(s.frames) != tc.frames {
				t.Errorf("%d frames, want %d", len(s.frames), tc.frames)
			}
			if n := l.Connections(); n > 2 {
				t.Errorf("%d connections are open", n)
			}

			// Closing waits, so that the counters are final; the other connection lives until then.
			if _, err := other.Write(good); err != nil {
				t.Errorf("the other connection: %v", err)
			}
			_ = l.Close()
			wantClosed(t, l, map[CloseReason]uint64{tc.why: 1, ClosedByShutdown: 1})
		})
	}
}

// TestOpensWithSTUN: where that is asked for, nothing but STUN begins a connection, however little of it has come.
func TestOpensWithSTUN(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stream []byte
		why    CloseReason
	}{
		{"HTTP, which looks like a channel", []byte("G"), ClosedNotTURN},
		{"ChannelData", channelData(0x4000, 8, 'g'), ClosedNotTURN},
		{"STUN, then ChannelData", append(binding(0), channelData(0x4000, 8, 'g')...), ClosedByClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newRecorder()
			l := start(t, loopback, Limits{OpensWithSTUN: true}, h)
			client, s := dial(t, l, h)
			if _, err := client.Write(tc.stream); err != nil {
				t.Fatal(err)
			}
			if tc.why == ClosedByClient {
				_ = client.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, client)
			<-s.closed
			_ = l.Close()
			wantClosed(t, l, map[CloseReason]uint64{tc.why: 1})
		})
	}
}

// chunks is a net.Conn that reads as its test wants it cut, then ends.
type chunks struct {
	net.Conn // a pipe, for everything but Read
	rest     [][]byte
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[0])
	if c.rest[0] = c.rest[0][n:]; len(c.rest[0]) == 0 {
		c.rest = c.rest[1:]
	}

	return n, nil
}

// FuzzCuts: what a session sees, and why the connection ends, doesn't depend on how the stream was cut.
func FuzzCuts(f *testing.F) {
	f.Add(bytes.Join(conversation, nil), byte(3), byte(1))
	f.Add(append(bytes.Join(conversation, nil), 0xFF, 0, 0, 0), byte(1), byte(7))
	f.Add(channelData(0x4000, 5000, 'x'), byte(250), byte(2))

	f.Fuzz(func(t *testing.T, data []byte, first, then byte) {
		whole, wholeWhy := readChunks(t, [][]byte{data})

		var parts [][]byte
		for rest, size := data, int(first)+1; len(rest) > 0; size = int(then) + 1 {
			size = min(size, len(rest))
			parts = append(parts, rest[:size])
			rest = rest[size:]
		}
		cut, cutWhy := readChunks(t, parts)

		// A message may be too large and no TURN at all; which of the two shows first depends on the cut.
		junk := func(r CloseReason) bool { return r == ClosedNotTURN || r == ClosedTooLarge }
		if wholeWhy != cutWhy && !(junk(wholeWhy) && junk(cutWhy)) {
			t.Errorf("ends with %v, cut with %v", wholeWhy, cutWhy)
		}
		checkFrames(t, cut, whole.frames)
	})
}

func readChunks(t *testing.T, parts [][]byte) (*recorded, CloseReason) {
	var kept [][]byte
	for _, p := range parts {
		if len(p) > 0 {
			kept = append(kept, p)
		}
	}

	l, err := NewListener(newPipes(), Limits{}, newRecorder())
	if err != nil {
		t.Fatal(err)
	}
	_, server := net.Pipe()
	c := newConn(&chunks{Conn: server, rest: kept}, l)
	s := &recorded{conn: c, handler: newRecorder()}

	return s, c.read(s)
}
