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
}

func (r *reservations) add(p *pool, at place, now Time) (token [8]byte) {
	rand.Read(token[:]) // never fails (crypto/rand)
	r.byToken[token] = reserved{p, at}
	r.expiry.push(token, now.Add(ReservationLifetime))
	return token
}

// claim hands a reserved place over to its token's bearer; tokens work once.
func (r *reservations) claim(token [8]byte) (reserved, bool) {
	res, ok := r.byToken[token]
	delete(r.byToken, token)
	return res, ok
}

// expire frees what nobody claimed in time.
func (r *reservations) expire(now Time) {
	for {
		token, ok := r.expiry.pop(now)
		if !ok {
			return
		}
		if res, ok := r.claim(token); ok {
			res.pool.free(res.at)
		}
	}
}
