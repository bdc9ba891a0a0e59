package relay

import (
	"errors"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/secure"
)

// ErrNeedsSockets refuses rules that allow peers beyond the process to a server that was started without any: its
// allocations have no sockets.
var ErrNeedsSockets = errors.New("peers: rules beyond loop need a restart: without any at start, relayed transport addresses have no sockets")

// Reload changes a server to what next says of Listeners, Peers.Rules, Peers.File, UserQuota, TotalQuota, Quality, Alternates,
// Certificates and Auth, as far as Authenticator.Adopt takes that. The rest of next is not looked at, but for being valid.
// Allocations, connections and packets under way are not touched: each change holds for what comes next.
//
//	check, read files ──► bind new listeners ──► peers' rules ──► all the rest, which can't fail
//	        └──────────────────────┴───────────────────┴─ fault: nothing has changed
//
// A listener that is no longer there takes no new allocation, and no new connection: an Allocate is answered with the
// address of another listener or server (300), else with 508. It is closed when its last client has gone; for UDP and
// DTLS it serves again when it comes back before. A new data connection of a TCP allocation (RFC 6062) has to come by another
// listener meanwhile. What is bound is a listener with all its fields, so one that has only
// some others than before is another one, and its port not free.
//
// It may be called by any goroutine; two calls come one after the other.
func (s *Server) Reload(next Config) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	next.Log = s.config.Log
	if err := next.complete(); err != nil {
		return err
	}
	if s.relayed == nil && peers.External(next.Peers.Rules, next.Peers.File) {
		return ErrNeedsSockets
	}
	next.Auth.Log = s.config.Auth.Log
	credentials, err := auth.New(next.Auth)
	if err != nil {
		return err
	}
	var certificates *secure.Certificates
	if len(next.Certificates) > 0 {
		if certificates, err = secure.Load(next.Certificates, s.config.Log.NewLogger("secure")); err != nil {
			return err
		}
	}
	if err := s.auth.Adoptable(credentials); err != nil {
		return err
	}
	listeners, err := s.plan(next.Listeners)
	if err != nil {
		return err
	}
	s.opening.Store(listeners.next)
	defer s.opening.Store(nil)
	if err := s.policy.ReplaceFile(next.Peers.Rules, next.Peers.File); err != nil {
		listeners.abandon()
		return err
	}
	if certificates != nil {
		s.secure.Certificates.Adopt(certificates)
	}
	if err := listeners.commit(); err != nil {
		return err
	}
	s.auth.Adopt(credentials)
	s.table.SetQuotas(next.UserQuota, next.TotalQuota)
	s.plane.SetQuality(next.Quality)
	s.alternates.replace(next.Alternates)
	return nil
}
