package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
)

// Limits of the record. It is one for all allocations, so that those which nobody ever looks at cost nothing of their own.
const (
	historyStripes = 16
	historyStripe  = 4096 // moments in a stripe, of 80 bytes, made a chunk at a time as they come; the oldest make room
	historyChunk   = 128
	historyShown   = 32 // of one allocation
	historyAlike   = 8  // latest ones of an allocation among which the same again is looked for
)

// Moment is something that happened to an allocation, once or several times alike.
type Moment struct {
	First, Last time.Time
	Times       int
	What        string // "created", "refreshed", "permitted", "bound", "refused", "moved", "connected", "disconnected", "reduced" (one of two relayed transport addresses ended) or "ended"
	Detail      string // in words; nothing in it was chosen by a client but addresses and numbers
}

// history is the record of what the control plane did, for an allocation's page. What is made by packets isn't in it.
// A client that goes on refreshing and binding adds nothing to it, so what began a long call is still there at its end.
type history struct{ stripes [historyStripes]historyOfSome }

// historyOfSome is that of one allocation in so many as there are stripes.
type historyOfSome struct {
	mu     sync.Mutex
	chunks [historyStripe / historyChunk]*[historyChunk]kept // of the ring
	count  uint64                                            // of all that there ever were: the number of the latest
	latest map[uint64]uint64                                 // by allocation, the number of its latest moment that is still there
}

// numbered returns a moment by its number; nil: it has made room for another, or the number is 0.
func (s *historyOfSome) numbered(n uint64) *kept {
	if n == 0 || s.count-n >= historyStripe {
		return nil
	}
	at := (n - 1) % historyStripe
	return &s.chunks[at/historyChunk][at%historyChunk]
}

// deed is what happened. Its zero value is none.
type deed struct {
	allocation uint64
	what       string
	method     string         // of a refusal
	cause      string         // of a refusal, a reduction or an end; of a move from where to where; of a lost connection its bytes
	peer       netip.AddrPort // the first; of a reduction the relayed transport address that is given up
	lifetime   time.Duration
	code       uint16
	channel    uint16
	more       uint16 // peers
}

// moment is a deed, once or several times alike.
type moment struct {
	deed
	first, last allocation.Time
	times       uint32
}

// kept is a moment as it is kept: there are a few of each allocation, so its size is a part of an allocation's.
type kept struct {
	packed
	first, last allocation.Time
	before      uint64 // number of the same allocation's moment before; 0: there was none
	times       uint32
}

// packed is a deed in half of its bytes. Equal deeds are equal here, too.
type packed struct {
	lifetime   uint32 // seconds
	allocation uint64
	words      unique.Handle[words]
	peer       [16]byte
	port       uint16
	code       uint16
	channel    uint16
	more       uint16
}

// words are the same for many deeds, and kept once, with what 16 bytes don't say of an address.
type words struct {
	what, method, cause string
	peerBits            int // 0: there is no peer; 32, 128: its address is IPv4, IPv6
}

func (d *deed) pack() packed {
	p := packed{
		lifetime: uint32(d.lifetime / time.Second), allocation: d.allocation,
		words: unique.Make(words{d.what, d.method, d.cause, d.peer.Addr().BitLen()}),
		port:  d.peer.Port(), code: d.code, channel: d.channel, more: d.more,
	}
	if d.peer.IsValid() {
		p.peer = d.peer.Addr().As16()
	}
	return p
}

func (p *packed) unpack() deed {
	w := p.words.Value()
	d := deed{
		allocation: p.allocation, what: w.what, method: w.method, cause: w.cause,
		lifetime: time.Duration(p.lifetime) * time.Second, code: p.code, channel: p.channel, more: p.more,
	}
	if w.peerBits > 0 {
		address := netip.AddrFrom16(p.peer)
		if w.peerBits == 32 {
			address = address.Unmap()
		}
		d.peer = netip.AddrPortFrom(address, p.port)
	}
	return d
}

func (h *history) add(d deed, now allocation.Time) {
	s := &h.stripes[d.allocation%historyStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	p := d.pack()
	latest := s.latest[d.allocation]
	for n, i := s.numbered(latest), 0; n != nil && i < historyAlike; n, i = s.numbered(n.before), i+1 {
		if n.packed == p {
			n.last = now
			n.times++
			return
		}
	}
	m := kept{packed: p, first: now, last: now, before: latest, times: 1}
	if s.count >= historyStripe {
		number := s.count + 1 - historyStripe
		if oldest := s.numbered(number); s.latest[oldest.allocation] == number {
			delete(s.latest, oldest.allocation)
		}
	} else if s.count%historyChunk == 0 {
		s.chunks[s.count/historyChunk] = new([historyChunk]kept)
	}
	s.count++
	*s.numbered(s.count) = m
	if s.latest == nil {
		s.latest = make(map[uint64]uint64)
	}
	s.latest[d.allocation] = s.count
}

// of returns the latest moments of an allocation, the oldest first.
func (h *history) of(id uint64) (found []moment) {
	s := &h.stripes[id%historyStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := s.numbered(s.latest[id]); m != nil && len(found) < historyShown; m = s.numbered(m.before) {
		found = append(found, moment{m.unpack(), m.first, m.last, m.times})
	}
	slices.Reverse(found)
	return found
}

// answered records what a client asked for.
func (s *Server) answered(a *control.Answered) {
	d := deed{allocation: a.Allocation.ID, channel: a.Channel}
	if len(a.Peers) > 0 {
		d.peer, d.more = a.Peers[0], uint16(len(a.Peers)-1)
	}
	switch {
	case a.Code != 0:
		d.what, d.method, d.code, d.cause = "refused", a.Method, uint16(a.Code), a.Cause
	case a.Method == "refresh" && a.Lifetime == 0:
		return // its end is told by died
	case a.Method == "refresh":
		d.what, d.lifetime = "refreshed", a.Lifetime.Round(time.Second)
	case a.Method == "channel_bind":
		d.what = "bound"
	case a.Method == "create_permission":
		d.what = "permitted"
	default:
		return // an Allocate that was sent again; connections are told by joined
	}
	s.history.add(d, s.table.Now())
}

// History returns the latest that is known of an allocation, live or ended, the oldest first; none when it is forgotten.
func (s *Server) History(id uint64) []Moment {
	var out []Moment
	for _, m := range s.history.of(id) {
		out = append(out, Moment{First: s.table.Wall(m.first), Last: s.table.Wall(m.last), Times: int(m.times), What: m.what, Detail: m.detail()})
	}
	return out
}

// detail says the rest in words.
func (d *deed) detail() string {
	peers := ""
	if d.peer.IsValid() {
		peers = d.peer.String()
		if d.channel == 0 && d.method != "connect" {
			peers = d.peer.Addr().String() // a permission is for an address
		}
		if d.more > 0 {
			peers += fmt.Sprintf(" and %d more", d.more)
		}
	}
	if d.channel != 0 {
		peers = fmt.Sprintf("channel 0x%04X to %s", d.channel, peers)
	}
	switch d.what {
	case "created", "refreshed":
		return "for " + d.lifetime.String()
	case "refused":
		text := fmt.Sprintf("%s: %d, %s", d.method, d.code, d.cause)
		if peers != "" {
			text += " (" + peers + ")"
		}
		return text
	case "connected":
		return "to " + d.peer.String()
	case "disconnected":
		return "from " + d.peer.String() + " " + d.cause
	case "reduced":
		return d.peer.String() + " " + d.cause
	case "moved", "ended":
		return d.cause
	}
	return peers
}
