package metrics

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

func readTable(t *testing.T, h http.Handler, target string) (table Table, ids string) {
	t.Helper()
	response, body := get(t, h, target)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %d: %s", target, response.StatusCode, body)
	}
	if err := json.Unmarshal([]byte(body), &table); err != nil {
		t.Fatal(err)
	}
	for _, r := range table.Rows {
		ids += fmt.Sprint(r.ID)
	}
	return table, ids
}

// The server sorts, filters and cuts.
func TestTable(t *testing.T) {
	f := newFake("dora", "Carl", "bert", "anna")
	for i := range f.allocations {
		f.allocations[i].Counts.UpDropped.Packets = uint64(i % 2)
	}
	h := NewHandler(f, open)
	for target, want := range map[string]string{
		"/table":                             "1234 of 4",
		"/table?sort=-id":                    "4321 of 4",
		"/table?sort=user":                   "2431 of 4",
		"/table?sort=-client":                "4321 of 4",
		"/table?sort=dropped":                "2413 of 4",
		"/table?sort=traffic":                "1234 of 4",
		"/table?sort=loss":                   "1234 of 4",
		"/table?filter=R":                    "123 of 3",
		"/table?filter=:4000":                "1234 of 4",
		"/table?filter=:40001":               "2 of 1",
		"/table?filter=50003":                "4 of 1",
		"/table?filter=nobody":               " of 0",
		"/table?offset=1&limit=2":            "23 of 4",
		"/table?offset=9":                    " of 4",
		"/table?limit=0":                     " of 4",
		"/table?sort=-user&filter=a&limit=1": "1 of 3",
	} {
		table, ids := readTable(t, h, target)
		if got := fmt.Sprintf("%s of %d", ids, table.Matched); got != want || table.Total != 4 {
			t.Errorf("%s shows %q of %d, want %q of 4", target, got, table.Total, want)
		}
	}
	for target, want := range map[string]string{
		"/table?sort=secret": `sort="secret" is no column`,
		"/table?limit=201":   "0 to 200",
		"/table?offset=-1":   "0 to 100000",
		"/table?x=1":         `"x" is not known`,
		"/table?filter=" + strings.Repeat("x", maxFilter+1): "200 are enough",
		"/?sort=secret":    "is no column",
		"/?id=x":           "is not the ID",
		"/allocation?id=x": "is not the ID",
		"/allocation":      "takes one parameter",
	} {
		if response, body := get(t, h, target); response.StatusCode != 400 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d %q, want 400 and %q", target, response.StatusCode, body, want)
		}
	}
}

// However many look, the allocations are read once a second, and rates are those since the reading before.
func TestReadingsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("alice")
		f.allocations[0].Created = time.Now().Add(-time.Hour)
		r := readings{source: f}
		if in := r.get()[0].In; in != 0 {
			t.Errorf("a rate without anything before: %v", in)
		}
		f.allocations[0].Counts.Up = allocation.Count{Packets: 200, Bytes: 1000 + 2500}
		if in := r.get()[0].In; in != 0 {
			t.Errorf("read anew at once: %v", in)
		}
		time.Sleep(2 * time.Second)
		if in := r.get()[0].In; in != 10_000 {
			t.Errorf("%v bit/s, want 2500 bytes in two seconds", in)
		}
		f.allocations = nil
		time.Sleep(readingAge)
		if rows := r.get(); len(rows) != 0 || len(r.before) != 0 {
			t.Errorf("what has ended stays: %v", rows)
		}
	})
}

