package metrics

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hairpin-turn/hairpin/relay/peers"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func authorization(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value) }
}

func method(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func nothing(*http.Request) {}

func TestWhoMaySeeWhat(t *testing.T) {
	var (
		loopback  = Options{Loopback: true}
		elsewhere = Options{}
		token     = Options{Token: "s3cret"}
		both      = Options{Token: "s3cret", Loopback: true}
	)
	for _, test := range []struct {
		name    string
		options Options
		change  func(*http.Request)
		closed  int // what /allocations, / and its style answer
		named   int // what /metrics answers
	}{
		{"loopback", loopback, nothing, 200, 200},
		{"loopback, HEAD", loopback, method("HEAD"), 200, 200},
		{"loopback, an IPv4 address", loopback, host("127.0.0.1:9478"), 200, 200},
		{"loopback, another address", loopback, host("192.0.2.1"), 200, 200},
		{"loopback, an IPv6 address", loopback, host("[::1]:9478"), 200, 200},
		{"loopback, an IPv6 address without port", loopback, host("[::1]"), 200, 200},
		{"loopback, a name below localhost", loopback, host("relay.LOCALHOST.:9478"), 200, 200},
		{"loopback, a name that was rebound", loopback, host("evil.example:9478"), 403, 403},
		{"loopback, a name that ends alike", loopback, host("evillocalhost"), 403, 403},
		{"loopback, a name that begins alike", loopback, host("localhost.evil.example"), 403, 403},
		{"loopback, a name that begins with an address", loopback, host("127.0.0.1.evil.example"), 403, 403},
		{"loopback, no name", loopback, host(""), 403, 403},
		{"loopback, a token nobody asked for", loopback, bearer("x"), 200, 200},
		{"loopback with a token, a name that was rebound", both, host("evil.example"), 401, 403},
		{"elsewhere", elsewhere, nothing, 403, 200},
		{"elsewhere, any name", elsewhere, host("relay.example"), 403, 200},
		{"elsewhere, a token nobody set", elsewhere, bearer("x"), 403, 200},
		{"elsewhere, an empty token", elsewhere, bearer(""), 403, 200},
		{"token, none shown", token, nothing, 401, 200},
		{"token, none shown on loopback", both, nothing, 401, 200},
		{"token shown", token, bearer("s3cret"), 200, 200},
		{"token shown under any name", both, func(r *http.Request) { r.Host = "relay.example"; bearer("s3cret")(r) }, 200, 200},
		{"token, scheme in lower case", token, authorization("bearer  s3cret"), 200, 200},
		{"token as password", token, basic("", "s3cret"), 200, 200},
		{"token as password of somebody", token, basic("admin", "s3cret"), 200, 200},
		{"token as user", token, basic("s3cret", ""), 401, 200},
		{"token, another shown", token, bearer("s3creT"), 401, 200},
		{"token, a part shown", token, bearer("s3cre"), 401, 200},
		{"token, more shown", token, bearer("s3crets"), 401, 200},
		{"token, an empty one shown", token, bearer(""), 401, 200},
		{"token, another scheme", token, authorization("Digest s3cret"), 401, 200},
		{"token, no scheme", token, authorization("s3cret"), 401, 200},
		{"POST", loopback, method("POST"), 405, 405},
		{"DELETE with the token", token, func(r *http.Request) { r.Method = "DELETE"; bearer("s3cret")(r) }, 405, 405},
		{"OPTIONS", loopback, method("OPTIONS"), 405, 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHandler(newFake("alice"), test.options)
			open := 200 // to whoever can connect, by whatever name
			if test.named == 405 {
				open = 405
			}
			for path, want := range map[string]int{
				"/allocations": test.closed, "/": test.closed, "/style.css": test.closed, "/page.js": test.closed, "/table": test.closed, "/?id=1": test.closed, "/allocation?id=1": test.closed,
				"/metrics": test.named, "/healthz": open, "/readyz": open,
				"/drain": 404, "/allocations/": 404, "//": 404, "/debug/pprof/": 404, "/index.html": 404,
			} {
				response, body := get(t, h, path, test.change)
				if response.StatusCode != want {
					t.Errorf("%s answers %d, want %d: %s", path, response.StatusCode, want, body)
				}
				if want != 200 && (strings.Contains(body, "alice") || strings.Count(body, "\n") != 1) {
					t.Errorf("%s answers %q, want one line that says what to do", path, body)
				}
				for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Cache-Control"} {
					if response.Header.Get(name) == "" {
						t.Errorf("%s: no %s", path, name)
					}
				}
				if got := len(response.Header.Values("WWW-Authenticate")); (got > 0) != (want == 401) {
					t.Errorf("%s: %d challenges", path, got)
				}
				if got := response.Header.Get("Allow"); (got != "") != (want == 405) {
					t.Errorf("%s: Allow is %q", path, got)
				}
			}
		})
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		options Options
		change  func(*http.Request)
		want    string
	}{
		{Options{}, nothing, "--admin-token"},
		{Options{Token: "x"}, nothing, "Authorization: Bearer TOKEN"},
		{Options{Loopback: true}, host("evil\"\n.example"), `"evil\"\n.example"`},
	} {
		if _, body := get(t, NewHandler(newFake(), test.options), "/allocations", test.change); !strings.Contains(body, test.want) {
			t.Errorf("no %q in %q", test.want, body)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	for _, test := range []struct {
		name  string
		ready func() error
		code  int
		body  string
	}{
		{"nobody to ask", nil, 200, "ok\n"},
		{"ready", func() error { return nil }, 200, "ok\n"},
		{"not ready", func() error { return errors.New("draining") }, 503, "not ready: draining\n"},
	} {
		h := NewHandler(newFake(), Options{Ready: test.ready})
		if response, body := get(t, h, "/readyz"); response.StatusCode != test.code || body != test.body {
			t.Errorf("%s: /readyz answers %d %q", test.name, response.StatusCode, body)
		}
		if response, body := get(t, h, "/healthz"); response.StatusCode != 200 || body != "ok\n" {
			t.Errorf("%s: /healthz answers %d %q", test.name, response.StatusCode, body)
		}
	}
}

// readStatus decodes /allocations strictly.
func readStatus(t *testing.T, h http.Handler, target string) Status {
	t.Helper()
	response, body := get(t, h, target)
	if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "application/json" {
		t.Fatalf("%s answers %d %s: %s", target, response.StatusCode, got, body)
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	var s Status
	if err := decoder.Decode(&s); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return s
}

// The JSON is a contract, too: this is all of it.
func TestAllocationsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for a clock that stands still
		f := newFake("alice")
		f.snapshot.Started = time.Now()
		f.allocations[0].Created, f.allocations[0].Expires = time.Now().Add(time.Minute), time.Now().Add(2*time.Minute)
		time.Sleep(90 * time.Second)
		_, body := get(t, NewHandler(f, open), "/allocations")
		want := `{"version":"v1.2.3","started":"2000-01-01T00:00:00Z","uptime":90,"draining":false,` +
			`"listeners":[{"name":"udp://:3478","scheme":"udp","address":"0.0.0.0:3478","public":"192.0.2.1:3478","allocations":1}],` +
			`"total":1,"allocations":[{"id":1,"user":"alice","listener":"udp://:3478","transport":"udp",` +
			`"client":"198.51.100.1:40000","server":"192.0.2.1:3478","relay":"192.0.2.1:50000","relay_transport":"udp",` +
			`"created":"2000-01-01T00:01:00Z","expires":"2000-01-01T00:02:00Z",` +
			`"permissions":[{"peer":"192.0.2.1","expires":"2000-01-01T00:05:00Z"}],` +
			`"channels":[{"number":"0x4001","peer":"192.0.2.1:50001","expires":"2000-01-01T00:00:00Z"}],` +
			`"counters":{"client_in":{"packets":103,"bytes":1030},"client_out":{"packets":200,"bytes":2000},` +
			`"peer_in":{"packets":204,"bytes":2040},"peer_out":{"packets":100,"bytes":1000}},` +
			`"dropped":{"client_in":3,"peer_in":4,"bandwidth":2},"observed":false,"media":{},"streams":[]}]}` + "\n"
		if body != want {
			t.Errorf("got\n%s\nwant\n%s", body, want)
		}
	})
}

