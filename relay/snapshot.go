package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// ListenerInfo is one bound address of a listener; a listener for both families
// has two.
type ListenerInfo struct {
	Name    string
	Scheme  string
	Address netip.AddrPort // where it is bound
	Public  netip.AddrPort // what clients are told to connect to
	Offload udp.Offload    // what the kernel batches; UDP only
	Fault   error          // why that is less than was asked for; nil: it isn't, or the kernel has no more
	Removed bool           // it takes no new clients, and goes when the last one has
}

// ListenerInfos lists the bound addresses in the order of the configuration, and those of removed listeners last.
func (s *Server) ListenerInfos() []ListenerInfo {
	var infos []ListenerInfo
	for l, leaving := range s.bound.Load().all {
		for _, k := range l.sockets {
			info := ListenerInfo{Name: l.Name, Scheme: l.Scheme, Address: k.local, Public: k.public, Removed: leaving}
			if len(k.conns) > 0 {
				info.Offload, info.Fault = k.conns[0].Offload()
			}
			if k.flows != nil {
				info.Offload, info.Fault = k.flows.Conn().Offload()
			}
			infos = append(infos, info)
		}
	}
	return infos
}

// Advertised lists the bound addresses that new clients are sent to: all but those of removed listeners, and those at
// loopback addresses, which no other host reaches, where there are others. A listener on all addresses of a host has a
// loopback one for each family in which the host has no global one.
func (s *Server) Advertised() []ListenerInfo {
	return advertised(slices.DeleteFunc(s.ListenerInfos(), func(l ListenerInfo) bool { return l.Removed }))
}

func advertised(bound []ListenerInfo) []ListenerInfo {
	isLocal := func(l ListenerInfo) bool { return l.Public.Addr().IsLoopback() }
	if !slices.ContainsFunc(bound, func(l ListenerInfo) bool { return !isLocal(l) }) {
		return bound
	}
	return slices.DeleteFunc(slices.Clone(bound), isLocal)
}

// ICEURLs lists the URLs under which new clients reach the listeners (RFC 7065).
func (s *Server) ICEURLs() []string {
	var urls []string
	for _, l := range s.Advertised() {
		for _, t := range ICETransports(l.Scheme) {
			urls = append(urls, t.scheme()+l.Public.String()+"?transport="+t.Transport)
		}
	}
	return urls
}

// RelayPrefixes lists what relayed transport addresses are drawn from.
func (s *Server) RelayPrefixes() []netip.Prefix { return s.table.RelayPrefixes() }

// Capacity is how many allocations there are addresses for, both families together.
func (s *Server) Capacity() uint64 {
	return s.table.Capacity(allocation.IPv4) + s.table.Capacity(allocation.IPv6)
}

// RelayPorts returns the range of their ports.
func (s *Server) RelayPorts() allocation.PortRange { return s.config.RelayPorts }

// Auth returns the credentials, for whoever issues ICE configurations.
func (s *Server) Auth() *auth.Authenticator { return s.auth }

// Count returns the number of live allocations.
func (s *Server) Count() int { return s.table.Count() }

// Snapshot is a reading of all process-wide counters.
type Snapshot struct {
	Started      time.Time
	Allocations  int
	Drain        DrainState
	Listeners    []ListenerCounts // in the order of the configuration, removed ones last
	Hairpin      uint64           // packets turned around inside the process
	Connections  tcp.Counts       // of TCP allocations
	Dropped      []Count          // packets by reason; every reason is there
	Requests     []RequestCount   // every combination is there
	AuthFailures []Count          // by reason; every reason is there
	Discarded    []Count          // messages that deserve no answer, by reason
	Durations    Histogram        // of allocations that ended, in seconds
	Streams      StreamTotals     // of RTP streams that ended
	Events       events.Counts    // of Config.Events; zero without one
	Handshakes   []HandshakeCount // every combination is there
	Quality      quality.Mode     // whose media are looked at
}

// ListenerCounts are the counters of one listener.
type ListenerCounts struct {
	Name        string
	Allocations int                                  // live
	Created     uint64                               // since the start
	Traffic     [forward.Directions]allocation.Count // by forward.Direction
}

// Count is a named number.
type Count struct {
	Name  string
	Value uint64
}

// RequestCount counts the answered requests of one method and outcome.
type RequestCount struct {
	Method, Class string
	Code          int // error code; 0 for a success
	Value         uint64
}

