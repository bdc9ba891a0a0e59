package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for another process; a good run does not use it up.
const patience = 30 * time.Second

// freePorts finds ports that nobody uses, for UDP and TCP alike.
func freePorts(t *testing.T, count int) []string {
	t.Helper()
	var ports []string
	var held []io.Closer
	for len(ports) < count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if p, err := net.ListenPacket("udp", "127.0.0.1:"+port); err == nil {
			held = append(held, p)
			ports = append(ports, port)
		}
	}
	for _, c := range held {
		c.Close()
	}
	return ports
}

// process is this program, running.
type process struct {
	*exec.Cmd
	stdout *bufio.Reader
	stderr *strings.Builder
}

// startProcess runs the program until the test ends. mode is what TestMain makes of it.
func startProcess(t *testing.T, mode string, args ...string) *process {
	t.Helper()
	clearEnvironment(t)
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0], args...), stderr: new(strings.Builder)}
	p.Env = append(os.Environ(), asProgram+"="+mode)
	p.Stderr = p.stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		p.Wait()
	})
	return p
}

// readUntil reads standard output up to a line that matches, and returns all of it.
func (p *process) readUntil(t *testing.T, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	var read strings.Builder
	for {
		line, err := p.stdout.ReadString('\n')
		read.WriteString(line)
		if wanted.MatchString(line) {
			return read.String()
		}
		if err != nil {
			t.Fatalf("no %q before the end of\n%s\nstandard error:\n%s", pattern, read.String(), p.stderr)
		}
	}
}

// readAll reads standard output to its end, which is the process's.
func (p *process) readAll() { io.Copy(io.Discard, p.stdout) }

// end sends a signal and returns the exit code.
func (p *process) end(t *testing.T, s os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	p.readAll()
	p.Wait()
	return p.ProcessState.ExitCode()
}

// The first minutes: no setting but free ports, and the printed line works when it is pasted into a shell.
func TestFirstStart(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell to paste into")
	}
	for _, test := range []struct{ scheme, host string }{{"udp", "127.0.0.1"}, {"tcp", "127.0.0.1"}, {"udp", "[::1]"}, {"udp", ""}} {
		t.Run(test.scheme+" "+test.host, func(t *testing.T) {
			if test.host == "[::1]" {
				if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
					t.Skip("no IPv6 here")
				} else {
					l.Close()
				}
			}
			ports := freePorts(t, 2)
			p := startProcess(t, "hairpin", "serve", "--listen", fmt.Sprintf("%s://%s:%s", test.scheme, test.host, ports[0]), "--admin", "127.0.0.1:"+ports[1])
			printed := p.readUntil(t, "^  relaying ")

			line := regexp.MustCompile(`(?m)^  (\S+ probe .*)$`).FindStringSubmatch(printed)
			password := regexp.MustCompile(`(?m)^  password  ([0-9A-Za-z]{24})$`).FindStringSubmatch(printed)
			if line == nil || password == nil {
				t.Fatalf("no probe line or password in\n%s", printed)
			}
			if n := strings.Count(printed, password[1]); n != 3 {
				t.Errorf("the password is printed %d times, want 3: by itself, in the ICE configuration, in the probe line", n)
			}
			paste := exec.CommandContext(t.Context(), shell, "-c", line[1]+" --count 10 --interval 1ms")
			paste.Env, paste.Dir = p.Env, t.TempDir() // another terminal is somewhere else
			if out, err := paste.CombinedOutput(); err != nil {
				t.Errorf("%s\n%v: %s", line[1], err, out)
			}
			if got := hairpin(t, "status", "127.0.0.1:"+ports[1]); got.code != exitGood || !strings.Contains(got.stdout, "\n"+test.scheme+"://"+test.host+":"+ports[0]+" ") {
				t.Errorf("status: %+v", got)
			}
			if got := hairpin(t, "status", "--health", "--admin", "127.0.0.1:"+ports[1]); got != (outcome{}) {
				t.Errorf("status --health: %+v", got)
			}
			if code := p.end(t, syscall.SIGTERM); code != exitGood {
				t.Errorf("exit code %d after SIGTERM: %s", code, p.stderr)
			}
			if strings.Contains(p.stderr.String(), password[1]) {
				t.Errorf("the password is in the log:\n%s", p.stderr)
			}
		})
	}
}

