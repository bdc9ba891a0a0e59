package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"
)

// Credentials that every rival is given.
const (
	user     = "bench"
	password = "bench-only-on-loopback"
	realm    = "hairpin"
)

// rival is a server to measure. Its command serves UDP and TCP on 127.0.0.1:port.
type rival struct {
	name    string
	command []string
	inside  []string // more arguments where peers are other clients
	outside []string // or beyond the server
	bare    bool     // no credentials, UDP channels only
	blind   bool     // hairpin without a look at media, beside itself
}

// available lists the rivals that this machine can run and names those that it
// can't.
func available(hairpin, loop string, port int) []rival {
	at := strconv.Itoa(port)
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	own := rival{name: "hairpin", command: []string{hairpin, "serve", "--unauthenticated-rate", "0", "--listen", "udp://127.0.0.1:" + at, "--listen", "tcp://127.0.0.1:" + at,
		"--user", user + ":" + password, "--user", otherUser + ":" + otherPassword, "--admin", "off", "--log-level", "warn"},
		inside:  []string{"--relay-address", "10.0.0.0/8"},
		outside: []string{"--relay-address", "127.0.0.1", "--peers", "127.0.0.1"}}
	blind := own
	blind.name, blind.command, blind.blind = "hairpin, --quality off", append(slices.Clip(own.command), "--quality", "off"), true
	all := []rival{
		own,
		{name: "coturn", command: []string{"turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "-L", "127.0.0.1", "-p", at, "-a",
			"-u", user + ":" + password, "-u", otherUser + ":" + otherPassword, "-r", realm, "--allow-loopback-peers", "--relay-ip", "127.0.0.1", "-m", "1", "--log-file", os.DevNull}},
		{name: "pion/turn v3", command: []string{self, "pion", at}},
		{name: "bare loop", command: []string{loop, at}, bare: true},
		blind,
	}
	var found []rival
	for _, r := range all {
		if _, err := exec.LookPath(r.command[0]); err != nil {
			fmt.Fprintf(os.Stderr, "SKIPPED: %s: %v\n", r.name, err)
			continue
		}
		found = append(found, r)
	}
	return found
}

// start runs a rival's server on processor 0 until stop is called, and waits until
// it answers on TCP or, the bare loop, has bound its port.
func (r rival) start(ctx context.Context, port int) (pid int, stop func(), err error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", "0"}, r.command...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 100 {
		if r.listens(port) {
			return cmd.Process.Pid, stop, nil
		}
		select {
		case <-ctx.Done():
			stop()
			return 0, nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	return 0, nil, fmt.Errorf("%s doesn't listen on port %d", r.name, port)
}

// listens says whether the server is up: a port that it has can't be bound.
func (r rival) listens(port int) bool {
	c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return true
	}
	c.Close()
	return false
}

// servePion is pion/turn's server as its own examples run it.
func servePion(ctx context.Context, port string) error {
	packets, err := net.ListenPacket("udp4", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	connections, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	relay := &turn.RelayAddressGeneratorPortRange{
		RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1", MinPort: 49152, MaxPort: 65535,
	}
	keys := map[string][]byte{
		user:      turn.GenerateAuthKey(user, realm, password),
		otherUser: turn.GenerateAuthKey(otherUser, realm, otherPassword),
	}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:             realm,
		AuthHandler:       func(name, _ string, _ net.Addr) ([]byte, bool) { key, known := keys[name]; return key, known },
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: packets, RelayAddressGenerator: relay}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: connections, RelayAddressGenerator: relay}},
		LoggerFactory:     &logging.DefaultLoggerFactory{Writer: os.Stderr, DefaultLogLevel: logging.LogLevelDisabled},
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return server.Close()
}
