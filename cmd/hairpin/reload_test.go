package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

// settled is a server whose settings are in a file, which tests write anew.
type settled struct {
	*server
	dir, file, base string
}

// startSettled runs a relay for alice; base is what its file always has beside more.
func startSettled(t *testing.T, base, more string, flags ...string) *settled {
	t.Helper()
	ports := freePorts(t, 2)
	s := &settled{dir: t.TempDir(), server: &server{at: "127.0.0.1:" + ports[0], admin: "127.0.0.1:" + ports[1]}}
	s.file = filepath.Join(s.dir, "hairpin.yaml")
	s.base = fmt.Sprintf("listen: [\"udp://%s\"]\nadmin: %s\n%s", s.at, s.admin, base)
	write(t, s.file, s.base+more)
	s.process = startProcess(t, "hairpin", append([]string{"serve", "--config", s.file}, flags...)...)
	untilListening(t, ports[1])
	if code := s.ready(t); code != http.StatusOK {
		t.Fatalf("/readyz answers %d", code)
	}
	return s
}

// put replaces the file at once, as a ConfigMap is.
func (s *settled) put(t *testing.T, more string) {
	t.Helper()
	write(t, s.file+".new", s.base+more)
	must(t, os.Rename(s.file+".new", s.file))
}

// takes has the server reload, which has to change these settings.
func (s *settled) takes(t *testing.T, more, changed string, flags ...string) {
	t.Helper()
	s.put(t, more)
	got := hairpin(t, append([]string{"reload", s.admin}, flags...)...)
	if got.stdout == "no setting has changed\n" && s.last(t).Result == metrics.ReloadUnchanged {
		t.Log("the look at the file came first")
		return
	}
	got.want(t, exitGood, "taken over: "+changed+"\n", "")
}

// last is what the server says of its last attempt; it has no token.
func (s *settled) last(t *testing.T) (what metrics.Reload) {
	t.Helper()
	_, body := get(t, "http://"+s.admin+"/reload")
	must(t, json.Unmarshal([]byte(body), &what))
	return what
}

// until waits for an attempt that comes to this.
func (s *settled) until(t *testing.T, reached func(metrics.Reload) bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience / 2); !reached(s.last(t)); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("the last attempt is %+v", s.last(t))
		}
	}
}

// fails is the error code that a new client meets; empty: none.
func (s *settled) fails(t *testing.T, want string) {
	t.Helper()
	p, err := newPhone(s.at)
	switch {
	case err == nil && want == "":
		must(t, p.hangUp())
		p.conn.Close()
	case err == nil || want == "" || !strings.Contains(err.Error(), want):
		t.Errorf("a new client meets %v, want %q", err, want)
	}
}

const aliceToo = phoneUser + ":" + phonePassword

