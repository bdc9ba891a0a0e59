package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
)

// running is a Policy whose Run is under way in a synctest bubble, with a name
// server of its own.
type running struct {
	*Policy
	t *testing.T

	mu      sync.Mutex
	text    bytes.Buffer
	answers map[string][]netip.Addr // absent: no such host
	broken  error                   // what every lookup fails with; nil: none does
	asked   int
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *running) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	answer, ok := r.answers[name]
	switch {
	case r.broken != nil:
		return nil, r.broken
	case !ok:
		return nil, errors.New("no such host")
	}
	return slices.Clone(answer), nil
}

// answer sets what a name has for addresses from now on.
func (r *running) answer(name string, addresses ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = nil
	r.answers[name] = nil
	for _, text := range addresses {
		r.answers[name] = append(r.answers[name], netip.MustParseAddr(text))
	}
}

func (r *running) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

func start(t *testing.T, o Options, texts ...string) *running {
	t.Helper()
	r := &running{t: t, answers: make(map[string][]netip.Addr)}
	o.Rules = parseAll(t, texts...)
	o.Log = logging.NewDefaultLeveledLoggerForScope("peers", logging.LogLevelInfo, r)
	if o.Lookup == nil {
		o.Lookup = r.lookup
	}
	var err error
	if r.Policy, err = New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *running) run() {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run returned %v", err)
		}
	})
	synctest.Wait()
}

// pass lets time go by and returns what was logged since the last call.
func (r *running) pass(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.text.Reset()
	return r.text.String()
}

// allows checks which of some transport addresses are allowed: "!" marks those
// that aren't.
func (r *running) allows(texts string) {
	r.t.Helper()
	for _, text := range strings.Fields(texts) {
		text, not := strings.CutPrefix(text, "!")
		if r.Set().Allows(netip.MustParseAddrPort(text)) == not {
			r.t.Errorf("%s is allowed: %v", text, not)
		}
	}
}

