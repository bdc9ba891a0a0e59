package metrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/hairpin-turn/hairpin/relay"
)

// MaxTableRows is how many rows of /table can be asked for at a time.
const MaxTableRows = 200

const (
	tableRows    = 50  // of a page of the table, unless asked otherwise
	maxFilter    = 200 // bytes
	tableReaders = 4   // that sort at the same time; others are told to come again
)

// tables answers for the table of allocations, and for a single one.
type tables struct {
	status   *statusReader
	readings readings
	turns    chan struct{} // as many as may read at the same time
}

func newTables(s *statusReader) *tables {
	return &tables{status: s, readings: readings{source: s.source}, turns: make(chan struct{}, tableReaders)}
}

// parseSelection reads what the page's own links and forms ask for.
func parseSelection(values url.Values) (q selection, err error) {
	q = selection{sort: "id", limit: tableRows}
	number := func(text string, most int) int {
		n, e := strconv.Atoi(text)
		if e != nil || n < 0 || n > most {
			err = fmt.Errorf("%q is not a number from 0 to %d", text, most)
		}
		return n
	}
	for name, given := range values {
		text := given[len(given)-1]
		switch name {
		case "sort":
			q.sort, q.reverse = strings.TrimPrefix(text, "-"), strings.HasPrefix(text, "-")
			if orders[q.sort] == nil {
				err = fmt.Errorf("sort=%q is no column", text)
			}
		case "filter":
			if q.filter = strings.ToLower(text); len(text) > maxFilter {
				err = fmt.Errorf("filter has %d bytes; %d are enough", len(text), maxFilter)
			}
		case "offset":
			q.offset = number(text, maxRows)
		case "limit":
			q.limit = number(text, MaxTableRows)
		default:
			err = fmt.Errorf("%q is not known; there are sort, filter, offset, limit and id", name)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

// read returns the part of the table that is asked for; false: too many ask at this moment.
func (t *tables) read(q selection, total int) (Table, bool) {
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	default:
		return Table{}, false
	}
	return q.of(t.readings.get(), total), true
}

func (t *tables) serveTable(w http.ResponseWriter, r *http.Request) {
	q, err := parseSelection(r.URL.Query())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	table, ok := t.read(q, t.status.source.Snapshot().Allocations)
	if !ok {
		busy(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(table) // the only fault left is a client that went away
}

func busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "2")
	answer(w, http.StatusServiceUnavailable, "too many look at this at the moment: come again in some seconds")
}

// Detail is all that is known of one allocation, as /allocation answers it.
type Detail struct {
	Allocation *Allocation `json:"allocation"` // null: it has ended
	Peers      []Partner   `json:"peers"`      // clients of this server with whom it has a channel or a connection
	History    []Moment    `json:"history"`    // the oldest first
}

// Partner is another client of this server, and what it sends.
type Partner struct {
	ID      uint64   `json:"id"`
	User    string   `json:"user"`
	Relay   string   `json:"relay"`   // that the channel or connection leads to
	Streams []Stream `json:"streams"` // that it sends, to whomever
}

// Moment is a line of an allocation's record.
type Moment struct {
	First  string `json:"first"` // in UTC, as Go's time.RFC3339 with milliseconds
	Last   string `json:"last"`
	Times  int    `json:"times"`
	What   string `json:"what"`
	Detail string `json:"detail"`
}

const momentLayout = "2006-01-02T15:04:05.000Z07:00"

// detail reads one allocation; false: nothing is known of it.
func (t *tables) detail(id uint64) (d Detail, ok bool) {
	source := t.status.source
	d = Detail{Peers: []Partner{}, History: []Moment{}}
	for _, m := range source.History(id) {
		d.History = append(d.History, Moment{
			First: m.First.UTC().Format(momentLayout), Last: m.Last.UTC().Format(momentLayout), Times: m.Times, What: m.What, Detail: m.Detail,
		})
	}
	info, live := source.Allocation(id)
	if !live {
		return d, len(d.History) > 0
	}
	a := t.status.allocation(&info)
	d.Allocation = &a
	peers := make([]netip.AddrPort, 0, len(info.Channels)+len(info.Connections))
	for _, c := range info.Channels {
		peers = append(peers, c.Peer)
	}
	for _, c := range info.Connections {
		peers = append(peers, c.Peer)
	}
	source.Allocations(-1, func(other relay.AllocationInfo) bool {
		for _, peer := range peers {
			if (peer == other.Relayed || peer == other.Additional) && other.ID != id && other.RelayTransport == info.RelayTransport {
				d.Peers = append(d.Peers, Partner{ID: other.ID, User: other.User, Relay: peer.String(), Streams: streamsOf(&other)})
			}
		}
		return true
	})
	return d, true
}

func (t *tables) serveDetail(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	switch {
	case err != nil:
		answer(w, http.StatusBadRequest, err.Error())
		return
	case q.id == 0 || len(r.URL.Query()) != 1:
		answer(w, http.StatusBadRequest, "/allocation takes one parameter, id: the ID of an allocation")
		return
	}
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	default:
		busy(w)
		return
	}
	d, ok := t.detail(q.id)
	if !ok {
		answer(w, http.StatusNotFound, "nothing is known of this allocation (any more)")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d) // the only fault left is a client that went away
}