// What is empty is an empty list and no null.
func TestEmptyJSON(t *testing.T) {
	f := newFake("alice")
	f.allocations[0].Permissions, f.allocations[0].Channels = nil, nil
	_, body := get(t, NewHandler(f, open), "/allocations")
	_, none := get(t, NewHandler(&fake{}, open), "/allocations")
	if strings.Contains(body+none, "null") {
		t.Errorf("null in %s%s", body, none)
	}
}

// The README's example is what is served, by its names.
func TestReadmeExample(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	example, _, _ := strings.Cut(rest, "```")
	decoder := json.NewDecoder(strings.NewReader(example))
	decoder.DisallowUnknownFields()
	var s Status
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(strings.Fields(string(again)), ""), strings.Join(strings.Fields(example), ""); got != want {
		t.Errorf("README.md shows\n%s\nand the server would say\n%s", want, got)
	}
}

func TestQuery(t *testing.T) {
	h := NewHandler(newFake("a", "b", "c", "d"), open)
	for target, want := range map[string]string{
		"/allocations":                 "abcd",
		"/allocations?limit=0":         "",
		"/allocations?limit=2":         "ab",
		"/allocations?limit=2&after=2": "cd",
		"/allocations?after=3":         "d",
		"/allocations?after=9":         "",
		"/allocations?id=3":            "c",
		"/allocations?id=9":            "",
		"/allocations?limit=100000":    "abcd",
		"/allocations?user=c":          "c",
		"/allocations?user=C":          "",
	} {
		s := readStatus(t, h, target)
		got := ""
		for _, a := range s.Allocations {
			got += a.User
		}
		if got != want || s.Total != 4 || len(s.Listeners) != 1 {
			t.Errorf("%s shows %q of %d, want %q", target, got, s.Total, want)
		}
	}
	for target, want := range map[string]string{
		"/allocations?limit=-1":     "limit=",
		"/allocations?limit=100001": "after=ID",
		"/allocations?limit=x":      "limit=",
		"/allocations?limit=":       "limit=",
		"/allocations?id=0":         "id=",
		"/allocations?id=x":         "id=",
		"/allocations?after=-1":     "after=",
		"/allocations?users=alice":  `"users"`,
		"/allocations?user=":        "user=",
	} {
		if response, body := get(t, h, target); response.StatusCode != 400 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d %q, want 400 and %q", target, response.StatusCode, body, want)
		}
	}
}

