package metrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// Limits of one answer, in allocations.
const (
	defaultLimit = 1000
	maxLimit     = 100_000 // some 100 MB
	largeAnswers = 4       // of more than defaultLimit allocations at a time, until they are read: others are told to come again
)

// Status is what /allocations answers.
type Status struct {
	Version     string       `json:"version"`
	Started     time.Time    `json:"started"`
	Uptime      float64      `json:"uptime"` // seconds
	Draining    bool         `json:"draining"`
	Deadline    *time.Time   `json:"deadline,omitempty"` // of draining, when what is left is cut; only then
	Listeners   []Listener   `json:"listeners"`
	Total       int          `json:"total"`       // live allocations, those left out included
	Allocations []Allocation `json:"allocations"` // by ascending ID, the oldest first
}

// Listener is a bound address of a listener.
type Listener struct {
	Name    string         `json:"name"`
	Scheme  string         `json:"scheme"`
	Address netip.AddrPort `json:"address"` // where it is bound
	Public  netip.AddrPort `json:"public"`  // what clients connect to
	// Allocations are the live ones of the whole listener, which may be bound to more than one address.
	Allocations int `json:"allocations"`
	// Removed: a reload took it away; it takes no new clients, and goes when the last one has.
	Removed bool `json:"removed,omitempty"`
}

func listenerOf(l relay.ListenerInfo, allocations int) Listener {
	return Listener{Name: l.Name, Scheme: l.Scheme, Address: l.Address, Public: l.Public, Allocations: allocations, Removed: l.Removed}
}

// Label is the name as tables show it.
func (l *Listener) Label() string {
	if l.Removed {
		return l.Name + " (removed)"
	}
	return l.Name
}

// Allocation is a live allocation.
type Allocation struct {
	ID             uint64          `json:"id"`
	User           string          `json:"user"`
	Listener       string          `json:"listener"`
	Transport      string          `json:"transport"` // between client and server: "udp" or "tcp"
	Client         netip.AddrPort  `json:"client"`
	Server         netip.AddrPort  `json:"server"`
	Relay          netip.AddrPort  `json:"relay"`                      // the relayed transport address; of a dual allocation that for IPv4
	Additional     *netip.AddrPort `json:"additional_relay,omitempty"` // that for IPv6 of a dual allocation
	RelayTransport string          `json:"relay_transport"`            // between server and peers: "udp", or "tcp" of a TCP allocation (RFC 6062)
	Connections    []Connection    `json:"connections,omitempty"`      // of a TCP allocation, the oldest first
	Moves          uint64          `json:"moves,omitempty"`            // of the client (RFC 8016)
	Earlier        []Place         `json:"earlier,omitempty"`          // where it was before, in that order, of many moves the latest
	Created        time.Time       `json:"created"`
	Expires        time.Time       `json:"expires"`
	Permissions    []Permission    `json:"permissions"`
	Channels       []Channel       `json:"channels"`
	Counters       Counters        `json:"counters"`
	Dropped        Dropped         `json:"dropped"`
	Observed       bool            `json:"observed"` // its media are looked at, as --quality is at the moment
	Media          Media           `json:"media"`    // of all kinds, that were looked at
	Streams        []Stream        `json:"streams"`  // live ones that were looked at
}

// Connection is one between the client of a TCP allocation and a peer.
type Connection struct {
	Peer     netip.AddrPort `json:"peer"`
	State    string         `json:"state"` // as hairpin_tcp_connections has it: "pending" or "joined"
	Since    time.Time      `json:"since"`
	BytesIn  uint64         `json:"client_in_bytes"`
	BytesOut uint64         `json:"client_out_bytes"`
}

// Place is where the client of an allocation was before it moved.
type Place struct {
	Transport string         `json:"transport"`
	Client    netip.AddrPort `json:"client"`
	Server    netip.AddrPort `json:"server"`
}

// Permission is a permission in force.
type Permission struct {
	Peer    netip.Addr `json:"peer"`
	Expires time.Time  `json:"expires"`
}

// Channel is a bound channel.
type Channel struct {
	Number  string         `json:"number"` // as RFC 8656 writes it: "0x4000"
	Peer    netip.AddrPort `json:"peer"`
	Expires time.Time      `json:"expires"`
}

// Counters are what the sides of the relay saw of an allocation.
type Counters struct {
	ClientIn  Traffic `json:"client_in"` // dropped packets included
	ClientOut Traffic `json:"client_out"`
	PeerIn    Traffic `json:"peer_in"` // dropped packets included
	PeerOut   Traffic `json:"peer_out"`
}

// Traffic is application data.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Dropped are the packets that came in and were not relayed.
type Dropped struct {
	ClientIn uint64 `json:"client_in"`
	PeerIn   uint64 `json:"peer_in"`
	// Those of them that were beyond the bandwidth of the allocation or its user.
	Bandwidth uint64 `json:"bandwidth"`
}

// Relays spells the relayed transport address or, of a dual allocation, both; that of a TCP allocation with "/tcp" behind it.
func (a *Allocation) Relays() string { return spellRelays(a.Relay, a.Additional, a.RelayTransport) }

func spellRelays(relay netip.AddrPort, additional *netip.AddrPort, transport string) string {
	if transport == "tcp" {
		return relay.String() + "/tcp"
	}
	if additional == nil {
		return relay.String()
	}
	return relay.String() + " " + additional.String()
}

// query selects allocations.
type query struct {
	limit int
	after uint64 // only higher IDs: the last one of the previous answer
	id    uint64 // only this one; 0: all
	user  string // only this one's; empty: all
}

