package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	user, password = "alice", "wonder"
	admin          = "127.0.0.1:9478" // of every relay, each on its own host
	port           = 3478
)

// record is what a process writes.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// lines returns those that hold all parts.
func (r *record) lines(parts ...string) (found []string) {
	for line := range strings.Lines(r.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// relay is a running hairpin serve.
type relay struct {
	t       *testing.T
	host    *host
	at      netip.AddrPort // where clients connect to
	log     *record
	process *os.Process
	ended   chan struct{} // closed when the process is gone, and code may be read
	code    int
}

// serve starts a relay that is reached at ip, and waits until it is ready.
func (h *host) serve(ip string, args ...string) *relay {
	t := h.network.t
	t.Helper()
	r := &relay{t: t, host: h, at: netip.AddrPortFrom(netip.MustParseAddr(ip), port), log: &record{}, ended: make(chan struct{})}
	line := append([]string{"netns", "exec", h.name, program, "serve", "--user", user + ":" + password, "--admin", admin}, args...)
	c := exec.Command("ip", line...) // it becomes the program: a signal to it reaches hairpin
	c.Stderr = r.log
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r.process = c.Process
	go func() { // ends with the process
		_ = c.Wait()
		r.code = c.ProcessState.ExitCode()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.process.Kill()
		<-r.ended
		for _, sign := range []string{"panic", "DATA RACE", password} {
			if strings.Contains(r.log.String(), sign) {
				t.Errorf("%q is in the log of %s:\n%s", sign, h.name, r.log)
			}
		}
	})
	eventually(t, h.name+" is ready", func() bool {
		select {
		case <-r.ended:
			t.Fatalf("%s ended with %d:\n%s", h.name, r.code, r.log)
		default:
		}
		code, _ := r.get("/readyz")
		return code == http.StatusOK
	})
	return r
}

// get asks the relay's admin address; code 0: nobody answers.
func (r *relay) get(path string) (code int, body []byte) { return r.ask(admin, path) }

// ask asks an address of the relay's host.
func (r *relay) ask(address, path string) (code int, body []byte) {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
		r.host.in(func() { conn, err = net.Dial("tcp4", address) })
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + address + path)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	body, _ = io.ReadAll(answer.Body)
	return answer.StatusCode, body
}

// allocations counts the live ones.
func (r *relay) allocations() int {
	r.t.Helper()
	var said struct {
		Total *int `json:"total"`
	}
	code, body := r.get("/allocations")
	if err := json.Unmarshal(body, &said); code != http.StatusOK || err != nil || said.Total == nil {
		r.t.Fatalf("/allocations of %s: %d, %v", r.host.name, code, err)
	}
	return *said.Total
}

// descriptors counts the open ones of the process.
func (r *relay) descriptors() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

func (r *relay) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// wait waits for the end of the process.
func (r *relay) wait() (code int) {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatalf("%s has not ended:\n%s", r.host.name, r.log)
	}
	return r.code
}

// hairpin runs another command of the program on the host, and returns what it prints; an exit code other than 0 is an error.
func (h *host) hairpin(ctx context.Context, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, errors bytes.Buffer
	c := exec.CommandContext(limited, "ip", append([]string{"netns", "exec", h.name, program}, args...)...)
	c.Stdout, c.Stderr = &out, &errors
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("hairpin %v: %w\n%s%s", args, err, &out, &errors)
	}
	return out.Bytes(), nil
}

// refused runs serve with settings that the host refuses, as a user without privileges, and returns what it says.
func (h *host) refused(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, append([]string{"serve", "--user", user + ":" + password, "--admin", "off"}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.Env, c.Dir = []string{}, "/"
	var out []byte
	h.in(func() { out, _ = c.CombinedOutput() })
	if ctx.Err() != nil || c.ProcessState.ExitCode() != 1 {
		t.Errorf("hairpin serve %v: exit code %d: %s", args, c.ProcessState.ExitCode(), out)
	}
	return string(out)
}