func TestHostileUserInJSON(t *testing.T) {
	_, body := get(t, NewHandler(newFake(hostile...), open), "/allocations")
	if strings.ContainsAny(body, "<>") {
		t.Errorf("markup in %s", body)
	}
	for i, a := range readStatus(t, NewHandler(newFake(hostile...), open), "/allocations").Allocations {
		if want := strings.ToValidUTF8(hostile[i], "\uFFFD"); a.User != want && a.User != "\uFFFD\uFFFD\x00" {
			t.Errorf("%q became %q", hostile[i], a.User)
		}
	}
}

func TestHostileUserInPage(t *testing.T) {
	_, plain := get(t, NewHandler(newFake(make([]string, len(hostile))...), open), "/")
	response, page := get(t, NewHandler(newFake(hostile...), open), "/")
	if got := response.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("the page is %s", got)
	}
	if got, want := strings.Count(page, "<"), strings.Count(plain, "<"); got != want {
		t.Errorf("%d tags with hostile names, %d without", got, want)
	}
	if got, want := strings.Count(page, `"`), strings.Count(plain, `"`); got != want {
		t.Errorf("%d quotes with hostile names, %d without", got, want)
	}
	if text := html.UnescapeString(page); !strings.Contains(text, hostile[0]) || !strings.Contains(text, hostile[7]) {
		t.Errorf("the names are not shown as they are: %s", page)
	}
}