// HandshakeCount counts what became of the beginnings of connections: of PROXY
// headers and of TLS' and DTLS' handshakes.
type HandshakeCount struct {
	Protocol, Outcome string
	Value             uint64
}

// Snapshot reads the counters. They are read one after the other while the server
// works, so sums may be off by what happens meanwhile.
func (s *Server) Snapshot() Snapshot {
	n := Snapshot{Started: s.started, Allocations: s.Count(), Drain: s.Draining(), Durations: s.lives.durations.read()}
	if s.config.Events != nil {
		n.Events = s.config.Events.Counts()
	}
	s.collectEvicted()
	n.Streams, n.Quality = s.streams.read(), s.plane.LooksAt()
	b := s.bound.Load()
	totals := s.plane.Totals()
	for l := range b.all {
		n.Listeners = append(n.Listeners, s.countsOf(l, b, &totals))
	}
	n.Hairpin, n.Connections = totals.Hairpin, s.tcp.Counts()
	for d, v := range totals.Dropped {
		n.Dropped = append(n.Dropped, Count{forward.Drop(d).String(), v})
	}
	n.Dropped = append(n.Dropped, Count{dropReceiveBuffer, s.kernelDrops()})
	s.secure.Stats.EachDrop(func(reason string, v uint64) {
		if i := slices.IndexFunc(n.Dropped, func(c Count) bool { return c.Name == reason }); i >= 0 {
			n.Dropped[i].Value += v
		} else {
			n.Dropped = append(n.Dropped, Count{reason, v})
		}
	})
	s.stats.EachRequest(func(method, class string, code int, v uint64) {
		n.Requests = append(n.Requests, RequestCount{method, class, code, v})
	})
	s.stats.EachAuthFailure(func(reason string, v uint64) {
		n.AuthFailures = append(n.AuthFailures, Count{reason, v})
	})
	s.stats.EachDiscard(func(reason string, v uint64) {
		n.Discarded = append(n.Discarded, Count{reason, v})
	})
	s.secure.Stats.Each(func(protocol, outcome string, v uint64) {
		n.Handshakes = append(n.Handshakes, HandshakeCount{protocol, outcome, v})
	})
	return n
}

// countsOf sums up the sockets of a listener, those of NAT discovery included.
func (s *Server) countsOf(l *listening, b *bound, totals *forward.Totals) ListenerCounts {
	n := ListenerCounts{Name: l.Name}
	for k := range b.each {
		if k.of != l {
			continue
		}
		n.Allocations += int(k.live.Load())
		n.Created += k.total.Load()
		relayed, streamed := totals.Listeners[k.index], s.tcp.Traffic(int(k.index))
		for d := range n.Traffic {
			n.Traffic[d].Packets += relayed[d].Packets - k.before[d].Packets
			n.Traffic[d].Bytes += relayed[d].Bytes - k.before[d].Bytes
		}
		n.Traffic[forward.ClientIn].Bytes += streamed.ClientIn - k.tcp.ClientIn
		n.Traffic[forward.ClientOut].Bytes += streamed.ClientOut - k.tcp.ClientOut
		n.Traffic[forward.PeerIn].Bytes += streamed.PeerIn - k.tcp.PeerIn
		n.Traffic[forward.PeerOut].Bytes += streamed.PeerOut - k.tcp.PeerOut
	}
	return n
}

// dropReceiveBuffer is the reason of datagrams that came faster than they were
// taken: they never reached the data plane, the kernel counts them (SO_RXQ_OVFL).
const dropReceiveBuffer = "receive_buffer_full"

func (s *Server) kernelDrops() uint64 {
	b := s.bound.Load()
	n := b.dropped
	for k := range b.each {
		n += k.kernelDrops()
	}
	return n
}

func (k *socket) kernelDrops() (n uint64) {
	for _, c := range k.conns {
		n += uint64(c.Dropped())
	}
	if k.flows != nil {
		n += uint64(k.flows.Conn().Dropped())
	}
	return n
}

// BandwidthDropped are the packets that were beyond a limit, from the client and to it.
type BandwidthDropped struct{ Up, Down allocation.Count }

