// Package monitoring holds what is made of a relay's metrics: rules, alerts and a dashboard. These tests hold them against
// a Prometheus of Debian's that scrapes a relay at work, all on loopback.
package monitoring

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/metrics"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

const (
	patience = 60 * time.Second // of each wait; a stream has series after ten seconds
	scrape   = 250 * time.Millisecond
)

// program finds what Debian's package prometheus brings; without it the test is skipped, in CI it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s here (Debian: apt-get install prometheus), and CI must have it", name)
	}
	t.Skipf("SKIPPED: rules, alerts and dashboard: there is no %s here (Debian: apt-get install prometheus)", name)
	return ""
}

func promtool(t *testing.T, input string, arguments ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program(t, "promtool"), arguments...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil || bytes.Contains(out, []byte("FAILED")) {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	promtool(t, "", "check", "rules", "rules.yaml")
	promtool(t, "", "check", "config", "prometheus.yaml")
	promtool(t, "", "test", "rules", "testdata/alerts.yaml")
}

// site is a relay at work and its admin address.
type site struct {
	t     *testing.T
	relay *relay.Server
	turn  string // its UDP listener
	admin *httptest.Server
}

func newSite(t *testing.T) *site {
	t.Helper()
	server, err := relay.New(relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0", Name: "udp"}},
		Auth:      auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}, {Name: "bob", Password: "builder"}}},
		Quality:   quality.Full,
		Log:       &logging.DefaultLoggerFactory{Writer: io.Discard},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	handler := metrics.NewHandler(server, metrics.Options{Loopback: true, AllocationSeries: 100, Version: "test"})
	s := &site{t: t, relay: server, turn: server.ListenerInfos()[0].Address.String(), admin: httptest.NewServer(handler)}
	t.Cleanup(func() {
		handler.Close()
		s.admin.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// enter makes an allocation; the error is the server's refusal.
func (s *site) enter(user, password string) (*turn.Client, net.PacketConn, error) {
	s.t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: s.turn, TURNServerAddr: s.turn, Conn: conn, Username: user, Password: password, Realm: "hairpin",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		s.t.Fatal(err)
	}
	relayed, err := client.Allocate()
	return client, relayed, err
}

// call has alice and bob meet. What it returns sends the n-th packet of alice's stream.
func (s *site) call(ssrc uint32) (alice, bob net.PacketConn, send func(n int)) {
	s.t.Helper()
	a, alice, err := s.enter("alice", "wonder")
	if err != nil {
		s.t.Fatal(err)
	}
	b, bob, err := s.enter("bob", "builder")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := a.CreatePermission(bob.LocalAddr()); err != nil {
		s.t.Fatal(err)
	}
	if err := b.CreatePermission(alice.LocalAddr()); err != nil {
		s.t.Fatal(err)
	}
	return alice, bob, func(n int) {
		packet := make([]byte, 12+80) // RFC 3550 §5.1, 20 ms at 48 kHz
		packet[0], packet[1] = 0x80, 111
		binary.BigEndian.PutUint16(packet[2:], uint16(n))
		binary.BigEndian.PutUint32(packet[4:], uint32(n)*960)
		binary.BigEndian.PutUint32(packet[8:], ssrc)
		if _, err := alice.WriteTo(packet, bob.LocalAddr()); err != nil {
			s.t.Error(err)
		}
	}
}

// trouble brings about what the three cases of README.md are of, and a call that goes on while the test does.
func (s *site) trouble() {
	s.t.Helper()
	// A caller's uplink loses every eleventh packet. Its streams end with their allocations.
	for ssrc := range uint32(3) {
		alice, bob, send := s.call(ssrc + 1)
		for n := range 220 {
			if n%11 != 5 {
				send(n)
			}
		}
		s.until(fmt.Sprintf("200 packets of stream %d arrived", ssrc+1), func() bool {
			streams := 0
			s.relay.Allocations(-1, func(a relay.AllocationInfo) bool {
				if a.UpMedia != nil {
					for _, q := range a.UpMedia.Snapshot(int64(a.Read), nil).Streams {
						if q.SSRC == ssrc+1 && q.Packets == 200 {
							streams++
						}
					}
				}
				return true
			})
			return streams == 1
		})
		alice.Close()
		bob.Close()
	}
	// Credentials of before a rotation.
	for range 5 {
		if _, _, err := s.enter("alice", "before the rotation"); err == nil {
			s.t.Fatal("a wrong password was accepted")
		}
	}
	// A peer that the rules deny.
	client, _, err := s.enter("bob", "builder")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9}); err == nil {
		s.t.Fatal("a peer outside was permitted")
	}
	// A live call.
	_, _, send := s.call(4711)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-tick.C:
				if n%20 != 7 {
					send(n)
				}
			}
		}
	}()
	s.t.Cleanup(func() { close(done); <-stopped })
}

func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-again.C:
		case <-deadline:
			s.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// prometheus is a server that scrapes the site.
type prometheus struct {
	*site
	url string
	log bytes.Buffer // read it when the server has ended
}

