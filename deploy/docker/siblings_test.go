package docker_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v3"
)

// siblingServers is set for the process that plays two clients outside: this test again, in their namespace.
const siblingServers = "HAIRPIN_TEST_SIBLINGS"

// siblings are two relays in two containers that name each other's network: what is relayed between them crosses that
// network, by relayed addresses that are published nowhere. And a peer outside is reached by a rule that names it.
func (e *engine) siblings(t *testing.T) {
	const network = "siblings"
	e.docker(t, "network", "create", "--subnet", "172.30.0.0/24", network)
	t.Cleanup(func() { e.docker(t, "network", "rm", network) })
	for port, own := range map[string]string{"3478": "172.30.0.11", "3479": "172.30.0.12"} {
		e.relay(t, "sibling-"+port, append(publish(port), "--network", network, "--ip", own, "--env", "HAIRPIN_RELAY_ADDRESS="+own,
			"--env", "HAIRPIN_PEERS=loop,172.30.0.0/24:49152-65535,"+outsideAddress)...)
		until(t, "a packet is relayed", func() error { return e.probe(t, alice, "turn:"+hostAddress+":"+port, 1) })
	}

	t.Run("clients of both", func(t *testing.T) {
		output, err := run(patience, append(os.Environ(), siblingServers+"="+hostAddress+":3478 "+hostAddress+":3479"), "ip", "netns", "exec", e.outside,
			os.Args[0], "-test.run", "^TestTwoClients$", "-test.v")
		if err != nil || !strings.Contains(output, "--- PASS: TestTwoClients") {
			t.Errorf("%v\n%s", err, output)
		}
	})
	t.Run("coturn's client and its peer", func(t *testing.T) {
		for _, program := range []string{"turnutils_uclient", "turnutils_peer"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("SKIPPED: a call to a peer outside: there is no %s here (Debian: apt-get install coturn)", program)
			}
		}
		peer := exec.Command("ip", "netns", "exec", e.outside, "turnutils_peer", "-L", outsideAddress, "-p", "3490")
		if err := peer.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { peer.Process.Kill(); peer.Wait() }()
		until(t, "the peer returns packets", func() error {
			_, err := e.from(program(t, "hairpin"), "probe", "--user", alice.user, "--password", alice.password, "--timeout", "1s", "--count", "1",
				"--echo", outsideAddress+":3490", "turn:"+hostAddress+":3479")
			return err
		})
		output, err := e.from("turnutils_uclient", "-c", "-e", outsideAddress, "-r", "3490", "-u", alice.user, "-w", alice.password,
			"-m", "2", "-n", "20", "-l", "200", "-z", "5", "-p", "3478", hostAddress)
		if err == nil {
			err = complete(output)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestTwoClients is a client of one relay and a client of another, who exchange numbered packets over both.
func TestTwoClients(t *testing.T) {
	servers := strings.Fields(os.Getenv(siblingServers))
	if len(servers) != 2 {
		t.Skip("runs within TestEngine")
	}
	var clients []*turn.Client
	var relayed []net.PacketConn
	for _, server := range servers {
		conn, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client, err := turn.NewClient(&turn.ClientConfig{
			STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: alice.user, Password: alice.password, Realm: "hairpin",
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Listen(); err != nil {
			t.Fatal(err)
		}
		allocation, err := client.Allocate()
		if err != nil {
			t.Fatal(err)
		}
		defer allocation.Close()
		clients, relayed = append(clients, client), append(relayed, allocation)
	}
	for i, client := range clients {
		if err := client.CreatePermission(relayed[1-i].LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, 1500)
	for i := range 200 {
		from, to := relayed[i%2], relayed[1-i%2]
		sent := fmt.Sprintf("packet %d", i)
		if _, err := from.WriteTo([]byte(sent), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, source, err := to.ReadFrom(buffer)
		if err != nil || string(buffer[:n]) != sent || source.String() != from.LocalAddr().String() {
			t.Fatalf("%q from %v came as %q from %v: %v", sent, from.LocalAddr(), buffer[:n], source, err)
		}
	}
}
