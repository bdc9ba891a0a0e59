package metrics

import (
	"encoding/json"
	"net/http"
)

// Ended is what POST /end answers.
type Ended struct {
	Allocation uint64 `json:"allocation"` // ID of the one that is over
}

// ender ends single allocations. Immutable.
type ender struct {
	source Source
	allow  func() bool // there is a token, and the guard has seen it
	sites  *http.CrossOriginProtection
}

// ServeHTTP is behind the guard. Whoever is on this host may look without a token, but not cut somebody's call.
func (e *ender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	switch {
	case !e.allow():
		answer(w, http.StatusForbidden, "allocations are ended only where there is a token: set --admin-token or --admin-token-file of the server")
	case e.sites.Check(r) != nil:
		answer(w, http.StatusForbidden, "this comes from a page of another site, which may not end allocations: use hairpin sessions end ID, or curl -X POST")
	case err != nil:
		answer(w, http.StatusBadRequest, err.Error())
	case q.id == 0 || len(r.URL.Query()) != 1:
		answer(w, http.StatusBadRequest, "POST /end takes one parameter, id: the ID of an allocation")
	case !e.source.End(q.id):
		answer(w, http.StatusNotFound, "there is no such allocation; it may have ended by itself")
	default:
		w.Header().Set("Content-Type", "application/json")
		// The only fault left is a client that went away.
		_ = json.NewEncoder(w).Encode(Ended{q.id})
	}
}
