package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pion/logging"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

//go:generate go test -run ^TestSeriesAtStart -update .

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// Names, labels and help are a contract, and every series exists before anything has happened.
func TestSeriesAtStart(t *testing.T) {
	server, err := relay.New(relay.Config{
		Listeners: []relay.Listener{
			{Scheme: "udp", Address: "127.0.0.1:0", Name: "udp://:3478"}, {Scheme: "tcp", Address: "127.0.0.1:0", Name: "tcp://:3478"},
		},
		Auth: auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		Log:  &logging.DefaultLoggerFactory{Writer: t.Output()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, body := get(t, NewHandler(server, open), "/metrics")
	var got strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "hairpin_last_reload_success_timestamp_seconds ") {
			line = "hairpin_last_reload_success_timestamp_seconds 1.7e+09\n" // the start of this very test
		}
		if strings.HasPrefix(strings.TrimLeft(line, "# HELPTY"), "hairpin_") {
			got.WriteString(line)
		}
	}
	platform := strings.NewReplacer(`"`+runtime.Version()+`"`, `"go1.26.0"`, `"`+runtime.GOOS+`"`, `"linux"`, `"`+runtime.GOARCH+`"`, `"amd64"`)
	text := platform.Replace(got.String())

	const path = "testdata/start.txt"
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s is not what is served (go test -run ^TestSeriesAtStart -update writes it anew); served is\n%s", path, text)
	}
}

func exposing(n int) *atomic.Int64 {
	series := new(atomic.Int64)
	series.Store(int64(n))
	return series
}

func TestNamesAreClean(t *testing.T) {
	problems, err := testutil.GatherAndLint(newRegistry(withStreams(), open, exposing(open.AllocationSeries), false))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// withStreams has a series of every metric.
func withStreams() *fake {
	f := newFake("alice")
	f.allocations[0].UpMedia, f.allocations[0].Read = lossy(), allocation.Time(20*time.Second)
	return f
}

// README.md has a row for each metric, with its type and labels, and for nothing else.
func TestReadmeListsMetrics(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := newRegistry(withStreams(), open, exposing(open.AllocationSeries), false).Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(string(text), "\n| `hairpin_")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "hairpin_") {
			continue
		}
		rows--
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		row := rowOf(f.GetName(), strings.ToLower(f.GetType().String()))
		at := bytes.Index(text, []byte(row))
		if at < 0 {
			t.Errorf("README.md has no row that begins with %q", row)
			continue
		}
		cell, _, _ := strings.Cut(string(text[at+len(row):]), "|")
		listed := strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune("`, ", r) })
		slices.Sort(listed)
		slices.Sort(labels)
		if !slices.Equal(listed, labels) {
			t.Errorf("README.md gives %s the labels %q, it has %q", f.GetName(), listed, labels)
		}
	}
	if rows != 0 {
		t.Errorf("README.md has %d more rows than there are metrics", rows)
	}
}

