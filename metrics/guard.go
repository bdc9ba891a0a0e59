package metrics

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/hairpin-turn/hairpin/auth"
)

// guard decides who sees allocations: they name users and addresses.
//
//	token set            whoever shows it
//	no token, loopback   whoever asks for this host by its own name
//	no token, elsewhere  nobody
type guard struct {
	token    *atomic.Pointer[[sha256.Size]byte] // the sum hides how long the token is; holds nil: there is none
	loopback bool                               // immutable
}

func newGuard(o Options) guard {
	g := guard{token: new(atomic.Pointer[[sha256.Size]byte]), loopback: o.Loopback}
	g.set(o.Token)
	return g
}

// set replaces the token; empty: nobody has one.
func (g *guard) set(token string) {
	if token == "" {
		g.token.Store(nil)
		return
	}
	sum := sha256.Sum256([]byte(token))
	g.token.Store(&sum)
}

// closed says whether there is a token: whoever is admitted has shown it then.
func (g *guard) closed() bool { return g.token.Load() != nil }

// admits says whether the request may be answered; otherwise it has answered it.
func (g *guard) admits(w http.ResponseWriter, r *http.Request) bool {
	token := g.token.Load()
	switch {
	case token != nil:
		if matches(shownToken(r), token) {
			return true
		}
		w.Header().Add("WWW-Authenticate", `Bearer realm="hairpin admin"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="hairpin admin", charset="UTF-8"`)
		answer(w, http.StatusUnauthorized, "the admin token is needed: send \"Authorization: Bearer TOKEN\", or give it as the password of any user")
	case !g.loopback:
		answer(w, http.StatusForbidden, "this address is not on loopback and has no token, so only /metrics, /healthz and /readyz are served: "+
			"set --admin-token or --admin-token-file, or bind --admin to 127.0.0.1")
	default:
		return g.askedHere(w, r)
	}
	return false
}

// exposes says whether the request may be answered with the metrics, whose labels name users, too; otherwise it has
// answered it. They are for whoever can connect, but an address on loopback is not for who only gets a browser there to.
func (g *guard) exposes(w http.ResponseWriter, r *http.Request) bool {
	token := g.token.Load()
	return !g.loopback || token != nil && matches(shownToken(r), token) || g.askedHere(w, r)
}

// askedHere keeps out pages of the web that could read the answers under a name of their own, which they make resolve to
// 127.0.0.1 (DNS rebinding). Where a token is asked for they can't: the browser keeps it for another name.
func (g *guard) askedHere(w http.ResponseWriter, r *http.Request) bool {
	if auth.IsLocalName(r.Host) {
		return true
	}
	answer(w, http.StatusForbidden, fmt.Sprintf("this address answers to localhost and to IP addresses, not to %q: "+
		"use one of these, or set --admin-token and show it", r.Host))
	return false
}

// matches compares in a time that says nothing about the token.
func matches(shown string, token *[sha256.Size]byte) bool {
	sum := sha256.Sum256([]byte(shown))
	return subtle.ConstantTimeCompare(sum[:], token[:]) == 1
}

// shownToken returns the bearer token or the password of basic authentication (RFC 6750 §2.1, RFC 7617 §2); empty,
// which is never right, when there is neither.
func shownToken(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	_, password, _ := r.BasicAuth()
	return password
}
