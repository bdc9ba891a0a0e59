package metrics

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
)

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// Who may drain and reload: whoever the guard admits, but no page of another site.
func TestWhoMayAct(t *testing.T) {
	var (
		loopback = Options{Loopback: true}
		token    = Options{Token: "s3cret"}
	)
	for _, test := range []struct {
		name    string
		options Options
		target  string
		changes []func(*http.Request)
		code    int
		begun   bool
	}{
		{"loopback", loopback, "/drain", nil, 200, true},
		{"looked at", loopback, "/drain", []func(*http.Request){method("GET")}, 200, false},
		{"asked for its head", loopback, "/drain", []func(*http.Request){method("HEAD")}, 200, false},
		{"another method", loopback, "/drain", []func(*http.Request){method("PUT")}, 405, false},
		{"elsewhere without a token", Options{}, "/drain", nil, 403, false},
		{"looked at elsewhere without a token", Options{}, "/drain", []func(*http.Request){method("GET")}, 403, false},
		{"the token", token, "/drain", []func(*http.Request){bearer("s3cret")}, 200, true},
		{"no token", token, "/drain", nil, 401, false},
		{"another token", token, "/drain", []func(*http.Request){bearer("s3creT")}, 401, false},
		{"a name that was rebound", loopback, "/drain", []func(*http.Request){host("evil.example")}, 403, false},
		{"a form of another site", loopback, "/drain", []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, 403, false},
		{"a form of a neighbour", loopback, "/drain", []func(*http.Request){header("Sec-Fetch-Site", "same-site")}, 403, false},
		{"a form with a remembered password", token, "/drain", []func(*http.Request){basic("", "s3cret"), header("Sec-Fetch-Site", "cross-site")}, 403, false},
		{"another site in an older browser", loopback, "/drain", []func(*http.Request){header("Origin", "https://evil.example")}, 403, false},
		{"another port in an older browser", loopback, "/drain", []func(*http.Request){header("Origin", "http://localhost:1")}, 403, false},
		{"nobody's page", loopback, "/drain", []func(*http.Request){header("Origin", "null")}, 403, false},
		{"its own page", loopback, "/drain", []func(*http.Request){header("Origin", "http://localhost:9478"), header("Sec-Fetch-Site", "same-origin")}, 200, true},
		{"its own page in an older browser", loopback, "/drain", []func(*http.Request){header("Origin", "http://localhost:9478")}, 200, true},
		{"a parameter", loopback, "/drain?timeout=5m", nil, 400, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{"/drain", "/reload"} {
				begun := ""
				test.options.Drain = func() { begun += "/drain" }
				test.options.Reloads = new(Reloads)
				test.options.Reload = func() Reload { begun += "/reload"; return Reload{Result: ReloadUnchanged} }
				want := ""
				if test.begun {
					want = path
				}
				changes := append([]func(*http.Request){method("POST")}, test.changes...)
				response, body := get(t, NewHandler(newFake(), test.options), strings.Replace(test.target, "/drain", path, 1), changes...)
				if response.StatusCode != test.code || begun != want {
					t.Errorf("%s: %d, begun %q, want %d, %q: %s", path, response.StatusCode, begun, test.code, want, body)
				}
				if got, want := response.Header.Get("Allow"), "GET, HEAD, POST"; test.code == 405 && got != want {
					t.Errorf("Allow: %s", got)
				}
			}
		})
	}
}

// What is seen of draining, everywhere.
func TestDrainShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for a clock that stands still
		f := newFake("alice", "bob", "carol")
		options := open
		options.Drain = func() {
			f.snapshot.Drain = relay.DrainState{Draining: true, Since: time.Now(), Deadline: time.Now().Add(time.Hour)}
		}
		h := NewHandler(f, options)
		if _, body := get(t, h, "/drain"); body != `{"draining":false,"allocations":3,"deadline":null,"remaining":0}`+"\n" {
			t.Errorf("before: %s", body)
		}
		if got := scrape(t, h)["hairpin_draining"]; got != 0 {
			t.Errorf("hairpin_draining is %v before", got)
		}
		if _, page := get(t, h, "/"); !strings.Contains(page, `class="notice" hidden>`) {
			t.Error("the page speaks of draining before")
		}
		response, body := get(t, h, "/drain", method("POST"))
		if body != `{"draining":true,"allocations":3,"deadline":"2000-01-01T01:00:00Z","remaining":3600}`+"\n" || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s", response.Header, body)
		}
		if got := scrape(t, h)["hairpin_draining"]; got != 1 {
			t.Errorf("hairpin_draining is %v", got)
		}
		if s := readStatus(t, h, "/allocations"); !s.Draining || !s.Deadline.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("%+v", s)
		}
		if _, page := get(t, h, "/"); !strings.Contains(page, "what is left ends in 1 h 00 min at the latest") {
			t.Errorf("the page says nothing:\n%s", page)
		}
	})
}
