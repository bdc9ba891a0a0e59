package lab

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// What the host can't give to relayed transport addresses is said at start, in one line with what to do.
func TestRelayAddressesRefused(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	lonely, usual := n.host("lonely"), n.host("usual")
	usual.segment("eth0", "10.0.0.2/24")
	guarded := n.host("guarded") // where more ports than usual are for the privileged
	guarded.segment("eth0", "10.0.0.2/24")
	guarded.set("ipv4/ip_unprivileged_port_start", "2500")
	for _, test := range []struct {
		host       *host
		args, want string
	}{
		{lonely, "--relay-address 198.51.100.11", "relay-address 198.51.100.11: it is no address of this host, and there is none that could stand for it behind a NAT: name one that is (ip address)\n"},
		{usual, "--relay-address 198.51.100.11=10.0.0.99", "relay-address 198.51.100.11: 10.0.0.99, which shall stand for it, is no address of this host: name one that is (ip address)\n"},
		{usual, "--relay-address 10.99.0.0/24", "relay-address 10.99.0.0/24: this host doesn't take its packets: ip route add local 10.99.0.0/24 dev lo, and have the network route it here\n"},
		{guarded, "--relay-ports 2000-2100", "relay-ports 2000-2100: not permitted to use port 2000: choose a range from 1024 on, or grant CAP_NET_BIND_SERVICE\n"},
	} {
		args := append(strings.Fields(test.args), "--peers", "10.0.0.0/8")
		if out := test.host.refused(t, args...); out != test.want {
			t.Errorf("%s: %s", test.args, out)
		}
	}
}

// Ports that others hold are passed over; where they hold all, clients are refused until one is free.
func TestRelayPortsInUse(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 1)
	hold := func(port uint16) *net.UDPConn {
		return i.relays[0].listen(t, netip.AddrPortFrom(netip.MustParseAddr(i.ips[0]), port).String())
	}
	first, _, third := hold(50000), hold(50001), hold(50002)
	r := i.relays[0].serve(i.ips[0], "--peers", relaySegment, "--relay-ports", "50000-50002", "--relay-cooldown", "1s")
	if lines := r.log.lines("level=WARN", i.ips[0], "50000-50002", "in use by others"); len(lines) != 1 {
		t.Errorf("%d lines say that all ports are in use:\n%s", len(lines), r.log)
	}
	h := i.client("no NAT")
	if _, err := h.client(t, r.at, "udp"); err == nil || !strings.Contains(err.Error(), "508") {
		t.Errorf("without a free port: %v", err)
	}
	for _, free := range []*net.UDPConn{third, first} {
		want := free.LocalAddr().(*net.UDPAddr).AddrPort()
		free.Close()
		var c *client
		eventually(t, "the free port is found", func() (found bool) { // one that was in use rests for the cool-down
			var err error
			c, err = h.client(t, r.at, "udp")
			return err == nil
		})
		if c.at != want {
			t.Errorf("relayed at %v, only %v is free", c.at, want)
		}
	}
}