// AllocationInfo is a reading of one allocation.
type AllocationInfo struct {
	ID             uint64
	User           string
	Listener       string
	Transport      string // between client and server: "udp", "tcp", "tls" or "dtls"
	Client, Server netip.AddrPort
	Relayed        netip.AddrPort
	Additional     netip.AddrPort // the IPv6 relayed transport address of a dual allocation beside Relayed; else invalid
	RelayTransport string         // between server and peers: "udp", or "tcp" of a TCP allocation (RFC 6062)
	Connections    []tcp.Reading  // of a TCP allocation, the oldest first
	Moves          uint64         // of the client (RFC 8016)
	Earlier        []Place        // where it was before, in that order, of many moves the latest
	Created        time.Time
	Expires        time.Time
	Counts         allocation.Counts
	// BandwidthDropped is the part of Counts' UpDropped and DownDropped that was beyond the allocation's bandwidth, or its
	// user's; nil: they have no limit.
	BandwidthDropped *BandwidthDropped
	Permissions      []allocation.Permission
	Channels         []*allocation.Channel
	// Media are the RTP streams from the client, and those from peers beyond this server to it; nil: there were none, or
	// nobody looked. What another client of this server sends is told with that one. Read is the moment for their Snapshot.
	UpMedia, DownMedia *quality.Tracker
	// The same of the other relayed transport address of a dual allocation.
	AlsoUpMedia, AlsoDownMedia *quality.Tracker
	Read                       allocation.Time
	// Observed says whether its media are looked at, as Config.Quality is at the moment.
	Observed bool
}

// Allocations yields live allocations, in no order, until limit (negative: none)
// or until yield returns false.
func (s *Server) Allocations(limit int, yield func(AllocationInfo) bool) {
	now := s.table.Now()
	s.table.Each(func(a *allocation.Allocation) bool {
		if limit == 0 {
			return false
		}
		limit--
		return yield(s.info(a, now))
	})
}

// Allocation returns a live allocation by its ID.
func (s *Server) Allocation(id uint64) (info AllocationInfo, ok bool) {
	if a := s.find(id); a != nil {
		return s.info(a, s.table.Now()), true
	}
	return info, false
}

// End ends an allocation by its ID; false: there is none.
func (s *Server) End(id uint64) bool {
	a := s.find(id)
	if a == nil {
		return false
	}
	s.table.Delete(a, allocation.Ended)
	return true
}

// find looks through all: nobody but people asks by ID, and an index would cost every allocation.
func (s *Server) find(id uint64) (found *allocation.Allocation) {
	s.table.Each(func(a *allocation.Allocation) bool {
		if a.ID == id {
			found = a
		}
		return found == nil
	})
	return found
}

func (s *Server) info(a *allocation.Allocation, now allocation.Time) AllocationInfo {
	n := AllocationInfo{
		ID: a.ID, User: a.User, Listener: s.listenerName(a), Transport: a.FiveTuple.Transport.String(),
		Client: a.FiveTuple.Client, Server: a.FiveTuple.Server, Relayed: a.Relayed, RelayTransport: relayTransport(a),
		Created: s.table.Wall(a.CreatedAt), Expires: s.table.Wall(a.Expires()),
		Counts: a.Counts(), Permissions: a.Permissions(now), Channels: a.Channels(now),
		UpMedia: a.UpMedia.Tracker(), DownMedia: a.DownMedia.Tracker(), Read: now,
		Observed: s.plane.LooksAt().Observes(a.ID),
	}
	if a.TCP() != nil {
		n.Connections = s.tcp.Of(a)
	}
	for h := range a.Halves(now) {
		if h != a {
			n.addHalf(h, s.table.Wall(h.Expires()), now)
		}
	}
	if trail := a.Trail(); trail != nil {
		n.Moves = trail.Moves
		for _, p := range trail.Latest {
			n.Earlier = append(n.Earlier, placeOf(&p))
		}
	}
	if up, down, limited := a.BandwidthDropped(); limited {
		n.BandwidthDropped = &BandwidthDropped{Up: up, Down: down}
	}
	return n
}

// addHalf tells of the other half of a dual allocation.
func (n *AllocationInfo) addHalf(h *allocation.Allocation, expires time.Time, now allocation.Time) {
	if n.Additional = h.Relayed; h.Family() == allocation.IPv4 {
		n.Relayed, n.Additional = n.Additional, n.Relayed
	}
	if expires.After(n.Expires) {
		n.Expires = expires
	}
	n.Permissions = append(n.Permissions, h.Permissions(now)...)
	n.Channels = append(n.Channels, h.Channels(now)...)
	n.AlsoUpMedia, n.AlsoDownMedia = h.UpMedia.Tracker(), h.DownMedia.Tracker()
}

// Wall turns a moment of the tables into wall-clock time.
func (s *Server) Wall(t allocation.Time) time.Time { return s.table.Wall(t) }
