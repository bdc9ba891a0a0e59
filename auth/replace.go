package auth

import (
	"crypto/sha256"
	"errors"
	"slices"
)

// ErrFixed says that an option differs that can't change while a server runs: clients hold keys and nonces that were made
// with it.
var ErrFixed = errors.New("auth: realm, server name, algorithms, nonce secret and nonce lifetime cannot change at run time")

// Adoptable says whether Adopt may be called with next; ErrFixed: it may not.
func (a *Authenticator) Adoptable(next *Authenticator) error {
	if a.realm != next.realm || a.serverName != next.serverName || a.lifetime != next.lifetime ||
		!slices.Equal(a.algorithms, next.algorithms) || a.nonceSecret != next.nonceSecret {
		return ErrFixed
	}
	return nil
}

// Adopt takes over the credentials of next, which New made, Adoptable found good and nobody else uses: users, secrets and
// token keys with their files, and EnforceExpiry. Nonces stay good, and so does who holds a credential of both.
//
// Nothing can fail here any more: what a server replaces together is made first and then taken over as a whole.
func (a *Authenticator) Adopt(next *Authenticator) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files = next.files
	a.current.Store(next.current.Load())
	a.enforceExpiry.Store(next.enforceExpiry.Load())
}

// digestOf keeps a secret for comparison only.
func digestOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }
