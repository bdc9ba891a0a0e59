package stream

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var testLimits = Limits{Handshake: 10 * time.Second, Idle: time.Minute, WriteTimeout: 30 * time.Second}

// TestTimeouts runs a client's script against a fake clock and looks when the connection ends, and why.
func TestTimeouts(t *testing.T) {
	frame := channelData(0x4000, 4, 'x')

	write := func(b []byte) func(net.Conn, *recorded) {
		return func(client net.Conn, _ *recorded) { _, _ = client.Write(b) }
	}
	busy := func(is bool) func(net.Conn, *recorded) {
		return func(_ net.Conn, s *recorded) { s.busy.Store(is) }
	}
	type step struct {
		at time.Duration
		do func(net.Conn, *recorded)
	}

	for _, tc := range []struct {
		name   string
		script []step
		ends   time.Duration
		why    CloseReason
	}{
		{"says nothing", nil, 10 * time.Second, ClosedHandshake},
		{"dribbles", []step{{0, write(frame[:1])}, {9 * time.Second, write(frame[1:2])}}, 10 * time.Second, ClosedHandshake},
		{"one frame", []step{{9 * time.Second, write(frame)}}, 69 * time.Second, ClosedIdle},
		{"goes on", []step{{0, write(frame)}, {59 * time.Second, write(frame)}, {118 * time.Second, write(frame[:1])}}, 178 * time.Second, ClosedIdle},
		{"dribbles later", []step{
			{0, write(frame)}, {10 * time.Second, write(frame[:1])}, {30 * time.Second, write(frame[1:2])}, {60 * time.Second, write(frame[2:3])},
		}, 70 * time.Second, ClosedIdle},
		// An allocation is looked for at 60 s, 120 s, … and the last sight counts as activity.
		{"holds an allocation for a while", []step{{0, write(frame)}, {0, busy(true)}, {150 * time.Second, busy(false)}}, 180 * time.Second, ClosedIdle},
		{"an allocation without a frame", []step{{0, busy(true)}}, 10 * time.Second, ClosedHandshake},
		{"is sent something, doesn't read", []step{
			{0, write(frame)}, {0, busy(true)},
			{5 * time.Second, func(_ net.Conn, s *recorded) { s.conn.Send(frame, nil, 0); s.conn.Flush() }},
		}, 35 * time.Second, ClosedStalled},
		{"reads a byte now and then", []step{
			{0, write(frame)}, {0, busy(true)},
			{0, func(_ net.Conn, s *recorded) { s.conn.Send(frame, nil, 0); s.conn.Flush() }},
			{29 * time.Second, func(client net.Conn, _ *recorded) { _, _ = client.Read(make([]byte, 1)) }},
			{58 * time.Second, func(client net.Conn, _ *recorded) { _, _ = client.Read(make([]byte, 1)) }},
		}, 90 * time.Second, ClosedStalled},
		{"is closed by the session", []step{{3 * time.Second, func(_ net.Conn, s *recorded) { s.conn.Close() }}}, 3 * time.Second, ClosedByServer},
		{"closes", []step{{3 * time.Second, func(client net.Conn, _ *recorded) { _ = client.Close() }}}, 3 * time.Second, ClosedByClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newRecorder()
				l, p := startPipes(t, testLimits, h)
				began := time.Now()
				client := p.dial()
				s := <-h.opened

				for _, step := range tc.script {
					<-time.After(step.at - time.Since(began))
					synctest.Wait()
					step.do(client, s)
					synctest.Wait()
				}

				<-s.closed
				if after := time.Since(began); after != tc.ends {
					t.Errorf("ended after %v, want %v", after, tc.ends)
				}
				_ = l.Close()
				wantClosed(t, l, map[CloseReason]uint64{tc.why: 1})
				if s.closes != 1 || s.sendable {
					t.Errorf("Closed was called %d times, Send took frames then: %v", s.closes, s.sendable)
				}
			})
		})
	}
}

// TestDeadlineIsLifted: after a drain the connection can be written to directly, however much later.
func TestDeadlineIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		_, p := startPipes(t, testLimits, h)
		client := p.dial()
		s := <-h.opened
		s.busy.Store(true)
		frame := channelData(0x4000, 4, 'x')
		_, _ = client.Write(frame)

		for range 3 {
			s.conn.Send(frame, nil, 0)
			s.conn.Flush()
			readFull(t, client, len(frame))
			<-time.After(time.Hour)
		}

		// What a direct write would meet: a plain one with no deadline of its own.
		go func() { _, _ = io.Copy(io.Discard, client) }()
		if _, err := s.conn.nc.Write(frame); err != nil {
			t.Error(err)
		}
		_ = client.Close()
		<-s.closed
	})
}

func TestConnectionLimit(t *testing.T) {
	h := newRecorder()
	l := start(t, loopback, Limits{Connections: 2}, h)
	first, s := dial(t, l, h)
	dial(t, l, h)

	for range 3 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("one too many read %d bytes, %v", n, err)
		}
		_ = nc.Close()
	}

	// A place becomes free.
	_ = first.Close()
	<-s.closed
	for l.Connections() > 1 { // Closed comes a moment before
		runtime.Gosched()
	}
	dial(t, l, h)

	if got := l.Stats().Refused.Load(); got != 3 {
		t.Errorf("%d refused, want 3", got)
	}
	if got := l.Stats().Accepted.Load(); got != 3 {
		t.Errorf("%d accepted, want 3", got)
	}
}

// TestAcceptFails: without file descriptors the loop pauses longer and longer, but goes on.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRecorder()
		l, p := startPipes(t, testLimits, h)
		began := time.Now()
		for range 4 {
			p.queue <- nil
		}
		client := p.dial()
		<-h.opened

		if after, want := time.Since(began), (5+10+20+40)*time.Millisecond; after != want {
			t.Errorf("accepted after %v, want %v", after, want)
		}
		if got := l.Stats().AcceptErrors.Load(); got != 4 {
			t.Errorf("%d errors counted, want 4", got)
		}

		// Close doesn't wait for a pause to end.
		p.queue <- nil
		synctest.Wait()
		began = time.Now()
		_ = l.Close()
		if after := time.Since(began); after != 0 {
			t.Errorf("Close took %v", after)
		}
		_ = client.Close()
	})
}

func TestWrongLimits(t *testing.T) {
	_, err := Listen(loopback, Limits{Handshake: -1, Idle: -1, WriteTimeout: -1, Queue: -1, Connections: -1}, newRecorder())
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"Handshake", "Idle", "WriteTimeout", "Queue", "Connections"} {
		if !strings.Contains(err.Error(), "Limits."+field+" is -1") {
			t.Errorf("%s isn't named in %q", field, err)
		}
	}
}
