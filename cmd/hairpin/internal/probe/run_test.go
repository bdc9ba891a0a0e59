package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe/probetest"
)

// quick are options for a server on this machine.
func quick(server netip.AddrPort, transport Transport) Options {
	return Options{
		Server: URI{server.Addr().String(), server.Port(), transport},
		User:   probetest.User, Password: probetest.Password,
		Count: 50, Interval: time.Millisecond, Size: 161, Timeout: 10 * time.Second,
	}
}

func mustRun(t *testing.T, ctx context.Context, o Options) *Result {
	t.Helper()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Counts.Sent != r.Counts.Received+r.Counts.Lost {
		t.Errorf("counts do not add up: %+v", r.Counts)
	}
	return r
}

// complete demands that every packet came back once and in a plausible time.
func complete(t *testing.T, r *Result, count int) {
	t.Helper()
	if want := (Counts{Sent: count, Received: count, Reordered: r.Counts.Reordered}); r.Counts != want {
		t.Errorf("counts %+v, want %+v", r.Counts, want)
	}
	q := r.RoundTrip
	if !slices.IsSorted([]time.Duration{1, q.Min, q.P50, q.P90, q.P99, q.Max}) || q.Mean < q.Min || q.Mean > q.Max {
		t.Errorf("implausible round trips %+v", q)
	}
	if r.Broken != "" || r.Interrupted {
		t.Errorf("ended early: %q, interrupted %v", r.Broken, r.Interrupted)
	}
	for _, a := range r.Allocations {
		if !a.Local.IsValid() || a.Mapped != a.Local || !a.Relayed.IsValid() || a.Relayed == a.Local || a.Took <= 0 {
			t.Errorf("implausible allocation %+v", a)
		}
	}
}

func TestRun(t *testing.T) {
	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() { // ends with the socket
		b := make([]byte, 2048)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:n], from)
		}
	}()

	for _, c := range []struct {
		name      string
		transport Transport
		ephemeral bool
		change    func(*Options)
		through   byte // first byte's top two bits of what carries data over UDP
		sides     string
	}{
		{"udp", UDP, false, func(*Options) {}, 1, "A udp B udp"},
		{"tcp", TCP, false, func(*Options) {}, 1, "A tcp B tcp"},
		{"udp to tcp", UDP, false, func(o *Options) { o.PeerTransport = TCP }, 1, "A udp B tcp"},
		{"tcp to udp", TCP, false, func(o *Options) { o.PeerTransport = UDP }, 1, "A tcp B udp"},
		{"indications over udp", UDP, false, func(o *Options) { o.Indications = true }, 0, "A udp B udp"},
		{"indications over tcp", TCP, false, func(o *Options) { o.Indications = true }, 0, "A tcp B tcp"},
		{"echo", UDP, false, func(o *Options) { o.Echo = echo.LocalAddr().String() }, 1, "A udp"},
		{"echo over tcp", TCP, false, func(o *Options) { o.Echo = echo.LocalAddr().String() }, 1, "A tcp"},
		{"smallest", TCP, false, func(o *Options) { o.Size = MinSize }, 1, "A tcp B tcp"},
		{"secret", UDP, true, func(o *Options) { o.User, o.Password, o.Secret = "", "", probetest.Secret }, 1, "A udp B udp"},
		{"secret with id", UDP, true, func(o *Options) { o.User, o.Password, o.Secret = "bob", "", probetest.Secret }, 1, "A udp B udp"},
		{"by name", UDP, false, func(o *Options) { o.Server.Host = "localhost" }, 1, "A udp B udp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			wrong := 0 // data that did not go as asked
			server := probetest.Start(t, probetest.Hooks{Ephemeral: c.ephemeral, In: func(b []byte) {
				data := b[0]>>6 == 1 || binary.BigEndian.Uint16(b) == 0x0016
				if mu.Lock(); data && b[0]>>6 != c.through {
					wrong++
				}
				mu.Unlock()
			}})
			o := quick(server.Address, c.transport)
			c.change(&o)
			r := mustRun(t, t.Context(), o)
			complete(t, r, o.Count)
			var sides []string
			for _, a := range r.Allocations {
				sides = append(sides, a.Name, string(a.Transport))
			}
			if got := strings.Join(sides, " "); got != c.sides {
				t.Errorf("allocations %q, want %q", got, c.sides)
			}
			if mu.Lock(); wrong > 0 || r.Channels == o.Indications {
				t.Errorf("%d packets travelled in the wrong way", wrong)
			}
			mu.Unlock()
			if r.Realm != probetest.Realm || !strings.HasSuffix(r.User, o.User) || r.User == "" {
				t.Errorf("realm %q, user %q", r.Realm, r.User)
			}
			if n := server.Allocations(); n != 0 {
				t.Errorf("%d allocations left behind", n)
			}
		})
	}
}