// One allocation's page has everything about it, its peer of the same server included, and outlives it.
func TestDetail(t *testing.T) {
	f := newFake("alice", "b<b>ob")
	f.history = map[uint64][]relay.Moment{
		1: {{First: started, Last: started, Times: 1, What: "created", Detail: "for 10m0s"}, {First: started, Last: started.Add(time.Minute), Times: 3, What: "refused", Detail: "refresh: <i>"}},
		9: {{First: started, Last: started, Times: 1, What: "ended", Detail: "connection closed"}},
	}
	h := NewHandler(f, Options{Token: "s3cret"})
	response, page := get(t, h, "/?id=1", bearer("s3cret"))
	text := html.UnescapeString(page)
	for _, want := range []string{"alice", "198.51.100.1:40000", "192.0.2.1:50000", "0x4001", "192.0.2.1:50001", "b<b>ob", "created", "for 10m0s", "×3, last 2026-01-02T03:01:00.000Z", `action="end?id=1"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if response.StatusCode != 200 || strings.Contains(page, "<b>ob") || strings.Contains(page, "<i>") {
		t.Errorf("%d, or markup of others in %s", response.StatusCode, page)
	}
	for target, want := range map[string]string{"/?id=9": "It has ended.", "/?id=77": "Nothing is known of it"} {
		if response, page := get(t, h, target, bearer("s3cret")); !strings.Contains(page, want) || strings.Contains(page, `action="end`) || (response.StatusCode == 404) != (target == "/?id=77") {
			t.Errorf("%s answers %d %s", target, response.StatusCode, page)
		}
	}
	var d Detail
	_, body := get(t, h, "/allocation?id=1", bearer("s3cret"))
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.Allocation.ID != 1 || len(d.Peers) != 1 || d.Peers[0].ID != 2 || len(d.History) != 2 {
		t.Errorf("%v %s", err, body)
	}
	if response, _ := get(t, h, "/allocation?id=77", bearer("s3cret")); response.StatusCode != 404 {
		t.Errorf("nobody's detail answers %d", response.StatusCode)
	}
}

// Of a dual allocation both addresses are everywhere, and a channel to either leads to its partner.
func TestDualIsShown(t *testing.T) {
	f := newFake("alice", "bob")
	f.allocations[1].Additional = netip.MustParseAddrPort("[2001:db8::2]:50007")
	f.allocations[0].Channels = []*allocation.Channel{{Number: 0x4001, Peer: f.allocations[1].Additional}}
	h := NewHandler(f, open)
	const both = "192.0.2.1:50001 [2001:db8::2]:50007"
	for target, want := range map[string]string{
		"/": both, "/?id=2": both, "/?id=1": "<td>[2001:db8::2]:50007</td>",
		"/table?filter=[2001:db8::2]": `"relay":"192.0.2.1:50001","additional_relay":"[2001:db8::2]:50007"`,
		"/allocation?id=1":            `"peers":[{"id":2,"user":"bob","relay":"[2001:db8::2]:50007"`,
		"/allocation?id=2":            `"additional_relay":"[2001:db8::2]:50007"`,
		"/allocations":                `"additional_relay":"[2001:db8::2]:50007"`,
	} {
		if response, body := get(t, h, target); response.StatusCode != 200 || !strings.Contains(html.UnescapeString(body), want) {
			t.Errorf("%s answers %d without %s:\n%s", target, response.StatusCode, want, body)
		}
	}
	for series := range scrape(t, h) { // as ever
		if strings.Contains(series, `allocation="2"`) && !strings.Contains(series, `relay="192.0.2.1:50001"`) && !strings.Contains(series, "stream") {
			t.Errorf("%s", series)
		}
	}
}

// A TCP allocation is one everywhere, with its connections, and those lead to their partners.
func TestTCPIsShown(t *testing.T) {
	f := newFake("alice", "bob")
	for i := range f.allocations {
		a := &f.allocations[i]
		a.Transport, a.RelayTransport, a.Channels = "tcp", "tcp", nil
	}
	f.allocations[0].Connections = []tcp.Reading{
		{Peer: f.allocations[1].Relayed, Joined: true, Since: allocation.Time(2 * time.Minute), Up: 2048, Down: 7},
		{Peer: netip.MustParseAddrPort("203.0.113.9:80"), Since: allocation.Time(3 * time.Minute)},
	}
	h := NewHandler(f, open)
	for target, wants := range map[string][]string{
		"/": {"<td>192.0.2.1:50000/tcp</td>", `title="connections / permissions">2 / 1</td>`},
		"/?id=1": {`<dd id="relayed">192.0.2.1:50000/tcp</dd>`, `<caption>Connections</caption>`, `<th scope="row">192.0.2.1:50001</th><td>joined</td>`,
			"2.0 KiB from client", "7 B to client", `<th scope="row">203.0.113.9:80</th><td>pending</td>`, `<td>192.0.2.1:50001</td>`},
		"/table": {`"relay_transport":"tcp"`, `"connections":2`},
		"/allocations": {`"relay_transport":"tcp","connections":[{"peer":"192.0.2.1:50001","state":"joined","since":"2026-01-02T03:02:00Z","client_in_bytes":2048,"client_out_bytes":7},` +
			`{"peer":"203.0.113.9:80","state":"pending","since":"2026-01-02T03:03:00Z","client_in_bytes":0,"client_out_bytes":0}]`},
		"/allocation?id=1": {`"peers":[{"id":2,"user":"bob","relay":"192.0.2.1:50001"`},
	} {
		response, body := get(t, h, target)
		for _, want := range wants {
			if response.StatusCode != 200 || !strings.Contains(html.UnescapeString(body), want) {
				t.Errorf("%s answers %d without %s:\n%s", target, response.StatusCode, want, body)
			}
		}
	}
}

