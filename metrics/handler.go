package metrics

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
)

// Source is what is shown; *relay.Server is one. Its methods are called concurrently.
type Source interface {
	Snapshot() relay.Snapshot
	Allocations(limit int, yield func(relay.AllocationInfo) bool)
	ListenerInfos() []relay.ListenerInfo
	Wall(allocation.Time) time.Time
	Allocation(id uint64) (relay.AllocationInfo, bool)
	History(id uint64) []relay.Moment
	End(id uint64) bool
	RelayPrefixes() []netip.Prefix
	Peers() *peers.Policy // nil: nobody has a peer
}

// Options say what is shown to whom.
type Options struct {
	// Token opens the allocations and the page: as a bearer token, or as the password of any user. Empty: nobody has one.
	Token string
	// Loopback says that only this host can connect, so that no token is needed. Without either, the allocations and the
	// page stay closed.
	Loopback bool
	// AllocationSeries is how many allocations have series of their own; 0 or less: none.
	AllocationSeries int
	// Version is what build_info and the page show.
	Version string
	// Ready returns why no new client should be sent here; nil, or a nil error: it may. The text is shown to everybody.
	Ready func() error
	// Drain is what POST /drain has begin; calling it again does nothing. nil: there is no /drain.
	Drain func()
	// Reload is what POST /reload calls; it returns when the settings were read again. nil: there is no /reload.
	Reload func() Reload
	// Reloads are what /reload and the metrics show of it; nil: there were none.
	Reloads *Reloads
	// Log gets the faults of exposition; nil: silent.
	Log logging.LeveledLogger
}

// NewHandler serves everything below the admin address:
//
//	/metrics      Prometheus' text format
//	/healthz      200 as long as the process answers
//	/readyz       200, or 503 and why
//	/allocations  Status as JSON; ?limit=N&after=ID&id=ID
//	/             the same as a page
//	/drain        Drain as JSON; POST begins it
//	/reload       Reload as JSON; POST does it
//	/end          POST with ?id=ID ends an allocation
//	              ?id=ID is that of one allocation; page.js and style.css belong to it, and it asks for
//	/live         Server-Sent Events for open pages
//	/table        Table as JSON; ?sort=COLUMN&filter=TEXT&offset=N&limit=N
//	/allocation   Detail as JSON; ?id=ID
func NewHandler(source Source, o Options) *Handler {
	status := newStatusReader(source, o)
	tables := newTables(status)
	h := &Handler{guard: newGuard(o), live: newLive(status)}
	h.SetAllocationSeries(o.AllocationSeries)
	h.routes = map[string]route{
		"/metrics":     {open: true, names: true, Handler: newExposition(source, o, &h.series)},
		"/healthz":     {open: true, Handler: http.HandlerFunc(serveHealth)},
		"/readyz":      {open: true, Handler: readiness(o.Ready)},
		"/allocations": {Handler: http.HandlerFunc(status.serveJSON)},
		"/end":         {acts: true, Handler: &ender{source: source, allow: h.guard.closed, sites: http.NewCrossOriginProtection()}},
		"/table":       {Handler: http.HandlerFunc(tables.serveTable)},
		"/allocation":  {Handler: http.HandlerFunc(tables.serveDetail)},
		"/":            {Handler: &pager{tables: tables, actions: h.guard.closed, drain: o.Drain != nil}},
		scriptPath:     {Handler: serveFile("text/javascript", script)},
		stylePath:      {Handler: serveFile("text/css", style)},
	}
	h.routes["/live"] = route{Handler: h.live}
	if o.Drain != nil {
		h.routes["/drain"] = route{posted: true, Handler: &drainer{source: source, begin: o.Drain, sites: http.NewCrossOriginProtection()}}
	}
	if o.Reload != nil {
		h.routes["/reload"] = route{posted: true, Handler: &reloader{reloads: o.Reloads, again: o.Reload, sites: http.NewCrossOriginProtection()}}
	}
	return h
}

// Handler serves the admin address. Make it with NewHandler.
type Handler struct {
	guard  guard
	series atomic.Int64     // Options.AllocationSeries
	routes map[string]route // by exact path; immutable
	live   *live
}

// Record begins to keep what the status page plots, every ten seconds and for an hour, so that a page begins with the time
// before it was opened. Close ends it.
func (h *Handler) Record() { h.live.remember() }

// Close ends Record, and the streams of events to open pages, which would go on for ever otherwise.
func (h *Handler) Close() { h.live.Close() }

// SetToken replaces Options.Token, for the next request on.
func (h *Handler) SetToken(token string) { h.guard.set(token) }

// SetAllocationSeries replaces Options.AllocationSeries, for the next scrape on.
func (h *Handler) SetAllocationSeries(n int) { h.series.Store(int64(max(n, 0))) }

type route struct {
	http.Handler
	open   bool // to whoever can connect
	names  bool // though it names users
	posted bool // may be POSTed to; otherwise only read
	acts   bool // is only POSTed to
}

func (r route) takes(method string) bool {
	read := method == http.MethodGet || method == http.MethodHead
	return read && !r.acts || method == http.MethodPost && (r.posted || r.acts)
}

func (r route) methods() string {
	switch {
	case r.acts:
		return "POST"
	case r.posted:
		return "GET, HEAD, POST"
	}
	return "GET, HEAD"
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, header := range securityHeaders {
		w.Header().Set(header[0], header[1])
	}
	route, ok := h.routes[r.URL.Path]
	switch {
	case !ok:
		answer(w, http.StatusNotFound, "not found: there are /metrics, /healthz, /readyz, /allocations, /drain, /reload, /end and the page at /")
	case !route.takes(r.Method):
		w.Header().Set("Allow", route.methods())
		answer(w, http.StatusMethodNotAllowed, r.URL.Path+" takes no "+strconv.Quote(r.Method)+": use "+route.methods())
	case route.names && !h.guard.exposes(w, r):
	case route.open || h.guard.admits(w, r):
		route.ServeHTTP(w, r)
	}
}

// securityHeaders go with every answer. The page takes its script, its style sheet and all that it shows from here, and
// nobody may frame it or read it from another origin.
var securityHeaders = [...][2]string{
	{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Cache-Control", "no-store"},
}

// answer writes one line; that of a refusal says what is wrong and what to do.
func answer(w http.ResponseWriter, code int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	w.Write([]byte(line + "\n"))
}

func serveHealth(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") }

func readiness(ready func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
				return
			}
		}
		answer(w, http.StatusOK, "ok")
	})
}
