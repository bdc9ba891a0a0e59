package metrics

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pion/logging"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// The metrics. README.md lists them for people, and a test compares the two.
var (
	allocationsDesc = describe("allocations", "Live allocations.", "listener")
	createdDesc     = describe("allocations_total", "Allocations made since the start.", "listener")
	durationDesc    = describe("allocation_duration_seconds", "How long allocations lived that have ended.")
	packetsDesc     = describe("packets_total", "Packets of application data, by side of the relay and as seen from it.", "listener", "direction")
	bytesDesc       = describe("bytes_total", "Bytes of application data, without TURN's own headers, by side of the relay and as seen from it.", "listener", "direction")
	hairpinDesc     = describe("hairpin_packets_total", "Packets turned around inside the process, from one client to another.")
	droppedDesc     = describe("dropped_packets_total", "Packets that were not relayed.", "reason")
	failuresDesc    = describe("auth_failures_total", "Refused credentials.", "reason")
	discardedDesc   = describe("discarded_messages_total", "STUN messages that deserve no answer.", "reason")
	requestsDesc    = describe("requests_total", "Answered requests; code is 0 for a success.", "method", "class", "code")
	handshakesDesc  = describe("handshakes_total", "Beginnings of connections ahead of TURN: PROXY headers, TLS and DTLS.", "protocol", "outcome")
	buildDesc       = describe("build_info", "Always 1; the labels say what is running.", "version", "goversion", "goos", "goarch")
	connectionsDesc = describe("tcp_connections", "Connections of TCP allocations, between a client and a peer, by whether they wait for an end.", "state")
	drainingDesc    = describe("draining", "1 while the server takes no new allocation and waits for the live ones to end, else 0.")
	eventsDesc      = describe("events_total", "Lines of the event stream by what became of them: written, lost as the queue was full, lost as the target did not take them, or refusals and moves beyond their rate.", "result")
	reloadsDesc     = describe("reloads_total", "Attempts to read the settings again while running, by what became of them.", "result")
	reloadedDesc    = describe("last_reload_success_timestamp_seconds", "When the settings in force were read, in seconds since 1970: at start, or at the last reload that was not refused.")
	unexposedDesc   = describe("allocations_unexposed", "Live allocations without series of their own.")

	allocationBytesDesc     = describe("allocation_bytes_total", "Bytes of application data of one live allocation.", allocationLabels...)
	allocationPacketsDesc   = describe("allocation_packets_total", "Packets of application data of one live allocation.", allocationLabels...)
	allocationDroppedDesc   = describe("allocation_dropped_packets_total", "Packets of one live allocation that were not relayed.", allocationLabels...)
	allocationBandwidthDesc = describe("allocation_bandwidth_dropped_packets_total", "Those of them that were beyond the allocation's bandwidth or its user's, where there is a limit.", allocationLabels...)
)

var allocationLabels = []string{"allocation", "user", "listener", "client", "relay", "direction"}

// descs are all of the above.
var descs []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("hairpin_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// exposition serves /metrics in one of two formats, whichever the scraper asks for. Immutable.
type exposition struct{ text, open http.Handler }

// newExposition serves each format from a registry of its own. Scrapes at the same time share one reading.
func newExposition(source Source, o Options, series *atomic.Int64) exposition {
	options := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, CoalesceGather: true}
	if o.Log != nil {
		options.ErrorLog = errorLog{o.Log}
	}
	e := exposition{text: promhttp.HandlerFor(newRegistry(source, o, series, false), options)}
	options.EnableOpenMetrics = true
	e.open = promhttp.HandlerFor(newRegistry(source, o, series, true), options)
	return e
}

func (e exposition) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text") {
		e.open.ServeHTTP(w, r)
		return
	}
	e.text.ServeHTTP(w, r)
}

func newRegistry(source Source, o Options, series *atomic.Int64, openMetrics bool) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		&collector{source: source, series: series, version: label(o.Version), reloads: o.Reloads, openMetrics: openMetrics},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// errorLog is promhttp's idea of a log.
type errorLog struct{ log logging.LeveledLogger }

