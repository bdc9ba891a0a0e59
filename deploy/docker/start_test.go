package docker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// benchmark is the variable that asks for the range of 1,000 ports, which takes minutes.
const benchmark = "HAIRPIN_BENCH_DOCKER"

// longest bounds the start and the end of a container with a thousand ports.
const longest = 10 * time.Minute

// What a published range of relay ports costs, which other relays need and this one does not: time from `docker run` to
// the first relayed packet, processes of the engine, and time to end. A second container with the range is refused.
func (e *engine) timeToFirstPacket(t *testing.T) {
	counts := []int{0, 100}
	if os.Getenv(benchmark) != "" {
		counts = append(counts, 1000)
	} else {
		t.Logf("SKIPPED: a published range of 1,000 ports: it takes minutes; %s=1 or make bench-docker", benchmark)
	}
	var points [][2]float64 // ports, seconds
	for _, count := range counts {
		flags := publish("3478")
		if count > 0 {
			ports := fmt.Sprintf("49152-%d", 49151+count)
			flags = append(flags, "--env", "HAIRPIN_RELAY_PORTS="+ports, "--publish", ports+":"+ports+"/udp")
		}
		var times, ends []time.Duration
		rounds := 1
		if os.Getenv(benchmark) != "" && count < 1000 {
			rounds = 5
		}
		var proxies, resident int
		for range rounds {
			t.Cleanup(func() { e.try("docker", "rm", "--force", "timed") }) // what a failure left
			took := e.firstPacket(t, flags)
			times = append(times, took)
			proxies, resident = e.proxies(t)
			if count > 0 && count < 1000 {
				e.secondIsRefused(t, flags)
			}
			begun := time.Now()
			if _, err := e.tryFor(longest, "docker", "rm", "--force", "timed"); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, time.Since(begun))
		}
		slices.Sort(times)
		slices.Sort(ends)
		t.Logf("one port and %d more: first relayed packet after %v (of %v), %d docker-proxy processes with %d MiB, removed in %v",
			count, times[len(times)/2].Round(time.Millisecond), times, proxies, resident>>20, ends[len(ends)/2].Round(time.Millisecond))
		points = append(points, [2]float64{float64(count), times[len(times)/2].Seconds()})
	}
	first, last := points[0], points[len(points)-1]
	if last[1] <= first[1] {
		t.Errorf("%.0f published ports took %.1f s, none took %.1f s", last[0], last[1], first[1])
	}
	if first[1] > 30 {
		t.Errorf("one port took %.1f s", first[1])
	}
	slope := (last[1] - first[1]) / last[0]
	t.Logf("%.1f ms for each published port; 3,000 of them would take %.0f s, if the time grew no faster", slope*1000, first[1]+3000*slope)
	if len(points) == 3 {
		// Through three points goes one parabola: each port also waits for the rules of those before it.
		x1, y1, x2, y2 := points[1][0], points[1][1]-first[1], points[2][0], points[2][1]-first[1]
		square := (y2/x2 - y1/x1) / (x2 - x1)
		t.Logf("%.0f s, as the time really grows from none over 100 to 1,000", first[1]+3000*(y1/x1-square*x1)+3000*3000*square)
	}
}

// firstPacket is the time from the command to the first packet that came through the relay.
func (e *engine) firstPacket(t *testing.T, flags []string) time.Duration {
	t.Helper()
	started := make(chan error, 1)
	begun := time.Now()
	go func() {
		_, err := e.tryFor(longest, "docker", slices.Concat(
			[]string{"run", "--detach", "--name", "timed", "--env", "HAIRPIN_USER=" + alice.user + ":" + alice.password}, locked, flags, []string{image})...)
		started <- err
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if e.probe(t, alice, "turn:"+hostAddress+":3478", 1) == nil {
			took := time.Since(begun)
			if err := <-started; err != nil {
				t.Fatal(err)
			}
			return took
		}
		select {
		case err := <-started:
			if err != nil {
				t.Fatal(err)
			}
			started <- nil
		default:
		}
		if time.Since(begun) > longest {
			t.Fatal("no packet is relayed")
		}
		<-again.C
	}
}

// secondIsRefused starts a relay on another port of the host, with the same range.
func (e *engine) secondIsRefused(t *testing.T, flags []string) {
	t.Helper()
	other := strings.Split(strings.ReplaceAll(strings.Join(flags, "\n"), "3478:", "3479:"), "\n")
	_, err := e.tryFor(longest, "docker", slices.Concat([]string{"run", "--detach", "--name", "second", "--env", "HAIRPIN_USER=a:b"}, other, []string{image})...)
	e.try("docker", "rm", "--force", "second")
	if err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("a second container with the same range: %v", err)
	}
}

// proxies counts the engine's docker-proxy processes, and their memory in bytes, what they share counted once.
func (e *engine) proxies(t *testing.T) (count, resident int) {
	t.Helper()
	own, err := os.Stat("/run/netns/" + e.host)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || string(comm) != "docker-proxy\n" {
			continue // gone, or another program
		}
		namespace, err := os.Stat(filepath.Join(filepath.Dir(name), "ns/net"))
		if err != nil || !os.SameFile(own, namespace) {
			continue
		}
		rollup, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "smaps_rollup"))
		for line := range strings.Lines(string(rollup)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				kibibytes, _ := strconv.Atoi(fields[1])
				resident += kibibytes << 10
			}
		}
		count++
	}
	return count, resident
}