func TestPage(t *testing.T) {
	f := newFake(strings.Split(strings.Repeat("alice,", tableRows+9), ",")...)
	f.prefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	f.peers = peers.LoopOnly()
	_, page := get(t, NewHandler(f, open), "/")
	for _, want := range []string{
		"v1.2.3", "60 live allocations", "udp://:3478", "192.0.2.1:3478", "no_peer", "expired", "class", "198.51.100.0/24", "loop",
		`href="?id=1"`, `href="?offset=50&amp;sort=id" rel="next"`, `href="style.css"`, `src="page.js"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(page, "malformed") {
		t.Error("the page shows a reason that never occurred")
	}
	if got := strings.Count(page, "<bdi>"); got != tableRows {
		t.Errorf("%d allocations in the page, want %d", got, tableRows)
	}
	if strings.Contains(page, " style=") || strings.Contains(page, "<style") || strings.Contains(page, "<script>") || strings.Contains(page, " on") && strings.Contains(page, "onclick") {
		t.Error("the page has what its own policy forbids")
	}
	if strings.Contains(page, `method="post"`) {
		t.Error("the page offers to act without a token")
	}
	if _, empty := get(t, NewHandler(newFake(), open), "/"); !strings.Contains(empty, "None.") {
		t.Errorf("the page without allocations: %s", empty)
	}
	if response, css := get(t, NewHandler(f, open), "/style.css"); response.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(css, "color-scheme: light dark") {
		t.Errorf("the style is %s %q", response.Header.Get("Content-Type"), css)
	}
	if response, js := get(t, NewHandler(f, open), "/page.js"); response.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || strings.Contains(js, "innerHTML") {
		t.Errorf("the script is %s", response.Header.Get("Content-Type"))
	}
	_, mayAct := get(t, NewHandler(f, Options{Token: "s3cret", Drain: func() {}}), "/", bearer("s3cret"))
	if !strings.Contains(mayAct, `action="drain"`) || strings.Contains(mayAct, "s3cret") {
		t.Error("with a token the page offers no drain, or shows the token")
	}
}

func TestSpelling(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 40: "1.0 TiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := spellBytes(n); got != want {
			t.Errorf("%d became %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 01 s", 90 * time.Minute: "1 h 30 min", 49 * time.Hour: "2 d 01 h",
	} {
		if got := spellDuration(d); got != want {
			t.Errorf("%v became %q, want %q", d, got, want)
		}
	}
}

// slowReader is an answer that nobody reads until it is let go.
type slowReader struct {
	*httptest.ResponseRecorder
	began, read chan struct{}
}

func (s slowReader) Write(b []byte) (int, error) {
	s.began <- struct{}{}
	<-s.read
	return s.ResponseRecorder.Write(b)
}

// However many ask for all allocations and don't read them, a few answers are held; small ones are for everybody.
func TestLargeAnswersAreFew(t *testing.T) {
	h := NewHandler(newFake(make([]string, defaultLimit+1)...), open)
	began, read := make(chan struct{}), make(chan struct{})
	var asking sync.WaitGroup
	for range largeAnswers {
		asking.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/allocations?limit=100000", nil)
			r.Host = "localhost"
			h.ServeHTTP(slowReader{httptest.NewRecorder(), began, read}, r)
		})
		<-began
	}
	for target, want := range map[string]int{"/allocations?limit=100000": 503, "/allocations": 200, "/allocations?limit=100000&id=7": 200, "/table": 200} {
		if response, body := get(t, h, target); response.StatusCode != want || (response.Header.Get("Retry-After") != "") != (want == 503) {
			t.Errorf("%s answers %d %.80s, want %d", target, response.StatusCode, body, want)
		}
	}
	close(read)
	asking.Wait()
	if response, _ := get(t, h, "/allocations?limit=100000"); response.StatusCode != 200 {
		t.Errorf("when they are read it answers %d", response.StatusCode)
	}
}
