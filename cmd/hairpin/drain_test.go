package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SIGTERM in the middle of a call: the call goes on, nobody else is let in, and the process ends with the call.
func TestServeDrainsOnSIGTERM(t *testing.T) {
	s := freeServer(t)
	c, err := newCall(s.at)
	must(t, err)
	must(t, s.Process.Signal(syscall.SIGTERM))
	s.untilNotReady(t)
	waiting := sibling(t, "drain", s.admin)
	for range 200 {
		must(t, c.talk())
	}
	if _, err := newPhone(s.at); err == nil || !strings.Contains(err.Error(), "508") {
		t.Errorf("a new client gets %v, want 508", err)
	}
	if code, _ := get(t, "http://"+s.admin+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}
	if _, body := get(t, "http://"+s.admin+"/metrics"); !strings.Contains(body, "\nhairpin_draining 1\n") ||
		!strings.Contains(body, `hairpin_requests_total{class="error",code="508",method="allocate"} 1`) {
		t.Error("/metrics doesn't show the drain")
	}
	select {
	case got := <-waiting:
		t.Fatalf("drain has ended during the call: %+v", got)
	default:
	}
	must(t, c.end())
	if code := s.ended(t); code != exitGood {
		t.Errorf("exit code %d", code)
	}
	got := <-waiting
	if got.code != exitGood || got.stdout != "" || !strings.HasPrefix(got.stderr, "draining: 2 allocations left, for 59m") || !strings.HasSuffix(got.stderr, "\ndrained: the server is gone\n") {
		t.Errorf("drain: %+v", got)
	}
	for _, want := range []string{"terminated: draining", "2 left, which end by ", "drained: the last allocation ended after"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, s.stderr)
		}
	}
}

// The ways in which draining ends before a call does.
func TestServeDrainEnds(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		signals []os.Signal
		calls   int
		log     string
	}{
		{"nothing lives", nil, []os.Signal{syscall.SIGTERM}, 0, "drained: there is no allocation"},
		{"no time", []string{"--drain-timeout", "0s"}, []os.Signal{syscall.SIGTERM}, 1, "allocations cut after the drain timeout: 2"},
		{"at the deadline", []string{"--drain-timeout", "300ms"}, []os.Signal{syscall.SIGTERM}, 1, "level=WARN msg=\"allocations cut after the drain timeout: 2\""},
		{"another SIGTERM", nil, []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 1, "ended while draining; allocations cut: 2"},
		{"SIGINT after it", nil, []os.Signal{syscall.SIGTERM, os.Interrupt}, 1, "ended while draining; allocations cut: 2"},
		{"SIGINT alone", nil, []os.Signal{os.Interrupt}, 1, "interrupt: ending"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := freeServer(t, test.args...)
			for range test.calls {
				c, err := newCall(s.at)
				must(t, err)
				must(t, c.talk())
			}
			begin := time.Now()
			for i, signal := range test.signals {
				if i > 0 {
					s.untilNotReady(t)
				}
				must(t, s.Process.Signal(signal))
			}
			if code := s.ended(t); code != exitGood {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(begin); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if !strings.Contains(s.stderr.String(), test.log) {
				t.Errorf("no %q in\n%s", test.log, s.stderr)
			}
		})
	}
}

