package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/metrics"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/events"
)

// reloadLook is how often the files are looked at that nobody else does. They are small: reading them whole costs less
// than being fooled by a modification time.
const reloadLook = time.Second

// lookedAt are the settings whose files they are.
var lookedAt = []string{"config", "admin-token-file"}

// reloader has a running server take over what has changed in its settings, all of it or nothing:
//
//	SIGHUP ────────┐
//	POST /reload ──┼─► load, check ──► only what may change? ──► work.reload ──► the rest, which can't fail ──► applied
//	file changed ──┘         └────────────────┴──────────────────────┴──► refused
//
// The files of users, secrets, token keys, rules and certificates are looked at by those who read them; here it is the
// settings file and that of the admin token.
type reloader struct {
	// Immutable once run is called.
	load     func() (*Settings, error)
	log      *loggers
	own      logging.LeveledLogger
	made     *auth.Options    // credentials that were made at start; nil: none
	recorder *events.Writer   // nil: none
	work     *work            // who is reloaded
	admin    *metrics.Handler // nil: off
	ice      *iceService      // nil: off
	hangups  chan os.Signal

	settings atomic.Pointer[Settings] // in force
	attempts metrics.Reloads

	mu    sync.Mutex
	tried contents // of the files at the last attempt; guarded by mu
	taken contents // of the files in force; guarded by mu
}

// newReloader also takes SIGHUP from now on, which would end the process.
func newReloader(load func() (*Settings, error), s *Settings, log *loggers) *reloader {
	r := &reloader{load: load, log: log, own: log.NewLogger("reload"), hangups: make(chan os.Signal, 1), taken: s.contents()}
	r.tried = r.taken
	r.settings.Store(s)
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r
}

// release gives SIGHUP back.
func (r *reloader) release() { signal.Stop(r.hangups) }

// beside runs the reloader as long as work works.
func (r *reloader) beside(work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		defer running.Wait()
		defer stop()
		return work(ctx)
	}
}

func (r *reloader) run(ctx context.Context) {
	look := time.NewTicker(reloadLook)
	defer look.Stop()
	seen := r.settings.Load().contents()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangups:
			if r.recorder != nil {
				r.recorder.Reopen()
			}
			r.reload("SIGHUP")
		case <-look.C:
			seen = r.look(seen)
		}
	}
}

// look reloads when a file is another one than at the last attempt, and the same as at the last look: whoever writes it
// has finished.
func (r *reloader) look(seen contents) contents {
	now := r.settings.Load().contents()
	r.mu.Lock()
	changed := now.differ(r.tried, lookedAt...)
	r.mu.Unlock()
	if len(changed) > 0 && len(now.differ(seen, changed...)) == 0 {
		r.reload("the file of " + strings.Join(changed, " and of ") + " has changed")
	}
	return now
}

// reload reads the settings again and returns what came of it.
func (r *reloader) reload(why string) metrics.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now().UTC()
	what := metrics.Reload{Result: metrics.ReloadApplied, Time: &at}
	changed, err := r.attemptLocked()
	switch {
	case err != nil:
		what.Result, what.Faults = metrics.ReloadRefused, strings.Split(err.Error(), "\n")
		for _, line := range what.Faults {
			r.own.Errorf("%s; refused, and nothing has changed: %s", why, line)
		}
	case len(changed) == 0:
		what.Result = metrics.ReloadUnchanged
		r.own.Infof("%s: no setting has changed", why)
	default:
		what.Changed = changed
		r.own.Infof("%s; taken over: %s", why, strings.Join(changed, ", "))
	}
	r.attempts.Note(what)
	return what
}

// attemptLocked returns the names of the settings that have changed, or why nothing has.
//
// Of what is in force nothing changes before everything has been found good; see relay.Server.Reload for its part.
func (r *reloader) attemptLocked() ([]string, error) {
	before := r.settings.Load()
	r.tried = before.contents() // ahead of reading: what is written meanwhile is another attempt's
	if err := before.checkAgain().err(); err != nil {
		return nil, err
	}
	next, err := r.load()
	if err == nil {
		err = next.checkSecure().err()
	}
	if err != nil {
		return nil, err
	}
	now := next.contents()
	if next.AdminTokenFile == before.AdminTokenFile {
		now["admin-token-file"] = r.tried["admin-token-file"]
	}
	now["config"] = r.tried["config"]
	changed, found := next.changesSince(before)
	for _, name := range now.differ(r.taken, reloadable...) {
		if !slices.Contains(changed, name) {
			changed = append(changed, name)
		}
	}
	config, noCredentials := r.config(next)
	if err := append(found, noCredentials...).err(); err != nil {
		return nil, err
	}
	if len(changed) == 0 {
		return nil, nil
	}
	if err := r.work.reload(config); err != nil {
		return nil, next.placed(err)
	}
	r.tried, r.taken = now, now
	r.commit(next, changed)
	return changed, nil
}

// placed says of what relay.Server.Reload refused where it is written.
func (s *Settings) placed(err error) error {
	const remedy = "restart the server, or undo the change"
	if errors.Is(err, relay.ErrNeedsSockets) {
		place := s.originOf("peers")
		if place == "default" {
			place = s.originOf("peers-file")
		}
		return faults{{place, "peers beyond this server are allowed, and it was started without any, which needs a restart", remedy}}
	}
	var all []error
	for _, single := range unjoin(err) {
		var unbound *relay.ListenerError
		switch {
		case errors.As(single, &unbound):
			single = fmt.Errorf("%s: %w", s.Listen[unbound.Index].from, single)
		case errors.Is(single, relay.ErrDiscovery):
			single = fault{s.originOf("listen"), "the listener that nat-discovery-address goes by has changed, which needs a restart", remedy}
		}
		all = append(all, single)
	}
	return errors.Join(all...)
}

// config is what a relay needs of next.
func (r *reloader) config(next *Settings) (relay.Config, faults) {
	config := next.relayConfig(r.log)
	if next.hasCredentials() {
		return config, nil
	}
	if r.made == nil {
		return config, faults{{"user", "is not there any longer, nor are other credentials", "give at least one user or secret; one is made at start only"}}
	}
	config.Auth.Users, config.Auth.Secrets = r.made.Users, r.made.Secrets
	return config, nil
}

// commit is the part that can't fail.
func (r *reloader) commit(next *Settings, changed []string) {
	r.settings.Store(next)
	r.log.level.Set(next.LogLevel)
	if r.admin != nil {
		r.admin.SetToken(next.AdminToken)
		r.admin.SetAllocationSeries(next.MetricsAllocations)
	}
	forICE := func(name string) bool { return name == "listen" || strings.HasPrefix(name, "ice-") }
	if r.ice != nil && slices.ContainsFunc(changed, forICE) {
		if err := r.ice.set(next, r.work); err != nil {
			r.own.Errorf("the ICE service goes on as it was: %v", err)
		}
	}
}

// iceService is a handler of ICE configurations that can be replaced.
type iceService struct{ current atomic.Pointer[http.Handler] }

func (i *iceService) set(s *Settings, w *work) error {
	handler, err := auth.NewICEService(w.auth, s.iceServiceOptions(w.relay))
	if err == nil {
		i.current.Store(&handler)
	}
	return err
}

// ServeHTTP implements http.Handler.
func (i *iceService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*i.current.Load()).ServeHTTP(w, r)
}