func (q *query) takes(a *relay.AllocationInfo) bool {
	return a.ID > q.after && (q.id == 0 || a.ID == q.id) && (q.user == "" || a.User == q.user)
}

func parseQuery(values url.Values) (q query, err error) {
	q.limit = defaultLimit
	for name, given := range values {
		text := given[len(given)-1]
		switch name {
		case "limit":
			q.limit, err = strconv.Atoi(text)
			if err != nil || q.limit < 0 || q.limit > maxLimit {
				return q, fmt.Errorf("limit=%q is not a number from 0 to %d; page on with after=ID", text, maxLimit)
			}
		case "after":
			if q.after, err = strconv.ParseUint(text, 10, 64); err != nil {
				return q, fmt.Errorf("after=%q is not the ID of an allocation", text)
			}
		case "id":
			if q.id, err = strconv.ParseUint(text, 10, 64); err != nil || q.id == 0 {
				return q, fmt.Errorf("id=%q is not the ID of an allocation", text)
			}
		case "user":
			if q.user = text; text == "" {
				return q, fmt.Errorf("user=%q is nobody", text)
			}
		default:
			return q, fmt.Errorf("%q is not known; there are limit, after, id and user", name)
		}
	}
	return q, nil
}

// statusReader reads the source into a Status. Immutable.
type statusReader struct {
	source  Source
	version string
	reloads *Reloads // nil: there are none
	large   chan struct{}
}

func newStatusReader(source Source, o Options) *statusReader {
	return &statusReader{source: source, version: o.Version, reloads: o.Reloads, large: make(chan struct{}, largeAnswers)}
}

func (s *statusReader) serveJSON(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	n := s.source.Snapshot()
	if q.limit > defaultLimit && n.Allocations > defaultLimit && q.id == 0 {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		default:
			busy(w)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	// The only fault left is a client that went away.
	_ = json.NewEncoder(w).Encode(s.read(q, n))
}

func (s *statusReader) read(q query, n relay.Snapshot) Status {
	infos, drain := s.source.ListenerInfos(), drainOf(n)
	status := Status{
		Version: s.version, Started: wall(n.Started), Uptime: time.Since(n.Started).Seconds(),
		Draining: drain.Draining, Deadline: drain.Deadline,
		Listeners: make([]Listener, len(infos)), Allocations: []Allocation{},
		Total: n.Allocations,
	}
	live := make(map[string]int, len(n.Listeners))
	for _, l := range n.Listeners {
		live[l.Name] += l.Allocations
	}
	for i, l := range infos {
		status.Listeners[i] = listenerOf(l, live[l.Name])
	}
	chosen := oldest{limit: q.limit}
	if q.limit > 0 {
		s.source.Allocations(-1, func(a relay.AllocationInfo) bool {
			if q.takes(&a) {
				chosen.add(a)
			}
			return true
		})
	}
	for _, a := range chosen.list() {
		status.Allocations = append(status.Allocations, s.allocation(&a))
	}
	return status
}

func (s *statusReader) allocation(a *relay.AllocationInfo) Allocation {
	seen := sides(a.Counts)
	out := Allocation{
		ID: a.ID, User: a.User, Listener: a.Listener, Transport: a.Transport,
		Client: a.Client, Server: a.Server, Relay: a.Relayed, Additional: additional(a), RelayTransport: a.RelayTransport, Moves: a.Moves,
		Created: wall(a.Created), Expires: wall(a.Expires),
		Permissions: make([]Permission, len(a.Permissions)),
		Channels:    make([]Channel, len(a.Channels)),
		Counters: Counters{
			ClientIn: traffic(seen[forward.ClientIn]), ClientOut: traffic(seen[forward.ClientOut]),
			PeerIn: traffic(seen[forward.PeerIn]), PeerOut: traffic(seen[forward.PeerOut]),
		},
		Dropped:  Dropped{ClientIn: a.Counts.UpDropped.Packets, PeerIn: a.Counts.DownDropped.Packets},
		Observed: a.Observed, Media: mediaOf(a), Streams: streamsOf(a),
	}
	for _, c := range a.Connections {
		state := map[bool]string{false: "pending", true: "joined"}[c.Joined]
		out.Connections = append(out.Connections, Connection{Peer: c.Peer, State: state, Since: wall(s.source.Wall(c.Since)), BytesIn: c.Up, BytesOut: c.Down})
	}
	for _, p := range a.Earlier {
		out.Earlier = append(out.Earlier, Place(p))
	}
	if b := a.BandwidthDropped; b != nil {
		out.Dropped.Bandwidth = b.Up.Packets + b.Down.Packets
	}
	for i, p := range a.Permissions {
		out.Permissions[i] = Permission{Peer: p.Peer, Expires: wall(s.source.Wall(p.Expires))}
	}
	for i, c := range a.Channels {
		out.Channels[i] = Channel{Number: fmt.Sprintf("0x%04X", c.Number), Peer: c.Peer, Expires: wall(s.source.Wall(c.Expires()))}
	}
	return out
}

// additional is the second relayed transport address; nil: there is none.
func additional(a *relay.AllocationInfo) *netip.AddrPort {
	if !a.Additional.IsValid() {
		return nil
	}
	return &a.Additional
}

func traffic(c allocation.Count) Traffic { return Traffic{Packets: c.Packets, Bytes: c.Bytes} }

// wall is how times are written: in UTC and to the millisecond.
func wall(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
