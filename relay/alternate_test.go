package relay

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/control"
)

func addresses(text ...string) (list []netip.Addr) {
	for _, t := range text {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

// A name is looked up every ten seconds; what fails or hangs leaves the last answer in force, and is logged once.
func TestAlternatesAreLookedUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var asked []time.Duration
		var known [][]netip.Addr // before each look-up
		var log bytes.Buffer
		a := &alternates{
			configured: []Alternate{{Name: "relays.example", Port: 3478}, {Address: netip.MustParseAddr("192.0.2.1"), Port: 5}},
			gate:       new(control.Gate),
			log:        (&logging.DefaultLoggerFactory{Writer: &log, DefaultLogLevel: logging.LogLevelInfo}).NewLogger("relay"),
			own:        func() []netip.AddrPort { return nil },
			found:      map[string][]netip.Addr{}, failing: map[string]bool{},
		}
		a.lookup = func(ctx context.Context, _, host string) ([]netip.Addr, error) {
			asked, known = append(asked, time.Since(start)), append(known, a.found[host])
			switch len(asked) {
			case 1:
				return addresses("192.0.2.7", "::ffff:192.0.2.8", "192.0.2.7", "0.0.0.0", "fe80::1%eth0"), nil
			case 2:
				return nil, errors.New("no such host")
			case 3:
				<-ctx.Done()
				return nil, ctx.Err()
			case 4:
				return nil, nil
			}
			return addresses("192.0.2.9"), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			a.run(ctx)
			close(ended)
		}()
		time.Sleep(5*alternateInterval + time.Second)
		cancel()
		<-ended
		first := addresses("192.0.2.7", "192.0.2.8")
		for i, want := range [][]netip.Addr{nil, first, first, first, first, addresses("192.0.2.9")} {
			if at := time.Duration(i) * alternateInterval; len(asked) != 6 || asked[i] != at || !slices.Equal(known[i], want) {
				t.Fatalf("look-ups at %v, the last answers being %v; want number %d at %v and %v", asked, known, i, at, want)
			}
		}
		if n := strings.Count(log.String(), "cannot be looked up"); n != 1 || !strings.Contains(log.String(), "no such host") {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "looked up again: 1 addresses") {
			t.Errorf("no recovery in\n%s", log.String())
		}
	})
}

// A name may stand for thousands.
func TestVeryManyAddresses(t *testing.T) {
	var many []netip.Addr
	for ip := netip.MustParseAddr("10.0.0.1"); len(many) < 5000; ip = ip.Next() {
		many = append(many, ip)
	}
	if got := usable(many); len(got) != maxAddresses {
		t.Errorf("%d addresses, want %d", len(got), maxAddresses)
	}
}

// All relays of a fleet may have one list: whatever leads back to this server is left out.
func TestOwnAddresses(t *testing.T) {
	s, err := New(Config{
		Listeners:       []Listener{{Scheme: "udp", Address: "127.0.0.1:0"}, {Scheme: "tcp", Address: ":0"}},
		PublicAddresses: addresses("203.0.113.7"),
		Auth:            auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		Log:             &logging.DefaultLoggerFactory{Writer: t.Output()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	named, everywhere := s.bound.Load().sockets[0].local.Port(), s.bound.Load().sockets[1].local.Port()
	own := s.ownAddresses()
	for _, test := range []struct {
		address string
		port    uint16
		own     bool
	}{
		{"127.0.0.1", named, true},
		{"203.0.113.7", named, true},
		{"203.0.113.7", everywhere, true},
		{"127.0.0.1", everywhere, true},
		{"203.0.113.7", 1, false},
		{"127.0.0.2", named, false},
		{"192.0.2.1", everywhere, false},
	} {
		if got := slices.Contains(own, netip.AddrPortFrom(netip.MustParseAddr(test.address), test.port)); got != test.own {
			t.Errorf("%s port %d: own is %v", test.address, test.port, got)
		}
	}
}