func (l errorLog) Println(v ...any) { l.log.Error(strings.TrimSuffix(fmt.Sprintln(v...), "\n")) }

// collector reads the source once for each scrape. Immutable.
type collector struct {
	source  Source
	series  *atomic.Int64 // allocations that have series of their own
	version string
	reloads *Reloads // may be nil
	// openMetrics is for scrapers of OpenMetrics. There a counter's family has its name without _total, which is that of
	// the gauge hairpin_allocations, so hairpin_allocations_total is of no known type.
	openMetrics bool
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s, to := c.source.Snapshot(), sink(out)
	created := prometheus.CounterValue
	if c.openMetrics {
		created = prometheus.UntypedValue
	}
	for _, l := range byName(s.Listeners) {
		to.gauge(allocationsDesc, l.Allocations, l.Name)
		to <- prometheus.MustNewConstMetric(createdDesc, created, float64(l.Created), l.Name)
		for d, n := range l.Traffic {
			direction := forward.Direction(d).String()
			to.counter(packetsDesc, n.Packets, l.Name, direction)
			to.counter(bytesDesc, n.Bytes, l.Name, direction)
		}
	}
	to.histogram(durationDesc, s.Durations)
	to.streamTotals(&s.Streams)
	to.counter(hairpinDesc, s.Hairpin)
	to.gauge(connectionsDesc, s.Connections.Pending, "pending")
	to.gauge(connectionsDesc, s.Connections.Joined, "joined")
	to.reasons(droppedDesc, s.Dropped)
	to.reasons(failuresDesc, s.AuthFailures)
	to.reasons(discardedDesc, s.Discarded)
	for _, r := range s.Requests {
		to.counter(requestsDesc, r.Value, r.Method, r.Class, strconv.Itoa(r.Code))
	}
	draining := 0
	if s.Drain.Draining {
		draining = 1
	}
	to.gauge(drainingDesc, draining)
	to.reasons(eventsDesc, eventCounts(s.Events))
	for _, h := range s.Handshakes {
		to.counter(handshakesDesc, h.Value, h.Protocol, h.Outcome)
	}
	c.reloads.collect(to, s.Started)
	to.gauge(buildDesc, 1, c.version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	c.collectAllocations(to, s.Allocations)
}

func eventCounts(c events.Counts) []relay.Count {
	return []relay.Count{{Name: "written", Value: c.Written}, {Name: "lost_queue_full", Value: c.Full}, {Name: "lost_target_failed", Value: c.Failed}, {Name: "excess_refusals", Value: c.ExcessRefusals}, {Name: "excess_moves", Value: c.ExcessMoves}}
}

// byName adds up listeners of the same name: two series of the same labels would spoil the scrape.
func byName(listeners []relay.ListenerCounts) []relay.ListenerCounts {
	sums := make([]relay.ListenerCounts, 0, len(listeners))
	index := make(map[string]int, len(listeners))
	for _, l := range listeners {
		l.Name = label(l.Name)
		i, seen := index[l.Name]
		if !seen {
			index[l.Name] = len(sums)
			sums = append(sums, l)
			continue
		}
		sums[i].Allocations += l.Allocations
		sums[i].Created += l.Created
		for d, n := range l.Traffic {
			sums[i].Traffic[d].Packets += n.Packets
			sums[i].Traffic[d].Bytes += n.Bytes
		}
	}
	return sums
}

// sink takes the metrics of one scrape.
type sink chan<- prometheus.Metric

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s sink) gauge(d *prometheus.Desc, v int, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
}

func (s sink) seconds(d *prometheus.Desc, t time.Time) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(t.UnixMilli())/1000)
}

func (s sink) reasons(d *prometheus.Desc, counts []relay.Count) {
	for _, c := range counts {
		s.counter(d, c.Value, c.Name)
	}
}

// maxLabel bounds a label's value, in bytes: a user name may have 508 of them, and each stands in twelve series.
const maxLabel = 128

// label makes a text that others chose fit for a label: valid UTF-8, without which a scrape fails, and bounded.
func label(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxLabel {
		return s
	}
	const ellipsis = "…"
	end := maxLabel - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
