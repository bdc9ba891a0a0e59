package allocation

import (
	"crypto/rand"
)

// reservations are the ports that EVEN-PORT with the R bit set aside, each under
// a token (RFC 8656 §7.2). Guarded by Table.mu.
type reservations struct {
	byToken map[[8]byte]reserved
	expiry  queue[[8]byte]
}

type reserved struct {
	pool *pool
	at   place
	due  Time
}

func (r *reservations) add(p *pool, at place, now Time) (token [8]byte) {
	rand.Read(token[:]) // never fails (crypto/rand)
	due := now.Add(ReservationLifetime)
	r.byToken[token] = reserved{p, at, due}
	r.expiry.push(token, due)
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
		if res, ok := r.byToken[token]; ok {
			delete(r.byToken, token)
			res.pool.free(res.at)
		}
	}
	return true
}
