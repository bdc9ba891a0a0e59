package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/forward"
)

// clients are WebRTC stacks of others. Each has a script that plays both peers, and ends well with --probe where the
// stack is installed; CI need not have them.
var clients = []struct {
	name        string
	interpreter []string // the first that has the stack is taken
	script      string   // in testdata/clients
	install     string
}{
	{"aiortc", pythons, "peers_aiortc.py", "Debian: apt-get install python3-aiortc"},
	{"webrtcbin", pythons, "peers_webrtcbin.py", "Debian: apt-get install gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice gstreamer1.0-plugins-bad gstreamer1.0-plugins-good python3-gst-1.0"},
	{"werift", []string{"node"}, "peers_werift.mjs", "npm install werift; HAIRPIN_NODE_MODULES is the absolute path of the node_modules that it is in"},
}

// pythons: the first one in PATH need not be Debian's, which Debian's packages are for.
var pythons = []string{"python3", "/usr/bin/python3"}

// task is what a script reads, and outcome what it writes when all data has arrived, and media too.
type (
	task struct {
		Configurations []json.RawMessage `json:"configurations"` // the ICE service's answers to alice, who offers, and to bob
		Data           []byte            `json:"data"`           // alice sends it over a data channel, and speaks
	}
	outcome struct {
		Sum   string      `json:"sum"`   // SHA-256 of what has arrived
		Media int         `json:"media"` // packets or frames of alice's voice that bob has received
		Pairs [][2]string `json:"pairs"` // types of alice's and of bob's selected candidates, local and remote
	}
)

func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("other stacks are nothing for -short")
			}
			script := "testdata/clients/" + c.script
			i := slices.IndexFunc(c.interpreter, func(command string) bool {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				return exec.CommandContext(ctx, command, script, "--probe").Run() == nil
			})
			if i < 0 {
				t.Skipf("there is no %s here (%s)", c.name, c.install)
			}
			for _, bob := range []string{"udp", "tcp"} {
				t.Run("udp "+bob, func(t *testing.T) { newStage(t, stageOptions{}).play(c.interpreter[i], script, "udp", bob) })
			}
		})
	}
}

// play lets a script be alice and bob, who reach the relay over the transports of these names.
func (s *stage) play(interpreter, script, alice, bob string) {
	s.t.Helper()
	sent := make([]byte, 256<<10)
	rand.Read(sent)
	input, err := json.Marshal(task{[]json.RawMessage{s.configuration("alice", alice), s.configuration("bob", bob)}, sent})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	client := exec.CommandContext(ctx, interpreter, script)
	client.Stdin, client.Stderr, client.WaitDelay = bytes.NewReader(input), s.t.Output(), time.Second
	output, err := client.Output()
	var got outcome
	if err != nil || json.Unmarshal(output, &got) != nil {
		s.t.Fatalf("%v, %v: %q", err, ctx.Err(), output)
	}
	sum := sha256.Sum256(sent)
	if got.Sum != hex.EncodeToString(sum[:]) {
		s.t.Error("something else arrived")
	}
	if got.Media == 0 {
		s.t.Error("no media arrived")
	}
	relayed := [2]string{"relay", "relay"}
	if !slices.Equal(got.Pairs, [][2]string{relayed, relayed}) {
		s.t.Errorf("the selected pairs are %v", got.Pairs)
	}
	listeners := s.relay.Snapshot().Listeners
	for i, l := range s.relay.ListenerInfos() {
		if in := listeners[i].Traffic[forward.ClientIn].Bytes; l.Scheme == alice && in < uint64(len(sent)) {
			s.t.Errorf("%d bytes came to the relay over %s", in, alice)
		}
		if out := listeners[i].Traffic[forward.ClientOut].Bytes; l.Scheme == bob && out < uint64(len(sent)) {
			s.t.Errorf("%d bytes left the relay over %s", out, bob)
		}
	}
}
