package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait; a good run does not use it up.
const patience = 30 * time.Second

// program is the built binary.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if lacking() != "" {
		return m.Run() // every test skips itself by that name
	}
	dir, err := os.MkdirTemp("", "hairpin-lab-")
	if err == nil {
		defer os.RemoveAll(dir)
		_ = os.Chmod(dir, 0o755) // for users other than root
		program = filepath.Join(dir, "hairpin")
		build := exec.Command("go", "build", "-o", program, "github.com/hairpin-turn/hairpin/cmd/hairpin")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building hairpin:", err)
		return 1
	}
	sweep()
	return m.Run()
}

// lacking says what is missing here for hosts in namespaces; empty: nothing.
var lacking = sync.OnceValue(func() string {
	for command, debian := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(command); err != nil {
			return fmt.Sprintf("there is no %s here (Debian: apt-get install %s), so no relay ran on a host of its own", command, debian)
		}
	}
	name := fmt.Sprintf("%s%d-try", namespaces, os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Sprintf("network namespaces are for root, so no relay ran on a host of its own: %s", out)
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	if out, err := exec.Command("ip", "netns", "exec", name, "nft", "list", "ruleset").CombinedOutput(); err != nil {
		return fmt.Sprintf("nft does not work in a network namespace, so no relay ran behind a NAT: %s", out)
	}
	return ""
})

// namespaces is what the names of all begin with; the process's number follows.
const namespaces = "hairpin-lab-"

// sweep removes the namespaces of processes that were killed.
func sweep() {
	names, _ := filepath.Glob("/run/netns/" + namespaces + "*")
	for _, path := range names {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namespaces), "-")
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// network is a set of hosts that ends with its test.
type network struct {
	t      *testing.T
	prefix string
	links  int
}

var networks atomic.Int32

// newNetwork begins a network without hosts, or skips the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if testing.Short() {
		t.Skip("hosts in network namespaces are nothing for -short")
	}
	if missing := lacking(); missing != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return &network{t: t, prefix: fmt.Sprintf("%s%d-%d-", namespaces, os.Getpid(), networks.Add(1))}
}

// host is a network namespace.
type host struct {
	network *network
	name    string // of the namespace
}

// host makes a host with nothing but its loopback.
func (n *network) host(name string) *host {
	n.t.Helper()
	h := &host{n, n.prefix + name}
	n.command("ip", "netns", "add", h.name)
	n.t.Cleanup(func() {
		_ = exec.Command("ip", "netns", "del", h.name).Run()
		_ = os.RemoveAll("/etc/netns/" + h.name)
	})
	h.ip("link set lo up")
	return h
}

// command runs a program of the system's and demands success.
func (n *network) command(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// ip configures the host: one command of ip in a line.
func (h *host) ip(lines ...string) {
	h.network.t.Helper()
	h.feed(strings.Join(lines, "\n")+"\n", "ip", "-n", h.name, "-batch", "-")
}

// nft adds rules of netfilter.
func (h *host) nft(rules string) {
	h.network.t.Helper()
	h.feed(rules, "ip", "netns", "exec", h.name, "nft", "-f", "-")
}

func (h *host) feed(input, name string, args ...string) {
	h.network.t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		h.network.t.Fatalf("%s: %v: %s\n%s", h.name, err, out, input)
	}
}

// segment makes the host the router of a segment: a bridge with the router's addresses, named dev.
func (h *host) segment(dev string, addresses ...string) {
	h.network.t.Helper()
	lines := []string{"link add " + dev + " type bridge", "link set " + dev + " up"}
	for _, a := range addresses {
		lines = append(lines, "addr add "+a+" dev "+dev+nodad(a))
	}
	h.ip(lines...)
	h.forward()
}

// forward makes the host a router.
func (h *host) forward() {
	h.network.t.Helper()
	h.set("ipv4/ip_forward", "1")
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		h.set("ipv6/conf/all/forwarding", "1")
	}
}

// set changes a setting of the host's network, below /proc/sys/net.
func (h *host) set(name, value string) {
	h.network.t.Helper()
	var err error
	h.in(func() { err = os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) })
	if err != nil {
		h.network.t.Fatal(err)
	}
}

// plug connects h to a segment of router by its interface dev, with addresses and default routes.
func (h *host) plug(router *host, segment, dev string, addresses, gateways []string) {
	n := h.network
	n.t.Helper()
	n.links++
	far := fmt.Sprintf("port%d", n.links)
	h.ip(fmt.Sprintf("link add %s type veth peer name %s netns %s", dev, far, router.name))
	router.ip("link set "+far+" master "+segment, "link set "+far+" up")
	lines := []string{"link set " + dev + " up"}
	for _, a := range addresses {
		lines = append(lines, "addr add "+a+" dev "+dev+nodad(a))
	}
	for _, g := range gateways {
		lines = append(lines, "route add default via "+g)
	}
	h.ip(lines...)
}

// nodad: addresses that nobody else can have are good at once.
func nodad(address string) string {
	if p, err := netip.ParsePrefix(address); err == nil && p.Addr().Is6() {
		return " nodad"
	}
	return ""
}

// in runs f on the host: sockets that f makes, by itself and not on other goroutines, are the host's for ever.
func (h *host) in(f func()) {
	done := make(chan error, 1)
	go func() { // ends with f, and its thread with it
		done <- func() error {
			runtime.LockOSThread() // for ever: the thread is of no use to others
			fd, err := unix.Open("/run/netns/"+h.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		h.network.t.Errorf("%s: %v", h.name, err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}
