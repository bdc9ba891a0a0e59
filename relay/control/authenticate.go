package control

import (
	"errors"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// authenticate is the long-term credential mechanism, in the order that RFC 8489
// §9.2.4 sets: credentials present, set complete, user, integrity, and only then the
// nonce. (RFC 5389 §10.2.2 had the nonce before the user. The new order gives 438 to
// those alone who could use a fresh nonce, and 401 to whoever has a wrong password,
// whatever the nonce.)
//
// On success r has its identity, its key and the allocation of its five-tuple.
func (w *Worker) authenticate(r *request) *protocolError {
	m := &w.message
	if !m.HasIntegrity() {
		return errNoCredentials
	}
	username, hasUsername := m.Get(wire.AttrUsername)
	realm, hasRealm := m.Get(wire.AttrRealm)
	nonce, hasNonce := m.Get(wire.AttrNonce)
	if !hasUsername || !hasRealm || !hasNonce {
		return errIncomplete
	}
	// A user name is valid within a realm (RFC 8489 §9.2.4, §14.9), and we have only
	// one. It is no secret, so it may cost less to refuse than a wrong user.
	if string(realm) != w.h.auth.Realm() {
		return errWrongRealm
	}
	identity, err := w.h.auth.Verify(username, w.integrity)
	switch {
	case err == nil:
	case errors.Is(err, auth.ErrWrongPassword):
		return errWrongPassword
	default:
		return errUnknownUser
	}
	if w.h.auth.CheckNonce(nonce, r.from.FiveTuple.Client) != nil {
		return errStaleNonce
	}
	r.identity, r.wall = identity, w.h.now()
	r.allocation = w.h.table.Find(&r.from.FiveTuple, r.now)
	if w.expired(r) {
		return errExpired
	}
	w.key = identity.Key
	r.key = w.key[:]
	return nil
}

// expired says whether the credential's own expiry ends r here. It is judged when
// an allocation is made; an established one goes on, so that a call may be longer
// than its credential's life, unless the operator wants expiry enforced.
//
// An Allocate of somebody who holds the five-tuple's allocation makes none: it is a
// retransmission or a mismatch, and answered as that.
func (w *Worker) expired(r *request) bool {
	if !r.identity.Expired(r.wall) {
		return false
	}
	if w.h.auth.EnforceExpiry() {
		return true
	}
	holds := r.allocation != nil && r.allocation.User == r.identity.User
	return r.method == methodAllocate && !holds
}