// Each setting that can change, seen from outside, while a call goes on.
func TestReloadSettings(t *testing.T) {
	keep := "user: [\"" + aliceToo + "\"]\n"
	answers := func(s *settled, path string, header ...string) (int, string) {
		request, err := http.NewRequest(http.MethodGet, "http://"+s.admin+path, nil)
		must(t, err)
		for _, token := range header {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		defer response.Body.Close()
		var body bytes.Buffer
		body.ReadFrom(response.Body)
		return response.StatusCode, body.String()
	}
	for _, test := range []struct {
		name, before, after, changed string
		flags                        []string // of hairpin reload
		check                        func(t *testing.T, s *settled, reloaded bool)
	}{
		{"user", "user: [\"" + aliceToo + "\"]\n", "user: [\"alice:other\", \"bob:b\"]\n", "user", nil, func(t *testing.T, s *settled, reloaded bool) {
			s.fails(t, map[bool]string{true: "is not signed"}[reloaded]) // a 401
		}},
		{"users-file", keep, "users-file: USERS\n", "user, users-file", nil, func(t *testing.T, s *settled, _ bool) { s.fails(t, "") }},
		{"user-quota", keep, keep + "user-quota: 2\n", "user-quota", nil, func(t *testing.T, s *settled, reloaded bool) {
			s.fails(t, map[bool]string{true: "486"}[reloaded])
		}},
		{"total-quota", keep, keep + "total-quota: 2\n", "total-quota", nil, func(t *testing.T, s *settled, reloaded bool) {
			s.fails(t, map[bool]string{true: "508"}[reloaded])
		}},
		{"peers", keep + "peers: [loop, 127.0.0.0/8]\n", keep + "peers: [loop]\n", "peers", nil, func(t *testing.T, s *settled, reloaded bool) {
			p, err := newPhone(s.at)
			must(t, err)
			err = p.bind(0x4001, netip.MustParseAddrPort("127.0.0.1:9"))
			if (err != nil) != reloaded || reloaded && !strings.Contains(err.Error(), "403") {
				t.Errorf("a channel: %v", err)
			}
			must(t, p.hangUp())
		}},
		{"metrics-allocations", keep, keep + "metrics-allocations: 0\n", "metrics-allocations", nil, func(t *testing.T, s *settled, reloaded bool) {
			if _, body := answers(s, "/metrics"); strings.Contains(body, "\nhairpin_allocation_bytes_total{") == reloaded {
				t.Error("series of allocations")
			}
		}},
		{"admin-token", keep + "admin-token: one-two-three\n", keep + "admin-token: four-five-six\n", "admin-token", []string{"--admin-token", "one-two-three"}, func(t *testing.T, s *settled, reloaded bool) {
			for token, good := range map[string]bool{"one-two-three": !reloaded, "four-five-six": reloaded} {
				if code, _ := answers(s, "/allocations", token); (code == 200) != good {
					t.Errorf("%s: %d", token, code)
				}
			}
		}},
		{"drain-timeout and alternate-server", keep, keep + "drain-timeout: 7m\nalternate-server: [192.0.2.7]\n", "drain-timeout, alternate-server", nil, func(t *testing.T, s *settled, reloaded bool) {
			if !reloaded {
				return
			}
			hairpin(t, "drain", "--no-wait", s.admin).want(t, exitGood, "draining: 2 allocations left, for 6m59s at the longest\n", "")
			again := time.NewTicker(10 * time.Millisecond) // the list is published beside the answer
			defer again.Stop()
			for deadline := time.Now().Add(patience / 3); ; <-again.C {
				_, err := newPhone(s.at)
				if err != nil && err.Error() == "300, try 192.0.2.7:3478" {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("a new client meets %v", err)
				}
			}
		}},
		{"quality", keep + "quality: off\n", keep + "quality: full\n", "quality", nil, nil},
		{"enforce-expiry", keep, keep + "enforce-expiry: true\n", "enforce-expiry", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSettled(t, "", test.before)
			users := filepath.Join(s.dir, "users")
			write(t, users, aliceToo+"\n")
			c, err := newCall(s.at)
			must(t, err)
			must(t, c.talk())
			if test.check != nil {
				test.check(t, s, false)
			}
			s.takes(t, strings.ReplaceAll(test.after, "USERS", users), test.changed, test.flags...)
			must(t, c.talk())
			if test.check != nil {
				test.check(t, s, true)
			}
			must(t, c.talk())
			must(t, s.Process.Kill())
			s.ended(t)
			if log := s.stderr.String(); !strings.Contains(log, "taken over: "+test.changed) || strings.Contains(log, phonePassword) || strings.Contains(log, "four-five-six") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

// Certificates, credentials of the ICE service and the log level.
func TestReloadBesides(t *testing.T) {
	ports := freePorts(t, 2)
	secure, ice := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	one, two := selfSigned(t, t.TempDir()), selfSigned(t, t.TempDir())
	use := func(c certificate) string {
		return fmt.Sprintf("tls-cert: [%q]\ntls-key: [%q]\n", c.certFile, c.keyFile)
	}
	s := startSettled(t, fmt.Sprintf("ice: %s\nice-url: [turn:a]\n", ice), use(one)+"secret: [old]\n", "--listen", "tls://"+secure)
	presented := func() []byte {
		t.Helper()
		c, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"stun.turn"}})
		must(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Signature
	}
	before := presented()
	if code, _ := get(t, "http://"+ice+"/ice?service=turn"); code != 200 {
		t.Errorf("/ice answers %d", code)
	}
	s.takes(t, use(two)+"secret: [new]\nice-key: [k-e-y]\nice-max-ttl: 1m\nlog-level: error\n", "tls-cert, tls-key, secret, ice-key, ice-max-ttl, log-level")
	if bytes.Equal(presented(), before) {
		t.Error("the certificate is the same")
	}
	if code, _ := get(t, "http://"+ice+"/ice?service=turn"); code != 401 {
		t.Errorf("/ice without the key answers %d", code)
	}
	if _, body := get(t, "http://"+ice+"/?service=turn&key=k-e-y&ttl=3600"); !strings.Contains(body, `"ttl":60`) {
		t.Errorf("/ answers %s", body)
	}
	s.takes(t, use(two)+"secret: [new]\nlog-level: error\n", "ice-key, ice-max-ttl")
	s.end(t, os.Interrupt)
	if log := s.stderr.String(); strings.Contains(log, "taken over: ice-key") || strings.Contains(log, "interrupt: ending") {
		t.Errorf("after log-level: error the log says\n%s", log)
	}
}

// What is wrong is named with its line, by command and log, and everything is as it was.
func TestReloadRefused(t *testing.T) {
	keep := "user: [\"" + aliceToo + "\"]\n" // line 3
	s := startSettled(t, "", keep, "--drain-timeout", "30m")
	c, err := newCall(s.at)
	must(t, err)
	wrong := filepath.Join(s.dir, "wrong")
	write(t, wrong, "# users\nbob\n")
	missing := filepath.Join(s.dir, "missing")
	at := func(line int) string { return fmt.Sprintf("%s:%d: ", s.file, line) }
	restart := " has changed, which needs a restart; restart the server, or undo the change\n"
	tests := []struct{ name, content, stderr string }{
		{"not YAML", keep + "user-quota: [1\n", s.file + ":3: is not YAML: did not find expected ',' or ']'; put values with special characters in quotes\n"},
		{"a value", keep + "user-quota: many\n", at(4) + "user-quota: \"many\" is not a number from 0 to 2147483647; write one in decimal digits\n"},
		{"a key", keep + "user-qouta: 1\n", at(4) + "user-qouta: is not a known key; did you mean user-quota?\n"},
		{"two at once", keep + "user-quota: many\nlog-level: loud\n",
			at(4) + "user-quota: \"many\" is not a number from 0 to 2147483647; write one in decimal digits\n" + at(5) + "log-level: \"loud\" is not a level; write trace, debug, info, warn or error\n"},
		{"a line of a file of its own", keep + "user-quota: 1\nusers-file: " + wrong + "\n", wrong + ":2: there is no ':'; write NAME:PASSWORD or NAME:0xHEX\n"},
		{"a file that is not there", keep + "secrets-file: " + missing + "\n",
			at(4) + "secrets-file: cannot use \"" + missing + "\": no such file or directory; name a file that can be read, with one entry in a line\n"},
		{"no credentials", "user-quota: 1\n", "user: is not there any longer, nor are other credentials; give at least one user or secret; one is made at start only\n"},
		{"rules", keep + "peers: [loop, \"10.0.0.0/99\"]\n", ""},
		{"needs a restart", keep + "user-quota: 1\nworkers: 3\nrealm: other\n", at(6) + "realm" + ": realm" + restart + at(5) + "workers: workers" + restart},
		{"a flag instead", keep + "drain-timeout: 3m\nsoftware: x\n", at(5) + "software: software" + restart},
		{"peers beyond the server", keep + "peers: [loop, 10.0.0.0/8]\n", at(4) + "peers: peers beyond this server are allowed, and it was started without any, which needs a restart; restart the server, or undo the change\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.put(t, test.content)
			got := hairpin(t, "reload", s.admin)
			if got.code != exitUsage || got.stdout != "" || test.stderr != "" && got.stderr != test.stderr || !strings.HasSuffix(got.stderr, "\n") {
				t.Errorf("%+v, want\n%s", got, test.stderr)
			}
			must(t, c.talk())
			s.fails(t, "") // a quota of 1 would
		})
	}
	if _, body := get(t, "http://"+s.admin+"/metrics"); strings.Contains(body, "\nhairpin_reloads_total{result=\"applied\"} 0\n") == false || strings.Contains(body, `{result="refused"} 0`) {
		t.Error("the refusals are not counted")
	}
	s.takes(t, keep+"drain-timeout: 3m\nuser-quota: 2\n", "user-quota") // the flag goes before the file
	s.fails(t, "486")
	s.end(t, os.Interrupt)
	if log := s.stderr.String(); !strings.Contains(log, "refused, and nothing has changed: ") || strings.Contains(log, phonePassword) {
		t.Errorf("the log is\n%s", log)
	}
}

// A file that changes is seen, and SIGHUP opens the file of events anew.
func TestReloadBySelf(t *testing.T) {
	keep := "user: [\"" + aliceToo + "\"]\n"
	events := filepath.Join(t.TempDir(), "events")
	s := startSettled(t, "events: "+events+"\n", keep)
	s.put(t, keep+"user-quota: 1\n")
	s.until(t, func(r metrics.Reload) bool { return slices.Equal(r.Changed, []string{"user-quota"}) })
	s.put(t, keep+"user-quota: -1\n")
	s.until(t, func(r metrics.Reload) bool { return r.Result == metrics.ReloadRefused })
	must(t, os.Remove(s.file))
	s.until(t, func(r metrics.Reload) bool {
		return r.Result == metrics.ReloadRefused && strings.Contains(r.Faults[0], "no such file")
	})
	s.put(t, keep)
	s.until(t, func(r metrics.Reload) bool { return r.Result == metrics.ReloadApplied })

	must(t, os.Rename(events, events+".1"))
	must(t, s.Process.Signal(syscall.SIGHUP))
	s.until(t, func(r metrics.Reload) bool { return r.Result == metrics.ReloadUnchanged })
	s.fails(t, "")
	if code := s.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	if content, err := os.ReadFile(events); err != nil || !bytes.Contains(content, []byte(phoneUser)) {
		t.Errorf("%v: %s", err, content)
	}
}

// Without a file SIGHUP ends nothing.
func TestReloadWithoutFile(t *testing.T) {
	s := freeServer(t)
	hairpin(t, "reload", s.admin).want(t, exitGood, "no setting has changed\n", "")
	hairpin(t, "reload", s.admin).want(t, exitGood, "no setting has changed\n", "")
	c, err := newCall(s.at)
	must(t, err)
	must(t, s.Process.Signal(syscall.SIGHUP))
	must(t, c.talk())
}

// A hundred reloads of everything that can change, some of them faulty, by signal and by request, cost no packet of the calls under way.
func TestReloadUnderLoad(t *testing.T) {
	keep := "user: [\"" + aliceToo + "\"]\n"
	s := startSettled(t, "", keep)
	variants := []string{
		keep,
		keep + "user-quota: 100\nlog-level: warn\nquality: off\npeers: [loop, \"!192.0.2.0/24\"]\n",
		keep + "secret: [s]\nmetrics-allocations: 1\nalternate-server: [192.0.2.7]\nquality: sampled\n",
		keep + "realm: other\n",
		"user: [\"" + aliceToo + "\", \"bob:b\"]\ntotal-quota: 50\nenforce-expiry: true\n",
	}
	var calls []*call
	for range 4 {
		c, err := newCall(s.at)
		must(t, err)
		calls = append(calls, c)
	}
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
	counts := map[metrics.Result]int{}
	for i := range 100 {
		s.put(t, variants[i%len(variants)])
		if i%10 == 0 {
			must(t, s.Process.Signal(syscall.SIGHUP))
		}
		response, err := http.Post("http://"+s.admin+"/reload", "", nil)
		must(t, err)
		var what metrics.Reload
		must(t, json.NewDecoder(response.Body).Decode(&what))
		response.Body.Close()
		counts[what.Result]++
	}
	close(stop)
	talking.Wait()
	sent := 0
	for _, c := range calls {
		sent += c.sent
		if c.received != c.sent {
			t.Errorf("%d of %d packets", c.received, c.sent)
		}
		must(t, c.a.want(stun.MethodRefresh))
		must(t, c.end())
	}
	t.Logf("%d packets, none lost; reloads: %v", sent, counts)
	if counts[metrics.ReloadApplied] < 50 || counts[metrics.ReloadRefused] < 15 {
		t.Errorf("reloads: %v", counts)
	}
}
