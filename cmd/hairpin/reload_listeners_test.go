package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/metrics"
)

// relisting is a relay whose listeners tests write anew. They are at 127.0.0.2, where no client's socket can have taken their
// port while nobody listened.
type relisting struct {
	*settled
	ports []string // free ones, for UDP and TCP
}

// startRelisting runs a relay for alice with one listener for UDP, at the first of some free ports.
func startRelisting(t *testing.T, base string, ports int) *relisting {
	t.Helper()
	free := freePorts(t, ports+1)
	admin := "127.0.0.1:" + free[ports]
	s := &relisting{&settled{dir: t.TempDir(), server: &server{at: "127.0.0.2:" + free[0], admin: admin}}, free[:ports]}
	s.file = filepath.Join(s.dir, "hairpin.yaml")
	s.base = fmt.Sprintf("admin: %s\nuser: [%q]\n%s", admin, aliceToo, base)
	write(t, s.file, s.base+s.listeners("udp:0"))
	s.process = startProcess(t, "hairpin", "serve", "--config", s.file)
	untilListening(t, free[ports])
	if code := s.ready(t); code != http.StatusOK {
		t.Fatalf("/readyz answers %d", code)
	}
	return s
}

// listeners is the part of the file that names them, each as SCHEME:NUMBER of a port, with what may follow.
func (s *relisting) listeners(list ...string) string {
	text := "listen:\n"
	for _, l := range list {
		scheme, rest, _ := strings.Cut(l, ":")
		number, more := int(rest[0]-'0'), rest[1:]
		text += fmt.Sprintf("  - %q\n", scheme+"://127.0.0.2:"+s.ports[number]+more)
	}
	return text
}

// listens has the server take over such a list.
func (s *relisting) listens(t *testing.T, list ...string) {
	t.Helper()
	s.takes(t, s.listeners(list...), "listen")
}

func (s *relisting) address(number int) string { return "127.0.0.2:" + s.ports[number] }

// has says whether an address below the admin one tells of something.
func (s *relisting) has(t *testing.T, path, what string) bool {
	t.Helper()
	code, body := get(t, "http://"+s.admin+path)
	if code != http.StatusOK {
		t.Fatalf("%s answers %d", path, code)
	}
	return strings.Contains(body, what)
}

// goes waits until nothing is told of a listener.
func (s *relisting) goes(t *testing.T, name string) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience / 2); s.has(t, "/metrics", name) || s.has(t, "/allocations", name); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still told of", name)
		}
	}
}

// across is a call between clients of two listeners.
func across(t *testing.T, a, b string) *call {
	t.Helper()
	var phones [2]*phone
	for i, at := range []string{a, b} {
		p, err := newPhone(at)
		if err != nil {
			t.Fatal(err)
		}
		phones[i] = p
	}
	c := &call{a: phones[0], b: phones[1]}
	must(t, c.a.bind(0x4000, c.b.relayed))
	must(t, c.b.bind(0x4000, c.a.relayed))
	must(t, c.talk())
	return c
}