// Of a client that has moved there is where it is, and where it was.
func TestMovesAreShown(t *testing.T) {
	f := newFake("alice")
	f.allocations[0].Moves, f.allocations[0].Earlier = 9, []relay.Place{{Transport: "tcp", Client: netip.MustParseAddrPort("[2001:db8::9]:1"), Server: netip.MustParseAddrPort("192.0.2.1:3478")}}
	h := NewHandler(f, open)
	for target, want := range map[string]string{
		"/?id=1":       "198.51.100.1:40000 (moved 9×, before at tcp [2001:db8::9]:1)",
		"/allocations": `"moves":9,"earlier":[{"transport":"tcp","client":"[2001:db8::9]:1","server":"192.0.2.1:3478"}]`,
	} {
		if response, body := get(t, h, target); response.StatusCode != 200 || !strings.Contains(html.UnescapeString(body), want) {
			t.Errorf("%s answers %d without %s:\n%s", target, response.StatusCode, want, body)
		}
	}
}

// pageReader takes the events of an open page.
type pageReader struct {
	header http.Header
	code   int
	events chan event
	broken error
}

func (p *pageReader) Header() http.Header  { return p.header }
func (p *pageReader) WriteHeader(code int) { p.code = code }
func (p *pageReader) Flush()               {}
func (p *pageReader) Write(b []byte) (int, error) {
	if body, ok := strings.CutPrefix(string(b), "data: "); ok {
		var e event
		if p.broken = json.Unmarshal([]byte(body), &e); p.broken == nil {
			p.events <- e
		}
	}
	return len(b), nil
}

func openPage(t *testing.T, h http.Handler) (p *pageReader, ended chan struct{}) {
	p, ended = &pageReader{header: http.Header{}, code: 200, events: make(chan event, 1000)}, make(chan struct{})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live", nil)
	r.Host = "localhost"
	go func() {
		defer close(ended)
		h.ServeHTTP(p, r)
	}()
	return p, ended
}

// 1,000 pages are opened: 64 get events, made once a second for all of them; the others are told to come again. When all
// are gone, so is the maker.
func TestThousandPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &counting{fake: newFake("alice")}
		h := NewHandler(f, open)
		var pages []*pageReader
		var ends []chan struct{}
		refused := 0
		for range 1000 {
			p, ended := openPage(t, h)
			synctest.Wait()
			if p.code == http.StatusServiceUnavailable {
				refused++
				if p.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				continue
			}
			pages, ends = append(pages, p), append(ends, ended)
		}
		if refused != 1000-livePages {
			t.Errorf("%d refused", refused)
		}
		before := f.reads()
		time.Sleep(10*liveInterval + time.Millisecond)
		synctest.Wait()
		if got := f.reads() - before; got != 10 {
			t.Errorf("%d readings in ten seconds for %d pages", got, len(pages))
		}
		for _, p := range pages {
			if len(p.events) != 11 || p.broken != nil {
				t.Fatalf("%d events, %v", len(p.events), p.broken)
			}
			if first := <-p.events; first.Process.Version != "v1.2.3" || first.Process.Total != 1 {
				t.Fatalf("the first event is %+v", first)
			}
			if second := <-p.events; len(second.Samples) != 1 || second.Samples[0].Allocations != 1 {
				t.Fatalf("the second event is %+v", second)
			}
		}
		h.Close()
		for _, ended := range ends {
			<-ended
		}
		if p, ended := openPage(t, h); true {
			<-ended
			if p.code != http.StatusServiceUnavailable {
				t.Error("a page was taken in after the end")
			}
		}
	})
}

// A page that was opened later begins with the samples that there are.
func TestLaterPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(newFake("alice"), open)
		openPage(t, h)
		time.Sleep(5*liveInterval + time.Millisecond)
		late, _ := openPage(t, h)
		synctest.Wait()
		if first := <-late.events; len(first.Samples) != 5 {
			t.Errorf("it begins with %d samples", len(first.Samples))
		}
		time.Sleep(2 * liveHistory * liveInterval)
		last, _ := openPage(t, h)
		synctest.Wait()
		if first := <-last.events; len(first.Samples) != liveHistory || len(first.Past) != 0 {
			t.Errorf("after a while there are %d samples, and %d of the past", len(first.Samples), len(first.Past))
		}
		h.Close()
	})
}

