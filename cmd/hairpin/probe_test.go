package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe/probetest"
)

func probeRun(t *testing.T, arguments ...string) outcome {
	t.Helper()
	return hairpin(t, append([]string{"probe"}, arguments...)...)
}

func TestProbeVerdicts(t *testing.T) {
	good := probetest.Start(t, probetest.Hooks{}).Address.String()
	lossy := probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if lost := len(b) > 4+16 && b[0]>>6 == 1 && b[4+15] == 5; !lost { // packet number 5
			send(b)
		}
	}}).Address.String()
	forbidding := probetest.Start(t, probetest.Hooks{May: func(net.Addr, net.IP) bool { return false }}).Address.String()
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()

	credentials := []string{"--user", probetest.User, "--password", probetest.Password, "--count", "10", "--interval", "1ms"}
	with := func(arguments ...string) []string { return slices.Concat(credentials, arguments) }
	for _, c := range []struct {
		name      string
		arguments []string
		code      int
		stdout    string // pattern; empty: nothing is printed
		stderr    string
	}{
		{"good", with("turn:" + good), 0,
			`(?s)^turn:` + good + `\?transport=udp at ` + good + `, realm "probetest", user "alice"\n.*` +
				`A  udp  127.0.0.1:\d+  relayed 127.0.0.1:\d+  allocated in .* ms\n  B  udp .*` +
				`10 packets of 160 bytes, one every 1ms, through channels\n.*two passes through the relay.*` +
				`\n +ms( +\d+\.\d{3}){5}  \d+\.\d{3}\n.*\n +10 +10 +0 +0 +\d+  0\n.*\ngood: loss at most 0 %\n$`, ""},
		{"flags behind the URI", slices.Concat([]string{"turn:" + good + "?transport=tcp"}, with("--indications", "--max-rtt", "1m")), 0,
			`(?s)A  tcp .*through indications\n.*\ngood: loss at most 0 %, p99 at most 1m0s\n$`, ""},
		{"good and quiet", with("--quiet", "turn:"+good), 0, "", ""},
		{"loss", with("turn:" + lossy), 1, `(?s)lost on the way out 1, on the way back 0\n.*\ndegraded: loss 10 % is above 0 %\n$`, ""},
		{"loss that is allowed", with("--max-loss", "10", "turn:"+lossy), 0, `\ngood: loss at most 10 %\n$`, ""},
		{"loss and quiet", with("--quiet", "turn:"+lossy), 1, "", `^hairpin probe: degraded: loss 10 % is above 0 %\n$`},
		{"slow", with("--max-rtt", "1ns", "turn:"+good), 1, `\ndegraded: p99 .* is above 1ns\n$`, ""},
		{"unreachable", with("turn:" + closed.LocalAddr().String()), 2, "", `^hairpin probe: unreachable: .*: connection refused: .*\n$`},
		{"wrong password", []string{"--user", "alice", "--password", "x", "turn:" + good}, 3, "", `^hairpin probe: refused: Allocate of allocation A was answered with 400\n  .*password.*\n$`},
		{"no credentials", []string{"turn:" + good}, 3, "", `^hairpin probe: refused: .* 401\n  the server wants credentials for the realm "probetest": give --user .*\n$`},
		{"wrong password and quiet", []string{"--user", "alice", "--password", "x", "--quiet", "turn:" + good}, 3, "", `^hairpin probe: refused: .* 400; .*password.*\n$`},
		{"forbidden peer", with("turn:" + forbidding), 3, "", `^hairpin probe: refused: CreatePermission for peer 127.0.0.1:\d+ of allocation B .*\n  the relay does not let .*\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := probeRun(t, c.arguments...)
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

func TestProbeUsage(t *testing.T) {
	const uri = "turn:127.0.0.1:9"
	for _, c := range []struct {
		name      string
		arguments []string
		lines     []string // what stderr's lines are about, in this order
	}{
		{"no server", nil, []string{"takes one server"}},
		{"two servers", []string{uri, uri}, []string{"takes one server"}},
		{"no URI", []string{"127.0.0.1:9"}, []string{"is not a turn URI"}},
		{"insecure turn", []string{"--insecure", "turn:127.0.0.1"}, []string{"--insecure: and ca are about certificates"}},
		{"no CA", []string{"--ca", "/nowhere", "turns:127.0.0.1"}, []string{`--ca: cannot read "/nowhere": no such file`}},
		{"no number", []string{"--count", "many", uri}, []string{"count"}},
		{"every fault at once", []string{"--user", "u", "--count", "0", "--family", "5", "--max-loss", "101", "--max-rtt", "-1s", "--json", "--quiet", uri + "0000"},
			[]string{"is not a port", "--user", "--count", "--family", "--max-loss", "--max-rtt", "--quiet"}},
		{"loss is no number", []string{"--max-loss", "NaN", uri}, []string{"--max-loss"}},
		{"exclusive credentials", []string{"--user", "u", "--password", "geheim", "--secret", "geheim", uri}, []string{"--secret"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := probeRun(t, c.arguments...)
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

func TestProbeEnvironment(t *testing.T) {
	server := probetest.Start(t, probetest.Hooks{Ephemeral: true}).Address.String()
	clearEnvironment(t)
	t.Setenv("HAIRPIN_PROBE_SECRET", probetest.Secret)
	t.Setenv("HAIRPIN_PROBE_COUNT", "3")
	t.Setenv("HAIRPIN_PROBE_INTERVAL", "1ms")
	got := hairpinHere("probe", "turn:"+server, "--user", "bob")
	if got.code != 0 || !regexp.MustCompile(`user "\d{10}:bob"`).MatchString(got.stdout) || !strings.Contains(got.stdout, "3 packets of") {
		t.Errorf("%+v", got)
	}

	help := hairpinHere("probe", "--help").stdout
	if strings.Contains(help, probetest.Secret) {
		t.Errorf("help shows the secret:\n%s", help)
	}
	for _, c := range commands() {
		if c.Name != "probe" {
			continue
		}
		for _, f := range c.Flags {
			variable := "$HAIRPIN_PROBE_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
			if !strings.Contains(help, "--"+f.Names()[0]) || !strings.Contains(help, variable) {
				t.Errorf("help does not show --%s and %s", f.Names()[0], variable)
			}
		}
	}
}

func TestProbeJSON(t *testing.T) {
	server := probetest.Start(t, probetest.Hooks{}).Address.String()
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

	got := probeRun(t, "--json", "--count", "5", "--interval", "1ms", "--user", probetest.User, "--password", probetest.Password, "turn:"+server)
	o := decode(t, got.stdout)
	packets, _ := o["packets"].(map[string]any)
	rtt, _ := o["rtt_ms"].(map[string]any)
	if got.code != 0 || got.stderr != "" || o["status"] != "good" || packets["sent"] != 5.0 || packets["received"] != 5.0 || packets["through"] != "channels" {
		t.Errorf("%+v", got)
	}
	for _, key := range []string{"min", "mean", "p50", "p90", "p99", "max", "jitter"} {
		if v, ok := rtt[key].(float64); !ok || v <= 0 && key != "jitter" {
			t.Errorf("rtt_ms.%s is %v", key, rtt[key])
		}
	}
	if a, _ := o["allocations"].([]any); len(a) != 2 {
		t.Errorf("allocations are %v", o["allocations"])
	}

	got = probeRun(t, "--json", "turn:"+server)
	o = decode(t, got.stdout)
	failure, _ := o["error"].(map[string]any)
	if got.code != 3 || got.stderr != "" || o["status"] != "refused" || failure["code"] != 401.0 || failure["request"] != "Allocate" || failure["remedy"] == nil || o["packets"] != nil {
		t.Errorf("%+v", got)
	}
}

// Ctrl-C ends early, with the figures so far.
func TestProbeInterrupted(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once // the second one would end the test
	server := probetest.Start(t, probetest.Hooks{Out: func(b []byte, send func([]byte)) {
		if len(b) > 4+16 && b[0]>>6 == 1 && b[4+15] == 5 { // packet number 5
			once.Do(func() {
				if err := self.Signal(os.Interrupt); err != nil {
					t.Error(err)
				}
			})
		}
		send(b)
	}}).Address.String()
	got := probeRun(t, "--count", "100000", "--interval", "1ms", "--max-loss", "100", "--user", probetest.User, "--password", probetest.Password, "turn:"+server)
	if got.code != 0 || !strings.Contains(got.stdout, "interrupted; these are the figures so far\ngood") || got.stderr != "" {
		t.Errorf("%+v", got)
	}
}