func (r *running) logged(d time.Duration, want string) {
	r.t.Helper()
	if got := r.pass(d); want == "" && got != "" || strings.Count(got, "\n") > 1 || !strings.Contains(got, want) {
		r.t.Errorf("log %q, want %q", got, want)
	}
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestZeroOptionsAllowLoopOnly(t *testing.T) {
	p, err := New(Options{})
	if err != nil || !p.Set().Loop() || p.External() || p.Set().Allows(netip.MustParseAddrPort("10.0.0.1:80")) {
		t.Error(p, err)
	}
	if s := p.Status(); len(s) != 1 || s[0].Rule != "loop" {
		t.Error(s)
	}
}

func TestLoopOnlyWhereListed(t *testing.T) {
	for _, c := range []struct {
		rules          string
		loop, external bool
	}{
		{"loop", true, false},
		{"loop !10.0.0.0/8", true, false},
		{"loop 10.0.0.0/8", true, true},
		{"10.0.0.0/8", false, true},
		{"dns:relay", false, true},
	} {
		if r := start(t, Options{}, strings.Fields(c.rules)...); r.Set().Loop() != c.loop || r.External() != c.external {
			t.Errorf("%s: loop %v, external %v", c.rules, r.Set().Loop(), r.External())
		}
	}
}

func TestNewJoinsAllFaults(t *testing.T) {
	for _, c := range []struct {
		rules, file string
		faults      []string
	}{
		{rules: "loop loop", faults: []string{`"loop" is given twice; remove one`}},
		{rules: "10.0.0.1/32 10.0.0.1", faults: []string{`"10.0.0.1" is given twice; remove one`}},
		{rules: "dns:a dns:A", faults: []string{`"dns:a" is given twice; remove one`}},
		{rules: "10.0.0.0/8 !10.0.0.0/8 10.0.0.0/8:22", faults: []string{
			`"!10.0.0.0/8" denies all that "10.0.0.0/8" allows; remove one, or deny a part of it`,
			`"10.0.0.0/8:22" is wholly denied by "!10.0.0.0/8"; remove one, or deny a part of it`,
		}},
		{rules: "!10.0.0.0/8:1-100 10.1.0.0/16:22", faults: []string{`"10.1.0.0/16:22" is wholly denied by "!10.0.0.0/8:1-100"; remove one, or deny a part of it`}},
		{rules: "!10.0.0.0/8", faults: []string{`"!10.0.0.0/8" and all other rules deny, so that clients could reach nobody; add loop, or a rule that allows something`}},
		{rules: "10.0.0.0/8 !10.0.0.0/8:22 !10.1.0.0/16 dns:a dns:a:1"},
		{rules: "!0.0.0.0/0 ::/0 dns:a"},
		{file: "\ufeff# peers\r\n\r\n  10.0.0.0/8   # office\r\n\tdns:relay#x\r\n!10.1.0.0/16"},
		{file: ""},
		{rules: "loop", file: "10.0.0/8\n#\nnonsense\nloop", faults: []string{
			`FILE, line 1: "10.0.0/8" is not a prefix; write one, such as 10.0.0.0/8 or 2001:db8::/32`,
			`FILE, line 3: "nonsense" is not a rule; write ` + forms,
		}},
		{rules: "loop 10.0.0.0/8 !8.8.8.8", file: "\nloop\n!10.0.0.0/8\n8.8.8.8\n9.9.9.9\n9.9.9.9", faults: []string{
			`FILE, line 2: "loop" is given twice; remove one`,
			`FILE, line 3: "!10.0.0.0/8" denies all that "10.0.0.0/8" allows; remove one, or deny a part of it`,
			`FILE, line 4: "8.8.8.8" is wholly denied by "!8.8.8.8"; remove one, or deny a part of it`,
			`FILE, line 6: "9.9.9.9" is given twice (FILE, line 5); remove one`,
		}},
	} {
		o := Options{Rules: parseAll(t, strings.Fields(c.rules)...)}
		if c.file != "" || c.rules == "" {
			o.File = write(t, filepath.Join(t.TempDir(), "peers"), c.file)
		}
		_, err := New(o)
		got := ""
		if err != nil {
			got = err.Error()
			if o.File != "" {
				got = strings.ReplaceAll(got, o.File, "FILE")
			}
		}
		if got != strings.Join(c.faults, "\n") {
			t.Errorf("%s, file %q:\n%s\nwant\n%s", c.rules, c.file, got, strings.Join(c.faults, "\n"))
		}
	}
}

func TestNewBoundsWhatItTakes(t *testing.T) {
	dir := t.TempDir()
	var many []string
	for i := range maxNames + 1 {
		many = append(many, "dns:"+strings.Repeat("a", i%60+1)+"."+strings.Repeat("b", i/60+1))
	}
	twice := append(slices.Repeat([]Rule{rule(t, "loop")}, maxFaults+2), rule(t, "10.0.0.0/8"))
	for _, c := range []struct {
		name  string
		o     Options
		fault string
	}{
		{"rules", Options{Rules: slices.Repeat([]Rule{rule(t, "loop")}, maxRules+1)}, "is one of 1001 rules; write 1000 or fewer"},
		{"names", Options{Rules: parseAll(t, many...)}, "is one name more than 100; give relays"},
		{"faults", Options{Rules: twice}, "\n1 more faulty rules"},
		{"zero rule", Options{Rules: []Rule{{}}}, "is no rule; make rules with ParseRule"},
		{"interval", Options{Interval: time.Hour}, "peers: interval 1h0m0s is negative or above 5m0s; give a duration such as 5s"},
		{"no file", Options{File: filepath.Join(dir, "none")}, "none: cannot be used: no such file or directory; name a file that can be read, with one rule in a line"},
		{"directory", Options{File: dir}, "it is not a regular file"},
		{"large file", Options{File: write(t, filepath.Join(dir, "large"), strings.Repeat("#", maxFile+1))}, "it has more than 1 MiB"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %s", c.name, err, c.fault)
		}
	}
	if _, err := New(Options{Rules: []Rule{rule(t, "loop"), rule(t, "10.0.0.0/8"), rule(t, "loop")}}); err == nil {
		t.Error("no fault")
	} else if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Index != 2 || fault.File != "" {
		t.Errorf("%#v does not say which rule", fault)
	}
}

func TestRunLooksNamesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, "dns:relay:80")
		r.answer("relay", "10.0.0.2", "::ffff:10.0.0.1", "10.0.0.1", "127.0.0.1", "fe80::1%eth0", "2001:db8::1")
		r.allows("!10.0.0.1:80")
		r.run()
		r.allows("10.0.0.1:80 10.0.0.2:80 [2001:db8::1]:80 !10.0.0.1:81 !127.0.0.1:80")
		r.logged(0, "dns:relay has addresses such as fe80::1%eth0, which are allowed only where a CIDR rule names them")
		status := r.Status()[0]
		if fmt.Sprint(status.Addresses) != "[10.0.0.1 10.0.0.2 2001:db8::1]" || status.Fault != "" || status.Answered.IsZero() {
			t.Errorf("%+v", status)
		}
		// An address that goes stays for a minute, one that comes is there at the next look.
		r.answer("relay", "10.0.0.3")
		r.logged(DefaultInterval, "")
		r.allows("10.0.0.1:80 10.0.0.3:80")
		r.logged(keepMissing-time.Second, "")
		r.allows("10.0.0.1:80 10.0.0.3:80")
		r.logged(time.Second, "")
		r.allows("!10.0.0.1:80 ![2001:db8::1]:80 10.0.0.3:80")
		// One that comes and goes is there all the time.
		for range 20 {
			r.answer("relay", "10.0.0.4")
			r.pass(DefaultInterval)
			r.allows("10.0.0.3:80 10.0.0.4:80")
			r.answer("relay", "10.0.0.3")
			r.pass(DefaultInterval)
			r.allows("10.0.0.3:80 10.0.0.4:80")
		}
	})
}

