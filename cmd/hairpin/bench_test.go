package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/load"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe/probetest"
	"github.com/hairpin-turn/hairpin/relay"
)

// benchTarget runs a relay in this process until the test ends and returns its address.
func benchTarget(t *testing.T) string {
	t.Helper()
	s, err := relay.New(relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}},
		Auth:      auth.Options{Realm: "bench", Users: []auth.User{{Name: "alice", Password: "wonderland"}}, Secrets: []string{"geheim"}},
		Log:       &logging.DefaultLoggerFactory{Writer: t.Output(), DefaultLogLevel: logging.LogLevelError},
		Software:  "target",
	})
	if err != nil {
		t.Fatal(err)
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
	return s.ListenerInfos()[0].Address.String()
}

var benchShort = []string{"--duration", "100ms", "--warmup", "10ms"}

func benchRun(t *testing.T, arguments ...string) outcome {
	t.Helper()
	return hairpin(t, slices.Concat([]string{"bench"}, benchShort, arguments)...)
}

func TestBenchVerdicts(t *testing.T) {
	target := "turn:" + benchTarget(t)
	var packets atomic.Int64
	damaging := "turn:" + probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if len(b) > 4+24 && b[0]>>6 == 1 && packets.Add(1)%5 == 0 {
			b[len(b)-1] ^= 1
		}
		send(b)
	}}).Address.String()
	deaf := "turn:" + probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if b[0]>>6 != 1 {
			send(b)
		}
	}}).Address.String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "turn:" + closed.Addr().String() + "?transport=tcp"
	_ = closed.Close()

	with := func(arguments ...string) []string {
		return append([]string{"--user", "alice", "--password", "wonderland"}, arguments...)
	}
	other := func(arguments ...string) []string {
		return append([]string{"--user", probetest.User, "--password", probetest.Password}, arguments...)
	}
	for _, c := range []struct {
		name      string
		arguments []string
		code      int
		stdout    string // pattern; empty: nothing is printed
		stderr    string
	}{
		{"packets", with(target), 0,
			`(?s)^` + target + `\?transport=udp at 127.0.0.1:\d+, target\n10 pairs over udp, 200 bytes through channels, 128 in flight, 0\.1\d* s\n\n` +
				`  relayed +[\d,]+ packets/s, [\d.]+ Mbit/s of payload\n  latency µs .*\n  one way ( +\d+\.\d){6}\n  packets .*\n( +\d+){6}\n` +
				`  generator   busy \d+ %\n\n(note: .*\n)*limit: .*\n$`, ""},
		{"bursts of indications at a rate", with("--pairs", "2", "--burst", "4", "--indications", "--rate", "2000", target), 0, `2 pairs over udp, 200 bytes through indications, bursts of 4 as one message, 2,000 packets/s asked for`, ""},
		{"an ephemeral user", []string{"--secret", "geheim", target}, 0, `relayed`, ""},
		{"allocations", with("--allocations", "--in-flight", "4", target), 0, `(?s)allocations over udp, 4 at a time, .* s\n\n  allocations [\d,]+/s: .*  Allocate( +\d+\.\d){4}\n  ChannelBind( +\d+\.\d){4}\n  Refresh    ( +\d+\.\d){4}\n`, ""},
		{"wrong password", []string{"--user", "alice", "--password", "x", target}, 1, "", `^hairpin bench: Allocate was answered with 401 \(.*\)\n  user name, password or secret is wrong\n$`},
		{"nobody listens", with(nobody), 1, "", `^hairpin bench: Allocate: .*refused.*\n  is there a TURN server .*\n$`},
		{"packets are damaged", other(damaging), 3, `(?s)packets were damaged or reached the wrong client; limit: .*\n$`, ""},
		{"nothing comes", other(deaf), 1, `(?s)relayed     0 packets/s.*\nnothing was relayed\n$`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := benchRun(t, c.arguments...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d", got.code, c.code)
			}
			for _, o := range []struct{ name, got, want string }{{"stdout", got.stdout, c.stdout}, {"stderr", got.stderr, c.stderr}} {
				if o.want == "" && o.got != "" || !regexp.MustCompile(o.want).MatchString(o.got) {
					t.Errorf("%s is\n%s\nwant %s", o.name, o.got, o.want)
				}
			}
		})
	}
}

