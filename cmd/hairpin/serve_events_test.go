package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/events"
)

// A call of the probe's leaves two births and two deaths in the file, with what was relayed; a wrong password leaves a
// refusal; and the password is nowhere.
func TestServeEvents(t *testing.T) {
	port := freePorts(t, 1)[0]
	at := net.JoinHostPort("127.0.0.1", port)
	file := filepath.Join(t.TempDir(), "events.jsonl")
	p := startProcess(t, "hairpin", "serve", "--admin", "off", "--user", "alice:wonderland", "--events", file,
		"--listen", "udp://"+at, "--listen", "tcp://"+at)
	waitForTCP(t, at)
	for _, password := range []string{"wonderland", "looking-glass"} {
		startProcess(t, "hairpin", "probe", "turn:"+at, "--user", "alice", "--password", password, "--count", "20", "--interval", "1ms").Wait()
	}
	if code := p.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[events.Type][]events.Event)
	for number, line := range bytes.Split(bytes.TrimSpace(content), []byte("\n")) {
		var e events.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if e.Number != uint64(number+1) || e.User != "alice" || !e.Client.IsValid() || e.Time.IsZero() {
			t.Errorf("line %d: %s", number+1, line)
		}
		seen[e.Type] = append(seen[e.Type], e)
	}
	if len(seen[events.Birth]) != 2 || len(seen[events.Death]) != 2 || len(seen[events.Refusal]) == 0 {
		t.Fatalf("want two births, two deaths and a refusal in\n%s", content)
	}
	for _, e := range seen[events.Death] {
		if e.Traffic.FromClient.Packets+e.Traffic.ToClient.Packets == 0 || e.Why != "released by the client" {
			t.Errorf("a death without its traffic: %+v", e)
		}
	}
	if e := seen[events.Refusal][0]; e.Code != 401 || e.Reason != "wrong_password" || e.Method != "allocate" {
		t.Errorf("the refusal says %+v", e)
	}
	if bytes.Contains(content, []byte("wonderland")) {
		t.Error("a password stands in the file")
	}
}

// What "hairpin check" makes of the rarer kinds of allocations stands in the file as what it is: dual ones with both
// addresses, moves with both places, TCP allocations with their connections and bytes. What was born has died.
func TestServeEventsOfRareKinds(t *testing.T) {
	port := freePorts(t, 1)[0]
	at := net.JoinHostPort("127.0.0.1", port)
	file := filepath.Join(t.TempDir(), "events.jsonl")
	p := startProcess(t, "hairpin", "serve", "--admin", "off", "--user", "alice:wonderland", "--events", file,
		"--listen", "udp://"+at, "--listen", "tcp://"+at, "--relay-address", "192.0.2.0/24", "--relay-address", "2001:db8::/64")
	waitForTCP(t, at)
	for _, transport := range []string{"udp", "tcp"} {
		checked := startProcess(t, "hairpin", "check", "turn:"+at+"?transport="+transport, "--user", "alice", "--password", "wonderland")
		checked.Wait()
	}
	if code := p.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d", code)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	births, dual, moves, streams := map[uint64]events.Event{}, 0, 0, 0
	moved := map[uint64]uint64{}
	for line := range bytes.Lines(content) {
		var e events.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch e.Type {
		case events.Birth:
			births[e.Allocation] = e
		case events.Move:
			moves++
			if moved[e.Allocation]++; e.Moves != moved[e.Allocation] || len(e.Earlier) == 0 || e.Earlier[len(e.Earlier)-1].Client == e.Client {
				t.Errorf("a move: %s", line)
			}
		case events.Death:
			b := births[e.Allocation]
			delete(births, e.Allocation)
			if e.Relay != b.Relay || e.AdditionalRelay != b.AdditionalRelay || e.RelayTransport != b.RelayTransport || e.Moves != moved[e.Allocation] {
				t.Errorf("a death that doesn't fit its birth: %s", line)
			}
			if e.AdditionalRelay.IsValid() {
				dual++
			}
			if e.RelayTransport == "tcp" && e.Connections > 0 && e.Traffic.FromClient.Bytes+e.Traffic.ToClient.Bytes > 0 {
				streams++
			}
		}
	}
	if dual == 0 || moves == 0 || streams == 0 || len(births) > 0 {
		t.Errorf("%d dual allocations, %d moves, %d TCP allocations with bytes; %d never died", dual, moves, streams, len(births))
	}
	t.Logf("%d dual allocations, %d moves, %d TCP allocations with bytes", dual, moves, streams)
}

// A target that can't be opened is said at start.
func TestServeEventsFault(t *testing.T) {
	o := hairpin(t, "serve", "--admin", "off", "--events", filepath.Join(t.TempDir(), "missing", "file"))
	if o.code != exitRuntime || !strings.Contains(o.stderr, "events: ") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}
