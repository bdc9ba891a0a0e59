package docker_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every single step; all of them together take some two minutes.
const patience = 90 * time.Second

// programs are built once for all tests of this package.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// program is the path of hairpin or one2one of this tree.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "hairpin-programs"); programs.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", programs.dir+string(filepath.Separator), "./cmd/hairpin", "./cmd/one2one")
		build.Dir = "../.."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			programs.err = fmt.Errorf("%w\n%s", err, output)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// An engine is a Docker engine of its own: data, socket and containerd in a directory that goes with it, and two network
// namespaces, so that neither its bridge nor its rules are seen by this host.
//
//	┌─ outside ────────────┐          ┌─ host ──────────────────────────────┐
//	│ clients  198.51.100.1 ├── veth ──┤ 198.51.100.2  dockerd, its bridge,  │
//	└──────────────────────┘          │               containers            │
//	                                  └─────────────────────────────────────┘
type engine struct {
	dir           string
	host, outside string // network namespaces
	environment   []string
	daemon        *exec.Cmd
	log           *os.File
	ended         chan error
}

const (
	hostAddress    = "198.51.100.2"
	outsideAddress = "198.51.100.1"
)

// startEngine starts one, and ends it with the test. Where none can be started, the test is skipped by name.
func startEngine(t *testing.T) *engine {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: a Docker engine is nothing for -short")
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: containers in a Docker engine: only root can start one")
	}
	for command, source := range map[string]string{
		"dockerd": "docker.io", "docker": "docker.io", "ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux",
		"setpriv": "util-linux", "make": "make", "iptables": "iptables",
	} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("SKIPPED: containers in a Docker engine: there is no %s here (Debian: apt-get install %s, as root)", command, source)
		}
	}
	dir, err := os.MkdirTemp("", "hairpin-docker")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{
		dir: dir, host: fmt.Sprintf("hairpin-host-%d", os.Getpid()), outside: fmt.Sprintf("hairpin-outside-%d", os.Getpid()),
		environment: append(os.Environ(), "DOCKER_HOST=unix://"+dir+"/docker.sock", "DOCKER_CONFIG="+dir+"/client"),
		ended:       make(chan error, 1),
	}
	t.Cleanup(func() { e.end(t) })
	for _, line := range []string{
		"netns add " + e.host,
		"netns add " + e.outside,
		"link add eth0 netns " + e.host + " type veth peer name eth0 netns " + e.outside,
		"-n " + e.host + " address add " + hostAddress + "/24 dev eth0",
		"-n " + e.host + " link set eth0 up",
		"-n " + e.host + " link set lo up",
		"-n " + e.host + " route add default via " + outsideAddress,
		"-n " + e.outside + " address add " + outsideAddress + "/24 dev eth0",
		"-n " + e.outside + " link set eth0 up",
		"-n " + e.outside + " link set lo up",
	} {
		if output, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: containers in a Docker engine: this host takes no network namespaces: ip %s: %v: %s", line, err, output)
		}
	}
	e.start(t)
	return e
}

// start starts the daemon. Its mount namespace keeps a containerd of this host out of its sight and its mounts out of
// this host's; it ends with this process, however that ends.
func (e *engine) start(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(e.dir+"/daemon.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if e.log, err = os.Create(e.dir + "/log"); err != nil {
		t.Fatal(err)
	}
	e.daemon = exec.Command("setpriv", "--pdeathsig", "TERM", "nsenter", "--net=/run/netns/"+e.host, "unshare", "--mount", "sh", "-c",
		`[ ! -d /run/containerd ] || mount -t tmpfs tmpfs /run/containerd; exec dockerd "$@"`, "dockerd",
		"--config-file", e.dir+"/daemon.json", "--data-root", e.dir+"/data", "--exec-root", e.dir+"/run",
		"--pidfile", e.dir+"/pid", "--host", "unix://"+e.dir+"/docker.sock")
	e.daemon.Stdout, e.daemon.Stderr = e.log, e.log
	if err := e.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { e.ended <- e.daemon.Wait() }() // ends with the daemon, which end awaits
	until(t, "the engine answers", func() error {
		select {
		case err := <-e.ended:
			e.ended <- err
			t.Fatalf("dockerd ended: %v\n%s", err, e.tail())
		default:
		}
		_, err := e.try("docker", "version")
		return err
	})
}

// tail is the end of what the daemon says.
func (e *engine) tail() []byte {
	text, _ := os.ReadFile(e.dir + "/log")
	return text[max(0, len(text)-4000):]
}

