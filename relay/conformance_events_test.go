package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// What the event stream, the log, the history and the list of allocations tell of the rarer kinds of allocations: all the
// same, and all of it.

// witnessed is a server whose events and log are kept.
type witnessed struct {
	*served
	events, log memory
}

func witness(t *testing.T, change func(*relay.Config)) *witnessed {
	t.Helper()
	w := new(witnessed)
	quiet := logging.DefaultLoggerFactory{Writer: t.Output(), DefaultLogLevel: logging.LogLevelInfo}
	writer, err := events.New(events.Options{Target: "stdout", Stdout: &w.events, Instance: "a", Log: quiet.NewLogger("events")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- writer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.served = conforming(t, func(c *relay.Config) {
		c.Events = writer
		c.Log = &logging.DefaultLoggerFactory{Writer: &w.log, DefaultLogLevel: logging.LogLevelInfo}
		if change != nil {
			change(c)
		}
	})
	return w
}

// event waits for the n-th event of a type, from 0, about an allocation.
func (w *witnessed) event(t *testing.T, kind events.Type, id uint64, n int) (found events.Event) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s %d of allocation %d", kind, n, id), func() bool {
		left := n
		for _, line := range strings.Split(w.events.String(), "\n") {
			var e events.Event
			if json.Unmarshal([]byte(line), &e) == nil && e.Type == kind && e.Allocation == id {
				if found = e; left == 0 {
					return true
				}
				left--
			}
		}
		return false
	})
	return found
}

