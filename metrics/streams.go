package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// How well media arrive: of all streams in histograms when they have ended, of those of exposed allocations while they live.
var (
	streamLossDesc   = describe("stream_loss_ratio", "Packets that were lost on the way to the relay as a part of those sent, for each RTP stream that ended.")
	streamJitterDesc = describe("stream_jitter_seconds", "Mean interarrival jitter on the way to the relay, for each RTP stream that ended and whose clock rate is known.")
	streamStallsDesc = describe("stream_stalls", "Gaps of more than 500 ms, for each RTP stream that ended.")

	liveLossDesc    = describe("allocation_stream_loss_ratio", "Packets of one live RTP stream that were lost on the way to the relay, as a part of those sent since it began.", streamLabels...)
	liveLostDesc    = describe("allocation_stream_lost_packets", "Packets of one live RTP stream that were lost on the way to the relay; falls when some are only late.", streamLabels...)
	liveJitterDesc  = describe("allocation_stream_jitter_seconds", "Interarrival jitter of one live RTP stream on the way to the relay.", streamLabels...)
	livePacketsDesc = describe("allocation_stream_packets_total", "Packets of one live RTP stream.", streamLabels...)
	liveBytesDesc   = describe("allocation_stream_bytes_total", "Bytes of one live RTP stream, with RTP's header.", streamLabels...)
	liveStallsDesc  = describe("allocation_stream_stalls_total", "Gaps of more than 500 ms in one live RTP stream.", streamLabels...)
)

var streamLabels = []string{"allocation", "user", "listener", "direction", "ssrc"}

// exposedAfter is how long a stream has lasted before it has series: SSRCs are made up by clients, and each that was ever
// exposed stays in a database of others for weeks.
const exposedAfter = 10 * time.Second

func (s sink) streamTotals(t *relay.StreamTotals) {
	s.histogram(streamLossDesc, t.Loss)
	s.histogram(streamJitterDesc, t.Jitter)
	s.histogram(streamStallsDesc, t.Stalls)
}

func (s sink) streams(a *relay.AllocationInfo) {
	eachStream(a, func(direction string, q *quality.Stream) {
		if time.Duration(q.Last-q.First) < exposedAfter {
			return
		}
		labels := []string{strconv.FormatUint(a.ID, 10), label(a.User), label(a.Listener), direction, strconv.FormatUint(uint64(q.SSRC), 10)}
		s.ratio(liveLossDesc, q.Loss(), labels...)
		s.ratio(liveLostDesc, float64(q.Lost), labels...)
		if q.ClockRate != 0 {
			s.ratio(liveJitterDesc, q.Jitter.Seconds(), labels...)
		}
		s.counter(livePacketsDesc, q.Packets, labels...)
		s.counter(liveBytesDesc, q.Bytes, labels...)
		s.counter(liveStallsDesc, uint64(q.Stalls), labels...)
	})
}

func (s sink) ratio(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) histogram(d *prometheus.Desc, h relay.Histogram) {
	buckets := make(map[float64]uint64, len(h.Buckets))
	for i, n := range h.Buckets {
		buckets[h.Bounds[i]] = n
	}
	m := prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets)
	if len(h.Exemplars) > 0 { // which only OpenMetrics has room for
		exemplars := make([]prometheus.Exemplar, len(h.Exemplars))
		for i, e := range h.Exemplars {
			exemplars[i] = prometheus.Exemplar{Value: e.Value, Timestamp: e.At, Labels: prometheus.Labels{"allocation": strconv.FormatUint(e.Allocation, 10)}}
		}
		m = prometheus.MustNewMetricWithExemplars(m, exemplars...)
	}
	s <- m
}