// A page begins with the time before it was opened, and goes on with it.
func TestPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(newFake("alice"), open)
		h.Record()
		time.Sleep(2*pastHistory*pastInterval + time.Millisecond)
		page, _ := openPage(t, h)
		synctest.Wait()
		if first := <-page.events; len(first.Past) != pastHistory || len(first.Samples) != 0 || first.Past[0].Allocations != 1 {
			t.Errorf("it begins with %d samples and %d of the past", len(first.Samples), len(first.Past))
		}
		time.Sleep(pastInterval + liveInterval)
		synctest.Wait()
		past, samples := 0, 0
		for range len(page.events) {
			e := <-page.events
			past += len(e.Past)
			samples += len(e.Samples)
		}
		if past != 1 || samples < 10 || samples > 11 {
			t.Errorf("%d more samples of the past, and %d others", past, samples)
		}
		h.Close()
	})
}

// A page that is opened while others are, just when a sample of the past was taken, has it once.
func TestPastOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(newFake("alice"), open)
		h.Record()
		time.Sleep(3*pastInterval + liveInterval/2)
		openPage(t, h)
		time.Sleep(pastInterval - liveInterval/4) // between the sample and the event that has it
		page, _ := openPage(t, h)
		time.Sleep(2 * liveInterval)
		synctest.Wait()
		seen := map[int64]int{}
		for range len(page.events) {
			for _, s := range (<-page.events).Past {
				seen[s.At]++
			}
		}
		for at, times := range seen {
			if times != 1 {
				t.Errorf("the sample of %d was sent %d times", at, times)
			}
		}
		if len(seen) != 4 {
			t.Errorf("%d samples of the past", len(seen))
		}
		h.Close()
	})
}

// counting counts how often it is read.
type counting struct {
	*fake
	mu sync.Mutex
	n  int
}

func (c *counting) Snapshot() relay.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.fake.Snapshot()
}

func (c *counting) reads() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Who finds no streams learns whether nobody looked, and who finds few packets of what kind the others were.
func TestDetailOfMedia(t *testing.T) {
	f := newFake("alice", "bob", "carol")
	media := lossy()
	media.Observe([]byte{0x80, 200, 0, 1, 0, 0, 0, 7}, int64(time.Second)) // RTCP: a sender report
	media.Observe([]byte{22, 0xfe, 0xfd, 0}, int64(time.Second))           // DTLS
	f.allocations[0].UpMedia, f.allocations[0].Observed = media, true
	f.allocations[1].Observed = true
	h := NewHandler(f, open)
	for id, want := range map[int][]string{
		1: {`<td>dtls</td><td class="n">1</td>`, `<td>rtcp</td>`, `<td>rtp</td>`},
		2: {"None was seen."},
		3: {"Nobody looks: see --quality."},
	} {
		_, page := get(t, h, fmt.Sprintf("/?id=%d", id))
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%d: no %q in %s", id, text, page)
			}
		}
	}
	var d Detail
	_, body := get(t, h, "/allocation?id=1")
	if err := json.Unmarshal([]byte(body), &d); err != nil || !d.Allocation.Observed || d.Allocation.Media.ClientIn.Packets["dtls"] != 1 || d.Allocation.Media.PeerIn != nil {
		t.Errorf("%v %s", err, body)
	}
}

// The page says what would be looked for in the log otherwise: lost events, a reload that was refused, nobody who looks.
func TestPageShowsTrouble(t *testing.T) {
	f := newFake()
	f.snapshot.Quality, f.snapshot.Events = quality.Sampled, events.Counts{Written: 1234, Failed: 5}
	reloads := new(Reloads)
	reloads.Note(Reload{Result: ReloadRefused, Faults: []string{"a.yaml:3: user: <b>"}, Time: &started})
	_, page := get(t, NewHandler(f, Options{Loopback: true, Reloads: reloads}), "/")
	for _, want := range []string{
		`<th scope="row">media are looked at</th><td>sampled</td>`, `<th scope="row">events lost target failed</th><td>5</td>`,
		`<td>2026-01-02T03:00:00Z, refused: <span class="bad">a.yaml:3: user: &lt;b&gt;</span></td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
}
