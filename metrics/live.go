package metrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	liveInterval = time.Second // between two events
	livePages    = 64          // that get events; others are told to come again
	liveHistory  = 300         // samples that a page begins with, if pages were open by then
	pastInterval = 10 * time.Second
	pastHistory  = 360 // samples of the past, an hour
	liveWrite    = 10 * time.Second
)

// event is what a page is sent.
type event struct {
	Process Process  `json:"process"`
	Samples []Sample `json:"samples"` // with the first event all that there are, then the latest
	Past    []Sample `json:"past"`    // the same, of pastInterval each
}

// live sends events to open pages (Server-Sent Events). One goroutine makes them for all, while there is a page, and
// whoever is too slow for one gets the next:
//
//	first page ──► produce: every second ──► latest ──► each page's own goroutine, net/http's
//	last page gone, Close ──► it ends
//
// Another one, slow, keeps the last hour for pages that are yet to come.
type live struct {
	status *statusReader
	ended  sync.WaitGroup // produce, remember

	mu      sync.Mutex
	pages   int
	closed  chan struct{} // by Close
	stop    chan struct{} // ends produce; nil: it isn't running
	sampler *sampler      // makes history; nil: no page is open
	history []Sample
	past    []Sample
	fresh   []Sample      // of past, not in an event yet
	latest  []byte        // event
	changed chan struct{} // closed when latest is another
}

func newLive(s *statusReader) *live {
	return &live{status: s, closed: make(chan struct{}), changed: make(chan struct{})}
}

// Close ends all streams of events and waits for their maker. Pages that ask again are refused.
func (l *live) Close() {
	l.mu.Lock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	l.stopLocked()
	l.mu.Unlock()
	l.ended.Wait()
}

func (l *live) stopLocked() {
	if l.stop != nil {
		close(l.stop)
		l.stop = nil
	}
}

// enter takes a page in and returns its first event, and what is closed when the next one is there; false: there is no room.
func (l *live) enter() (first []byte, changed <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil, nil, false
	default:
	}
	if l.pages == livePages {
		return nil, nil, false
	}
	l.pages++
	if l.stop == nil {
		l.sampler, l.history = newSampler(liveInterval), nil // what went before has a gap, which past fills
		l.tickLocked(time.Now())                             // to have something to compare with
		l.stop = make(chan struct{})
		l.ended.Add(1)
		go l.produce(l.stop)
	}
	past := l.past[:len(l.past)-len(l.fresh)] // the next event has the rest
	return encode(event{l.status.process(l.status.source.Snapshot()), l.history, past}), l.changed, true
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pages--; l.pages == 0 {
		l.stopLocked()
	}
}

// produce makes events until it is stopped.
func (l *live) produce(stop <-chan struct{}) {
	defer l.ended.Done()
	ticker := time.NewTicker(liveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			l.mu.Lock()
			l.tickLocked(now)
			l.mu.Unlock()
		}
	}
}

func (l *live) tickLocked(now time.Time) {
	n := l.status.source.Snapshot()
	e := event{Process: l.status.process(n), Past: l.fresh}
	l.fresh = nil
	if sample, ok := l.sampler.take(n, now); ok {
		e.Samples = []Sample{sample}
		l.history = appendSample(l.history, sample, liveHistory)
	}
	l.latest = encode(e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// remember begins to keep samples of the past, until Close.
func (l *live) remember() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return
	default:
	}
	l.ended.Go(func() {
		ticker := time.NewTicker(pastInterval)
		defer ticker.Stop()
		sampler, now := newSampler(pastInterval), time.Now()
		for {
			sample, ok := sampler.take(l.status.source.Snapshot(), now)
			if ok {
				l.mu.Lock()
				l.past = appendSample(l.past, sample, pastHistory)
				l.fresh = appendSample(l.fresh, sample, 1)
				l.mu.Unlock()
			}
			select {
			case <-l.closed:
				return
			case now = <-ticker.C:
			}
		}
	})
}

// appendSample appends to samples, of which there may be most.
func appendSample(samples []Sample, sample Sample, most int) []Sample {
	if len(samples) == most {
		samples = append(samples[:0], samples[1:]...)
	}
	return append(samples, sample)
}

// encode writes an event as a stream has it (HTML, Server-sent events): JSON has no line ends.
func encode(e event) []byte {
	for _, samples := range []*[]Sample{&e.Samples, &e.Past} {
		if *samples == nil {
			*samples = []Sample{}
		}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return []byte(": " + err.Error() + "\n\n") // a comment; a NaN is all that could bring it about
	}
	return fmt.Appendf(nil, "data: %s\n\n", body)
}

func (l *live) next() ([]byte, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest, l.changed
}

func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	body, changed, ok := l.enter()
	if !ok {
		busy(w)
		return
	}
	defer l.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	connection := http.NewResponseController(w)
	for {
		// The server's own deadline is for one answer, and this one goes on; a page that takes nothing is given up.
		_ = connection.SetWriteDeadline(time.Now().Add(liveWrite)) // not every connection has one: those of tests
		if _, err := w.Write(body); err != nil || connection.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-l.closed:
			return
		case <-changed:
			body, changed = l.next()
		}
	}
}
