package control

import (
	"errors"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Third-party authorization (RFC 7635): a client brings an access token with Allocate
// and Refresh, and the token's key in place of a password from then on. The key is
// kept in the allocation.

// verifyToken does what Verify does where the request has an access token, or is one of
// a session that began with one; handled is false where it is neither.
func (w *Worker) verifyToken(r *request, username []byte) (identity auth.Identity, handled bool, e *protocolError) {
	if _, ok := w.h.auth.ThirdParty(); !ok {
		return identity, false, nil
	}
	a := w.holder(r)
	var session *allocation.Credential
	if a != nil {
		session = a.Credential.Load()
	}
	token, hasToken := w.message.Get(wire.AttrAccessToken)
	if !hasToken {
		if session == nil || string(username) != session.Name {
			return identity, false, nil
		}
		if !w.integrity(session.Key) {
			return identity, true, errWrongPassword
		}
		if !w.h.now().Before(session.Expires) {
			return identity, true, errTokenExpired
		}
		identity = auth.Identity{User: a.User, Expires: session.Expires, Token: true}
		identity.Key.Set(session.Key)
		r.session = session
	} else {
		w.claim.Username, w.claim.Userhash = username, nil
		var err error
		identity, err = w.h.auth.VerifyToken(&w.claim, token, w.integrity)
		switch {
		case err == nil:
		case errors.Is(err, auth.ErrWrongPassword):
			return identity, true, errWrongPassword
		case errors.Is(err, auth.ErrToken):
			return identity, true, errToken
		case errors.Is(err, auth.ErrTokenExpired):
			return identity, true, errTokenExpired
		default:
			return identity, true, errUnknownUser
		}
		// A session goes on with a new token, and with a key of another identifier, as
		// keys are replaced: the token says that its holder may be here, and the
		// five-tuple whom it continues. RFC 7635 knows no other name of a user.
		if session != nil {
			identity.User = a.User
		}
		r.session = &allocation.Credential{Name: string(username), Key: identity.Key.Clone(), Expires: identity.Expires}
	}
	// There is no algorithm to choose: the key is the token's, and the answer is
	// protected as the request is.
	r.sha256 = w.message.HasSHA256()
	return identity, true, nil
}

// keepSession stores what a successful request proved itself by, so that requests which
// carry no token can be checked. RFC 7635 §9: only Allocate and Refresh carry one.
func (w *Worker) keepSession(r *request) {
	if r.session == nil || r.method != methodAllocate && r.method != methodRefresh {
		return
	}
	if a := w.h.table.Find(&r.from.FiveTuple, r.now); a != nil && a.User == r.identity.User {
		a.Credential.Store(r.session)
	}
}

// tokenLifetime bounds a lifetime by what is left of a token, and by the whole of its
// life where its clock is ahead of ours: RFC 7635 §9. Time has passed since the token was
// found good, so there may be nothing left; then the allocation ends at once.
func tokenLifetime(r *request, lifetime time.Duration) time.Duration {
	lifetime = min(lifetime, r.identity.Expires.Sub(r.wall))
	if r.identity.Life > 0 {
		lifetime = min(lifetime, r.identity.Life)
	}
	return max(lifetime, time.Millisecond)
}
