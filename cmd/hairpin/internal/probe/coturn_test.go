package probe

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// coturn runs Debian's turnserver until the test ends; arguments come on top of what every test here needs.
func coturn(t *testing.T, ip string, arguments ...string) netip.AddrPort {
	t.Helper()
	binary, err := exec.LookPath("turnserver")
	if err != nil {
		const missing = "turnserver is not installed, so nothing was probed that is not pion's; apt-get install coturn"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var address netip.AddrPort
	for !address.IsValid() { // until a port is free for UDP and TCP: turnserver waits in silence for one that is not
		free, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Skipf("no %s on this machine: %v", ip, err)
		}
		if both, err := net.Listen("tcp", free.LocalAddr().String()); err == nil {
			address = netip.MustParseAddrPort(free.LocalAddr().String())
			_ = both.Close()
		}
		_ = free.Close()
	}

	// One relay thread: with several, UDP sockets that open later take clients away from those that are open.
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), binary, append([]string{
		"-n", "-v", "-m", "1", "--no-cli", "--no-tls", "--no-dtls", "-L", ip, "-p", strconv.Itoa(int(address.Port())), "--relay-ip", ip,
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"),
	}, arguments...)...)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-drained
		_ = command.Wait() // killed: its error says nothing
	})
	ready := make(chan bool, 1)
	go func() { // ends with the process
		defer close(drained)
		udp, tcp := false, false
		for lines := bufio.NewScanner(output); lines.Scan(); {
			udp = udp || strings.Contains(lines.Text(), "UDP listener opened")
			tcp = tcp || strings.Contains(lines.Text(), "TCP listener opened")
			if udp && tcp {
				select {
				case ready <- true:
				default:
				}
			}
		}
		select {
		case ready <- false:
		default:
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("turnserver ended before it listened")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("turnserver does not listen")
	}
	return address
}

func TestCoturn(t *testing.T) {
	static := []string{"-a", "-u", "u:p", "-r", "realm", "--allow-loopback-peers"}
	ephemeral := []string{"--use-auth-secret", "--static-auth-secret", "s", "-r", "realm", "--allow-loopback-peers"}
	for _, c := range []struct {
		name      string
		ip        string
		arguments []string
		transport Transport
		change    func(*Options)
		refused   int // STUN error code; 0: all is well
	}{
		{"udp", "127.0.0.1", static, UDP, func(*Options) {}, 0},
		{"tcp", "127.0.0.1", static, TCP, func(*Options) {}, 0},
		{"udp to tcp", "127.0.0.1", static, UDP, func(o *Options) { o.PeerTransport = TCP }, 0},
		{"tcp to udp", "127.0.0.1", static, TCP, func(o *Options) { o.PeerTransport = UDP }, 0},
		{"indications over udp", "127.0.0.1", static, UDP, func(o *Options) { o.Indications = true }, 0},
		{"indications over tcp", "127.0.0.1", static, TCP, func(o *Options) { o.Indications = true }, 0},
		{"large packets", "127.0.0.1", static, UDP, func(o *Options) { o.Size = 1400 }, 0},
		{"ipv6", "::1", static, UDP, func(o *Options) { o.Family = 6 }, 0},
		{"ipv6 over tcp", "::1", static, TCP, func(o *Options) { o.Family = 6 }, 0},
		{"secret", "127.0.0.1", ephemeral, UDP, func(o *Options) { o.User, o.Password, o.Secret = "", "", "s" }, 0},
		{"secret with id", "127.0.0.1", ephemeral, UDP, func(o *Options) { o.Password, o.Secret = "", "s" }, 0},
		{"no credentials needed", "127.0.0.1", []string{"--no-auth", "--allow-loopback-peers"}, UDP, func(o *Options) { o.User, o.Password = "", "" }, 0},
		{"wrong password", "127.0.0.1", static, UDP, func(o *Options) { o.Password = "x" }, 401},
		{"wrong password over tcp", "127.0.0.1", static, TCP, func(o *Options) { o.Password = "x" }, 401},
		{"wrong secret", "127.0.0.1", ephemeral, UDP, func(o *Options) { o.User, o.Password, o.Secret = "", "", "x" }, 401},
		{"no credentials", "127.0.0.1", static, UDP, func(o *Options) { o.User, o.Password = "", "" }, 401},
		{"no relayed address of the family", "127.0.0.1", static, UDP, func(o *Options) { o.Family = 6 }, 440},
		{"quota", "127.0.0.1", append(static, "--user-quota", "1"), UDP, func(*Options) {}, 486},
		{"loopback peers forbidden", "127.0.0.1", static[:5], UDP, func(*Options) {}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(coturn(t, c.ip, c.arguments...), c.transport)
			o.User, o.Password = "u", "p"
			c.change(&o)
			if c.refused == 0 {
				r := mustRun(t, t.Context(), o)
				complete(t, r, o.Count)
				if o.Family == 6 && !r.Allocations[0].Relayed.Addr().Is6() {
					t.Errorf("relayed address %s is not of the family asked for", r.Allocations[0].Relayed)
				}
				return
			}
			_, err := Run(t.Context(), o)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != c.refused {
				t.Errorf("%v; want a refusal with %d", err, c.refused)
			}
		})
	}
}
