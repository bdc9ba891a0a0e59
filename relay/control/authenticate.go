package control

import (
	"errors"
	"slices"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// authenticate is the long-term credential mechanism, in the order that RFC 8489
// §9.2.4 sets: credentials present, set complete, password algorithm as offered, user,
// integrity, and only then the nonce. (RFC 5389 §10.2.2 had the nonce before the user.
// The new order gives 438 to those alone who could use a fresh nonce, and 401 to
// whoever has a wrong password, whatever the nonce.)
//
// On success r has its identity, its key and the allocation of its five-tuple.
func (w *Worker) authenticate(r *request) *protocolError {
	m := &w.message
	if !m.HasIntegrity() {
		return errNoCredentials
	}
	// USERNAME, which needs no look-up, counts where somebody sends both.
	username, hasUsername := m.Get(wire.AttrUsername)
	userhash, hasUserhash := m.Get(wire.AttrUserhash)
	realm, hasRealm := m.Get(wire.AttrRealm)
	nonce, hasNonce := m.Get(wire.AttrNonce)
	if !hasUsername && !hasUserhash || !hasRealm || !hasNonce {
		return errIncomplete
	}
	said, stale := w.readNonce(r, nonce)
	r.proven = stale == nil || r.from.isShown()
	algorithm, e := w.chosenAlgorithm(r, said)
	if e != nil {
		return e
	}
	// A user name is valid within a realm (RFC 8489 §9.2.4, §14.9), and we have only
	// one. It is no secret, so it may cost less to refuse than a wrong user.
	if string(realm) != w.h.auth.Realm() {
		return errWrongRealm
	}
	identity, handled, e := w.verifyToken(r, username)
	if !handled {
		w.claim.Username, w.claim.Userhash, w.claim.Algorithm = username, userhash, algorithm
		identity, e = w.verify()
	}
	if e != nil {
		return e
	}
	if stale != nil {
		return errStaleNonce
	}
	r.identity, r.wall = identity, w.h.now()
	r.allocation = w.holder(r)
	if w.expired(r) {
		return errExpired
	}
	w.key = identity.Key
	r.key = w.key.Bytes()
	return nil
}

// verify is the check of user and integrity by a password.
func (w *Worker) verify() (auth.Identity, *protocolError) {
	identity, err := w.h.auth.Verify(&w.claim, w.integrity)
	switch {
	case err == nil:
		return identity, nil
	case errors.Is(err, auth.ErrAlgorithm):
		return identity, errAlgorithm
	case errors.Is(err, auth.ErrWrongPassword):
		return identity, errWrongPassword
	}
	return identity, errUnknownUser
}

// chosenAlgorithm is the third check of RFC 8489 §9.2.4: a client that was offered
// password algorithms says what it was offered and which one it took, so that nobody
// on the path can make it take a worse one. A client that says neither is one of RFC
// 5389, and uses MD5.
//
// The check is for requests whose nonce carries the bit of an offer. Of others the RFC
// says nothing: PASSWORD-ALGORITHM means what it says there, as a nonce that lost its
// bit on the way would else look like a wrong password to the client's user.
//
// The answer's integrity is MESSAGE-INTEGRITY-SHA256, "unless the request was processed
// as though PASSWORD-ALGORITHM was MD5 (because the request contained neither …)",
// whichever of the two the request had itself.
func (w *Worker) chosenAlgorithm(r *request, said auth.Nonce) (auth.Algorithm, *protocolError) {
	list, hasList, listErr := w.message.PasswordAlgorithms(w.algorithms[:0])
	number, hasNumber, numberErr := w.message.PasswordAlgorithm()
	w.algorithms = list
	r.sha256 = hasList || hasNumber
	switch {
	case !r.sha256:
		return auth.MD5, nil
	case !said.HasAlgorithms:
		if hasNumber && numberErr == nil {
			return auth.Algorithm(number), nil
		}
		return auth.MD5, nil
	case !hasList || !hasNumber || listErr != nil || numberErr != nil:
		return 0, errAlgorithms
	case !said.Matches(list) || !slices.Contains(list, number):
		return 0, errAlgorithms
	}
	return auth.Algorithm(number), nil
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