func (e *engine) end(t *testing.T) {
	if e.daemon != nil && e.daemon.Process != nil {
		if ids, err := e.try("docker", "ps", "--all", "--quiet"); err == nil && ids != "" {
			e.try("docker", append([]string{"rm", "--force"}, strings.Fields(ids)...)...)
		}
		e.daemon.Process.Signal(os.Interrupt)
		select {
		case <-e.ended:
		case <-time.After(patience):
			t.Errorf("the engine does not end\n%s", e.tail())
			e.daemon.Process.Kill()
			<-e.ended
		}
		e.log.Close()
	}
	for _, name := range []string{e.host, e.outside} {
		exec.Command("ip", "netns", "delete", name).Run() // may never have been made
	}
	if err := os.RemoveAll(e.dir); err != nil {
		t.Error(err)
	}
}

// try runs a program of this host against the engine.
func (e *engine) try(name string, args ...string) (string, error) {
	return e.tryFor(patience, name, args...)
}

func (e *engine) tryFor(limit time.Duration, name string, args ...string) (string, error) {
	return run(limit, e.environment, name, args...)
}

// docker runs the client, and must succeed.
func (e *engine) docker(t *testing.T, args ...string) string {
	t.Helper()
	output, err := e.try("docker", args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// remove ends containers at once.
func (e *engine) remove(t *testing.T, names ...string) {
	t.Helper()
	e.docker(t, append([]string{"rm", "--force"}, names...)...)
}

// from runs a program as a client outside.
func (e *engine) from(name string, args ...string) (string, error) {
	return run(patience, os.Environ(), "ip", append([]string{"netns", "exec", e.outside, name}, args...)...)
}

func run(limit time.Duration, environment []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = environment
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), complaint.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// until tries again until there is no error.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("not so after %v: %s: %v", patience, what, err)
		}
	}
}

// credentials are how a client signs in.
type credentials struct{ user, password, secret string }

var alice = credentials{user: "alice", password: "wonderland"}

// probe calls through a relay from outside: packets go from one allocation to another and back.
func (e *engine) probe(t *testing.T, c credentials, server string, count int) error {
	t.Helper()
	wait := "1s" // is it there yet?
	if count > 1 {
		wait = "10s" // a packet that a busy host holds up is not lost
	}
	args := []string{"probe", "--user", c.user, "--timeout", wait, "--interval", "2ms", "--count", fmt.Sprint(count), server}
	if c.secret != "" {
		args = append([]string{args[0], "--secret", c.secret}, args[1:]...)
	} else {
		args = append([]string{args[0], "--password", c.password}, args[1:]...)
	}
	_, err := e.from(program(t, "hairpin"), args...)
	return err
}

var (
	uclientTotals = regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`)
	uclientLost   = regexp.MustCompile(`Total lost packets 0 .*total send dropped 0`)
)

// uclient calls through a relay with coturn's client, which ends with 0 whatever was lost.
func (e *engine) uclient(host, port string, flags ...string) error {
	args := append([]string{"-y", "-c", "-u", alice.user, "-w", alice.password, "-m", "2", "-n", "20", "-l", "200", "-z", "5", "-p", port}, flags...)
	output, err := e.from("turnutils_uclient", append(args, host)...)
	if err != nil {
		return err
	}
	return complete(output)
}

// complete says whether all that turnutils_uclient sent, 20 messages by each of two clients, came back.
func complete(output string) error {
	totals := uclientTotals.FindStringSubmatch(output)
	if totals == nil || totals[1] != "40" || totals[2] != totals[1] || !uclientLost.MatchString(output) {
		return fmt.Errorf("turnutils_uclient sent and received %v\n%s", totals, output)
	}
	return nil
}

// call is one call by each client, over UDP and TCP.
func (e *engine) call(t *testing.T, host, port string) {
	t.Helper()
	until(t, "a packet is relayed", func() error { return e.probe(t, alice, "turn:"+host+":"+port, 1) })
	for _, transport := range []string{"udp", "tcp"} {
		if err := e.probe(t, alice, "turn:"+host+":"+port+"?transport="+transport, 50); err != nil {
			t.Error(err)
		}
	}
	e.uclientCalls(t, host, port)
}

// uclientCalls are coturn's, side by side, as each of its runs takes seconds.
func (e *engine) uclientCalls(t *testing.T, host string, ports ...string) {
	t.Helper()
	if _, err := exec.LookPath("turnutils_uclient"); err != nil {
		t.Log("SKIPPED: a call by coturn's client: there is no turnutils_uclient here (Debian: apt-get install coturn)")
		return
	}
	failed := make(chan error)
	for _, port := range ports {
		go func() { failed <- e.uclient(host, port) }()
		go func() { failed <- e.uclient(host, port, "-t") }()
	}
	for range 2 * len(ports) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
