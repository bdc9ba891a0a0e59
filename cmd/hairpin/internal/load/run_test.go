package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

const (
	user, password = "alice", "wonderland"
	secret         = "geheim"
)

// serve runs a relay in this process until the test ends and returns the address of its listener for UDP and TCP.
func serve(t testing.TB, host string, change func(*relay.Config)) netip.AddrPort {
	t.Helper()
	c := relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: net.JoinHostPort(host, "0")}},
		Auth:      auth.Options{Realm: "bench", Users: []auth.User{{Name: user, Password: password}}, Secrets: []string{secret}},
		Log:       &logging.DefaultLoggerFactory{Writer: t.Output(), DefaultLogLevel: logging.LogLevelError},
	}
	// A port that is free for UDP need not be free for TCP, so it is tried a few times.
	for attempt := 0; ; attempt++ {
		free, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		address := free.Addr().String()
		free.Close()
		c.Listeners = []relay.Listener{{Scheme: "udp", Address: address}, {Scheme: "tcp", Address: address}}
		if change != nil {
			change(&c)
		}
		s, err := relay.New(c)
		if err != nil && attempt < 10 {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		t.Cleanup(func() {
			// Those of TCP end as soon as the server has noticed that their connections have.
			late := time.After(10 * time.Second)
			for s.Count() != 0 {
				select {
				case <-time.After(time.Millisecond):
					continue
				case <-late:
					t.Errorf("%d allocations are left behind", s.Count())
				}
				break
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return netip.MustParseAddrPort(address)
	}
}

func run(t *testing.T, o Options) *Result {
	t.Helper()
	for _, f := range o.Validate() {
		t.Fatal(f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whatever way packets go, those that are sent arrive, and nothing else does.
func TestRelay(t *testing.T) {
	server := serve(t, "127.0.0.1", nil)
	for _, test := range []struct {
		name   string
		change func(*Options)
	}{
		{"saturated", func(o *Options) {}},
		{"one pair", func(o *Options) { o.Pairs = 1 }},
		{"many pairs", func(o *Options) { o.Pairs = 300 }},
		{"a rate", func(o *Options) { o.Rate = 2000 }},
		{"indications", func(o *Options) { o.Indications = true }},
		{"an odd size", func(o *Options) { o.Indications, o.Size = true, 101 }},
		{"the smallest", func(o *Options) { o.Size = MinSize }},
		{"large", func(o *Options) { o.Size, o.InFlight = 1400, 16 }},
		{"a window", func(o *Options) { o.Window = 1 }},
		{"bursts", func(o *Options) { o.Burst = 8 }},
		{"bursts by datagrams", func(o *Options) { o.Burst, o.GSO = 8, false }},
		{"bursts at a rate", func(o *Options) { o.Burst, o.Rate = 8, 4000 }},
		{"bursts of indications", func(o *Options) { o.Burst, o.Indications = 8, true }},
		{"taken apart by the kernel", func(o *Options) { o.Burst, o.GRO = 8, false }},
		{"own sockets", func(o *Options) { o.OwnSockets = true }},
		{"own sockets, bursts", func(o *Options) { o.OwnSockets, o.Burst = true, 4 }},
		{"TCP", func(o *Options) { o.Transport = TCP }},
		{"TCP, an odd size", func(o *Options) { o.Transport, o.Size = TCP, 101 }},
		{"TCP indications", func(o *Options) { o.Transport, o.Indications = TCP, true }},
		{"TCP bursts", func(o *Options) { o.Transport, o.Burst = TCP, 8 }},
		{"UDP to TCP", func(o *Options) { o.PeerTransport, o.Size = TCP, 99 }},
		{"TCP to UDP", func(o *Options) { o.Transport, o.PeerTransport = TCP, UDP }},
		{"portable", func(o *Options) { o.Portable = true }},
		{"portable bursts", func(o *Options) { o.Portable, o.Burst = true, 4 }},
		{"portable TCP", func(o *Options) { o.Portable, o.Transport = true, TCP }},
		{"ephemeral", func(o *Options) { o.Password, o.Secret = "", secret }},
		{"ephemeral without a name", func(o *Options) { o.User, o.Password, o.Secret = "", "", secret }},
		{"a family", func(o *Options) { o.Family = 4 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := basic(server)
			test.change(&o)
			r := run(t, o)
			p := r.Packets
			if p.Relayed == 0 || p.Delivered == 0 || p.Sent == 0 {
				t.Fatalf("nothing was relayed: %+v", p)
			}
			if p.Damaged+p.Foreign+p.Duplicates+p.Broken > 0 || r.Refused > 0 || r.Pairs != o.Pairs {
				t.Errorf("%+v, %d pairs, refusals %v", p, r.Pairs, r.Refusals)
			}
			// A machine that is busy with other tests may lose a few, never many.
			if p.LossPercent > 5 || p.Delivered+p.Lost+p.Unsent != p.Sent {
				t.Errorf("%+v", p)
			}
			if q := p.Latency; q.Count == 0 || q.Min <= 0 || q.P50 > q.P99 || q.P99 > q.Max {
				t.Errorf("latency %+v", q)
			}
			if o.Rate > 0 && p.PerSecond > 1.5*o.Rate {
				t.Errorf("%.0f packets/s, asked for %.0f", p.PerSecond, o.Rate)
			}
			if r.Stopped || r.Elapsed < o.Duration || r.Generator.Busy <= 0 || r.Limit == "" || r.Realm != "bench" {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRelayIPv6(t *testing.T) {
	o := basic(serve(t, "::1", nil))
	o.Family, o.Indications = 6, true
	if p := run(t, o).Packets; p.Relayed == 0 || p.Damaged+p.Foreign > 0 {
		t.Errorf("%+v", p)
	}
	o.Portable, o.Indications, o.PeerTransport = true, false, TCP
	if p := run(t, o).Packets; p.Relayed == 0 || p.Damaged+p.Foreign > 0 {
		t.Errorf("%+v", p)
	}
}

// Nonces that are stale after a moment are replaced, in the release at the latest.
func TestStaleNonce(t *testing.T) {
	o := basic(serve(t, "127.0.0.1", func(c *relay.Config) { c.Auth.NonceLifetime = 20 * time.Millisecond }))
	if r := run(t, o); r.Refused > 0 {
		t.Errorf("%v", r.Refusals)
	}
}

func TestAllocations(t *testing.T) {
	for _, transport := range []Transport{UDP, TCP} {
		for _, portable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, portable %v", transport, portable), func(t *testing.T) {
				o := basic(serve(t, "127.0.0.1", func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")} }))
				o.Mode, o.Transport, o.Portable, o.InFlight, o.Duration = Allocations, transport, portable, 8, 300*time.Millisecond
				r := run(t, o)
				a := r.Allocations
				if a == nil || a.Made == 0 || a.PerSecond <= 0 || r.Refused > 0 {
					t.Fatalf("%+v, refusals %v", a, r.Refusals)
				}
				for _, q := range []Quantiles{a.Allocate, a.ChannelBind, a.Refresh} {
					if q.Count == 0 || q.Min <= 0 {
						t.Errorf("%+v", a)
					}
				}
			})
		}
	}
}

// A server that refuses says why, and the measurement ends soon.
func TestRefusals(t *testing.T) {
	server := serve(t, "127.0.0.1", nil)
	small := serve(t, "127.0.0.1", func(c *relay.Config) { c.TotalQuota = 2 })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobodyThere := netip.MustParseAddrPort(closed.Addr().String())
	closed.Close()
	for _, test := range []struct {
		name   string
		server netip.AddrPort
		change func(*Options)
		code   int
		text   string
	}{
		{"wrong password", server, func(o *Options) { o.Password = "x" }, 401, "Allocate was answered with 401"},
		{"wrong password for allocations", server, func(o *Options) { o.Mode, o.Password = Allocations, "x" }, 401, "Allocate was answered with 401"},
		{"no credentials", server, func(o *Options) { o.User, o.Password = "", "" }, 401, "Allocate was answered with 401"},
		{"wrong family", server, func(o *Options) { o.Family = 6 }, 440, "Allocate was answered with 440"},
		{"nobody there", nobodyThere, func(o *Options) { o.Timeout = 50 * time.Millisecond }, 0, "Allocate was not answered"},
		{"nobody there, TCP", nobodyThere, func(o *Options) { o.Transport = TCP }, 0, "Allocate: write: connection refused"},
		{"nobody there, portable TCP", nobodyThere, func(o *Options) { o.Transport, o.Portable = TCP, true }, 0, "refused"},
		{"nobody there, own sockets", nobodyThere, func(o *Options) { o.OwnSockets = true }, 0, "Allocate: connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := basic(test.server)
			test.change(&o)
			_, err := Run(t.Context(), o)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != test.code || !strings.Contains(err.Error(), test.text) || refusal.Remedy() == "" {
				t.Errorf("%v, want %d and %q", err, test.code, test.text)
			}
		})
	}

	// Two of four clients are let in, which may be a pair or not.
	o := basic(small)
	r, err := Run(t.Context(), o)
	var refusal *Refusal
	if err == nil && (r.Pairs != 1 || r.Refused != 2 || r.Refusals[0].Count != 2) || err != nil && (!errors.As(err, &refusal) || refusal.Code != 508) {
		t.Errorf("%+v, %v", r, err)
	}
}

// Requests that get lost are sent again.
func TestRetransmission(t *testing.T) {
	server := serve(t, "127.0.0.1", nil)
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	// The way back is not the client's affair: this proxy serves one client by one socket.
	back, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		t.Fatal(err)
	}
	var client atomic.Pointer[netip.AddrPort]
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for n := 0; ; n++ {
			size, from, err := front.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if client.Store(&from); n%2 == 1 { // every other one is lost
				_, _ = back.Write(b[:size])
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, 2048)
		for {
			size, err := back.Read(b)
			if err != nil {
				return
			}
			_, _ = front.WriteToUDPAddrPort(b[:size], *client.Load())
		}
	}()
	defer func() { front.Close(); back.Close(); <-done; <-done }()

	o := basic(netip.MustParseAddrPort(front.LocalAddr().String()))
	o.Mode, o.InFlight, o.retransmit = Allocations, 1, time.Millisecond
	if r := run(t, o); r.Retransmissions == 0 || r.Refused > 0 {
		t.Errorf("%d retransmissions, refusals %v", r.Retransmissions, r.Refusals)
	}
}

// The user's impatience ends a run, and leaves nothing behind.
func TestStop(t *testing.T) {
	o := basic(serve(t, "127.0.0.1", nil))
	o.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	var phases atomic.Int32
	o.Progress = func(p Progress) {
		if p.Phase == "measuring" && phases.Add(1) == 2 {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if err != nil || !r.Stopped || r.Packets.Relayed == 0 {
		t.Errorf("%+v, %v", r, err)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, mode := range []Mode{Relay, Allocations} {
		o.Mode = mode
		if r, err := Run(cancelled, o); !errors.Is(err, errInterrupted) {
			t.Errorf("%s: %+v, %v", mode, r, err)
		}
	}
}

// Allocations, permissions and channels are refreshed before they end, be it with a new nonce.
func TestRenewal(t *testing.T) {
	for _, indications := range []bool{false, true} {
		o := basic(serve(t, "127.0.0.1", func(c *relay.Config) { c.Auth.NonceLifetime = 100 * time.Millisecond }))
		o.Indications = indications
		g, err := newGenerator(o.settled(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer g.net.shutdown()
		set := g.newSetup(4)
		if err := set.run(); err != nil {
			t.Fatal(err)
		}
		for i := range g.clients {
			c := &g.clients[i]
			if c.renewAt < g.now+int64(time.Minute) || c.permitAt < g.now+int64(time.Minute) || !c.ready {
				t.Errorf("%+v is due", c)
			}
		}
		g.mode = renewing{}
		stale := g.now + int64(110*time.Millisecond)
		g.loop(func() bool { return g.now > stale }, func() (int, int64) { return 0, stale })
		end := g.now + int64(10*time.Second)
		for i := range g.clients {
			g.clients[i].renewAt, g.clients[i].permitAt = 0, 0
		}
		due := func() (n int) {
			for i := range g.clients {
				if c := &g.clients[i]; c.renewAt <= g.now || c.permitAt <= g.now {
					n++
				}
			}
			return n
		}
		g.loop(func() bool { return due() == 0 || g.now > end }, func() (int, int64) { return g.renew(2), g.later() })
		if n := due(); n > 0 || g.refusals.total > 0 {
			t.Errorf("%d clients were not refreshed; refusals %v", n, g.refusals.list())
		}
		g.release()
	}
}

func TestLimit(t *testing.T) {
	server := func(load, waited float64) *ServerUsage { return &ServerUsage{Load: load, Waited: waited} }
	for _, test := range []struct {
		name    string
		server  *ServerUsage
		busy    float64
		rate    float64
		skipped uint64
		want    Limit
	}{
		{"the server is full", server(0.95, 0), 0.5, 0, 0, LimitServer},
		{"the server shares its cores", server(0.6, 0.35), 0.5, 0, 0, LimitServer},
		{"one thread of the server is full", &ServerUsage{Load: 0.5, wanted: 0.97}, 0.5, 0, 0, LimitServer},
		{"both", server(0.95, 0), 0.99, 0, 0, LimitServer},
		{"the generator is full", server(0.8, 0), 0.97, 0, 0, LimitGenerator},
		{"neither", server(0.8, 0), 0.8, 0, 0, LimitWindow},
		{"nobody knows", nil, 0.5, 0, 0, LimitUnknown},
		{"the generator is full, nothing else is known", nil, 0.97, 0, 0, LimitGenerator},
		{"the rate", server(0.3, 0), 0.5, 1000, 0, LimitRate},
		{"the rate was too high for the generator", server(0.3, 0), 0.5, 1000, 20, LimitGenerator},
	} {
		r := &Result{Options: Options{Mode: Relay, Rate: test.rate}, Server: test.server, Packets: &Packets{Sent: 1000, Skipped: test.skipped}, Generator: Usage{Busy: test.busy}}
		if got := r.limit(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
