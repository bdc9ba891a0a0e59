package control

import (
	"net/netip"
	"time"

	"github.com/hairpin-turn/hairpin/relay/rate"
)

// What those who have proved nothing may ask of the server. Whoever holds an allocation has proved who they are, and is
// not limited by what comes from the same address; but nobody can use an allocation's five-tuple to guess at
// other users' passwords.
//
//	request ──► five-tuple has an allocation? ──yes──────────────────────────────► process
//	               │ no                                                               ▲
//	               └──► Rate of the source ──► FailedLogins of it, if credentials ────┘
//	                       silence                silence
//
//	answer to somebody unproved, by datagram ──► Bytes of its network, or of its five-tuple if that has an allocation ──► out
//	                                                silence
//
// Silence is the answer to whoever is over a limit, as any other would be one more packet to an address that may be
// forged. A client that is refused so asks again after half a second (RFC 8489 §6.2.1).

// Limits are what sources may ask for. The zero value has none.
type Limits struct {
	// Rate is how many requests per second a source may make on five-tuples without an allocation; 0: no limit.
	Rate int
	// Bytes is how many bytes per second answers to networks may be larger than the requests that they sent, as long as
	// nobody there has proved anything; 0: no limit. It counts datagrams alone, as the addresses of others are not forged.
	Bytes int
	// FailedLogins is how often per minute a source may show a wrong user name, password or token; 0: no limit.
	FailedLogins int
}

const (
	limitBurst = 10 * time.Second // for how long requests and bytes may be saved up
	loginBurst = time.Minute

	// A hoster gives customers less than these, an attacker who wants to fill a line doesn't care which of its addresses
	// the packets go to.
	networkBits4, networkBits6 = 24, 48
)

// source is who a request comes from, as far as anybody can tell. What comes by connections is counted apart: datagrams
// with a forged address can't keep those from being served who are really there.
type source struct {
	network netip.Prefix
	proven  bool // by a handshake
}

// target is where an answer goes: a network, or one client of which is known that it is there.
type target struct {
	network netip.Prefix
	port    uint16 // 0: of all ports
}

type limits struct {
	rate   *rate.Limit[source]
	bytes  *rate.Limit[target]
	logins *rate.Limit[source] // in units of a minute's sixtieth
}

// newLimits returns nil where nothing is limited.
func newLimits(l Limits) *limits {
	if l == (Limits{}) {
		return nil
	}
	return &limits{
		rate:  rate.New[source](l.Rate, limitBurst),
		bytes: rate.New[target](l.Bytes, limitBurst),
		// A login costs 60 units, of which there are as many per second as logins per minute.
		logins: rate.New[source](l.FailedLogins, loginBurst),
	}
}

// loginUnits turn a rate per second into one per minute.
const loginUnits = 60

func sourceOf(from *Origin) source {
	return source{rate.Source(from.FiveTuple.Client.Addr()), from.isShown()}
}

// admit says whether a request is looked at, and else why not.
func (w *Worker) admit(r *request) (why discarded, ok bool) {
	l := w.h.limits
	r.holds = w.h.table.Find(&r.from.FiveTuple, r.now) != nil
	s := sourceOf(r.from)
	if !r.holds && l.rate.Admit(s, 1, int64(r.now)) > 0 {
		return discardRate, false
	}
	if r.method != methodBinding && w.message.HasIntegrity() && l.logins.Exhausted(s, loginUnits, int64(r.now)) {
		if !r.holds {
			return discardLogins, false
		}
		r.suspect = true
	}
	return 0, true
}

// admitAnswer says whether the answer to a request goes out.
func (w *Worker) admitAnswer(r *request, refused *protocolError, request, answer int) (why discarded, ok bool) {
	l := w.h.limits
	if refused != nil && refused.guess() && r.proven {
		l.logins.Admit(sourceOf(r.from), loginUnits, int64(r.now))
	}
	switch {
	case r.suspect && !r.isHolder():
		return discardLogins, false
	case r.key != nil || r.from.isShown() || refused == errStaleNonce: // which has seen the right password
		return 0, true
	}
	client := r.from.FiveTuple.Client
	if client.Addr().IsLoopback() { // it is nobody's line, and no network brings datagrams from there
		return 0, true
	}
	to := target{network: rate.Network(client.Addr(), networkBits4, networkBits6)}
	if r.holds {
		to = target{rate.Source(client.Addr()), client.Port()}
	}
	if l.bytes.Admit(to, answer-request, int64(r.now)) > 0 {
		return discardBytes, false
	}
	return 0, true
}

// isHolder says whether the request turned out to be from the user who has the five-tuple's allocation.
func (r *request) isHolder() bool {
	return r.key != nil && r.allocation != nil && r.allocation.User == r.identity.User
}

// guess says whether an error tells its client that a user name, password or token is wrong.
func (e *protocolError) guess() bool {
	switch e.failure {
	case failureUnknownUser, failureWrongPassword, failureToken:
		return true
	}
	return false
}