// README.md explains each reason that a real server counts.
func TestReadmeListsReasons(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	series, err := os.ReadFile("testdata/start.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`reason="([a-z_]+)"`).FindAllSubmatch(series, -1)
	if len(reasons) < 20 {
		t.Errorf("only %d reasons in testdata/start.txt", len(reasons))
	}
	for _, reason := range reasons {
		if !bytes.Contains(text, []byte("`"+string(reason[1])+"`")) {
			t.Errorf("README.md does not explain the reason %q", reason[1])
		}
	}
}

func rowOf(name, kind string) string { return fmt.Sprintf("| `%s` | %s |", name, kind) }

func TestValues(t *testing.T) {
	f := newFake("alice", "bob")
	f.snapshot.Listeners[0].Traffic = [forward.Directions]allocation.Count{
		forward.ClientIn: {Packets: 11, Bytes: 12}, forward.ClientOut: {Packets: 21, Bytes: 22},
		forward.PeerIn: {Packets: 31, Bytes: 32}, forward.PeerOut: {Packets: 41, Bytes: 42},
	}
	// A second listener of the same name is added to the first.
	f.snapshot.Listeners = append(f.snapshot.Listeners, f.snapshot.Listeners[0])
	f.snapshot.Durations = relay.Histogram{Bounds: []float64{1, 60}, Buckets: []uint64{0, 3}, Count: 7, Sum: 99.5}
	got := scrape(t, NewHandler(f, open))

	const alice = `allocation="1",client="198.51.100.1:40000",direction="%s",listener="udp://:3478",relay="192.0.2.1:50000",user="alice"`
	for series, want := range map[string]float64{
		`hairpin_allocations{listener="udp://:3478"}`:                                             4,
		`hairpin_allocations_total{listener="udp://:3478"}`:                                       18,
		`hairpin_packets_total{direction="client_in",listener="udp://:3478"}`:                     22,
		`hairpin_packets_total{direction="peer_in",listener="udp://:3478"}`:                       62,
		`hairpin_bytes_total{direction="client_out",listener="udp://:3478"}`:                      44,
		`hairpin_bytes_total{direction="peer_out",listener="udp://:3478"}`:                        84,
		`hairpin_allocation_duration_seconds_bucket{le="60"}`:                                     3,
		`hairpin_allocation_duration_seconds_bucket{le="+Inf"}`:                                   7,
		`hairpin_allocation_duration_seconds_sum`:                                                 99.5,
		`hairpin_hairpin_packets_total`:                                                           5,
		`hairpin_dropped_packets_total{reason="no_peer"}`:                                         3,
		`hairpin_auth_failures_total{reason="expired"}`:                                           4,
		`hairpin_discarded_messages_total{reason="class"}`:                                        6,
		`hairpin_requests_total{class="success",code="0",method="allocate"}`:                      2,
		`hairpin_requests_total{class="error",code="401",method="allocate"}`:                      8,
		`hairpin_allocations_unexposed`:                                                           0,
		fmt.Sprintf(`hairpin_allocation_packets_total{`+alice+`}`, "client_in"):                   103,
		fmt.Sprintf(`hairpin_allocation_packets_total{`+alice+`}`, "peer_out"):                    100,
		fmt.Sprintf(`hairpin_allocation_packets_total{`+alice+`}`, "peer_in"):                     204,
		fmt.Sprintf(`hairpin_allocation_packets_total{`+alice+`}`, "client_out"):                  200,
		fmt.Sprintf(`hairpin_allocation_bytes_total{`+alice+`}`, "client_in"):                     1030,
		fmt.Sprintf(`hairpin_allocation_bytes_total{`+alice+`}`, "peer_out"):                      1000,
		fmt.Sprintf(`hairpin_allocation_bytes_total{`+alice+`}`, "peer_in"):                       2040,
		fmt.Sprintf(`hairpin_allocation_bytes_total{`+alice+`}`, "client_out"):                    2000,
		fmt.Sprintf(`hairpin_allocation_dropped_packets_total{`+alice+`}`, "client_in"):           3,
		fmt.Sprintf(`hairpin_allocation_dropped_packets_total{`+alice+`}`, "peer_in"):             4,
		fmt.Sprintf(`hairpin_allocation_bandwidth_dropped_packets_total{`+alice+`}`, "client_in"): 2,
	} {
		if value, ok := got[series]; !ok || value != want {
			t.Errorf("%s is %v (there: %v), want %v", series, value, ok, want)
		}
	}
}

func TestExposedAllocations(t *testing.T) {
	users := slices.Repeat([]string{"u"}, 10)
	for _, test := range []struct{ series, exposed int }{{0, 0}, {-1, 0}, {1, 1}, {9, 9}, {10, 10}, {11, 10}, {1 << 30, 10}} {
		f := newFake(users...)
		rand.Shuffle(len(f.allocations), func(i, j int) { f.allocations[i], f.allocations[j] = f.allocations[j], f.allocations[i] })
		got := scrape(t, NewHandler(f, Options{AllocationSeries: test.series}))
		exposed := 0
		for id := 1; id <= len(users); id++ {
			is := false
			for series := range got {
				if strings.HasPrefix(series, fmt.Sprintf(`hairpin_allocation_bytes_total{allocation="%d",`, id)) {
					is = true
				}
			}
			if is {
				exposed++
			}
			if want := id <= test.exposed; is != want {
				t.Errorf("limit %d: allocation %d exposed: %v", test.series, id, is)
			}
		}
		if got["hairpin_allocations_unexposed"] != float64(len(users)-exposed) {
			t.Errorf("limit %d: %v unexposed, %d exposed", test.series, got["hairpin_allocations_unexposed"], exposed)
		}
	}
}

func TestOldest(t *testing.T) {
	for _, limit := range []int{0, 1, 2, 7, 500, 999, 1000, 1001, 5000} {
		o := oldest{limit: limit}
		for _, id := range rand.Perm(1000) {
			o.add(relay.AllocationInfo{ID: uint64(id + 1)})
		}
		list := o.list()
		if len(list) != min(limit, 1000) || o.seen != 1000 {
			t.Fatalf("limit %d: %d kept of %d", limit, len(list), o.seen)
		}
		for i, a := range list {
			if a.ID != uint64(i+1) {
				t.Fatalf("limit %d: ID %d at %d", limit, a.ID, i)
			}
		}
		if cap(o.kept) > 4*limit+1 && limit > 0 {
			t.Errorf("limit %d: holds %d", limit, cap(o.kept))
		}
	}
}

func TestLabel(t *testing.T) {
	for in, want := range map[string]string{
		"alice":                       "alice",
		"":                            "",
		"a\xffb":                      "a\uFFFDb",
		"\xf0\x9f":                    "\uFFFD",
		strings.Repeat("x", 128):      strings.Repeat("x", 128),
		strings.Repeat("x", 129):      strings.Repeat("x", 125) + "…",
		strings.Repeat("€", 50):       strings.Repeat("€", 41) + "…",
		"a" + strings.Repeat("€", 50): "a" + strings.Repeat("€", 41) + "…",
	} {
		got := label(in)
		if got != want || len(got) > maxLabel || !utf8.ValidString(got) {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// hostile user names try to leave whatever they are put into.
var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a\"} 1\nhairpin_forged_total 7", "\\\\\"", "\xff\xfe\x00", "\u202eright to left",
	"-->]]></style></title>", "{{.Version}}", "javascript:alert(1)", strings.Repeat("long", 127),
}

func TestHostileUserInLabels(t *testing.T) {
	got := scrape(t, NewHandler(newFake(hostile...), open))
	users := make(map[string]bool)
	for series := range got {
		if strings.HasPrefix(series, "hairpin_allocation_bytes_total{") {
			users[series[strings.Index(series, `user="`):]] = true
		} else if strings.Contains(series, "forged") && !strings.Contains(series, `user="`) {
			t.Errorf("forged series %q", series)
		}
	}
	if len(users) != len(hostile) {
		t.Errorf("%d users in labels, want %d: %v", len(users), len(hostile), users)
	}
}