func TestServeEndsOnInterrupt(t *testing.T) {
	port := freePorts(t, 1)[0]
	p := startProcess(t, "hairpin", "serve", "--listen", "udp://127.0.0.1:"+port, "--admin", "off")
	p.readUntil(t, "^  relaying ")
	if code := p.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

// Rules without loop are good, and often a mistake.
func TestServeWarnsWithoutLoop(t *testing.T) {
	for rule, want := range map[string]bool{"loop": false, "10.0.0.0/8": true} {
		ports := freePorts(t, 1)
		p := startProcess(t, "hairpin", "serve", "--listen", "udp://127.0.0.1:"+ports[0], "--admin", "off", "--peers", rule)
		p.readUntil(t, "^  relaying ")
		if code := p.end(t, os.Interrupt); code != exitGood {
			t.Errorf("exit code %d", code)
		}
		if strings.Contains(p.stderr.String(), "no peer rule is loop") != want {
			t.Errorf("--peers %s: %s", rule, p.stderr)
		}
	}
}

// waitForSignals is a process that never gets around to ending after the first signal.
func waitForSignals() {
	ctx, release := untilSignal(context.Background(), newLoggers(os.Stderr, levelTrace, "text").NewLogger("test"), func() { fmt.Println("draining") })
	defer release()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("ending")
	<-make(chan struct{}) // the other goroutine waits for a signal, so this is no deadlock
}

// Whoever signals again is not kept waiting by anything that hangs.
func TestMoreSignalsEndAtOnce(t *testing.T) {
	p := startProcess(t, "signals")
	p.readUntil(t, "ready")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.readUntil(t, "draining")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.readUntil(t, "ending")
	if code := p.end(t, syscall.SIGTERM); code != exitRuntime {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

// All ports in use are named at once, with what to do.
func TestPortsInUse(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	got := hairpin(t, "serve", "--listen", "tcp://"+tcp.Addr().String(), "--admin", admin.Addr().String())
	if got.code != exitRuntime || got.stdout != "" {
		t.Errorf("exit code %d, standard output %q", got.code, got.stdout)
	}
	lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one for each port:\n%s", len(lines), got.stderr)
	}
	for i, want := range [][]string{{"tcp://" + tcp.Addr().String(), "in use", "--listen"}, {"admin " + admin.Addr().String(), "in use", "--admin"}} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("no %q in %q", part, lines[i])
			}
		}
	}
}

func TestAdminAddressOfAnotherHost(t *testing.T) {
	port := freePorts(t, 1)[0]
	hairpin(t, "serve", "--listen", "udp://127.0.0.1:"+port, "--admin", "198.51.100.1:9478").want(t, exitRuntime, "",
		"admin 198.51.100.1:9478: 198.51.100.1 is no address of this host: name one that is with --admin IP:PORT\n")
}

func TestMadeUser(t *testing.T) {
	a, b := makeUser(), makeUser()
	if a.Name != madeName || len(a.Password) != passwordLength || a.Password == b.Password {
		t.Errorf("%q and %q", a.Password, b.Password)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"":                             "''",
		"/opt/hairpin-1.0/bin/hairpin": "/opt/hairpin-1.0/bin/hairpin",
		"/home/x y/hairpin":            "'/home/x y/hairpin'",
		"turn:[::1]:1?transport=udp":   "'turn:[::1]:1?transport=udp'",
		"it's":                         `'it'\''s'`,
		"$HOME":                        "'$HOME'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%q became %s, want %s", word, got, want)
		}
	}
}
