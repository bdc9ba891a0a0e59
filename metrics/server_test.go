package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v3"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

var _ Source = (*relay.Server)(nil)

// startRelay runs a server with a UDP listener on 127.0.0.1 until stop, or the test's end.
func startRelay(t *testing.T) (server *relay.Server, stop func()) {
	t.Helper()
	server, err := relay.New(relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0", Name: listenerName}},
		Auth:      auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		Log:       &logging.DefaultLoggerFactory{Writer: t.Output(), DefaultLogLevel: logging.LogLevelInfo},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return server, stop
}

// allocate is pion's client with an allocation.
func allocate(t *testing.T, server, password string) (*turn.Client, net.PacketConn, error) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: conn,
		Username: "alice", Password: password, Realm: "hairpin",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err == nil {
		t.Cleanup(func() { relayed.Close() })
	}
	return client, relayed, err
}

// eventually asks until there is no difference any more: counters are published after the packets have left.
func eventually(t *testing.T, difference func() string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		last := difference()
		if last == "" {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatal(last)
		}
	}
}

// A real server and real clients: metrics, JSON and what was sent agree.
func TestAgreesWithServer(t *testing.T) {
	server, stop := startRelay(t)
	h := NewHandler(server, open)
	address := server.ListenerInfos()[0].Address.String()

	clientA, a, err := allocate(t, address, "wonder")
	if err != nil {
		t.Fatal(err)
	}
	clientB, b, err := allocate(t, address, "wonder")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := allocate(t, address, "wrong"); err == nil {
		t.Fatal("a wrong password was accepted")
	}
	if err := clientA.CreatePermission(b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	// B has not permitted A yet: one packet reaches the relay and no further.
	if _, err := a.WriteTo(make([]byte, 40), b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		return differ(scrape(t, h), map[string]float64{`hairpin_dropped_packets_total{reason="peer_no_permission"}`: 1})
	})
	if err := clientB.CreatePermission(a.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1500)
	for range 10 {
		if _, err := a.WriteTo(make([]byte, 100), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, _, err := b.ReadFrom(buffer); err != nil || n != 100 {
			t.Fatal(n, err)
		}
	}

	eventually(t, func() string {
		return differ(scrape(t, h), map[string]float64{
			`hairpin_allocations{listener="udp://:3478"}`:                          2,
			`hairpin_allocations_total{listener="udp://:3478"}`:                    2,
			`hairpin_allocations_unexposed`:                                        0,
			`hairpin_hairpin_packets_total`:                                        10,
			`hairpin_packets_total{direction="client_in",listener="udp://:3478"}`:  11,
			`hairpin_packets_total{direction="peer_out",listener="udp://:3478"}`:   11,
			`hairpin_packets_total{direction="peer_in",listener="udp://:3478"}`:    11,
			`hairpin_packets_total{direction="client_out",listener="udp://:3478"}`: 10,
			`hairpin_bytes_total{direction="client_in",listener="udp://:3478"}`:    1040,
			`hairpin_bytes_total{direction="client_out",listener="udp://:3478"}`:   1000,
			`hairpin_auth_failures_total{reason="wrong_password"}`:                 1,
			`hairpin_requests_total{class="success",code="0",method="allocate"}`:   2,
			`hairpin_allocation_duration_seconds_count`:                            0,
		})
	})

	status := readStatus(t, h, "/allocations")
	if status.Total != 2 || len(status.Allocations) != 2 || status.Listeners[0].Address.String() != address || status.Listeners[0].Allocations != 2 {
		t.Fatalf("the JSON says %+v", status)
	}
	first, second := status.Allocations[0], status.Allocations[1]
	if first.Relay.String() != a.LocalAddr().String() || second.Relay.String() != b.LocalAddr().String() {
		t.Fatalf("relayed addresses %s and %s, want %s and %s", first.Relay, second.Relay, a.LocalAddr(), b.LocalAddr())
	}
	data, all := Traffic{10, 1000}, Traffic{11, 1040}
	if want := (Counters{ClientIn: all, PeerOut: all}); first.Counters != want || first.Dropped != (Dropped{}) {
		t.Errorf("the sender's counters are %+v, dropped %+v", first.Counters, first.Dropped)
	}
	if want := (Counters{PeerIn: all, ClientOut: data}); second.Counters != want || second.Dropped != (Dropped{PeerIn: 1}) {
		t.Errorf("the receiver's counters are %+v, dropped %+v", second.Counters, second.Dropped)
	}
	if len(first.Permissions) != 1 || first.Permissions[0].Peer != second.Relay.Addr() || first.User != "alice" || first.Transport != "udp" {
		t.Errorf("the sender is %+v", first)
	}
	if left := time.Until(first.Permissions[0].Expires); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("the permission has %v left", left)
	}

	series := scrape(t, h)
	for _, c := range status.Allocations {
		labels := func(direction string) string {
			return fmt.Sprintf(`{allocation="%d",client="%s",direction="%s",listener="%s",relay="%s",user="alice"}`, c.ID, c.Client, direction, c.Listener, c.Relay)
		}
		if wrong := differ(series, map[string]float64{
			"hairpin_allocation_packets_total" + labels("client_in"):         float64(c.Counters.ClientIn.Packets),
			"hairpin_allocation_packets_total" + labels("client_out"):        float64(c.Counters.ClientOut.Packets),
			"hairpin_allocation_bytes_total" + labels("peer_in"):             float64(c.Counters.PeerIn.Bytes),
			"hairpin_allocation_bytes_total" + labels("peer_out"):            float64(c.Counters.PeerOut.Bytes),
			"hairpin_allocation_dropped_packets_total" + labels("client_in"): float64(c.Dropped.ClientIn),
			"hairpin_allocation_dropped_packets_total" + labels("peer_in"):   float64(c.Dropped.PeerIn),
		}); wrong != "" {
			t.Error(wrong)
		}
	}

	// An allocation's series end with it, the totals stay.
	stop()
	if wrong := differ(scrape(t, h), map[string]float64{
		`hairpin_allocations{listener="udp://:3478"}`:       0,
		`hairpin_allocations_total{listener="udp://:3478"}`: 2,
		`hairpin_allocation_duration_seconds_count`:         2,
		`hairpin_hairpin_packets_total`:                     10,
	}); wrong != "" {
		t.Error(wrong)
	}
	if s := readStatus(t, h, "/allocations"); s.Total != 0 || len(s.Allocations) != 0 {
		t.Errorf("after the end there are %d allocations", s.Total)
	}
}

// differ names one series that is not as wanted.
func differ(got, want map[string]float64) string {
	names := make([]string, 0, len(want))
	for series := range want {
		names = append(names, series)
	}
	slices.Sort(names)
	for _, series := range names {
		if value, ok := got[series]; !ok || value != want[series] {
			return fmt.Sprintf("%s is %v (there: %v), want %v", series, value, ok, want[series])
		}
	}
	return ""
}

// Everything is read at the same time, as scrapers and people do.
func TestConcurrentReaders(t *testing.T) {
	server, _ := startRelay(t)
	h := NewHandler(server, open)
	done := make(chan int)
	readers := 0
	for _, path := range []string{"/metrics", "/metrics", "/allocations", "/", "/healthz"} {
		readers++
		go func() {
			bad := 0
			for range 20 {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Host = "127.0.0.1"
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					bad++
				}
			}
			done <- bad
		}()
	}
	for range 5 {
		if _, _, err := allocate(t, server.ListenerInfos()[0].Address.String(), "wonder"); err != nil {
			t.Error(err)
		}
	}
	for range readers {
		if bad := <-done; bad > 0 {
			t.Errorf("%d bad answers", bad)
		}
	}
}
