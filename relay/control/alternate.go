package control

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync/atomic"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Gate says whether allocations are made and, where one is not, which other server its client is sent to. A server has
// one, and each of its listeners has another. The zero value is open and knows no other server. It is safe for any number of goroutines, and nobody waits for anybody but
// Close for those who are inside.
//
//	Allocate ──► enter ──open──► Table.Create ──► leave
//	               └──closed──► 300 with ALTERNATE-SERVER, or 508
type Gate struct {
	closed     atomic.Bool
	inside     atomic.Int64 // requests between enter and leave
	alternates atomic.Pointer[alternates]
}

// alternates are the other servers by family: IPv4, IPv6. They are replaced as a whole.
type alternates [2][]netip.AddrPort

// Close lets no further allocation be made, and returns when none is under way: from then on their number only falls.
// Closing twice is no error.
func (g *Gate) Close() {
	g.closed.Store(true)
	for g.inside.Load() > 0 {
		runtime.Gosched() // for the time of one Table.Create
	}
}

// Open undoes Close.
func (g *Gate) Open() { g.closed.Store(false) }

// SetAlternates replaces the servers that clients are sent to. This server must not be among them: a client that is sent
// back to where it was has to give up (RFC 8489 §10).
func (g *Gate) SetAlternates(servers []netip.AddrPort) {
	var a alternates
	for _, s := range servers {
		i := allocation.FamilyOf(s.Addr()) - allocation.IPv4
		a[i] = append(a[i], s)
	}
	g.alternates.Store(&a)
}

// enter says whether an allocation may be made; leave is due when it has been.
func (g *Gate) enter() bool {
	// Whoever is counted before Close looks at the count, Close waits for; whoever is counted later sees closed.
	g.inside.Add(1)
	if g.closed.Load() {
		g.inside.Add(-1)
		return false
	}
	return true
}

func (g *Gate) leave() { g.inside.Add(-1) }

// choose draws a server of the family, other than the one that the client speaks to; one on loopback only for a client
// of this host.
func (g *Gate) choose(family allocation.Family, client netip.Addr, here netip.AddrPort) (netip.AddrPort, bool) {
	a := g.alternates.Load()
	if a == nil {
		return netip.AddrPort{}, false
	}
	servers := a[family-allocation.IPv4]
	if len(servers) == 0 {
		return netip.AddrPort{}, false
	}
	first := rand.IntN(len(servers))
	for i := range servers {
		s := servers[(first+i)%len(servers)]
		if s != here && (!s.Addr().IsLoopback() || client.IsLoopback()) {
			return s, true
		}
	}
	return netip.AddrPort{}, false
}

// turnAway refuses an Allocate that this server could serve but will not: with 300 where there is another server of
// the family of the client's address, as the answer must name one (RFC 8489 §10, RFC 8656 §7.2), else with why.
func (w *Worker) turnAway(r *request, why *protocolError) *protocolError {
	return w.sendTo(w.h.gate, r, why)
}

// sendTo is turnAway to the servers that a gate knows.
func (w *Worker) sendTo(gate *Gate, r *request, why *protocolError) *protocolError {
	client, here := r.from.FiveTuple.Client.Addr(), r.from.FiveTuple.Server
	w.elsewhere = w.elsewhere[:0]
	family := allocation.FamilyOf(client)
	server, ok := gate.choose(family, client, here)
	if !ok {
		return why
	}
	w.elsewhere = append(w.elsewhere, server)
	// RFC 8489 §10: one of the other family should follow.
	if server, ok := gate.choose(otherFamily(family), client, here); ok {
		w.elsewhere = append(w.elsewhere, server)
	}
	return errTryAlternate
}

// enter passes the gates of the server and of the listener, or says where the client has to go instead; leave is due
// afterwards. Of a listener that is removed clients are sent to another one of this server, else to other servers.
func (w *Worker) enter(r *request) *protocolError {
	if !w.h.gate.enter() {
		return w.turnAway(r, errDraining)
	}
	if r.from.Gate == nil || r.from.Gate.enter() {
		return nil
	}
	w.h.gate.leave()
	if e := w.sendTo(r.from.Gate, r, nil); e != nil {
		return e
	}
	return w.turnAway(r, errRemoved)
}

func (w *Worker) leave(r *request) {
	w.h.gate.leave()
	if r.from.Gate != nil {
		r.from.Gate.leave()
	}
}

// crowded says whether newcomers are sent to other servers, as long as there is one, because this one has as many
// allocations as it shall have before that. Who holds a reservation has to stay.
func (w *Worker) crowded(wanted *allocation.Request) bool {
	at := w.h.redirectAt
	return at > 0 && wanted.Token == nil && w.h.table.Count() >= at
}

// otherFamily turns IPv4 into IPv6 and back.
func otherFamily(f allocation.Family) allocation.Family {
	if f == allocation.IPv4 {
		return allocation.IPv6
	}
	return allocation.IPv4
}

// addAlternates writes what turnAway found into the answer.
func (w *Worker) addAlternates() {
	for _, server := range w.elsewhere {
		w.reply.AddPlainAddress(wire.AttrAlternateServer, server)
	}
}
