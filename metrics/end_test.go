package metrics

import (
	"net/http"
	"strings"
	"testing"
)

// Who may end an allocation: whoever shows the token, but no page of another site, and on loopback nobody without one.
func TestWhoMayEnd(t *testing.T) {
	var (
		loopback = Options{Loopback: true}
		token    = Options{Token: "s3cret", Loopback: true}
		shown    = bearer("s3cret")
	)
	for _, test := range []struct {
		name    string
		options Options
		target  string
		changes []func(*http.Request)
		code    int
		says    string
	}{
		{"the token", token, "/end?id=2", []func(*http.Request){shown}, 200, `{"allocation":2}`},
		{"its own page", token, "/end?id=2", []func(*http.Request){shown, header("Sec-Fetch-Site", "same-origin")}, 200, `{"allocation":2}`},
		{"loopback without a token", loopback, "/end?id=2", nil, 403, "--admin-token"},
		{"elsewhere without a token", Options{}, "/end?id=2", nil, 403, "--admin-token"},
		{"no token shown", token, "/end?id=2", nil, 401, "Authorization: Bearer TOKEN"},
		{"another token", token, "/end?id=2", []func(*http.Request){bearer("x")}, 401, ""},
		{"another site", token, "/end?id=2", []func(*http.Request){basic("", "s3cret"), header("Sec-Fetch-Site", "cross-site")}, 403, "another site"},
		{"another site in an older browser", token, "/end?id=2", []func(*http.Request){basic("", "s3cret"), header("Origin", "https://evil.example")}, 403, "another site"},
		{"looked at", token, "/end?id=2", []func(*http.Request){shown, method("GET")}, 405, "use POST"},
		{"nobody", token, "/end?id=9", []func(*http.Request){shown}, 404, "no such allocation"},
		{"no ID", token, "/end", []func(*http.Request){shown}, 400, "id"},
		{"no number", token, "/end?id=x", []func(*http.Request){shown}, 400, `id="x"`},
		{"all of a user", token, "/end?user=alice", []func(*http.Request){shown}, 400, "one parameter"},
		{"a second parameter", token, "/end?id=2&user=b", []func(*http.Request){shown}, 400, "one parameter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake("a", "b", "c")
			changes := append([]func(*http.Request){method("POST")}, test.changes...)
			response, body := get(t, NewHandler(f, test.options), test.target, changes...)
			if response.StatusCode != test.code || !strings.Contains(body, test.says) {
				t.Errorf("%d %q, want %d and %q", response.StatusCode, body, test.code, test.says)
			}
			if _, there := f.Allocation(2); there == (test.code == 200) || len(f.allocations) < 2 {
				t.Errorf("allocations left: %d", len(f.allocations))
			}
		})
	}
}
