package lab

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const siblings = "relays.test"

// Clients of different relays, behind every kind of NAT, over UDP and TCP, call each other: a packet passes two relays each
// way. Two relays know their siblings by name, one by their segment.
func TestSiblings(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 3)
	names := i.nameServer(i.ips...)
	for _, h := range i.relays {
		h.resolver()
	}
	relays := []*relay{
		i.relays[0].serve(i.ips[0], "--peers", "loop", "--peers", "dns:"+siblings+":49152-65535"),
		i.relays[1].serve(i.ips[1], "--peers", relaySegment),
		i.relays[2].serve(i.ips[2], "--peers", "loop", "--peers", "dns:"+siblings),
	}
	names.asked(t, 2)
	transports := []string{"udp", "tcp"}
	var hosts []*host
	for _, kind := range kinds {
		hosts = append(hosts, i.client(kind))
	}
	clients := make([][]*client, len(relays))
	for r := range relays {
		for k := range hosts {
			for _, transport := range transports {
				clients[r] = append(clients[r], hosts[k].mustClient(t, relays[r], transport))
			}
		}
	}
	const questions = 10
	var wait sync.WaitGroup
	var total int
	var mu sync.Mutex
	for r := range relays {
		s := (r + 1) % len(relays)
		for _, from := range clients[r] {
			for _, to := range clients[s] {
				wait.Go(func() {
					var c *call
					eventually(t, "the name is known to both relays", func() (done bool) {
						var err error
						c, err = dial(from, to)
						return err == nil
					})
					if err := c.exchange(questions); err != nil {
						t.Errorf("%v: %v", from.at, err)
						return
					}
					mu.Lock()
					total += int(c.returned)
					mu.Unlock()
				})
			}
		}
	}
	wait.Wait()
	if want := len(relays) * len(clients[0]) * len(clients[1]) * questions; total != want {
		t.Errorf("%d of %d packets went both ways", total, want)
	}
	t.Logf("%d calls, %d packets each way, none lost", total/questions, total)

	t.Run("coturn's client calls a sibling's", func(t *testing.T) {
		uclient, err := exec.LookPath("turnutils_uclient")
		if err != nil {
			const missing = "turnutils_uclient is not installed (Debian: apt-get install coturn), so coturn's client did not call across relays"
			if os.Getenv("CI") == "true" {
				t.Fatal(missing)
			}
			t.Skip(missing)
		}
		echo := i.client("port-restricted").mustClient(t, relays[1], "udp")
		if err := echo.permit(netip.AddrPortFrom(relays[0].at.Addr(), 0)); err != nil {
			t.Fatal(err)
		}
		var runs sync.WaitGroup
		for _, flags := range []string{"", "-t", "-s"} { // channels; over TCP; indications
			args := append([]string{"netns", "exec", hosts[3].name, uclient, "-c", "-u", user, "-w", password, "-m", "4", "-n", "50", "-z", "5",
				"-e", echo.at.Addr().String(), "-r", strconv.Itoa(int(echo.at.Port())), "-p", strconv.Itoa(port)}, strings.Fields(flags)...)
			runs.Go(func() {
				out, err := exec.CommandContext(t.Context(), "ip", append(args, relays[0].at.Addr().String())...).CombinedOutput()
				totals := uclientTotals.FindSubmatch(out)
				if err != nil || totals == nil || string(totals[1]) != "200" || string(totals[2]) != "200" {
					t.Errorf("turnutils_uclient %s: %v\n%s", flags, err, out)
				}
			})
		}
		runs.Wait()
	})
}

var uclientTotals = regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`)

// A sibling that is gone takes its calls along and nothing else.
func TestSiblingVanishes(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 3)
	var relays []*relay
	for k, h := range i.relays {
		relays = append(relays, h.serve(i.ips[k], "--peers", "loop", "--peers", relaySegment))
	}
	before := relays[0].descriptors()
	h := i.client("no NAT")
	a, b := h.mustClient(t, relays[0], "udp"), h.mustClient(t, relays[1], "udp")
	c, d := h.mustClient(t, relays[0], "udp"), h.mustClient(t, relays[2], "tcp")
	lost, err := dial(a, b)
	if err == nil {
		err = lost.exchange(20)
	}
	if err != nil {
		t.Fatal(err)
	}
	kept, err := dial(c, d)
	if err != nil {
		t.Fatal(err)
	}
	goesOn := kept.keepUp()

	relays[1].signal(syscall.SIGKILL)
	relays[1].wait()
	// The sibling's host says that nobody is there, and the relay tells its client (RFC 8656 §11.5).
	eventually(t, "the client hears of it", func() bool {
		if err := a.send(question, lost.id, 0, b.at); err != nil {
			t.Fatal(err)
		}
		return a.icmp.Load() > 0
	})
	// Now the host is gone as well; its last packets have nowhere to go.
	i.relays[1].ip("link set eth0 down")
	for range 200 {
		if err := a.send(question, lost.id, 0, b.at); err != nil {
			t.Fatal(err)
		}
	}
	heard := kept.heard.Load()
	eventually(t, "the other call goes on", func() bool { return kept.heard.Load() > heard+100 })

	// The sibling comes back, and the same allocation reaches its new clients.
	i.relays[1].ip("link set eth0 up", "route add default via "+nameServer)
	relays[1] = i.relays[1].serve(i.ips[1], "--peers", "loop", "--peers", relaySegment)
	again, err := dial(a, h.mustClient(t, relays[1], "udp"))
	if err == nil {
		err = again.exchange(20)
	}
	if err != nil {
		t.Error(err)
	}
	if err := goesOn.hangUp(); err != nil {
		t.Errorf("the other call: %v", err)
	}
	a.close()
	eventually(t, "all allocations are gone", func() bool { return relays[0].allocations() == 0 })
	eventually(t, "all descriptors are gone", func() bool { return relays[0].descriptors() <= before+1 }) // admin's connection
	for _, level := range []string{"ERROR", "WARN"} {
		if lines := relays[0].log.lines("level=" + level); len(lines) > 0 {
			t.Errorf("the relay that stayed logs\n%s", strings.Join(lines, "\n"))
		}
	}
}
