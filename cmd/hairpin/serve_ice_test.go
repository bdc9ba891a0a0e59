package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
)

// get asks the ICE service.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(body)
}

func getICE(t *testing.T, url string) auth.ICEServer {
	t.Helper()
	code, body := get(t, url)
	var config auth.ICEConfig
	if err := json.Unmarshal([]byte(body), &config); err != nil || code != http.StatusOK || len(config.ICEServers) != 1 {
		t.Fatalf("%s: %d %v %s", url, code, err, body)
	}
	return config.ICEServers[0]
}

// untilListening waits for another process to open a TCP port of loopback.
func untilListening(t *testing.T, port string) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("nobody listens on port %s", port)
		}
	}
}

// The whole way: an application asks, and what it gets opens the relay. The first start has no credentials configured.
func TestServeICE(t *testing.T) {
	ports := freePorts(t, 2)
	p := startProcess(t, "hairpin", "serve", "--listen", "udp://127.0.0.1:"+ports[0]+"#stunner/udp-gateway/udp-listener",
		"--listen", "tcp://127.0.0.1:"+ports[0]+"#plain", "--admin", "off", "--ice", "127.0.0.1:"+ports[1])
	p.readUntil(t, "^  ICE  .*http://127.0.0.1:"+ports[1]+"/ice")
	service := "http://127.0.0.1:" + ports[1]

	got := getICE(t, service+"/ice?service=turn&username=carol&iceTransportPolicy=relay")
	want := []string{"turn:127.0.0.1:" + ports[0] + "?transport=udp", "turn:127.0.0.1:" + ports[0] + "?transport=tcp"}
	if !slices.Equal(got.URLs, want) || !strings.HasSuffix(got.Username, ":carol") {
		t.Errorf("%v", got)
	}
	for _, url := range got.URLs {
		probe := hairpin(t, "probe", "--user", got.Username, "--password", got.Credential, "--count", "5", "--interval", "1ms", url)
		if probe.code != exitGood {
			t.Errorf("%s: %d %s %s", url, probe.code, probe.stdout, probe.stderr)
		}
	}
	if got := getICE(t, service+"/ice?service=turn&namespace=stunner&gateway=udp-gateway&listener=udp-listener"); !slices.Equal(got.URLs, want[:1]) {
		t.Errorf("one listener: %q", got.URLs)
	}
	if code, body := get(t, service+"/ice?service=turn&listener=nobody"); code != http.StatusNotFound {
		t.Errorf("unknown listener: %d %s", code, body)
	}
	if code, body := get(t, service+"/ice?service=turn&username="+strings.Repeat("x", 10_000)); code != http.StatusBadRequest {
		t.Errorf("long name: %d %.100s", code, body)
	}

	// Many at once from one source: each is answered, and the relay goes on.
	var running sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	gate := make(chan struct{}, 64)
	for range 3000 {
		gate <- struct{}{}
		running.Go(func() {
			defer func() { <-gate }()
			response, err := client.Get(service + "/ice?service=turn")
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusTooManyRequests {
				t.Errorf("%s", response.Status)
			}
		})
	}
	running.Wait()
	if probe := hairpin(t, "probe", "--user", got.Username, "--password", got.Credential, "--count", "5", "--interval", "1ms", want[0]); probe.code != exitGood {
		t.Errorf("after the load: %s", probe.stderr)
	}

	if code := p.end(t, syscall.SIGTERM); code != exitGood {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	if strings.Contains(p.stderr.String(), got.Credential) || strings.Contains(p.stderr.String(), "carol") && strings.Contains(p.stderr.String(), "service=turn") {
		t.Errorf("the log tells what was handed out:\n%s", p.stderr)
	}
}

// Beside a fleet that shares its secret, the service needs no relay of its own.
func TestServeICEAlone(t *testing.T) {
	ports := freePorts(t, 3)
	secrets := t.TempDir() + "/secrets"
	if err := os.WriteFile(secrets, []byte("fleet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	relay := startProcess(t, "hairpin", "serve", "--listen", "udp://127.0.0.1:"+ports[0], "--admin", "127.0.0.1:"+ports[2], "--secret", "fleet")
	alone := startProcess(t, "hairpin", "serve", "--listen", "none", "--ice", "127.0.0.1:"+ports[1], "--secrets-file", secrets,
		"--ice-url", fmt.Sprintf("turn:127.0.0.1:%s?transport=udp#near", ports[0]), "--ice-url", "turns:turn.example:443?transport=tcp#far", "--ice-key", "k", "--ice-max-ttl", "1h")
	untilListening(t, ports[1])
	untilListening(t, ports[2])
	service := "http://127.0.0.1:" + ports[1]

	if code, _ := get(t, service+"/ice?service=turn"); code != http.StatusUnauthorized {
		t.Errorf("without the key: %d", code)
	}
	got := getICE(t, service+"/ice?service=turn&key=k&listener=near&ttl=99999999")
	if probe := hairpin(t, "probe", "--user", got.Username, "--password", got.Credential, "--count", "5", "--interval", "1ms", got.URLs[0]); probe.code != exitGood {
		t.Errorf("%v: %s", got, probe.stderr)
	}
	var token auth.Token
	if _, body := get(t, service+"/?service=turn&key=k&ttl=99999999"); json.Unmarshal([]byte(body), &token) != nil || token.TTL != 3600 ||
		!slices.Equal(token.URIs, []string{got.URLs[0], "turns:turn.example:443?transport=tcp"}) {
		t.Errorf("%s", body)
	}
	for _, p := range []*process{alone, relay} {
		if code := p.end(t, syscall.SIGTERM); code != exitGood {
			t.Errorf("exit code %d: %s", code, p.stderr)
		}
	}
}

// With a public address alone, clients are sent to the port that a server has by default.
func TestAdvertisedByNone(t *testing.T) {
	writeFile(t, "listen: none\nice: 127.0.0.1:1\nsecret: s\npublic-address: [192.0.2.1, '2001:db8::1']\n")
	got := iceConfig(t, "--config", "hairpin.yaml")
	want := []string{"turn:192.0.2.1:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp", "turn:[2001:db8::1]:3478?transport=tcp"}
	if !slices.Equal(got.URLs, want) {
		t.Errorf("%q", got.URLs)
	}
}

func TestICEPortInUse(t *testing.T) {
	ports := freePorts(t, 2)
	p := startProcess(t, "hairpin", "serve", "--listen", "udp://127.0.0.1:"+ports[0], "--admin", "127.0.0.1:"+ports[1])
	p.readUntil(t, "^  relaying ")
	hairpin(t, "serve", "--listen", "none", "--ice", "127.0.0.1:"+ports[1], "--ice-url", "turn:a", "--secret", "s").want(t, exitRuntime, "",
		fmt.Sprintf("ice 127.0.0.1:%s: port %[1]s is in use: stop what uses it (ss -ltnp), or choose another with --ice IP:PORT, or --ice off\n", ports[1]))
}
