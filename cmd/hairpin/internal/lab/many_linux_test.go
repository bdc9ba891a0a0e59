package lab

import (
	"encoding/json"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// benched is what hairpin bench --json says, as far as it is asked here.
type benched struct {
	Packets struct {
		Sent      int `json:"sent"`
		Delivered int `json:"delivered"`
		Lost      int `json:"lost"`
		Damaged   int `json:"damaged"`
		Foreign   int `json:"foreign"`
		Overflow  int `json:"generator_queue_drops"`
	} `json:"packets"`
	Memory struct {
		Allocations   int     `json:"allocations"`
		PerAllocation float64 `json:"per_allocation"`
		SetUpRate     float64 `json:"allocations_per_second"`
	} `json:"memory"`
}

var dropped = regexp.MustCompile(`(?m)^hairpin_dropped_packets_total.* [1-9].*\n`)

// Thousands of relayed transport addresses are thousands of sockets: each works, and every descriptor is given back.
func TestThousandsOfSockets(t *testing.T) {
	t.Parallel()
	const clients = 5000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < 2*clients {
		t.Skipf("a process may have %d descriptors here (ulimit -Hn), too few for %d clients", limit.Max, clients)
	}
	i := newInternet(t, 1)
	r := i.relays[0].serve(i.ips[0], "--peers", relaySegment)
	conn := i.peer.listen(t, net.JoinHostPort(peerIP, "0"))
	var mu sync.Mutex
	heard := make(map[netip.AddrPort]bool) // relayed transport addresses; guarded by mu
	go echo(conn, func(source netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		heard[source] = true
	})
	idle := r.descriptors()
	bench := func(args ...string) <-chan benched { // zero if it fails
		common := []string{
			"bench", "--remote", "--json", "--user", user, "--password", password,
			"--pid", strconv.Itoa(r.process.Pid), "turn:" + r.at.String(),
		}
		done := make(chan benched, 1)
		go func() { // ends with the program
			out, err := i.peer.hairpin(t.Context(), append(common, args...)...)
			var report benched
			if err == nil {
				err = json.Unmarshal(out, &report)
			}
			if err != nil {
				t.Error(err)
			}
			done <- report
		}()
		return done
	}

	held := bench("--hold", strconv.Itoa(clients), "--duration", "1s")
	eventually(t, "all allocations are there", func() bool { return r.allocations() == clients })
	most := r.descriptors()
	memory := (<-held).Memory
	if memory.Allocations != clients || most < clients+idle-8 || most > clients+idle+8 {
		t.Errorf("%d allocations and %d descriptors, of which %d were there before", memory.Allocations, most, idle)
	}
	eventually(t, "all descriptors are given back", func() bool { return r.descriptors() <= idle+1 }) // admin's connection

	relayed := bench("--pairs", strconv.Itoa(clients/2), "--echo", conn.LocalAddr().String(), "--in-flight", "128", "--warmup", "0s", "--duration", "3s")
	packets := (<-relayed).Packets
	if packets.Lost+packets.Damaged+packets.Foreign != 0 || packets.Delivered != packets.Sent || packets.Sent < clients {
		_, metrics := r.get("/metrics")
		t.Errorf("%+v; the relay dropped %q; sockets of the relay's host %s, and of the peer's %s",
			packets, dropped.FindAll(metrics, -1), i.relays[0].datagrams(), i.peer.datagrams())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) != clients {
		t.Errorf("the peer heard %d relayed transport addresses", len(heard))
	}
	t.Logf("%d allocations, %.0f/s set up, %d descriptors, %.0f resident bytes each; %d packets to the peer and back, none lost",
		clients, memory.SetUpRate, most, memory.PerAllocation, packets.Delivered)
}

// echo sends back what comes to a socket, and tells from where; until it is closed.
func echo(conn *net.UDPConn, tell func(source netip.AddrPort)) {
	b := make([]byte, 1500)
	for {
		n, source, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		tell(netip.AddrPortFrom(source.Addr().Unmap(), source.Port()))
		_, _ = conn.WriteToUDPAddrPort(b[:n], source)
	}
}