// hairpin drain against a real server.
func TestDrainCommand(t *testing.T) {
	t.Run("nothing lives", func(t *testing.T) {
		s := freeServer(t, "--admin-token", "s3cret")
		hairpin(t, "drain", s.admin).want(t, exitRuntime, "", s.admin+" wants its token; give --admin-token or --admin-token-file, as the server has it\n")
		hairpin(t, "drain", s.admin, "--admin-token", "s3cret").want(t, exitGood, "", "draining: 0 allocations left, for 59m59s at the longest\ndrained: the server is gone\n")
		if code := s.ended(t); code != exitGood {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
	})
	t.Run("no waiting", func(t *testing.T) {
		s := freeServer(t)
		c, err := newCall(s.at)
		must(t, err)
		hairpin(t, "drain", s.admin, "--no-wait").want(t, exitGood, "draining: 2 allocations left, for 59m59s at the longest\n", "")
		if s.ready(t) != http.StatusServiceUnavailable {
			t.Error("/readyz stays good")
		}
		must(t, s.Process.Signal(syscall.SIGTERM)) // as an orchestrator does behind its hook: the first signal
		must(t, c.talk())
		got := hairpin(t, "drain", s.admin, "--timeout", "300ms")
		if got.code != exitRuntime || !strings.HasSuffix(got.stderr, "\n2 allocations left after 300ms; "+s.admin+" goes on draining\n") {
			t.Errorf("%+v", got)
		}
		must(t, c.talk())
		must(t, c.end())
		if code := s.ended(t); code != exitGood {
			t.Errorf("exit code %d: %s", code, s.stderr)
		}
	})
	t.Run("the server's deadline", func(t *testing.T) {
		s := freeServer(t, "--drain-timeout", "2s")
		_, err := newCall(s.at)
		must(t, err)
		got := hairpin(t, "drain", s.admin)
		if got.code != exitRuntime || !strings.HasSuffix(got.stderr, "\n"+s.admin+" has ended at its deadline; 2 allocations cut\n") {
			t.Errorf("%+v", got)
		}
		if code := s.ended(t); code != exitGood {
			t.Errorf("the server's exit code is %d: %s", code, s.stderr)
		}
	})
	t.Run("credentials only", func(t *testing.T) {
		ports := freePorts(t, 2)
		p := startProcess(t, "hairpin", "serve", "--listen", "none", "--ice", "127.0.0.1:"+ports[0], "--secret", "s", "--ice-url", "turn:a", "--admin", "127.0.0.1:"+ports[1])
		untilListening(t, ports[1])
		if got := hairpin(t, "drain", "127.0.0.1:"+ports[1]); got.code != exitGood {
			t.Errorf("%+v", got)
		}
		p.readAll()
		if p.Wait(); p.ProcessState.ExitCode() != exitGood {
			t.Errorf("exit code %d: %s", p.ProcessState.ExitCode(), p.stderr)
		}
	})
}

// hairpin drain against what answers otherwise.
func TestDrainStandIn(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	dead.Close()
	standIn := func(answers ...string) string {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := int(asked.Add(1))
			if want := map[bool]string{true: "POST", false: "GET"}[n == 1]; r.Method != want || r.URL.Path != "/drain" {
				t.Errorf("request %d is %s %s", n, r.Method, r.URL)
			}
			switch text := answers[min(n, len(answers))-1]; text {
			case "silence":
				panic(http.ErrAbortHandler)
			case "refusal":
				http.Error(w, "what is wrong", http.StatusForbidden)
			default:
				fmt.Fprint(w, text)
			}
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	const three = `{"draining":true,"allocations":3,"remaining":60}`
	const first, gone = "draining: 3 allocations left, for 1m0s at the longest\n", "drained: the server is gone\n"
	restarted, silent, late := standIn(three, `{"draining":false}`), standIn(three, "silence"), standIn(`{"draining":true,"allocations":1,"remaining":0.5}`, "silence")
	back, refused, page := standIn(three, "silence", "silence", three, `{"draining":false}`), standIn("refusal"), standIn("<html>")
	tests := []struct {
		name, line     string
		code           int
		stdout, stderr string
	}{
		{"another process in its place", restarted, exitGood, "", first + gone},
		{"gone without a word", silent, exitGood, "", first + gone},
		{"gone and back", back, exitGood, "", first + gone},
		{"gone at its deadline", late, exitRuntime, "", "draining: 1 allocation left, for 0s at the longest\n" + late + " has ended at its deadline; 1 allocation cut\n"},
		{"refused", refused, exitRuntime, "", refused + " refuses (403 Forbidden): what is wrong\n"},
		{"something else", page, exitRuntime, "", "the answer is not the JSON of a hairpin server: invalid character '<' looking for beginning of value\n"},
		{"nobody there", dead.Addr().String(), exitRuntime, "", dead.Addr().String() + " does not answer: connection refused; is the server running, and is this its --admin address?\n"},
		{"off", "--admin off", exitUsage, "", "--admin: the admin address is off; name the server's as HOST:PORT\n"},
		{"no time", dead.Addr().String() + " --timeout 0s", exitUsage, "", "--timeout: 0s is no time; write for example 5m, or --no-wait\n"},
		{"two servers", "a:1 b:2", exitUsage, "", "b:2: is a second address; name one server\n"},
	}
	got := make([]<-chan outcome, len(tests)) // they wait, so all do at once
	for i, test := range tests {
		got[i] = sibling(t, append([]string{"drain"}, strings.Fields(test.line)...)...)
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			outcome := <-got[i]
			outcome.want(t, test.code, test.stdout, test.stderr)
		})
	}
}