func (s *site) prometheus() *prometheus {
	s.t.Helper()
	path := program(s.t, "prometheus")
	dir := s.t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		s.t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: %[1]v, evaluation_interval: %[1]v}\nrule_files: [%[2]q]\nscrape_configs: [{job_name: relays, static_configs: [{targets: [%[3]q]}]}]\n",
		scrape, filepath.Join(here, "rules.yaml"), s.admin.Listener.Addr())
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	p := &prometheus{site: s, url: "http://" + address}
	c := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--enable-feature=exemplar-storage", "--log.level=warn")
	c.Stdout, c.Stderr = &p.log, &p.log
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err != nil || s.t.Failed() {
			s.t.Logf("prometheus ended: %v\n%s", err, p.log.String())
		}
	})
	s.until("Prometheus is ready", func() bool {
		response, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

func (p *prometheus) ask(path string, values url.Values, data any) error {
	response, err := http.Get(p.url + path + "?" + values.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return nil
}

// query returns the values of a query by their labels.
func (p *prometheus) query(expression string) (values []float64, labels []map[string]string) {
	p.t.Helper()
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.ask("/api/v1/query", url.Values{"query": {expression}}, &data); err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	for _, r := range data.Result {
		var v float64
		fmt.Sscan(r.Value[1].(string), &v)
		values, labels = append(values, v), append(labels, r.Metric)
	}
	return values, labels
}

// dashboard are the queries of dashboard.json by panel.
func dashboard(t *testing.T) (queries [][2]string) {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID                 int
			Title, Description string
			GridPos            struct{ X, Y, W, H int }
			Targets            []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || ids[p.ID] {
			t.Errorf("panel %d %q has no description or query, or its ID is another's", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			queries = append(queries, [2]string{p.Title, target.Expr})
		}
	}
	return queries
}

// Every panel has data of a relay at work, every rule is evaluated, and the three cases are seen.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("a Prometheus is nothing for -short")
	}
	s := newSite(t)
	p := s.prometheus()
	s.until("Prometheus has scraped", func() bool { v, _ := p.query(`up{job="relays"}`); return len(v) == 1 && v[0] == 1 })
	s.until("Prometheus has looked twice before anything happens", func() bool {
		v, _ := p.query(`count_over_time(hairpin_build_info[1m])`)
		return len(v) == 1 && v[0] >= 2
	})
	s.trouble()
	s.until("the live stream has series", func() bool {
		v, labels := p.query(`hairpin_allocation_stream_packets_total{ssrc="4711"}`)
		return len(v) == 1 && labels[0]["user"] == "alice" && labels[0]["direction"] == "client_in"
	})

	response, err := http.Get(s.admin.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, string(text), "check", "metrics")

	for _, q := range dashboard(t) {
		t.Run("panel "+q[0], func(t *testing.T) {
			expression := strings.NewReplacer("$__rate_interval", "30s", "$job", "relays", "$instance", ".*").Replace(q[1])
			if strings.Contains(expression, "$") {
				t.Fatalf("a variable that nothing sets: %s", expression)
			}
			s.until("it has data: "+expression, func() bool { v, _ := p.query(expression); return len(v) > 0 })
		})
	}

	t.Run("rules", func(t *testing.T) {
		var rules struct {
			Groups []struct {
				Rules []struct{ Type, Name, Health, LastError string }
			}
		}
		s.until("every rule was evaluated", func() bool {
			if err := p.ask("/api/v1/rules", nil, &rules); err != nil {
				t.Fatal(err)
			}
			n, all := 0, 0
			for _, g := range rules.Groups {
				for _, r := range g.Rules {
					all++
					if r.Health == "err" {
						t.Fatalf("%s: %s", r.Name, r.LastError)
					}
					if r.Health == "ok" {
						n++
					}
				}
			}
			return n == all && n > 0
		})
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if v, _ := p.query(r.Name); r.Type == "recording" && len(v) == 0 {
					t.Errorf("%s has no data", r.Name)
				}
			}
		}
	})

	t.Run("cases", func(t *testing.T) {
		for _, c := range []struct {
			name, query string
			holds       func(v float64) bool
		}{
			{"streams lost more than 2 %", `hairpin:stream_loss_over_2_percent:ratio_1h`, func(v float64) bool { return v > 0.99 }},
			{"the sender's loss", `hairpin_allocation_stream_loss_ratio{user="alice"}`, func(v float64) bool { return v > 0.03 && v < 0.07 }},
			{"credentials of before the rotation", `increase(hairpin_auth_failures_total{reason="wrong_password"}[1m])`, func(v float64) bool { return v >= 4 && v < 8 }},
			{"a denied peer", `hairpin_requests_total{method="create_permission", code="403"}`, func(v float64) bool { return v == 1 }},
		} {
			v, _ := p.query(c.query)
			if len(v) != 1 || !c.holds(v[0]) {
				t.Errorf("%s: %s is %v", c.name, c.query, v)
			}
		}
		var exemplars []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		now := time.Now()
		err := p.ask("/api/v1/query_exemplars", url.Values{
			"query": {"hairpin_stream_loss_ratio_bucket"}, "start": {fmt.Sprint(now.Add(-time.Hour).Unix())}, "end": {fmt.Sprint(now.Unix() + 1)},
		}, &exemplars)
		if err != nil || len(exemplars) == 0 || exemplars[0].Exemplars[0].Labels["allocation"] == "" {
			t.Errorf("exemplars: %v %+v", err, exemplars)
		}
	})
}
