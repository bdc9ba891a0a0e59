package metrics

import (
	_ "embed"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/relay/forward"
)

// The page is written twice: here as it stands at the moment, complete without any script, and then by page.js, which
// keeps it up to date and draws. Elements that the script fills have an id; a column's data-key is its name in a Row.

var (
	//go:embed page.js
	script []byte
	//go:embed style.css
	style []byte
)

// Paths of what the page takes along, beside itself.
const (
	scriptPath = "/page.js"
	stylePath  = "/style.css"
)

func serveFile(kind string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		w.Write(content)
	})
}

// columns of the table of allocations.
var columns = []struct {
	key, title string
	number     bool
}{
	{"id", "ID", true}, {"user", "user", false}, {"client", "client", false}, {"listener", "listener", false},
	{"relay", "relayed address", false}, {"age", "age", true}, {"expires", "expires in", true}, {"peers", "peers", true},
	{"in", "from client", true}, {"out", "to client", true}, {"dropped", "dropped", true}, {"loss", "loss", true}, {"jitter", "jitter", true},
}

// pager serves the page.
type pager struct {
	*tables
	actions func() bool // there is a token, so whoever sees the page may act
	drain   bool        // there is /drain
}

func (p *pager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	m, code := new(markup), http.StatusOK
	if values.Has("id") {
		q, err := parseQuery(values)
		if err != nil {
			answer(w, http.StatusBadRequest, err.Error())
			return
		}
		d, known := p.detail(q.id)
		if !known {
			code = http.StatusNotFound
		}
		p.begin(m, "allocation", "allocation "+strconv.FormatUint(q.id, 10))
		p.writeDetail(m, q.id, d)
	} else {
		q, err := parseSelection(values)
		if err != nil {
			answer(w, http.StatusBadRequest, err.Error())
			return
		}
		n := p.status.source.Snapshot()
		table, ok := p.read(q, n.Allocations)
		if !ok {
			busy(w)
			return
		}
		p.begin(m, "overview", "hairpin")
		p.writeOverview(m, p.status.process(n), q, table)
	}
	m.put(`</main>
<footer><a href="metrics">metrics</a> <a href="allocations">allocations as JSON</a> <a href="healthz">health</a> <a href="readyz">readiness</a></footer>
</body>
</html>
`)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	w.Write([]byte(m.String()))
}

