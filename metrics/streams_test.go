package metrics

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// lossy has seen a stream of 20 s that lost a tenth, and one of 8 s.
func lossy() *quality.Tracker {
	t := new(quality.Tracker)
	for n := range 1000 {
		at := int64(n) * int64(20*time.Millisecond)
		if n%10 != 5 {
			t.Observe(rtp(7, uint16(n)), at)
		}
		if n < 400 {
			t.Observe(rtp(8, uint16(n)), at)
		}
	}
	return t
}

// A stream has series once it has lasted.
func TestStreamSeries(t *testing.T) {
	f := withStreams()
	got := scrape(t, NewHandler(f, open))
	const labels = `{allocation="1",direction="client_in",listener="udp://:3478",ssrc="7",user="alice"}`
	for name, want := range map[string]float64{"loss_ratio": 0.1, "lost_packets": 100, "packets_total": 900, "bytes_total": 900 * 92, "stalls_total": 0} {
		if v, ok := got["hairpin_allocation_stream_"+name+labels]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if v, ok := got["hairpin_allocation_stream_jitter_seconds"+labels]; !ok || v < 0 || v > 0.005 {
		t.Errorf("jitter is %v (there: %v)", v, ok)
	}
	for series := range got {
		if strings.Contains(series, `ssrc="8"`) {
			t.Errorf("a stream of eight seconds has %s", series)
		}
	}
	if none := scrape(t, NewHandler(f, Options{})); len(none) == 0 || strings.Contains(fmt.Sprint(none), "ssrc=") {
		t.Error("streams of allocations without series have some")
	}
}

// Streams by both addresses of a dual allocation are told, and one that changed from one to the other once, as it goes on.
func TestStreamsOfDual(t *testing.T) {
	f := newFake("alice")
	a := &f.allocations[0]
	a.UpMedia, a.AlsoUpMedia = new(quality.Tracker), new(quality.Tracker)
	for n := range 2000 { // 7 changes from one address to the other, 8 and 9 have one each
		at := int64(n) * int64(20*time.Millisecond)
		first := a.UpMedia
		if n >= 900 {
			first = a.AlsoUpMedia
		}
		first.Observe(rtp(7, uint16(n)), at)
		a.UpMedia.Observe(rtp(8, uint16(n)), at)
		a.AlsoUpMedia.Observe(rtp(9, uint16(n)), at)
	}
	a.Read = allocation.Time(2000 * 20 * time.Millisecond)
	packets := map[string]float64{}
	for series, value := range scrape(t, NewHandler(f, open)) { // which fails where one is there twice
		if _, labels, ok := strings.Cut(series, "hairpin_allocation_stream_packets_total"); ok {
			packets[labels[strings.Index(labels, "ssrc="):]] = value
		}
	}
	if want := map[string]float64{`ssrc="7",user="alice"}`: 1100, `ssrc="8",user="alice"}`: 2000, `ssrc="9",user="alice"}`: 2000}; !maps.Equal(packets, want) {
		t.Errorf("packets %v, want %v", packets, want)
	}
}

// OpenMetrics has the exemplars, and no two families of one name.
func TestOpenMetrics(t *testing.T) {
	f := newFake("alice")
	f.snapshot.Streams.Loss = relay.Histogram{
		Bounds: []float64{0, 0.02}, Buckets: []uint64{1, 2}, Count: 3, Sum: 0.5,
		Exemplars: []relay.Exemplar{{Value: 0.4, Allocation: 7, At: started}},
	}
	h := NewHandler(f, open)
	response, body := get(t, h, "/metrics", header("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"))
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("it is %s", kind)
	}
	if want := `hairpin_stream_loss_ratio_bucket{le="+Inf"} 3 # {allocation="7"} 0.4 1.7673228e+09`; !strings.Contains(body, want) {
		t.Errorf("no %s in\n%s", want, body)
	}
	families := map[string]bool{}
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, "# TYPE hairpin_"); ok { // Go's own have such a pair
			name, _, _ = strings.Cut(name, " ")
			if families[name] {
				t.Errorf("two families are %s", name)
			}
			families[name] = true
		}
	}
	response, body = get(t, h, "/metrics")
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") || strings.Contains(body, " # {") {
		t.Errorf("without being asked for it is %s", kind)
	}
}
