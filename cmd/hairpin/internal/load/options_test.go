package load

import (
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// basic is a short run that is valid.
func basic(server netip.AddrPort) Options {
	return Options{
		Server: server, Mode: Relay, User: user, Password: password, Pairs: 2, Size: 100, Burst: 1, GSO: true, GRO: true, CPU: -1,
		Duration: 100 * time.Millisecond, Warmup: 10 * time.Millisecond, Timeout: 5 * time.Second,
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Options)
		keys   []string
	}{
		{"good", func(o *Options) {}, nil},
		{"no credentials", func(o *Options) { o.User, o.Password = "", "" }, nil},
		{"a secret", func(o *Options) { o.Password, o.Secret = "", "s" }, nil},
		{"a secret and a password", func(o *Options) { o.Secret = "s" }, []string{"secret"}},
		{"no password", func(o *Options) { o.Password = "" }, []string{"user"}},
		{"no user", func(o *Options) { o.User = "" }, []string{"password"}},
		{"everything at once", func(o *Options) {
			o.Family, o.Transport, o.PeerTransport, o.Pairs, o.Size, o.Burst = 5, "sctp", "tls", 0, MinSize-1, 0
			o.Rate, o.Window, o.InFlight, o.Duration, o.Warmup, o.Timeout, o.PID = -1, -1, -1, 0, -1, 0, -1
		}, []string{"family", "transport", "peer-transport", "pairs", "size", "burst", "rate", "window", "in-flight", "duration", "warmup", "timeout", "pid"}},
		{"no rate", func(o *Options) { o.Rate = math.NaN() }, []string{"rate"}},
		{"a window below the burst", func(o *Options) { o.Burst, o.Window, o.InFlight = 8, 7, 6 }, []string{"window", "in-flight"}},
		{"a burst beyond a datagram", func(o *Options) { o.Burst, o.Size = 64, 1200 }, []string{"burst"}},
		{"the same in pieces", func(o *Options) { o.Burst, o.Size, o.GSO = 64, 1200, false }, nil},
		{"one allocation held, by nobody", func(o *Options) { o.Mode, o.Count = Hold, 1 }, []string{"hold", "hold"}},
		{"clients of the other family", func(o *Options) { o.ClientsFrom = netip.MustParsePrefix("::1/128") }, []string{"clients-from"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := basic(netip.MustParseAddrPort("127.0.0.1:3478"))
			test.change(&o)
			var keys []string
			for _, f := range o.Validate() {
				keys = append(keys, f.Key)
				if f.What == "" || f.Remedy == "" {
					t.Errorf("%q says nothing", f.Key)
				}
			}
			if !slices.Equal(keys, test.keys) {
				t.Errorf("faults %v, want %v", keys, test.keys)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	for _, test := range []struct {
		name             string
		pairs, burst     int
		window, inFlight int
		wantWindow, want int
	}{
		{"few pairs share what is in flight", 10, 1, 0, 0, 6, 128},
		{"many take turns", 1000, 1, 0, 0, 1, 128},
		{"a burst is whole", 1000, 8, 0, 0, 8, 128},
		{"a burst beyond the default", 1, 200, 0, 0, 200, 200},
		{"a window for each", 10, 1, 4, 0, 4, 80},
		{"both", 10, 1, 4, 16, 4, 16},
		{"in flight", 2, 1, 0, 64, 16, 64},
	} {
		o := Options{Mode: Relay, Pairs: test.pairs, Burst: test.burst, Window: test.window, InFlight: test.inFlight}.settled()
		if o.Window != test.wantWindow || o.InFlight != test.want {
			t.Errorf("%s: window %d, in flight %d; want %d, %d", test.name, o.Window, o.InFlight, test.wantWindow, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		prefix string
		want   []string
	}{
		{"127.0.0.0/30", []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"}},
		{"10.1.2.3/32", []string{"10.1.2.3", "10.1.2.3"}},
		{"fd00::/126", []string{"fd00::1", "fd00::2", "fd00::3", "fd00::1"}},
	} {
		a := addresses{prefix: netip.MustParsePrefix(test.prefix)}
		for i, want := range test.want {
			if got := a.next(); got != netip.MustParseAddr(want) {
				t.Errorf("%s: number %d is %v, want %s", test.prefix, i, got, want)
			}
		}
	}
	if got := (&addresses{}).next(); got.IsValid() {
		t.Errorf("%v of no prefix", got)
	}
}
