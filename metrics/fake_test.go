package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
)

// fake is a Source without a server.
type fake struct {
	snapshot    relay.Snapshot
	infos       []relay.ListenerInfo
	allocations []relay.AllocationInfo
	history     map[uint64][]relay.Moment
	prefixes    []netip.Prefix
	peers       *peers.Policy
}

func (f *fake) Snapshot() relay.Snapshot {
	n := f.snapshot
	n.Allocations = len(f.allocations)
	return n
}
func (f *fake) ListenerInfos() []relay.ListenerInfo { return f.infos }
func (f *fake) Wall(t allocation.Time) time.Time    { return f.snapshot.Started.Add(time.Duration(t)) }
func (f *fake) RelayPrefixes() []netip.Prefix       { return f.prefixes }
func (f *fake) Peers() *peers.Policy                { return f.peers }
func (f *fake) History(id uint64) []relay.Moment    { return f.history[id] }
func (f *fake) Allocation(id uint64) (a relay.AllocationInfo, ok bool) {
	for _, a := range f.allocations {
		if a.ID == id {
			return a, true
		}
	}
	return a, false
}
func (f *fake) End(id uint64) bool {
	n := len(f.allocations)
	f.allocations = slices.DeleteFunc(f.allocations, func(a relay.AllocationInfo) bool { return a.ID == id })
	return len(f.allocations) < n
}
func (f *fake) Allocations(_ int, yield func(relay.AllocationInfo) bool) {
	for _, a := range f.allocations {
		if !yield(a) {
			return
		}
	}
}

const listenerName = "udp://:3478"

var started = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// newFake has one listener and an allocation for each user.
func newFake(users ...string) *fake {
	f := &fake{
		snapshot: relay.Snapshot{
			Started:      started,
			Listeners:    []relay.ListenerCounts{{Name: listenerName, Allocations: len(users), Created: 9}},
			Hairpin:      5,
			Dropped:      []relay.Count{{Name: "no_peer", Value: 3}, {Name: "malformed"}},
			AuthFailures: []relay.Count{{Name: "expired", Value: 4}},
			Discarded:    []relay.Count{{Name: "class", Value: 6}},
			Handshakes:   []relay.HandshakeCount{{Protocol: "tls", Outcome: "completed", Value: 7}},
			Requests:     []relay.RequestCount{{Method: "allocate", Class: "success", Value: 2}, {Method: "allocate", Class: "error", Code: 401, Value: 8}},
		},
		infos: []relay.ListenerInfo{{
			Name: listenerName, Scheme: "udp",
			Address: netip.MustParseAddrPort("0.0.0.0:3478"), Public: netip.MustParseAddrPort("192.0.2.1:3478"),
		}},
	}
	for i, user := range users {
		f.allocations = append(f.allocations, relay.AllocationInfo{
			ID: uint64(i + 1), User: user, Listener: listenerName, Transport: "udp", RelayTransport: "udp",
			Client:  netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(40000+i)),
			Server:  netip.MustParseAddrPort("192.0.2.1:3478"),
			Relayed: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(50000+i)),
			Created: started.Add(time.Minute), Expires: started.Add(11 * time.Minute),
			Counts: allocation.Counts{
				Up: allocation.Count{Packets: 100, Bytes: 1000}, UpDropped: allocation.Count{Packets: 3, Bytes: 30},
				Down: allocation.Count{Packets: 200, Bytes: 2000}, DownDropped: allocation.Count{Packets: 4, Bytes: 40},
			},
			BandwidthDropped: &relay.BandwidthDropped{Up: allocation.Count{Packets: 2}},
			Permissions:      []allocation.Permission{{Peer: netip.MustParseAddr("192.0.2.1"), Expires: allocation.Time(5 * time.Minute)}},
			Channels:         []*allocation.Channel{{Number: 0x4001, Peer: netip.MustParseAddrPort("192.0.2.1:50001")}},
		})
	}
	return f
}

// open are options under which everything is served.
var open = Options{Loopback: true, AllocationSeries: 1000, Version: "v1.2.3"}

// get asks a handler as a client on the same host does.
func get(t *testing.T, h http.Handler, target string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "localhost:9478"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// scrape returns the series of /metrics whose name begins with hairpin_.
func scrape(t *testing.T, h http.Handler) map[string]float64 {
	t.Helper()
	response, body := get(t, h, "/metrics")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics answers %s: %s", response.Status, body)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "hairpin_") {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[end:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		series[line[:end]] = value
	}
	return series
}
