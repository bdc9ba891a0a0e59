package metrics

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
)

// Drain is what /drain answers.
type Drain struct {
	Draining    bool       `json:"draining"`
	Allocations int        `json:"allocations"` // live ones
	Deadline    *time.Time `json:"deadline"`    // when what is left is cut; null unless draining
	Remaining   float64    `json:"remaining"`   // seconds until then, for readers whose clock is another
}

func drainOf(n relay.Snapshot) Drain {
	d := Drain{Draining: n.Drain.Draining, Allocations: n.Allocations}
	if d.Draining {
		deadline := wall(n.Drain.Deadline)
		d.Deadline, d.Remaining = &deadline, max(time.Until(n.Drain.Deadline), 0).Seconds()
	}
	return d
}

// drainer shows how far the server is with draining, and on POST has it begin. Immutable.
type drainer struct {
	source Source
	begin  func()
	sites  *http.CrossOriginProtection
}

// ServeHTTP is behind the guard. That alone doesn't keep the pages of others out: a browser sends their forms with the
// password that it remembers, and to loopback without any, so what comes from another site is refused (by
// Sec-Fetch-Site, else by Origin).
func (d *drainer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		switch {
		case d.sites.Check(r) != nil:
			answer(w, http.StatusForbidden, "this comes from a page of another site, which may not drain the server: use hairpin drain, or curl -X POST")
			return
		case r.URL.RawQuery != "":
			answer(w, http.StatusBadRequest, "POST /drain takes no parameters: how long it may take is the server's --drain-timeout")
			return
		}
		d.begin()
	}
	w.Header().Set("Content-Type", "application/json")
	// The only fault left is a client that went away.
	_ = json.NewEncoder(w).Encode(drainOf(d.source.Snapshot()))
}
