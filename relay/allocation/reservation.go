package allocation

import (
	"crypto/rand"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// reservations are the ports that EVEN-PORT with the R bit set aside, each under
// a token (RFC 8656 §7.2). Guarded by Table.mu.
type reservations struct {
	byToken map[[8]byte]reserved
	expiry  queue[[8]byte]
}

type reserved struct {
	pool   *pool
	at     place
	socket *udp.Conn // nil in loop mode
	due    Time
}

// add sets a place aside.
func (r *reservations) add(res reserved, now Time) (token [8]byte) {
	rand.Read(token[:]) // never fails (crypto/rand)
	res.due = now.Add(ReservationLifetime)
	r.byToken[token] = res
	r.expiry.push(token, res.due)
	return token
}

// claim hands a reserved place over to its token's bearer; tokens work once.
func (r *reservations) claim(token [8]byte, now Time) (reserved, bool) {
	res, ok := r.byToken[token]
	if !ok || res.due <= now { // expire gives it back
		return reserved{}, false
	}
	delete(r.byToken, token)
	return res, true
}

// expire frees up to sweepChunk places that nobody claimed in time, and says
// whether there may be more.
func (r *reservations) expire(now Time) (more bool) {
	for range sweepChunk {
		token, ok := r.expiry.pop(now)
		if !ok {
			return false
		}
		r.giveBack(token)
	}
	return true
}

// giveBack frees a place, unless it was claimed.
func (r *reservations) giveBack(token [8]byte) {
	res, ok := r.byToken[token]
	if !ok {
		return
	}
	delete(r.byToken, token)
	res.pool.free(res.at)
	if res.socket != nil {
		res.socket.Close()
	}
}