// wantLog looks for a line of the log.
func (w *witnessed) wantLog(t *testing.T, parts ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a line of the log with %q", parts), func() bool {
		for _, line := range strings.Split(w.log.String(), "\n") {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// Both relayed transport addresses of a dual allocation are told, from its birth to its death, although one ends earlier.
func TestConformanceDualTold(t *testing.T) {
	for _, row := range []struct {
		says  string
		first stun.Setter
		index int
	}{{"IPv4 goes first", wantIPv4, 0}, {"IPv6 goes first", wantIPv6, 1}} {
		t.Run(row.says, func(t *testing.T) {
			s := witness(t, func(c *relay.Config) { c.Quality = quality.Full })
			c := s.call(t, overUDP)
			two := c.twoAddresses()
			id := only(t, s.served, "alice").ID
			for i, family := range []stun.Setter{wantIPv4, wantIPv6} { // media by each
				p := s.call(t, overUDP).as("bob", "builder")
				p.allocate(family)
				p.permit(two[i])
				c.permit(p.relayed)
				for n := range uint16(20) {
					c.sendTo(p.relayed, rtp(uint32(1+i), n))
				}
				c.settle()
			}
			for i, tracker := range []*quality.Tracker{only(t, s.served, "alice").UpMedia, only(t, s.served, "alice").AlsoUpMedia} {
				if tracker == nil || tracker.Snapshot(0, nil).Packets[quality.KindRTP] != 20 {
					t.Errorf("no media at address %d while it lives", i)
				}
			}
			both := fmt.Sprintf("relay=%s,%s ", two[0], two[1])
			s.wantLog(t, "created", both)
			c.request(stun.MethodRefresh, row.first, lifetime(0)).want(t, 0)
			if n := only(t, s.served, "alice"); n.Relayed != two[1-row.index] || n.Additional.IsValid() {
				t.Errorf("shown as %v and %v, is %v", n.Relayed, n.Additional, two[1-row.index])
			}
			c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)

			for _, e := range []events.Event{s.event(t, events.Birth, id, 0), s.event(t, events.Death, id, 0)} {
				if e.Relay != two[0] || e.AdditionalRelay != two[1] {
					t.Errorf("%s tells of %v and %v, want %v", e.Type, e.Relay, e.AdditionalRelay, two)
				}
			}
			e := s.event(t, events.Death, id, 0)
			if e.Traffic.FromClient.Packets != 40 {
				t.Errorf("%+v, want 40 packets from the client", e.Traffic)
			}
			if q := e.Quality; q == nil || q.FromClient == nil || len(q.FromClient.Streams) != 2 || q.FromClient.Packets["rtp"] != 40 {
				t.Errorf("quality %+v, want the streams of both", q)
			}
			s.wantLog(t, "ended", both)
			if got, want := told(s.served, id), fmt.Sprintf("reduced %s released by the client; ended released by the client", two[row.index]); !strings.HasSuffix(got, want) || strings.Count(got, "reduced") != 1 {
				t.Errorf("the history is\n%s\nwant at its end\n%s", got, want)
			}
		})
	}
	t.Run("both at once", func(t *testing.T) {
		s := witness(t, nil)
		s.call(t, overUDP).twoAddresses()
		id := only(t, s.served, "alice").ID
		s.End(id)
		if got := told(s.served, id); got != "created for 10m0s; ended ended by the operator" {
			t.Errorf("the history is %s", got)
		}
		if e := s.event(t, events.Death, id, 0); e.AdditionalRelay == (netip.AddrPort{}) {
			t.Errorf("the death says %+v", e)
		}
	})
}

// A client that moves is told of where it is and where it was, by an event, in the history, in the log and to the end; its
// counters go on.
func TestConformanceMoveTold(t *testing.T) {
	s := witness(t, nil)
	p := s.call(t, overUDP).as("bob", "builder")
	p.allocate()
	c := s.call(t, overUDP)
	ticket := c.mobile()
	p.permit(c.relayed)
	c.permit(p.relayed)
	c.sendTo(p.relayed, []byte("here"))
	p.wantData(c.relayed, []byte("here"))
	id, relayed := only(t, s.served, "alice").ID, c.relayed

	next := s.call(t, overTCP)
	ticket = next.move(ticket)
	if n := only(t, s.served, "alice"); n.Client != c.local() || n.Moves != 0 {
		t.Errorf("shown as %v with %d moves ahead of its first packet from there", n.Client, n.Moves)
	}
	next.sendTo(p.relayed, []byte("there"))
	p.wantData(relayed, []byte("there"))
	first := s.event(t, events.Move, id, 0)
	was := events.Place{Transport: "udp", Client: c.local(), Server: s.at(t, overUDP)}
	if first.Client != next.local() || first.Transport != "tcp" || first.Moves != 1 || len(first.Earlier) != 1 || first.Earlier[0] != was || first.Relay != relayed {
		t.Errorf("the move says %+v, want from %+v to %v", first, was, next.local())
	}
	s.wantLog(t, "moved", "from="+c.local().String()+" ", "client="+next.local().String()+" ", "moves=1")

	callers := []*caller{c, next}
	for i := 1; i < 11; i++ {
		callers = append(callers, s.call(t, overUDP))
		ticket = callers[i+1].move(ticket)
		callers[i+1].sendTo(p.relayed, []byte{byte(i)})
		p.wantData(relayed, []byte{byte(i)})
	}
	last := callers[11]
	n := only(t, s.served, "alice")
	if n.Client != last.local() || n.Transport != "udp" || n.Moves != 11 || len(n.Earlier) != 8 || n.Earlier[7].Client != callers[10].local() || n.Earlier[0].Client != callers[3].local() {
		t.Errorf("shown at %v after %d moves, before at %+v", n.Client, n.Moves, n.Earlier)
	}
	if want := fmt.Sprintf("moved from udp %v to tcp %v; moved from tcp %v to udp %v;", c.local(), next.local(), next.local(), callers[2].local()); !strings.Contains(told(s.served, id), want) {
		t.Errorf("the history is\n%s\nwant in it\n%s", told(s.served, id), want)
	}
	last.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	e := s.event(t, events.Death, id, 0)
	if e.Client != last.local() || e.Moves != 11 || len(e.Earlier) != 8 || e.Traffic.FromClient != (events.Count{Packets: 12, Bytes: 4 + 5 + 10}) {
		t.Errorf("the death says %+v, %+v", e, e.Traffic)
	}
	s.wantLog(t, "ended", "client="+last.local().String()+" ", "from_client=12/19B", "moves=11")
}
