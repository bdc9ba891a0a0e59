package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// conversation is a call that goes on in a goroutine of its own until it is told to end.
type conversation struct {
	*call
	hangUp chan struct{} // closed by end
	over   chan error
	turns  chan struct{} // one for each turn that somebody waits for
}

func converse(c *call) *conversation {
	v := &conversation{call: c, hangUp: make(chan struct{}), over: make(chan error, 1), turns: make(chan struct{})}
	go func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			if err := c.talk(); err != nil {
				v.over <- err
				return
			}
			select {
			case <-v.hangUp:
				v.over <- c.end()
				return
			case v.turns <- struct{}{}:
			case <-pace.C:
			}
		}
	}()
	return v
}

// goOn waits for n more turns.
func (v *conversation) goOn(n int) error {
	for range n {
		select {
		case <-v.turns:
		case err := <-v.over:
			return fmt.Errorf("the call was lost after %d packets: %w", v.sent, err)
		}
	}
	return nil
}

// end hangs up, and checks that nothing was lost.
func (v *conversation) end(t *testing.T) int {
	t.Helper()
	close(v.hangUp)
	if err := <-v.over; err != nil {
		t.Errorf("hanging up: %v", err)
	}
	if v.sent != v.received {
		t.Errorf("%d packets sent, %d received", v.sent, v.received)
	}
	return v.received
}

// Three relays that name each other are restarted one after the other under live calls. Each call goes on, at the relay
// where it began, until it ends by itself; whoever calls a relay that drains meets at another; no packet is lost.
func TestRollingRestart(t *testing.T) {
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	for _, h := range hosts {
		l, err := net.Listen("tcp", h+":0")
		if err != nil {
			t.Skipf("no three addresses of loopback here: %v", err)
		}
		l.Close()
	}
	ports := freePorts(t, 4)
	var at, admins, fleet []string
	for i, h := range hosts {
		at, admins = append(at, h+":"+ports[0]), append(admins, "127.0.0.1:"+ports[1+i])
		fleet = append(fleet, "--alternate-server", at[i]) // all have the same list, themselves included
	}
	servers := make([]*server, len(hosts))
	live := make([][]*conversation, len(hosts)) // by relay
	begin := func(i int) {
		t.Helper()
		c, err := newCall(at[i])
		must(t, err)
		home := slices.Index(at, c.a.conn.RemoteAddr().String())
		if home < 0 {
			t.Fatalf("sent to %v", c.a.conn.RemoteAddr())
		}
		live[home] = append(live[home], converse(c))
	}
	for i := range servers {
		servers[i] = startServer(t, at[i], admins[i], fleet...)
	}
	for i := range servers {
		for range 3 {
			begin(i)
		}
	}
	packets, calls := 0, 0
	for i, s := range servers {
		must(t, s.Process.Signal(syscall.SIGTERM))
		s.untilNotReady(t)
		here := len(live[i])
		for range 4 { // new calls, which dial the one that drains
			begin(i)
		}
		if n := len(live[i]); n != here {
			t.Errorf("relay %d took %d new calls while it drained", i, n-here)
		}
		var talking sync.WaitGroup
		for _, relay := range live {
			for _, v := range relay {
				talking.Go(func() {
					if err := v.goOn(50); err != nil {
						t.Error(err)
					}
				})
			}
		}
		talking.Wait()
		if t.Failed() {
			return
		}
		for _, v := range live[i] {
			packets += v.end(t)
			calls++
		}
		live[i] = nil
		if code := s.ended(t); code != exitGood {
			t.Errorf("relay %d ends with exit code %d:\n%s", i, code, s.stderr)
		}
		if _, err := newPhone(at[i]); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("relay %d after its end: %v", i, err)
		}
		servers[i] = startServer(t, at[i], admins[i], fleet...)
		begin(i)
	}
	for _, relay := range live {
		for _, v := range relay {
			must(t, v.goOn(50))
			packets += v.end(t)
			calls++
		}
	}
	if calls != 9+12+3 {
		t.Errorf("%d calls", calls)
	}
	t.Logf("%d calls, %d packets, none lost", calls, packets)
}
