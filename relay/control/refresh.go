package control

import (
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// refresh prolongs or ends an allocation (RFC 8656 §8.2), of a dual one what has the
// REQUESTED-ADDRESS-FAMILY, without that all of it (RFC 8656 §8.1).
func (w *Worker) refresh(r *request) *protocolError {
	family, ok, err := w.message.RequestedAddressFamily()
	switch {
	case err != nil:
		return errBadFamily
	case ok && !r.allocation.Serves(allocation.Family(family), r.now):
		return errRefreshedFamily
	}
	lifetime, e := w.desiredLifetime(r)
	if e != nil {
		return e
	}
	if requested, given, _ := w.message.Lifetime(); given && requested == 0 {
		// A retransmission of this finds no allocation and gets 437, which the client
		// takes for the success that it is (RFC 8656 §8.3).
		lifetime = 0
		if ok {
			w.h.table.DeleteHalf(r.allocation, allocation.Family(family), allocation.Released)
		} else {
			w.h.table.Delete(r.allocation, allocation.Released)
		}
	} else if ok {
		w.h.table.RefreshHalf(r.allocation, allocation.Family(family), lifetime, r.now)
	} else {
		w.h.table.Refresh(r.allocation, lifetime, r.now)
	}
	w.reply.Success(&w.message)
	w.reply.AddUint32(wire.AttrLifetime, seconds(lifetime))
	return nil
}

// desiredLifetime computes the time-to-expiry that a request asks for, in the same
// way for Allocate and Refresh (RFC 8656 §7.2, §8.2): LIFETIME, but at least the default
// and at most the maximum. Zero comes out as the default; only Refresh gives it a
// meaning of its own.
//
// Where the credential's expiry is enforced, nothing lives longer than it, and never
// longer than an access token.
func (w *Worker) desiredLifetime(r *request) (time.Duration, *protocolError) {
	requested, _, err := w.message.Lifetime()
	if err != nil {
		return 0, errBadLifetime
	}
	lifetime := time.Duration(requested) * time.Second
	lifetime = min(max(lifetime, allocation.DefaultLifetime), allocation.MaxLifetime)
	if r.identity.Token {
		lifetime = tokenLifetime(r, lifetime)
	} else if w.h.auth.EnforceExpiry() && !r.identity.Expires.IsZero() {
		lifetime = min(lifetime, r.identity.Expires.Sub(r.wall))
	}
	return lifetime, nil
}

// seconds is d as LIFETIME has it. What is left of a second counts as one, because
// zero would say that the allocation is gone (RFC 8656 §8.2).
func seconds(d time.Duration) uint32 {
	return uint32((d + time.Second - 1) / time.Second)
}
