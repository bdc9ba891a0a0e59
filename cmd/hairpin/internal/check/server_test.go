package check

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
	"github.com/hairpin-turn/hairpin/relay"
)

//go:generate go test -run ^TestSupportTable$ -update .

var update = flag.Bool("update", false, "write the golden files anew")

// serve runs hairpin inside the test as "hairpin serve" does by default, but for its users, and says where. Without
// transports it is UDP and TCP, on one port.
func serve(t testing.TB, change func(*relay.Config), transports ...probe.Transport) (at map[probe.Transport]netip.AddrPort) {
	t.Helper()
	c := relay.Config{
		RelayAddresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Software:       "hairpin", // as "hairpin serve" has it
		Log:            &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled},
		Auth:           auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}, {Name: "bob", Password: "builder"}}},
	}
	if change != nil {
		change(&c)
	}
	var s *relay.Server
	for try := 0; s == nil; try++ { // one port for both transports
		free, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free.Close()
		if c.Listeners = nil; len(transports) == 0 {
			transports = []probe.Transport{probe.UDP, probe.TCP}
		}
		for _, transport := range transports {
			c.Listeners = append(c.Listeners, relay.Listener{Scheme: string(transport), Address: free.Addr().String()})
		}
		if s, err = relay.New(c); err != nil && try == 10 {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	at = map[probe.Transport]netip.AddrPort{}
	for _, l := range s.ListenerInfos() {
		at[probe.Transport(l.Scheme)] = l.Address
	}
	return at
}

// options are those of a check of such a server.
func options(at netip.AddrPort, transport probe.Transport) Options {
	return Options{
		Server: probe.URI{Host: at.Addr().String(), Port: at.Port(), Transport: transport},
		User:   "alice", Password: "wonder", OtherUser: "bob", OtherPassword: "builder",
		Timeout: 5 * time.Second, Quiet: 100 * time.Millisecond, Parallel: 8,
	}
}

func run(t testing.TB, o Options) *Result {
	t.Helper()
	if faults := o.Validate(); len(faults) > 0 {
		t.Fatal(faults[0])
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hairpin conforms, over UDP and TCP.
func TestHairpinConforms(t *testing.T) {
	at := serve(t, nil)
	for _, transport := range []probe.Transport{probe.UDP, probe.TCP} {
		t.Run(string(transport), func(t *testing.T) {
			for _, o := range run(t, options(at[transport], transport)).Outcomes {
				if o.Verdict == Fail && o.Level != May {
					t.Errorf("%s %s %s: %s", o.ID, o.Level, o.Requirement, o.Seen)
				}
			}
		})
	}
}

func TestRows(t *testing.T) {
	seen := map[string]bool{}
	rows := Rows()
	if len(rows) < 150 {
		t.Errorf("%d rows", len(rows))
	}
	index, err := os.ReadFile("../../../../testdata/rfc/index.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		what := r.RFC + r.Section + r.Requirement
		switch {
		case seen[r.ID] || seen[what]:
			t.Errorf("%s %s: twice", r.ID, r.Requirement)
		case !strings.Contains(string(index), "\n"+r.Citation()+" "):
			t.Errorf("%s: %s is not in testdata/rfc/index.txt", r.ID, r.Citation())
		case !slices.Contains([]Level{Must, MustNot, Should, ShouldNot, May}, r.Level):
			t.Errorf("%s: level %q", r.ID, r.Level)
		case r.probe == nil || r.Requirement == "":
			t.Errorf("%s: empty", r.ID)
		}
		seen[r.ID], seen[what] = true, true
	}
}

// What ends a check before its first row.
func TestRunFails(t *testing.T) {
	at := serve(t, nil)
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   any
	}{
		{"wrong password", func(o *Options) { o.Password = "?" }, new(*probe.Refusal)},
		{"no credentials", func(o *Options) { o.User, o.Password = "", "" }, new(*probe.Refusal)},
		{"nobody there", func(o *Options) { o.Server.Port = socketAddress(closed).Port() }, new(*probe.Unreachable)},
		{"TLS where none is", func(o *Options) {
			o.Server.Transport, o.Server.Port, o.Secure = probe.TCP, at[probe.TCP].Port(), true
		}, new(*probe.Unreachable)},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(at[probe.UDP], probe.UDP)
			o.Timeout = 300 * time.Millisecond
			c.change(&o)
			if r, err := Run(t.Context(), o); r != nil || !errors.As(err, c.want) {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}

func TestParseURI(t *testing.T) {
	for _, c := range []struct {
		uri    string
		want   string // host, port
		secure bool
		fault  bool
	}{
		{"turn:host", "host 3478", false, false},
		{"turns:host", "host 5349", true, false},
		{"turns:host:443?transport=tcp", "host 443", true, false},
		{"turns:[2001:db8::1]", "2001:db8::1 5349", true, false},
		{"turns:[2001:db8::1]:443", "2001:db8::1 443", true, false},
		{"turns:host?transport=udp", "", true, true},
		{"turns://host", "", true, true},
		{"stun:host", "", false, true},
	} {
		u, secure, fault := ParseURI(c.uri)
		if (fault != nil) != c.fault || secure != c.secure {
			t.Errorf("%s: secure %v, %v", c.uri, secure, fault)
		} else if fault == nil && fmt.Sprint(u.Host, " ", u.Port) != c.want {
			t.Errorf("%s: %s %d", c.uri, u.Host, u.Port)
		}
	}
}