// dataNumber finds a probe packet in ChannelData.
func dataNumber(b []byte) (number uint32, ok bool) {
	if len(b) < 4+MinSize || b[0]>>6 != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[4+12:]), true
}

func TestRunWithFaultyNetwork(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(number uint32, returning bool, send func())
		want  Counts
	}{
		{"loss both ways", func(n uint32, returning bool, send func()) {
			if lost := n%10 == 3 && !returning || n%10 == 7 && returning; !lost {
				send()
			}
		}, Counts{Sent: 50, Received: 40, Lost: 10, LostOutward: 5, LostReturning: 5}},
		{"duplicates", func(n uint32, returning bool, send func()) {
			if send(); n%10 == 3 && returning {
				send()
			}
		}, Counts{Sent: 50, Received: 50, Duplicates: 5}},
		{"all lost", func(uint32, bool, func()) {}, Counts{Sent: 50, Lost: 50, LostOutward: 50}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[uint32]bool{}
			server := probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
				number, ok := dataNumber(b)
				if !ok {
					send(b)
					return
				}
				mu.Lock()
				returning := seen[number]
				seen[number] = true
				mu.Unlock()
				c.fault(number, returning, func() { send(b) })
			}})
			o := quick(server.Address, UDP)
			if c.want.Received == 0 {
				o.Timeout = 300 * time.Millisecond // all of it is waited for
			}
			r := mustRun(t, t.Context(), o)
			r.Counts.Reordered = 0 // the machine's business
			if r.Counts != c.want {
				t.Errorf("counts %+v, want %+v", r.Counts, c.want)
			}
			if notes := r.Notes(); (len(notes) > 0) != (c.want.Received == 0) {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if number, ok := dataNumber(b); ok && number == 10 {
			cancel()
		}
		send(b)
	}})
	o := quick(server.Address, UDP)
	o.Count = maxCount
	r := mustRun(t, ctx, o)
	if !r.Interrupted || r.Counts.Sent < 11 || r.Counts.Received < 10 || r.Counts.Sent == o.Count {
		t.Errorf("interrupted %v, counts %+v", r.Interrupted, r.Counts)
	}
	if n := server.Allocations(); n != 0 {
		t.Errorf("%d allocations left behind", n)
	}

	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted before it began: %v", err)
	}
}

func TestRunRenews(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	requests := map[stun.Method]int{}
	server := probetest.Start(t, probetest.Hooks{In: func(b []byte) {
		m := stun.Message{Raw: slices.Clone(b)}
		if !stun.IsMessage(b) || m.Decode() != nil || m.Type.Class != stun.ClassRequest {
			return
		}
		mu.Lock()
		requests[m.Type.Method]++
		enough := requests[stun.MethodChannelBind] >= 6 && requests[stun.MethodCreatePermission] >= 6 && requests[stun.MethodRefresh] >= 4
		mu.Unlock()
		if enough {
			cancel()
		}
	}})
	o := quick(server.Address, UDP)
	o.Count, o.keepAlive = maxCount, 5*time.Millisecond
	r := mustRun(t, ctx, o) // ends only when everything has been renewed
	if r.Broken != "" || r.Counts.Corrupted > 0 {
		t.Errorf("broken %q, counts %+v", r.Broken, r.Counts)
	}
}

// cut is a connection that ends after some writes.
type cut struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.left--
	over := c.left < 0
	c.mu.Unlock()
	if over {
		_ = c.Conn.Close()
	}
	return c.Conn.Write(b)
}

func TestRunConnectionLost(t *testing.T) {
	server := probetest.Start(t, probetest.Hooks{TCP: func(c net.Conn) net.Conn { return &cut{Conn: c, left: 15} }})
	o := quick(server.Address, TCP)
	o.Count = maxCount
	r := mustRun(t, t.Context(), o)
	if r.Broken == "" || r.Interrupted || r.Counts.Received == 0 || r.Counts.Sent == o.Count {
		t.Errorf("broken %q, interrupted %v, counts %+v", r.Broken, r.Interrupted, r.Counts)
	}
}
