package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// uclient is one run of coturn's load generator against the server under test.
type uclient struct {
	command *exec.Cmd
	output  bytes.Buffer
	err     error
	cut     bool          // patience ran out
	ended   chan struct{} // closed when the fields above may be read
}

// startUclient starts turnutils_uclient, and ends it when it takes too long or the test is over.
func startUclient(t *testing.T, program string, limit time.Duration, args ...string) *uclient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	u := &uclient{command: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	u.command.Stdout, u.command.Stderr = &u.output, &u.output
	if err := u.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(u.ended)
		u.err = u.command.Wait()
		u.cut = errors.Is(ctx.Err(), context.DeadlineExceeded)
		cancel()
	}()
	t.Cleanup(func() { <-u.ended })
	return u
}

var (
	uclientTotals = regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`)
	uclientLost   = regexp.MustCompile(`Total lost packets (-?\d+) .*total send dropped (\d+)`)
)

// wantComplete demands that every message was sent and came back.
func (u *uclient) wantComplete(t *testing.T, atLeast int) {
	t.Helper()
	<-u.ended
	totals, lost := uclientTotals.FindSubmatch(u.output.Bytes()), uclientLost.FindSubmatch(u.output.Bytes())
	if u.err != nil || totals == nil || lost == nil {
		t.Fatalf("%v: %v\n%s", u.command.Args, u.err, u.output.Bytes())
	}
	sent, _ := strconv.Atoi(string(totals[1]))
	received, _ := strconv.Atoi(string(totals[2]))
	if sent < atLeast || received != sent || string(lost[1]) != "0" || string(lost[2]) != "0" {
		t.Errorf("%v: sent %d (at least %d), received %d, lost %s, send dropped %s", u.command.Args, sent, atLeast, received, lost[1], lost[2])
	}
}

// coturn's client, which nobody here wrote, loses nothing, whatever ways it takes; and what it does wrong on purpose
// harms neither the server nor those who come after.
func TestTurnutils(t *testing.T) {
	program := coturnTool(t, "turnutils_uclient")
	hosts := []string{"127.0.0.1"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		hosts = append(hosts, "::1")
	}
	const most = 100 // runs, half of them over TLS or DTLS
	ports := freePorts(t, most)
	port := ports[0]
	own := selfSigned(t, t.TempDir())
	args := []string{"serve", "--admin", "off", "--user", "alice:wonder", "--secret", "sesame", "--tls-cert", own.certFile, "--tls-key", own.keyFile}
	for i, port := range ports { // one for each run: clients leave allocations behind, whose ports the next ones may be given (437)
		kinds := []string{"udp", "tcp"}
		if i >= most/2 {
			kinds = []string{"dtls", "tls"}
		}
		for _, host := range hosts {
			for _, kind := range kinds {
				args = append(args, "--listen", kind+"://"+net.JoinHostPort(host, port))
			}
		}
	}
	plain, secure := ports[1:most/2], ports[most/2:]
	p := startProcess(t, "hairpin", args...)
	waitForTCP(t, net.JoinHostPort(hosts[len(hosts)-1], ports[most-1])) // the last of the listeners
	line := func(flags, host string) []string {
		if strings.Contains(flags, " -S") {
			at := secure[0]
			secure = secure[1:]
			return append(strings.Fields(flags), "-i", own.certFile, "-k", own.keyFile, "-p", at, host)
		}
		at := plain[0]
		plain = plain[1:]
		return append(strings.Fields(flags), "-p", at, host)
	}
	const (
		static = " -u alice -w wonder"
		load   = " -m 10 -n 200 -l 200 -z 5"
		sent   = 10 * 200
	)

	// Some run at once, because each takes its time; not all, because a client that gets no processor loses datagrams by
	// itself.
	type run struct {
		*uclient
		name  string
		check func(*testing.T, *uclient)
	}
	const atOnce = 6
	var runs []run
	finish := func() {
		for _, r := range runs {
			t.Run(r.name, func(t *testing.T) {
				<-r.ended
				r.check(t, r.uclient)
			})
		}
		runs = nil
	}
	begin := func(name, flags, host string, limit time.Duration, check func(*testing.T, *uclient)) {
		runs = append(runs, run{startUclient(t, program, limit, line(flags, host)...), name + " " + flags + " " + host, check})
	}
	for _, row := range []struct {
		flags string
		both  bool // over IPv6 as well
	}{
		{"-y -c" + static, true},
		{"-y -c -s" + static, false},
		{"-y -c -t" + static, false},
		{"-y -c -t -s" + static, true},
		{"-y -c -D" + static, true},
		{"-y -c -t -D" + static, false},
		{"-y -c -W sesame", true},
		{"-y -c -t -W sesame", false},
		{"-y" + static, true}, // EVEN-PORT and RESERVATION-TOKEN
		{"-y -t -s" + static, false},
		{"-y -c -x" + static, true}, // relayed as IPv6
		{"-y -c -x -t -s" + static, false},
		{"-y -x" + static, false},
		{"-y -c -T -t" + static, true}, // TCP allocations
		{"-y -T -t" + static, false},
		{"-y -c -T -t -W sesame", false},
		{"-y -c -S -t" + static, true}, // TLS
		{"-y -c -S -t -s" + static, false},
		{"-y -c -S" + static, true}, // DTLS
		{"-y -c -S -s" + static, false},
		{"-y -c -Z" + static, true}, // two relayed transport addresses
		{"-y -c -t -s -Z" + static, false},
		{"-y -c -M" + static, true}, // moves to another socket, half of the time after closing the first
		{"-y -c -t -M" + static, true},
		{"-y -c -s -M -Z" + static, false},
	} {
		for _, host := range hosts {
			v6 := host == "::1"
			if v6 && !row.both || len(hosts) == 1 && (strings.Contains(row.flags, "-x") || strings.Contains(row.flags, "-Z")) {
				continue
			}
			if len(runs) == atOnce {
				finish()
			}
			begin("complete", row.flags+load, host, patience, func(t *testing.T, u *uclient) { u.wantComplete(t, sent) })
		}
	}
	finish()

	// One that means well beside those that don't.
	begin("complete", "-y -c -t"+static+load, "127.0.0.1", patience, func(t *testing.T, u *uclient) { u.wantComplete(t, sent) })
	refused := func(t *testing.T, u *uclient) {
		if u.cut || u.err == nil {
			t.Errorf("not refused: %v\n%s", u.err, u.output.Bytes())
		}
	}
	ends := func(t *testing.T, u *uclient) {
		if u.cut {
			t.Errorf("does not end\n%s", u.output.Bytes())
		}
	}
	survived := func(*testing.T, *uclient) {} // it may wait for ever for an answer to what deserves none
	const few = " -m 2 -n 10 -l 200 -z 5"
	for _, wrong := range []struct {
		name, flags string
		limit       time.Duration
		check       func(*testing.T, *uclient)
	}{
		{"wrong password", "-y -c -u alice -w wrong", patience, refused},
		{"wrong password over TCP", "-y -c -t -u alice -w wrong", patience, refused},
		{"unknown user", "-y -c -u mallory -w wonder", patience, refused},
		{"wrong secret", "-y -c -W wrong", patience, refused},
		{"negative tests", "-y -c -N" + static, patience, ends},
		{"extra requests", "-y -c -G" + static, patience, ends},
		{"random disconnects", "-y -c -B" + static, patience, ends},
		{"negative protocol tests", "-y -c -R" + static, 5 * time.Second, survived},
		{"negative protocol tests over TCP", "-y -c -t -R -G" + static, 5 * time.Second, survived},
	} {
		begin(wrong.name, wrong.flags+few, "127.0.0.1", wrong.limit, wrong.check)
	}
	finish()

	t.Run("the next one is served", func(t *testing.T) {
		next := hairpin(t, "probe", "--user", "alice", "--password", "wonder", "--count", "10", "--interval", "1ms", "turn:127.0.0.1:"+port)
		if next.code != exitGood {
			t.Errorf("probe: %+v", next)
		}
		if code := p.end(t, os.Interrupt); code != exitGood { // clients that gave up have left allocations
			t.Errorf("exit code %d", code)
		}
		for _, sign := range []string{"panic", "DATA RACE", "wonder", "sesame"} {
			if strings.Contains(p.stderr.String(), sign) {
				t.Errorf("%q is in the log:\n%s", sign, p.stderr)
			}
		}
	})
}

// coturnTool finds a program of coturn's.
func coturnTool(t *testing.T, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		missing := name + " is not installed, so coturn's client did not try this server; apt-get install coturn"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return program
}

// coturn's client makes access tokens itself, each time with one of three keys that it has built in, and takes a new one
// with each Refresh (RFC 7635).
func TestTurnutilsOAuth(t *testing.T) {
	program := coturnTool(t, "turnutils_uclient")
	keys := filepath.Join(t.TempDir(), "keys.json")
	content := `{"keys": [
		{"kid": "north", "key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
		{"kid": "union", "key": "MTIzNDU2Nzg5MDEyMzQ1Ng==", "alg": "A128GCM"},
		{"kid": "oldempire", "key": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="}]}`
	if err := os.WriteFile(keys, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePorts(t, 1)[0]
	at := net.JoinHostPort("127.0.0.1", port)
	p := startProcess(t, "hairpin", "serve", "--admin", "off", "--oauth-keys-file", keys, "--oauth-server-name", "turn.example.org",
		"--listen", "udp://"+at, "--listen", "tcp://"+at)
	waitForTCP(t, at)
	var runs []*uclient
	for _, flags := range []string{"-J -y -c", "-J -y -c -t", "-J -y"} {
		runs = append(runs, startUclient(t, program, patience, strings.Fields(flags+" -m 4 -n 50 -l 200 -z 5 -p "+port+" 127.0.0.1")...))
	}
	for _, u := range runs {
		u.wantComplete(t, 4*50)
	}
	if code := p.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d", code)
	}
}

// waitForTCP returns as soon as somebody listens there.
func waitForTCP(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
