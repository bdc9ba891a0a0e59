package metrics

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Result is what became of one attempt to read the settings again.
type Result string

// The results.
const (
	ReloadApplied   Result = "applied"   // something has changed
	ReloadUnchanged Result = "unchanged" // there was nothing to change
	ReloadRefused   Result = "refused"   // something is wrong, and nothing has changed
)

// reloadResults are all of them, each of which is a series from the start.
var reloadResults = [...]Result{ReloadApplied, ReloadUnchanged, ReloadRefused}

// Reload is what /reload answers: the last attempt, whoever asked for it.
type Reload struct {
	Result  Result     `json:"result,omitempty"`  // empty: there was none since the start
	Changed []string   `json:"changed,omitempty"` // names of settings
	Faults  []string   `json:"faults,omitempty"`  // of a refused one: a line for each
	Time    *time.Time `json:"time,omitempty"`
}

// Reloads remember the attempts of a process. The zero value is ready; its methods may be called by any goroutine.
type Reloads struct {
	mu      sync.Mutex
	last    Reload
	counts  map[Result]uint64
	success time.Time // of the last one that was not refused; zero: none
}

// Note counts an attempt.
func (r *Reloads) Note(what Reload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = make(map[Result]uint64)
	}
	r.counts[what.Result]++
	if what.Result != ReloadRefused && what.Time != nil {
		r.success = *what.Time
	}
	r.last = what
}

// Last is the last attempt.
func (r *Reloads) Last() Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// collect writes the series; r may be nil.
func (r *Reloads) collect(to sink, started time.Time) {
	var counts map[Result]uint64
	success := started
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		counts = r.counts
		if !r.success.IsZero() {
			success = r.success
		}
	}
	for _, result := range reloadResults {
		to.counter(reloadsDesc, counts[result], string(result))
	}
	to.seconds(reloadedDesc, success)
}

// reloader shows the last attempt, and on POST makes another one. Immutable.
type reloader struct {
	reloads *Reloads
	again   func() Reload
	sites   *http.CrossOriginProtection
}

// ServeHTTP is behind the guard, and keeps pages of other sites out as drainer does.
func (l *reloader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := l.reloads.Last()
	if r.Method == http.MethodPost {
		switch {
		case l.sites.Check(r) != nil:
			answer(w, http.StatusForbidden, "this comes from a page of another site, which may not reload the server: use hairpin reload, or curl -X POST")
			return
		case r.URL.RawQuery != "":
			answer(w, http.StatusBadRequest, "POST /reload takes no parameters: the settings are read from where they came at start")
			return
		}
		what = l.again()
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost && what.Result == ReloadRefused {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	// The only fault left is a client that went away.
	_ = json.NewEncoder(w).Encode(what)
}