func TestBenchUsage(t *testing.T) {
	const uri = "turn:127.0.0.1:9"
	for _, c := range []struct {
		name      string
		arguments []string
		lines     []string // what stderr's lines are about, in this order
	}{
		{"no server", nil, []string{"takes one server"}},
		{"no URI", []string{"127.0.0.1:9"}, []string{"is not a turn URI"}},
		{"another host", []string{"turn:192.0.2.1"}, []string{"192.0.2.1 is not on this host; give --remote"}},
		{"every fault at once", []string{"--user", "u", "--pairs", "0", "--size", "3", "--burst", "65", "--clients-from", "here", "--transport", "sctp", uri + "0000"},
			[]string{"is not a port", "--clients-from", "--user", "--transport", "--pairs", "--size", "--burst"}},
		{"what excludes each other", []string{"--rate", "1", "--saturate", "--window", "1", "--in-flight", "1", "--json", "--quiet", uri},
			[]string{"--saturate", "--window", "--in-flight", "--quiet"}},
		{"packets without packets", []string{"--allocations", "--hold", "2", "--pid", "1", "--burst", "2", "--rate", "3", uri},
			[]string{"--allocations", "--burst", "--rate", "--burst", "--rate"}},
		{"no rate", []string{"--rate", "0", uri}, []string{"--rate: 0 packets per second"}},
		{"memory of nobody", []string{"--hold", "10", uri}, []string{"--hold: reads the memory of a process"}},
		{"another family", []string{"--clients-from", "fd00::/64", uri}, []string{"different IP versions"}},
		{"exclusive credentials", []string{"--user", "u", "--password", "geheim", "--secret", "geheim", uri}, []string{"--secret"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := benchRunAlone(t, c.arguments...)
			lines := strings.Split(strings.TrimSuffix(got.stderr, "\n"), "\n")
			if got.code != exitUsage || got.stdout != "" || len(lines) != len(c.lines) || strings.Contains(got.stderr, "geheim") {
				t.Fatalf("%+v", got)
			}
			for i, want := range c.lines {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %q, want one about %q", lines[i], want)
				}
			}
		})
	}
}

// benchRunAlone adds nothing to the arguments.
func benchRunAlone(t *testing.T, arguments ...string) outcome {
	t.Helper()
	return hairpin(t, append([]string{"bench"}, arguments...)...)
}

func TestBenchJSON(t *testing.T) {
	target := "turn:" + benchTarget(t)
	decode := func(t *testing.T, text string) map[string]any {
		t.Helper()
		d := json.NewDecoder(strings.NewReader(text))
		var object map[string]any
		if err := d.Decode(&object); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Errorf("something follows the object in\n%s", text)
		}
		return object
	}
	part := func(o map[string]any, key string) map[string]any {
		p, _ := o[key].(map[string]any)
		return p
	}

	got := benchRun(t, "--json", "--secret", "geheim", "--pairs", "2", "--size", "300", target)
	o := decode(t, got.stdout)
	packets, asked := part(o, "packets"), part(o, "asked")
	if got.code != 0 || got.stderr != "" || o["status"] != "relayed" || o["limit"] == nil || o["pairs"] != 2.0 || o["software"] != "target" {
		t.Errorf("%+v", got)
	}
	if asked["mode"] != "relay" || asked["size"] != 300.0 || asked["in_flight"] != 128.0 || asked["transport"] != "udp" || strings.Contains(got.stdout, "geheim") {
		t.Errorf("asked %v", asked)
	}
	sent, _ := packets["sent"].(float64)
	delivered, _ := packets["delivered"].(float64)
	lost, _ := packets["lost"].(float64)
	if rate, _ := packets["per_second"].(float64); rate <= 0 || sent <= 0 || sent != delivered+lost {
		t.Errorf("packets %v", packets)
	}
	for _, key := range []string{"min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"} {
		if v, _ := part(o, "latency_us")[key].(float64); v <= 0 {
			t.Errorf("latency_us.%s is %v", key, v)
		}
	}
	if busy, _ := part(o, "generator")["busy"].(float64); busy <= 0 || part(o, "server") != nil {
		t.Errorf("generator %v, server %v", part(o, "generator"), part(o, "server"))
	}

	got = benchRun(t, "--json", target)
	o = decode(t, got.stdout)
	if got.code != 1 || got.stderr != "" || o["status"] != "failed" || part(o, "error")["code"] != 401.0 || part(o, "error")["remedy"] == nil || part(o, "packets") != nil {
		t.Errorf("%+v", got)
	}
}

