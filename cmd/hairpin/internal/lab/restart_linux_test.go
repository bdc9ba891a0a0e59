package lab

import (
	"net/http"
	"slices"
	"syscall"
	"testing"
)

// Three relays are restarted one after the other under calls that pass two of them. Calls go on until they end by
// themselves and lose nothing; new clients are sent to the siblings; a restarted relay serves again.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 3)
	start := func(k int) *relay {
		args := []string{"--peers", "loop", "--peers", relaySegment, "--drain-timeout", "1m"}
		for _, ip := range i.ips {
			args = append(args, "--alternate-server", ip)
		}
		return i.relays[k].serve(i.ips[k], args...)
	}
	var relays []*relay
	for k := range i.relays {
		relays = append(relays, start(k))
	}
	var hosts []*host
	for _, kind := range kinds {
		hosts = append(hosts, i.client(kind))
	}
	packets, number := 0, 0
	// begin calls from one relay to another; each client is behind the next kind of NAT.
	begin := func(from, to int, transport string) *live {
		t.Helper()
		number++
		c, err := dial(hosts[number%len(hosts)].mustClient(t, relays[from], transport), hosts[(number+1)%len(hosts)].mustClient(t, relays[to], "udp"))
		if err != nil {
			t.Fatal(err)
		}
		return c.keepUp()
	}
	goOn := func(calls []*live, what string) {
		t.Helper()
		for _, c := range calls {
			heard := c.heard.Load()
			eventually(t, what, func() bool { return c.heard.Load() > heard+20 || len(c.ended) > 0 })
		}
	}
	end := func(calls []*live) {
		t.Helper()
		for _, c := range calls {
			if err := c.hangUp(); err != nil {
				t.Errorf("%v → %v: %v", c.from.at, c.to.at, err)
			}
			packets += int(c.returned)
		}
	}

	for k := range relays {
		others := []int{(k + 1) % 3, (k + 2) % 3}
		calls := []*live{ // all but the last pass the relay that is restarted
			begin(k, others[0], "udp"), begin(others[1], k, "udp"), begin(k, k, "udp"), begin(k, others[0], "tcp"), begin(others[0], others[1], "tcp"),
		}
		goOn(calls, "all calls go on")
		relays[k].signal(syscall.SIGTERM)
		eventually(t, "the relay is not ready any more", func() bool {
			code, _ := relays[k].get("/readyz")
			return code == http.StatusServiceUnavailable
		})
		goOn(calls, "calls go on while their relay drains")

		// New clients are sent to a sibling, and call from there who stayed behind.
		for _, transport := range []string{"udp", "tcp"} {
			refused, err := hosts[0].client(t, relays[k].at, transport)
			if err == nil {
				t.Fatalf("a draining relay takes a client over %s", transport)
			}
			sibling := refused.alternate.Load()
			if sibling == nil {
				t.Fatalf("%v, and no ALTERNATE-SERVER", err)
			}
			at := slices.Index(i.ips, sibling.Addr().String())
			if !slices.Contains(others, at) || sibling.Port() != port {
				t.Fatalf("sent to %v", sibling)
			}
			c, err := dial(hosts[0].mustClient(t, relays[at], transport), calls[0].from)
			if err == nil {
				err = c.exchange(10)
			}
			if err != nil {
				t.Error(err)
			}
			packets += int(c.returned)
			c.from.close()
		}
		select {
		case <-relays[k].ended:
			t.Fatal("the relay ends under its calls")
		default:
		}
		end(calls)
		if code := relays[k].wait(); code != 0 {
			t.Errorf("exit code %d:\n%s", code, relays[k].log)
		}
		if cut := relays[k].log.lines("level=WARN"); len(cut) > 0 {
			t.Errorf("a relay that ended in peace logs %v", cut)
		}
		relays[k] = start(k)
		back := []*live{begin(k, others[0], "tcp"), begin(others[1], k, "udp")}
		goOn(back, "the restarted relay serves")
		end(back)
	}
	t.Logf("%d packets each way through relays that came and went, none lost", packets)
}
