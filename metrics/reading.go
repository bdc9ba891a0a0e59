package metrics

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

const (
	readingAge = time.Second // that all who look at the table share one reading
	maxRows    = 100_000     // of a reading, of some 300 bytes
)

// Row is an allocation in the table.
type Row struct {
	ID             uint64          `json:"id"`
	User           string          `json:"user"`
	Listener       string          `json:"listener"`
	Client         netip.AddrPort  `json:"client"`
	Relay          netip.AddrPort  `json:"relay"`                      // of a dual allocation that for IPv4
	Additional     *netip.AddrPort `json:"additional_relay,omitempty"` // that for IPv6 of a dual allocation
	RelayTransport string          `json:"relay_transport"`            // "udp", or "tcp" of a TCP allocation
	Created        time.Time       `json:"created"`
	Expires        time.Time       `json:"expires"`
	Peers          int             `json:"peers"`       // permissions
	Channels       int             `json:"channels"`    //
	Connections    int             `json:"connections"` // of a TCP allocation, which has no channels
	ClientIn       Traffic         `json:"client_in"`
	ClientOut      Traffic         `json:"client_out"`
	Dropped        uint64          `json:"dropped"`
	In             float64         `json:"in"`        // bits per second from the client, since the reading before
	Out            float64         `json:"out"`       // to the client
	Loss           *float64        `json:"loss"`      // of the worst stream of media that comes in, 0 to 1; null: there is none
	Jitter         *float64        `json:"jitter_ms"` // mean, of the worst stream
}

// readings shares what was read of all allocations among all who look: however many they are, the relay's tables are
// walked once a second at most, and not at all while nobody looks.
type readings struct {
	source Source

	mu     sync.Mutex // held for a reading, so that others wait for it instead of making their own
	at     time.Time
	rows   []Row // never changed once it is here
	before map[uint64][2]uint64
}

// get returns rows that are at most readingAge old. They must not be changed.
func (r *readings) get() []Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	between := now.Sub(r.at)
	if !r.at.IsZero() && between < readingAge {
		return r.rows
	}
	rows := make([]Row, 0, len(r.rows)+64)
	bytes := make(map[uint64][2]uint64, len(r.rows)+64)
	r.source.Allocations(maxRows, func(a relay.AllocationInfo) bool {
		row := newRow(&a)
		read := [2]uint64{row.ClientIn.Bytes, row.ClientOut.Bytes}
		if since := min(between, now.Sub(a.Created)); !r.at.IsZero() && since > 0 {
			was := r.before[a.ID]
			row.In = 8 * float64(read[0]-min(was[0], read[0])) / since.Seconds()
			row.Out = 8 * float64(read[1]-min(was[1], read[1])) / since.Seconds()
		}
		bytes[a.ID] = read
		rows = append(rows, row)
		return true
	})
	r.at, r.rows, r.before = now, rows, bytes
	return rows
}

func newRow(a *relay.AllocationInfo) Row {
	seen := sides(a.Counts)
	row := Row{
		ID: a.ID, User: a.User, Listener: a.Listener, Client: a.Client, Relay: a.Relayed, Additional: additional(a), RelayTransport: a.RelayTransport, Connections: len(a.Connections),
		Created: wall(a.Created), Expires: wall(a.Expires), Peers: len(a.Permissions), Channels: len(a.Channels),
		ClientIn: traffic(seen[forward.ClientIn]), ClientOut: traffic(seen[forward.ClientOut]),
		Dropped: a.Counts.UpDropped.Packets + a.Counts.DownDropped.Packets,
	}
	eachStream(a, func(_ string, s *quality.Stream) {
		if s.RepairOf != 0 {
			return
		}
		row.Loss = larger(row.Loss, s.Loss())
		if s.ClockRate != 0 {
			row.Jitter = larger(row.Jitter, milliseconds(s.MeanJitter))
		}
	})
	return row
}

// Relays spells the relayed transport address as Allocation.Relays does.
func (r *Row) Relays() string { return spellRelays(r.Relay, r.Additional, r.RelayTransport) }

func larger(a *float64, b float64) *float64 {
	if a == nil || b > *a {
		return &b
	}
	return a
}

// orders are what the table can be sorted by. Each is what comes first when it is chosen.
var orders = map[string]func(a, b *Row) int{
	"id":       func(a, b *Row) int { return cmp.Compare(a.ID, b.ID) },
	"user":     func(a, b *Row) int { return cmp.Compare(a.User, b.User) },
	"client":   func(a, b *Row) int { return a.Client.Compare(b.Client) },
	"listener": func(a, b *Row) int { return cmp.Compare(a.Listener, b.Listener) },
	"relay":    func(a, b *Row) int { return a.Relay.Compare(b.Relay) },
	"age":      func(a, b *Row) int { return a.Created.Compare(b.Created) },
	"expires":  func(a, b *Row) int { return a.Expires.Compare(b.Expires) },
	"peers": func(a, b *Row) int {
		return cmp.Compare(b.Peers+b.Channels+b.Connections, a.Peers+a.Channels+a.Connections)
	},
	"in":      func(a, b *Row) int { return cmp.Compare(b.In, a.In) },
	"out":     func(a, b *Row) int { return cmp.Compare(b.Out, a.Out) },
	"traffic": func(a, b *Row) int { return cmp.Compare(b.In+b.Out, a.In+a.Out) },
	"dropped": func(a, b *Row) int { return cmp.Compare(b.Dropped, a.Dropped) },
	"loss":    func(a, b *Row) int { return compareKnown(b.Loss, a.Loss) },
	"jitter":  func(a, b *Row) int { return compareKnown(b.Jitter, a.Jitter) },
}

// compareKnown has what is not known below everything.
func compareKnown(a, b *float64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

// Table is a part of the allocations, as /table answers it.
type Table struct {
	Total   int   `json:"total"`   // live allocations
	Matched int   `json:"matched"` // of those, by the filter
	Offset  int   `json:"offset"`  // of the first row among them
	Rows    []Row `json:"rows"`
}

// selection is a part of the table.
type selection struct {
	sort          string // of orders
	reverse       bool
	filter        string // text that is part of a user name, an address or a listener; any case
	offset, limit int
}

func (q *selection) matches(r *Row) bool {
	if q.filter == "" {
		return true
	}
	for _, text := range [...]string{r.User, r.Client.String(), r.Relays(), r.Listener} {
		if strings.Contains(strings.ToLower(text), q.filter) {
			return true
		}
	}
	return false
}

// of picks the part out of rows.
func (q *selection) of(rows []Row, total int) Table {
	matched := make([]*Row, 0, len(rows))
	for i := range rows {
		if q.matches(&rows[i]) {
			matched = append(matched, &rows[i])
		}
	}
	order := orders[q.sort]
	slices.SortFunc(matched, func(a, b *Row) int {
		c := order(a, b)
		if q.reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.ID, b.ID))
	})
	t := Table{Total: total, Matched: len(matched), Offset: min(q.offset, len(matched)), Rows: []Row{}}
	for _, r := range matched[t.Offset:min(t.Offset+q.limit, len(matched))] {
		t.Rows = append(t.Rows, *r)
	}
	return t
}