func TestRunKeepsAnAnswerWhileLookupsFail(t *testing.T) {
	for _, broken := range []error{errors.New("server misbehaving\n\x1b[2J"), nil} { // nil: an empty answer
		synctest.Test(t, func(t *testing.T) {
			r := start(t, Options{}, "dns:relay")
			r.answer("relay", "10.0.0.1", "10.0.0.2")
			r.run()
			r.pass(DefaultInterval)
			r.answer("relay", "10.0.0.1")
			r.pass(DefaultInterval) // 10.0.0.2 is leaving
			r.answer("relay")
			r.fail(broken)
			want := `"the answer holds no address"`
			if broken != nil {
				want = `"server misbehaving\n\x1b[2J"`
			}
			r.logged(DefaultInterval, "dns:relay: "+want+"; its 2 addresses stay allowed until ")
			r.logged(keepMissing, "")
			r.allows("10.0.0.1:80 !10.0.0.2:80")
			if s := r.Status()[0]; s.Fault == "" || s.Failing.IsZero() || len(s.Addresses) != 1 {
				t.Errorf("%+v", s)
			}
			r.logged(keepFailing-keepMissing-2*DefaultInterval, "")
			r.allows("10.0.0.1:80")
			r.logged(DefaultInterval, "")
			r.allows("!10.0.0.1:80")
			r.answer("relay", "10.0.0.1")
			r.logged(DefaultInterval, "dns:relay is answered again: 1 addresses")
			r.allows("10.0.0.1:80")
			if s := r.Status()[0]; s.Fault != "" || !s.Failing.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestRunSaysThatANameWasNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, "dns:relay", "10.0.0.0/8")
		r.run()
		r.logged(0, `dns:relay: "no such host"; it allows nothing until it is answered`)
		r.logged(time.Hour, "")
		r.allows("10.0.0.1:80 !11.0.0.1:80")
	})
}

func TestRunBoundsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, "dns:relay")
		var all []string
		next := netip.MustParseAddr("10.0.0.0")
		for range maxAddresses + 1 {
			all = append(all, next.String())
			next = next.Next()
		}
		slices.Reverse(all)
		r.answer("relay", all...)
		r.run()
		r.logged(0, "dns:relay has 4097 addresses; the first 4096 are allowed")
		r.allows("10.0.0.0:80 10.0.15.255:80 !10.0.16.0:80")
		r.logged(time.Minute, "")
		for range 20 { // other thousands each time
			for i := range all {
				all[i] = next.String()
				next = next.Next()
			}
			r.answer("relay", all...)
			r.pass(DefaultInterval)
			if n := len(r.Status()[0].Addresses); n > 2*maxAddresses {
				t.Fatalf("%d addresses are held", n)
			}
		}
	})
}

