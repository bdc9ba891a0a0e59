package metrics

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// What becomes of an attempt is answered, shown afterwards and counted.
func TestReloadShows(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		attempt Reload
		code    int
		body    string
		metrics []string
	}{
		{Reload{Result: ReloadApplied, Changed: []string{"user", "log-level"}, Time: &at}, 200,
			`{"result":"applied","changed":["user","log-level"],"time":"2026-01-02T03:04:05Z"}`,
			[]string{`hairpin_reloads_total{result="applied"} 1`, `hairpin_reloads_total{result="refused"} 0`, "hairpin_last_reload_success_timestamp_seconds 1.767323045e+09"}},
		{Reload{Result: ReloadUnchanged, Time: &at}, 200, `{"result":"unchanged","time":"2026-01-02T03:04:05Z"}`,
			[]string{`hairpin_reloads_total{result="unchanged"} 1`}},
		{Reload{Result: ReloadRefused, Faults: []string{"a: <b>"}, Time: &at}, 422, `{"result":"refused","faults":["a: \u003cb\u003e"],"time":"2026-01-02T03:04:05Z"}`,
			[]string{`hairpin_reloads_total{result="refused"} 1`, "hairpin_last_reload_success_timestamp_seconds 1.7673228e+09"}}, // of the start
	}
	for _, test := range tests {
		t.Run(string(test.attempt.Result), func(t *testing.T) {
			options := open
			options.Reloads = new(Reloads)
			options.Reload = func() Reload {
				options.Reloads.Note(test.attempt)
				return test.attempt
			}
			h := NewHandler(newFake(), options)
			if _, body := get(t, h, "/reload"); body != "{}\n" {
				t.Errorf("before the first one: %s", body)
			}
			response, body := get(t, h, "/reload", method("POST"))
			if response.StatusCode != test.code || body != test.body+"\n" {
				t.Errorf("%d %s, want %d %s", response.StatusCode, body, test.code, test.body)
			}
			if response, body := get(t, h, "/reload"); response.StatusCode != http.StatusOK || body != test.body+"\n" {
				t.Errorf("afterwards: %d %s", response.StatusCode, body)
			}
			_, body = get(t, h, "/metrics")
			for _, want := range test.metrics {
				if !strings.Contains(body, "\n"+want+"\n") {
					t.Errorf("no %s", want)
				}
			}
		})
	}
}

// The token and the cap of series are other ones from the next request on.
func TestHandlerChanges(t *testing.T) {
	h := NewHandler(newFake("alice", "bob"), Options{Token: "one", AllocationSeries: 2})
	status := func(token string, want int) {
		t.Helper()
		if response, _ := get(t, h, "/allocations", bearer(token)); response.StatusCode != want {
			t.Errorf("with %q: %d, want %d", token, response.StatusCode, want)
		}
	}
	unexposed := func(want string) {
		t.Helper()
		if _, body := get(t, h, "/metrics"); !strings.Contains(body, "\nhairpin_allocations_unexposed "+want+"\n") {
			t.Errorf("not %s unexposed", want)
		}
	}
	status("one", 200)
	unexposed("0")
	h.SetToken("two")
	h.SetAllocationSeries(0)
	status("one", 401)
	status("two", 200)
	unexposed("2")
	h.SetToken("") // and not on loopback
	h.SetAllocationSeries(1)
	status("two", 403)
	unexposed("1")
}
