package lab

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"
	"golang.org/x/sys/unix"
)

// internet is a router between two segments: that of the relays, and that where clients' NATs are.
type internet struct {
	*network
	router *host
	relays []*host  // not yet running
	ips    []string // of the relays
	peer   *host    // on the relays' segment
}

const (
	relaySegment = "203.0.113.0/24"
	nameServer   = "203.0.113.1" // the router
	peerIP       = "203.0.113.9"
	strangerIP   = "198.51.100.9"
)

func newInternet(t *testing.T, relays int) *internet {
	t.Helper()
	n := newNetwork(t)
	i := &internet{network: n, router: n.host("router")}
	i.router.segment("relays", nameServer+"/24")
	i.router.segment("clients", "198.51.100.1/24")
	for k := range relays {
		h := n.host(fmt.Sprintf("relay%d", k+1))
		i.ips = append(i.ips, fmt.Sprintf("203.0.113.1%d", k+1))
		h.plug(i.router, "relays", "eth0", []string{i.ips[k] + "/24"}, []string{nameServer})
		i.relays = append(i.relays, h)
	}
	i.peer = n.host("peer")
	i.peer.plug(i.router, "relays", "eth0", []string{peerIP + "/24"}, []string{nameServer})
	return i
}

// kinds are the ways in which clients meet the network. The first hides nothing.
var kinds = []string{"no NAT", "full cone", "port-restricted", "symmetric"}

// client connects a client's host, behind a NAT of its own.
func (i *internet) client(kind string) *host {
	i.t.Helper()
	number := i.links + 20
	public := fmt.Sprintf("198.51.100.%d", number)
	if kind == "no NAT" {
		h := i.host(fmt.Sprintf("client%d", number))
		h.plug(i.router, "clients", "eth0", []string{public + "/24"}, []string{"198.51.100.1"})
		return h
	}
	nat, h := i.host(fmt.Sprintf("nat%d", number)), i.host(fmt.Sprintf("client%d", number))
	nat.segment("lan", "192.168.0.1/24")
	nat.plug(i.router, "clients", "wan", []string{public + "/24"}, []string{"198.51.100.1"})
	h.plug(nat, "lan", "eth0", []string{"192.168.0.2/24"}, []string{"192.168.0.1"})
	nat.nft("table ip nat {\n" + map[string]string{
		// Mapping and filtering by nothing but the client's own address and port: endpoint-independent.
		"full cone": `chain in { type nat hook prerouting priority dstnat; iifname "wan" ip daddr ` + public + ` dnat to 192.168.0.2; }
			chain out { type nat hook postrouting priority srcnat; oifname "wan" snat to ` + public + `; }`,
		// Keeps the port, but lets nobody in who was not sent to.
		"port-restricted": `chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }`,
		// Another port for each destination.
		"symmetric": `chain out { type nat hook postrouting priority srcnat; oifname "wan" meta l4proto { tcp, udp } masquerade fully-random; }`,
	}[kind] + "\n}\n")
	return h
}

// listen opens a UDP socket on the host, which is closed with the test.
func (h *host) listen(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	var err error
	h.in(func() { conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// A test that waits for a processor loses nothing by it.
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// datagrams tells what the host's sockets have seen, losses included (netstat -su).
func (h *host) datagrams() (counters []string) {
	for line := range strings.Lines(h.network.command("ip", "netns", "exec", h.name, "cat", "/proc/net/snmp")) {
		if strings.HasPrefix(line, "Udp:") {
			counters = append(counters, strings.TrimSpace(line))
		}
	}
	return counters
}

// mapped asks a relay what a socket looks like from there (RFC 8489 §2, Binding).
func mapped(t *testing.T, conn *net.UDPConn, server netip.AddrPort) netip.AddrPort {
	t.Helper()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	b := make([]byte, 1500)
	for range 10 { // lost on the way once, perhaps, but not always
		if _, err := conn.WriteToUDPAddrPort(request.Raw, server); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience / 10))
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			continue
		}
		response := &stun.Message{Raw: b[:n]}
		var address stun.XORMappedAddress
		if from.Port() != server.Port() || response.Decode() != nil || address.GetFrom(response) != nil {
			t.Fatalf("%v sends %q in place of a Binding response", from, b[:n])
		}
		ip, _ := netip.AddrFromSlice(address.IP)
		return netip.AddrPortFrom(ip.Unmap(), uint16(address.Port))
	}
	t.Fatalf("no answer from %v", server)
	return netip.AddrPort{}
}

// The NATs are what they are called: nothing else here would tell.
func TestKindsOfNAT(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 2)
	first, second := i.relays[0].serve(i.ips[0]), i.relays[1].serve(i.ips[1])
	stranger := i.host("stranger")
	stranger.plug(i.router, "clients", "eth0", []string{strangerIP + "/24"}, []string{"198.51.100.1"})
	for _, kind := range kinds {
		h := i.client(kind)
		conn := h.listen(t, "0.0.0.0:0")
		own := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		a, b := mapped(t, conn, first.at), mapped(t, conn, second.at)
		if same := a == b; same == (kind == "symmetric") {
			t.Errorf("%s: mapped to %v and %v", kind, a, b)
		}
		if kind == "full cone" && a.Port() != own.Port() {
			t.Errorf("%s: port %d became %d", kind, own.Port(), a.Port())
		}

		// What a stranger sends comes before the answer to what is asked afterwards, if it comes.
		from := stranger.listen(t, "0.0.0.0:0")
		if _, err := from.WriteToUDPAddrPort([]byte("stranger"), b); err != nil {
			t.Fatal(err)
		}
		if kind == "no NAT" || kind == "full cone" {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			heard := make([]byte, 100)
			if n, err := conn.Read(heard); err != nil || string(heard[:n]) != "stranger" {
				t.Errorf("%s: %q, %v of a stranger", kind, heard[:n], err)
			}
		} else if mapped(t, conn, first.at) != a {
			t.Errorf("%s: mapped anew", kind)
		}
	}
}