func (p *pager) begin(m *markup, page, title string) {
	m.put(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%v</title>
<link rel="stylesheet" href="style.css">
<script src="page.js" defer></script>
</head>
<body data-page="%v" data-actions="%v" data-version="%v">
<a class="skip" href="#main">to the content</a>
`, title, page, p.actions(), p.status.version)
}

func (p *pager) writeOverview(m *markup, o Process, q selection, t Table) {
	m.put(`<header>
<h1>hairpin</h1>
<p><span id="line">%v up %v · %v live allocations · %v packets turned around</span> <span id="state" role="status"></span></p>
`, o.Version, spellDuration(time.Since(o.Started)), spellCount(uint64(o.Total)), spellCount(o.Hairpin))
	if p.actions() && p.drain {
		m.put(`<form method="post" action="drain" id="drain"%v><button>Drain…</button></form>
`, hidden(o.Drain.Draining))
	}
	m.put(`<p id="draining" class="notice"%v>`, hidden(!o.Drain.Draining))
	if o.Drain.Deadline != nil {
		m.put("Draining: no new allocations; what is left ends in %v at the latest.", spellDuration(time.Until(*o.Drain.Deadline)))
	}
	m.put(`</p>
</header>
<main id="main">
<form id="spans" hidden><label>plots of the last <select id="span"><option value="300">5 minutes</option><option value="3600">hour</option></select></label></form>
<section id="plots" aria-label="Plots" hidden></section>
`)
	p.writeTable(m, q, t)
	writeProcess(m, o)
}

// hidden is the attribute of that name, or nothing; put leaves it as it is.
func hidden(is bool) string {
	if is {
		return " hidden"
	}
	return ""
}

// link is the address of a part of the table.
func (q selection) link() string {
	values := url.Values{"sort": {q.sort}}
	if q.reverse {
		values.Set("sort", "-"+q.sort)
	}
	if q.filter != "" {
		values.Set("filter", q.filter)
	}
	if q.offset > 0 {
		values.Set("offset", strconv.Itoa(q.offset))
	}
	if q.limit != tableRows {
		values.Set("limit", strconv.Itoa(q.limit))
	}
	return "?" + values.Encode()
}

func (p *pager) writeTable(m *markup, q selection, t Table) {
	m.put(`<section aria-labelledby="allocations">
<div class="bar">
<h2 id="allocations">Allocations</h2>
<form id="filter" method="get" role="search"><input type="hidden" name="sort" value="%v">
<label>Filter <input type="search" name="filter" value="%v" maxlength="%v" placeholder="user, address or listener"></label> <button>Filter</button></form>
<p id="matched">%v of %v</p>
</div>
<div class="wide" tabindex="0" role="region" aria-label="Table of allocations"><table id="table">
<thead><tr>`, map[bool]string{true: "-"}[q.reverse]+q.sort, q.filter, maxFilter, spellCount(uint64(t.Matched)), spellCount(uint64(t.Total)))
	for _, c := range columns {
		to := q
		to.sort, to.reverse, to.offset = c.key, c.key == q.sort && !q.reverse, 0
		sorted := ""
		if c.key == q.sort {
			sorted = map[bool]string{false: "first", true: "last"}[q.reverse]
		}
		m.put(`<th scope="col" class="%v" data-key="%v" data-sorted="%v"><a href="%v">%v</a></th>`, numeric(c.number), c.key, sorted, to.link(), c.title)
	}
	m.put("</tr></thead>\n<tbody>\n")
	for i := range t.Rows {
		writeRow(m, &t.Rows[i])
	}
	if len(t.Rows) == 0 {
		m.put(`<tr><td colspan="%v">None.</td></tr>`+"\n", len(columns))
	}
	m.put("</tbody></table></div>\n<nav id=\"pages\" aria-label=\"Pages of the table\">")
	if t.Offset > 0 {
		to := q
		to.offset = max(0, t.Offset-q.limit)
		m.put(`<a id="back" href="%v" rel="prev">back</a> `, to.link())
	}
	if t.Offset+len(t.Rows) < t.Matched {
		to := q
		to.offset = t.Offset + len(t.Rows)
		m.put(`<a id="next" href="%v" rel="next">next</a>`, to.link())
	}
	m.put("</nav>\n</section>\n")
}

func numeric(is bool) string {
	if is {
		return "n"
	}
	return ""
}

func writeRow(m *markup, r *Row) {
	m.put(`<tr><th scope="row" class="n"><a href="?id=%v">%v</a></th><td class="user"><bdi>%v</bdi></td><td>%v</td><td>%v</td><td>%v</td>`,
		r.ID, r.ID, r.User, r.Client, r.Listener, r.Relays())
	kind, routes := "channels", r.Channels
	if r.RelayTransport == "tcp" {
		kind, routes = "connections", r.Connections
	}
	m.put(`<td class="n">%v</td><td class="n">%v</td><td class="n" title="%v / permissions">%v / %v</td>`,
		spellDuration(time.Since(r.Created)), spellDuration(time.Until(r.Expires)), kind, routes, r.Peers)
	for _, side := range [...]struct {
		rate float64
		Traffic
	}{{r.In, r.ClientIn}, {r.Out, r.ClientOut}} {
		m.put(`<td class="n" title="%v packets, %v">%v</td>`, spellCount(side.Packets), spellBytes(side.Bytes), spellBits(side.rate))
	}
	m.put(`<td class="n">%v</td><td class="n">%v</td><td class="n">%v</td></tr>`+"\n", spellCount(r.Dropped), spellLoss(r.Loss), spellJitter(r.Jitter))
}

// writeProcess writes what the server is, and what it has counted since its start.
func writeProcess(m *markup, o Process) {
	m.put(`<section aria-labelledby="server">
<h2 id="server">Server</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of listeners"><table id="listeners">
<caption>Listeners, with packets since the start</caption>
<thead><tr><th scope="col">listener</th><th scope="col">bound to</th><th scope="col">clients connect to</th><th scope="col">offload</th><th scope="col" class="n">live</th><th scope="col" class="n">made</th><th scope="col" class="n">from clients</th><th scope="col" class="n">to peers</th><th scope="col" class="n">from peers</th><th scope="col" class="n">to clients</th></tr></thead>
<tbody>
`)
	for i, l := range o.Listeners {
		m.put(`<tr><th scope="row">%v</th><td>%v</td><td>%v</td><td title="%v">%v</td>`, l.Label(), l.Address, l.Public, l.Fault, l.Offload)
		if i > 0 && l.Name == o.Listeners[i-1].Name { // the other family of one listener, whose counts are above
			m.put(`<td colspan="6"></td></tr>` + "\n")
			continue
		}
		m.put(`<td class="n">%v</td><td class="n">%v</td>`, spellCount(uint64(l.Allocations)), spellCount(l.Created))
		for _, d := range [...]forward.Direction{forward.ClientIn, forward.PeerOut, forward.PeerIn, forward.ClientOut} {
			m.put(`<td class="n" title="%v">%v</td>`, spellBytes(l.Traffic[d].Bytes), spellCount(l.Traffic[d].Packets))
		}
		m.put("</tr>\n")
	}
	m.put(`</tbody></table></div>
<div class="cards">
<table><caption>Relayed addresses from</caption><tbody id="relay">
`)
	for _, prefix := range o.Relay {
		m.put("<tr><td>%v</td></tr>\n", prefix)
	}
	m.put(`</tbody></table>
<table><caption>Rules for peers</caption><tbody id="peers">
`)
	for _, r := range o.Peers {
		m.put(`<tr><th scope="row">%v</th><td>`, r.Rule)
		for _, a := range r.Addresses {
			m.put("%v ", a)
		}
		m.put(`<span class="bad">%v</span></td></tr>`+"\n", r.Fault)
	}
	m.put(`</tbody></table>
<table><caption>Settings and events</caption><tbody id="settings">
<tr><th scope="row">media are looked at</th><td>%v</td></tr>
`, o.Quality)
	for _, result := range slices.Sorted(maps.Keys(o.Events)) {
		m.put(`<tr><th scope="row">events %v</th><td>%v</td></tr>`+"\n", strings.ReplaceAll(result, "_", " "), spellCount(o.Events[result]))
	}
	if r := o.Reload; r != nil {
		m.put(`<tr><th scope="row">last reload</th><td>%v, %v: %v<span class="bad">%v</span></td></tr>`+"\n",
			r.Time.Format(time.RFC3339), r.Result, strings.Join(r.Changed, ", "), strings.Join(r.Faults, "; "))
	}
	m.put("</tbody></table>\n")
	for _, kind := range []struct {
		id, title string
		counts    map[string]uint64
	}{{"dropped", "Dropped packets", o.Dropped}, {"refused", "Refused credentials", o.Refused}, {"discarded", "Discarded messages", o.Discarded}} {
		m.put(`<table><caption>%v</caption><tbody id="%v">`+"\n", kind.title, kind.id)
		for _, reason := range slices.Sorted(maps.Keys(kind.counts)) {
			m.put(`<tr><th scope="row">%v</th><td class="n">%v</td></tr>`+"\n", reason, spellCount(kind.counts[reason]))
		}
		if len(kind.counts) == 0 {
			m.put("<tr><td>None.</td></tr>\n")
		}
		m.put("</tbody></table>\n")
	}
	m.put("</div>\n</section>\n")
}