func TestBenchEnvironment(t *testing.T) {
	target := "turn:" + benchTarget(t)
	clearEnvironment(t)
	for name, value := range map[string]string{"SECRET": "geheim", "DURATION": "50ms", "WARMUP": "0", "PAIRS": "3", "GSO": "false", "BURST": "2"} {
		t.Setenv("HAIRPIN_BENCH_"+name, value)
	}
	got := hairpinHere("bench", target)
	if got.code != 0 || !strings.Contains(got.stdout, "3 pairs over udp, 200 bytes through channels, bursts of 2, 128 in flight") {
		t.Errorf("%+v", got)
	}

	help := hairpinHere("bench", "--help").stdout
	if strings.Contains(help, "geheim") {
		t.Errorf("help shows the secret:\n%s", help)
	}
	for _, f := range benchCommand().Flags {
		variable := "$HAIRPIN_BENCH_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
		if !strings.Contains(help, "--"+f.Names()[0]) || !strings.Contains(strings.Join(strings.Fields(help), " "), variable) {
			t.Errorf("help does not show --%s and %s", f.Names()[0], variable)
		}
	}
}

// Ctrl-C ends early, with the figures so far.
func TestBenchInterrupted(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var packets atomic.Int64
	var once sync.Once // the second one would end the test
	server := probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if len(b) > 4+24 && b[0]>>6 == 1 && packets.Add(1) == 5000 {
			once.Do(func() {
				if err := self.Signal(os.Interrupt); err != nil {
					t.Error(err)
				}
			})
		}
		send(b)
	}}).Address.String()
	got := benchRunAlone(t, "--duration", "1h", "--warmup", "0", "--user", probetest.User, "--password", probetest.Password, "turn:"+server)
	if got.code != 0 || !strings.Contains(got.stdout, "note: interrupted; these are the figures so far\n") || got.stderr != "" {
		t.Errorf("%+v", got)
	}
}

func TestProgressText(t *testing.T) {
	for _, c := range []struct {
		progress load.Progress
		want     string
	}{
		{load.Progress{Phase: "set-up", Count: 1200, Total: 2000}, "set-up 1,200 of 2,000"},
		{load.Progress{Phase: "measuring", Elapsed: 1549 * time.Millisecond, Of: 10 * time.Second, Rate: 118204.4, Lost: 64}, "measuring 1.5s of 10s  118,204/s  64 on the way or lost"},
		{load.Progress{Phase: "draining"}, "draining"},
	} {
		if got := progressText(c.progress); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// The line is written over, and leaves nothing behind.
func TestProgressLine(t *testing.T) {
	var b strings.Builder
	l := &progressLine{out: &b}
	l.show(load.Progress{Phase: "releasing"})
	l.show(load.Progress{Phase: "holding"})
	l.clear()
	if got, want := b.String(), "\rreleasing\rholding  \r       \r"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	silent := &progressLine{}
	silent.show(load.Progress{Phase: "releasing"})
	silent.clear()
}

func TestGrouped(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 118204.4: "118,204", 1234567: "1,234,567"} {
		if got := grouped(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}