// A name server that doesn't answer holds up neither the other names nor the end.
func TestRunBoundsLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		under, most := 0, 0
		count := func(d int) {
			mu.Lock()
			defer mu.Unlock()
			under += d
			most = max(most, under)
		}
		texts := []string{"dns:quick"}
		for i := range maxNames - 1 {
			texts = append(texts, "dns:slow"+strings.Repeat("x", i%50)+strings.Repeat("y", i/50))
		}
		r := start(t, Options{Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			if name == "quick" {
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			}
			count(1)
			defer count(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		}}, texts...)
		r.run()
		r.pass(maxNames / maxLookups * lookupTimeout)
		r.allows("10.0.0.1:80")
		if most != maxLookups {
			t.Errorf("%d lookups at a time", most)
		}
	})
}

func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own atomic.Pointer[[]netip.AddrPort]
		open := func(texts ...string) {
			a := addresses(texts...)
			own.Store(&a)
		}
		open("10.0.0.1:3478")
		r := start(t, Options{Own: func() []netip.AddrPort { return *own.Load() }}, "dns:old")
		r.answer("old", "10.0.0.1")
		r.answer("new", "10.0.0.2")
		r.run()
		before := r.Set()
		if err := r.Replace(parseAll(t, "loop", "loop")); err == nil || r.Set() != before {
			t.Errorf("a faulty rule was taken over: %v", err)
		}
		if err := r.Replace(parseAll(t, "dns:old", "dns:new", "loop")); err != nil {
			t.Fatal(err)
		}
		r.allows("10.0.0.1:80 !10.0.0.1:3478") // at once
		synctest.Wait()
		r.allows("10.0.0.1:80 10.0.0.2:80") // without waiting for the interval
		if !r.Set().Loop() || before.Loop() {
			t.Error("the set is not another one")
		}
		open("10.0.0.2:3478") // another socket instead
		r.pass(DefaultInterval)
		r.allows("10.0.0.1:3478 !10.0.0.2:3478")
		if err := r.Replace(nil); err != nil || !r.Set().Loop() || r.External() || len(r.Status()) != 1 {
			t.Error("loop is not the default", err)
		}
		r.allows("!10.0.0.1:80")
		asked := r.asked
		if r.pass(time.Minute); r.asked != asked {
			t.Error("names that no rule has are looked up")
		}
	})
}

func TestRunFollowsTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := write(t, filepath.Join(t.TempDir(), "peers"), "10.0.0.0/8\n")
		r := start(t, Options{File: file}, "!10.1.0.0/16")
		if !r.External() || r.Set().Loop() {
			t.Error("external:", r.External(), "loop:", r.Set().Loop())
		}
		r.run()
		r.allows("10.0.0.1:80 !10.1.0.1:80")
		r.logged(time.Minute, "")
		r.answer("relay", "9.9.9.9")
		write(t, file, "10.2.0.0/16\nloop\ndns:relay")
		r.logged(DefaultInterval, "peers was read again: 3 rules")
		r.allows("!10.0.0.1:80 10.2.0.1:80 9.9.9.9:80")
		for _, c := range []struct {
			name   string
			change func()
			fault  string
		}{
			{"fault", func() { write(t, file, "8.8.8.8\nnonsense\n") }, `peers, line 2: "nonsense" is not a rule`},
			{"contradiction", func() { write(t, file, "8.8.8.8\n\n10.1.2.0/24\n") }, `peers, line 3: "10.1.2.0/24" is wholly denied by "!10.1.0.0/16"`},
			{"empty", func() { write(t, file, "") }, `all other rules deny`},
			{"gone", func() { os.Remove(file) }, "cannot be used: no such file"},
		} {
			c.change()
			if log := r.pass(DefaultInterval); !strings.Contains(log, c.fault) || !strings.Contains(log, "the previous rules stay in force") {
				t.Errorf("%s: log %q, want %q", c.name, log, c.fault)
			}
			r.logged(time.Minute, "")
			r.allows("!8.8.8.8:80 10.2.0.1:80 9.9.9.9:80")
		}
		if err := r.Replace(nil); err != nil {
			t.Fatal(err)
		}
		fresh := write(t, file+".new", "10.1.0.0/16")
		if err := os.Rename(fresh, file); err != nil {
			t.Fatal(err)
		}
		r.logged(DefaultInterval, "peers was read again: 1 rules")
		r.allows("10.1.0.1:80 !10.2.0.1:80")
		if s := r.Status(); len(s) != 1 || s[0].Line != 1 {
			t.Errorf("%+v", s)
		}
	})
}
