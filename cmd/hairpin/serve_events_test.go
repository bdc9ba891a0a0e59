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

// A target that can't be opened is said at start.
func TestServeEventsFault(t *testing.T) {
	o := hairpin(t, "serve", "--admin", "off", "--events", filepath.Join(t.TempDir(), "missing", "file"))
	if o.code != exitRuntime || !strings.Contains(o.stderr, "events: ") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}