// What an operator sees of a listener that is added and one that is taken away, everywhere that listeners are told.
func TestReloadListeners(t *testing.T) {
	icePort := freePorts(t, 1)[0]
	s := startRelisting(t, "secret: [sesame]\nice: 127.0.0.1:"+icePort+"\n", 4)
	ice := func(query string) string {
		_, body := get(t, "http://127.0.0.1:"+icePort+"/ice?service=turn"+query)
		return body
	}
	first, second := "udp://"+s.address(0), "udp://"+s.address(1)
	series := func(name string) string { return fmt.Sprintf("hairpin_allocations{listener=%q}", name) }
	old, err := newCall(s.at)
	must(t, err)

	s.listens(t, "udp:0", "udp:1", "tcp:2")
	both := across(t, s.address(0), s.address(1))
	must(t, old.talk())
	if !s.has(t, "/metrics", series(second)+" 1\n") || !s.has(t, "/metrics", series("tcp://"+s.address(2))+" 0\n") || !s.has(t, "/allocations", second) {
		t.Error("the new listeners are not told of")
	}
	if got := hairpin(t, "status", s.admin); !strings.Contains(got.stdout, second) {
		t.Errorf("hairpin status: %+v", got)
	}
	if got := ice(""); !strings.Contains(got, "turn:"+s.address(1)+"?transport=udp") || !strings.Contains(got, "turn:"+s.address(2)+"?transport=tcp") {
		t.Errorf("/ice: %s", got)
	}
	if got := hairpin(t, "probe", "--user", phoneUser, "--password", phonePassword, "--count", "5", "--interval", "1ms", "turn:"+s.address(2)+"?transport=tcp"); got.code != exitGood {
		t.Errorf("probe: %+v", got)
	}

	// A label is no other listener, and what selects it.
	s.listens(t, "udp:0", "udp:1#here", "tcp:2")
	if got := ice("&listener=here"); !strings.Contains(got, s.address(1)) || strings.Contains(got, s.address(2)) {
		t.Errorf("/ice of the label: %s", got)
	}

	s.listens(t, "udp:1", "tcp:2")
	must(t, old.talk())
	must(t, both.talk())
	s.fails(t, "300, try "+s.address(1))
	if got := hairpin(t, "status", s.admin); !strings.Contains(got.stdout, first+" (removed)") {
		t.Errorf("hairpin status: %+v", got)
	}
	var status metrics.Status
	_, body := get(t, "http://"+s.admin+"/allocations")
	must(t, json.Unmarshal([]byte(body), &status))
	if i := slices.IndexFunc(status.Listeners, func(l metrics.Listener) bool { return l.Name == first }); i < 0 || !status.Listeners[i].Removed {
		t.Errorf("/allocations: %+v", status.Listeners)
	}
	if got := ice(""); strings.Contains(got, s.address(0)) {
		t.Errorf("/ice: %s", got)
	}
	if !s.has(t, "/", "(removed)") {
		t.Error("the status page doesn't tell")
	}

	// It comes back while its calls go on.
	s.listens(t, "tcp:2", "udp:1", "udp:0")
	s.fails(t, "")
	must(t, old.talk())
	if !s.has(t, "/metrics", series(first)+" 3\n") {
		t.Error("its allocations are not counted")
	}

	s.listens(t, "tcp:2")
	s.fails(t, "508")
	must(t, old.end())
	must(t, both.talk())
	must(t, both.end())
	s.goes(t, first)
	s.goes(t, second)
	for n := range 2 { // told of no longer, it is about to be closed
		again := time.NewTicker(time.Millisecond)
		for deadline := time.Now().Add(patience / 3); ; <-again.C {
			conn, err := net.ListenPacket("udp", s.address(n))
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the port of a listener that is closed is taken: ", err)
			}
		}
		again.Stop()
	}
	s.listens(t, "udp:0")
	if !s.has(t, "/metrics", fmt.Sprintf("hairpin_allocations_total{listener=%q} 0\n", first)) {
		t.Error("a listener does not begin with nothing")
	}
	c, err := newCall(s.at)
	must(t, err)
	must(t, c.talk())
	s.end(t, os.Interrupt)
	log := s.stderr.String()
	for _, want := range []string{"listening on " + second + " at " + s.address(1), "listener " + first + " removed: ", "listener " + first + " takes new clients again", "listener " + first + " closed", "taken over: listen"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log\n%s", want, log)
		}
	}
}

// What can't be had is told with its line, and nothing has changed; what needs a restart as well.
func TestReloadListenersRefused(t *testing.T) {
	s := startRelisting(t, "", 4)
	busy, err := net.ListenPacket("udp", s.address(3))
	must(t, err)
	defer busy.Close()
	c, err := newCall(s.at)
	must(t, err)
	at := func(line int) string { return fmt.Sprintf("%s:%d: listen: ", s.file, line) }
	for _, test := range []struct {
		name, content string
		stderr        []string
	}{
		{"in use", s.listeners("tcp:2", "udp:3") + "user-quota: 1\n",
			[]string{at(5) + "listener udp://" + s.address(3) + ": port " + s.ports[3] + " of 127.0.0.2 is in use"}},
		{"no certificate", s.listeners("dtls:0") + "user-quota: 1\n", []string{at(4) + "\"dtls://" + s.address(0) + "\" needs a certificate"}},
		{"every address", "listen: [\"udp://:" + s.ports[0] + "\"]\n", []string{at(3) + "listener udp://:" + s.ports[0] + ": port " + s.ports[0] + " of 0.0.0.0 is that of udp://" + s.address(0) + ", which this server serves until its last client has gone"}},
		{"none", "listen: [none]\nice: 127.0.0.1:" + s.ports[1] + "\nice-url: [turn:a]\n", []string{at(3) + "a relay is taken away or added, which needs a restart", "ice has changed, which needs a restart"}},
		{"two faults", s.listeners("udp:0", "udp:3", "tcp:1#"), []string{"is not a label"}},
		{"PROXY headers", s.listeners("udp:0", "tcp:1?proxy=v2") + "proxy-trusted: [10.0.0.0/8]\n", []string{"proxy-trusted has changed, which needs a restart"}},
		{"the public address", s.listeners("udp:0", "tcp:2") + "public-address: [192.0.2.1]\n", []string{"public-address has changed, which needs a restart"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.put(t, test.content)
			got := hairpin(t, "reload", s.admin)
			if got.code != exitUsage || got.stdout != "" {
				t.Errorf("%+v", got)
			}
			for _, want := range test.stderr {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q is not in\n%s", want, got.stderr)
				}
			}
			must(t, c.talk())
			s.fails(t, "") // a quota of 1 would
			if s.has(t, "/allocations", s.ports[2]) || s.has(t, "/metrics", s.ports[2]) {
				t.Error("a listener is told of that is not there")
			}
			for _, number := range []int{1, 2} {
				if conn, err := net.Dial("tcp", s.address(number)); err == nil {
					conn.Close()
					t.Errorf("somebody is at port %d", number)
				}
			}
		})
	}
	busy.Close()
	s.takes(t, s.listeners("udp:3")+"user-quota: 9\n", "listen, user-quota") // another one of the kind, and all the rest
	s.fails(t, "300, try "+s.address(3))
	must(t, c.end())
}

// A certificate that comes with the first listener for TLS, and what coturn's client makes of added listeners.
func TestReloadListenersTurnutils(t *testing.T) {
	program := coturnTool(t, "turnutils_uclient")
	own := selfSigned(t, t.TempDir())
	s := startRelisting(t, "", 4)
	keys := fmt.Sprintf("tls-cert: [%q]\ntls-key: [%q]\n", own.certFile, own.keyFile)
	s.takes(t, s.listeners("udp:0", "udp:1", "tcp:1", "tls:2", "dtls:2", "tcp+tls:3")+keys, "listen, tls-cert, tls-key")
	uclient := func(n int, flags string) *uclient {
		flags += " -y -c -u " + phoneUser + " -w " + phonePassword + " -m 4 -n 100 -l 200 -z 5 -i " + own.certFile + " -k " + own.keyFile
		return startUclient(t, program, patience, append(strings.Fields(flags), "-p", s.ports[n], "127.0.0.2")...)
	}
	var runs []func()
	begin := func(n int, flags string) {
		u := uclient(n, flags)
		runs = append(runs, func() { u.wantComplete(t, 400) })
	}
	begin(0, "")
	begin(1, "")
	begin(1, "-t")
	begin(2, "-S -t")
	begin(2, "-S")
	begin(3, "-t")
	begin(3, "-S -t")
	for _, run := range runs {
		run()
	}
	runs = nil
	// It follows to where it is sent from a listener that is removed while somebody is there.
	c := across(t, s.address(1), s.address(0))
	s.takes(t, s.listeners("udp:0", "tls:2", "dtls:2", "tcp+tls:3")+keys, "listen")
	begin(0, "")
	begin(2, "-S")
	begin(3, "-t")
	for _, run := range runs {
		run()
	}
	must(t, c.talk())
	must(t, c.end())
	s.goes(t, "tcp://"+s.address(1)) // of UDP what clients left that did not say good-bye has to expire first
}

// Fifty listeners and more come and go, by file, signal and request, while calls go on at one that stays, at one that was
// removed, and between them: no packet is lost.
func TestReloadListenersUnderLoad(t *testing.T) {
	const cycles = 60
	s := startRelisting(t, "", 6)
	s.listens(t, "udp:0", "udp:1")
	var calls []*call
	for _, ends := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
		calls = append(calls, across(t, s.address(ends[0]), s.address(ends[1])))
	}
	s.listens(t, "udp:0")
	stop := make(chan struct{})
	var talking sync.WaitGroup
	for _, c := range calls {
		talking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.talk(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	variants := [][]string{{"udp:0", "udp:2"}, {"udp:0", "tcp:3", "udp:4"}, {"udp:0"}, {"udp:0", "udp:5", "tcp:2"}, {"udp:0", "udp:0"}, {"udp:0", "udp:4", "udp:2", "tcp:5"}}
	counts := map[metrics.Result]int{}
	for i := range cycles {
		list := variants[i%len(variants)]
		s.put(t, s.listeners(list...))
		if i%10 == 0 {
			must(t, s.Process.Signal(syscall.SIGHUP))
		}
		response, err := http.Post("http://"+s.admin+"/reload", "", nil)
		must(t, err)
		var what metrics.Reload
		must(t, json.NewDecoder(response.Body).Decode(&what))
		response.Body.Close()
		counts[what.Result]++
		switch {
		case slices.Equal(list, variants[4]):
			if what.Result != metrics.ReloadRefused {
				t.Errorf("a listener given twice: %+v", what)
			}
		case what.Result == metrics.ReloadRefused:
			t.Errorf("%v: %+v", list, what)
		case len(list) > 1 && strings.HasPrefix(list[1], "udp"):
			must(t, across(t, s.address(int(list[1][4]-'0')), s.address(0)).end())
		}
	}
	s.put(t, s.listeners("udp:0"))
	s.until(t, func(metrics.Reload) bool {
		return !s.has(t, "/metrics", s.ports[2]) && !s.has(t, "/metrics", s.ports[5])
	})
	close(stop)
	talking.Wait()
	sent := 0
	for _, c := range calls {
		sent += c.sent
		if c.received != c.sent {
			t.Errorf("%d of %d packets", c.received, c.sent)
		}
		must(t, c.end())
	}
	s.goes(t, s.ports[1])
	t.Logf("%d packets, none lost; reloads: %v", sent, counts)
	if code := s.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d", code)
	}
	if log := s.stderr.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		t.Errorf("the log is\n%s", log)
	}
}
