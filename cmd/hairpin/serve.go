package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/metrics"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/peers"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the relay",
		Description: "Without any flag it listens on UDP and TCP port 3478, relays between its own clients only, and makes one user, whom it\n" +
			"prints together with an ICE configuration and a probe to try.\n\n" +
			"A flag goes before its environment variable, that before the file, the file before the default. In a variable commas part\n" +
			"the values of a repeatable flag. Flags can be seen by other users of the host: prefer files for secrets.\n\n" +
			"SIGTERM drains the server: it takes no new allocation, and ends when the last one has, or after --drain-timeout; a second\n" +
			"signal ends it at once. SIGINT (Ctrl-C) ends it at once. Both with exit code 0. SIGHUP, hairpin reload and a change of the file\n" +
			"have it take over what has changed in its settings, listeners included, without ending anything (hairpin reload --help).\n\n" +
			"Exit code 2: something in the settings is wrong, one line for each fault. Exit code 1: the host refuses, such as for a port in use.",
		Flags:  settingFlags(),
		Action: serve,
	}
}

// collectorPercent is how much garbage may lie beside what lives. Packets make none, requests little, so a smaller part
// than Go's 100 % costs next to nothing: 918 bytes were resident per allocation instead of 1,032, at no lower rate of
// allocations.
const collectorPercent = 50

// serve is the life of a server:
//
//	settings ──► sockets bound ──► welcome ──► relay, admin and ICE run ──signal, drained──► relay closed ──► the others closed
//	    │ exit 2       │ exit 1
func serve(c *cli.Context) error {
	settings, err := loadSettings(c)
	if err == nil {
		err = settings.checkSecure().err()
	}
	if err != nil {
		return err
	}
	log := newLoggers(c.App.ErrWriter, settings.LogLevel, settings.LogFormat)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
	again := newReloader(func() (*Settings, error) { return loadSettings(c) }, settings, log)
	defer again.release()
	var made *auth.User
	if !settings.hasCredentials() {
		made = makeUser()
		again.made = &auth.Options{Users: []auth.User{*made}}
		if settings.ICE.IsValid() {
			again.made.Secrets = []string{rand.Text()} // so that what it hands out ends by itself
		}
	}
	config, _ := again.config(settings) // there are credentials

	var recorder *events.Writer
	if settings.Events != "" {
		if recorder, err = newRecorder(settings.Events, c.App.Writer, log); err != nil {
			return err
		}
		config.Events = recorder
	}

	// All are opened before any fault is reported, so that all ports in use are named at once.
	adminListener, adminErr := listenHTTP("admin", settings.Admin)
	iceListener, iceErr := listenHTTP("ice", settings.ICE)
	work, err := settings.open(config)
	if err := errors.Join(err, adminErr, iceErr); err != nil {
		for _, l := range []net.Listener{adminListener, iceListener} {
			if l != nil {
				l.Close()
			}
		}
		if work != nil {
			work.close()
		}
		return err
	}
	own := log.NewLogger("serve")
	ctx, release := untilSignal(c.Context, own, func() { work.drain(again.settings.Load().DrainTimeout) })
	defer release()
	again.work, again.recorder = work, recorder
	admin := newAdmin(ctx, adminListener, settings, work, again, log)
	ice, err := newICE(iceListener, settings, work, again, log)
	if err != nil {
		return err
	}
	announce(own, settings, work.relay)
	if made != nil {
		welcome(c.App.Writer, *made, work.relay)
		if settings.ICE.IsValid() {
			fmt.Fprintf(c.App.Writer, "  ICE        http://%s/ice?service=turn&username=NAME\n\n", fromHereHTTP(settings.ICE))
		}
	}
	return runTogether(ctx, recording(recorder, again.beside(work.run), own), admin, ice)
}

// work is what a process is there for: a relay, or with --listen none nothing but credentials.
type work struct {
	relay    *relay.Server // nil with --listen none
	auth     *auth.Authenticator
	source   metrics.Source
	run      func(context.Context) error // until its context ends, or drain has come to its end
	drain    func(timeout time.Duration) // begins it; only the first call counts
	draining func() bool
	reload   func(relay.Config) error // all of it, or nothing and why
	close    func()                   // instead of run
}

func (s *Settings) open(config relay.Config) (*work, error) {
	if s.ListenNone {
		authenticator, err := auth.New(config.Auth)
		if err != nil {
			return nil, err
		}
		nothing := &noRelay{drained: make(chan struct{})}
		return &work{auth: authenticator, source: nothing, close: func() {}, drain: nothing.drain, draining: nothing.draining, run: func(ctx context.Context) error {
			return nothing.run(ctx, authenticator)
		}, reload: func(next relay.Config) error { return reloadCredentials(authenticator, next.Auth) }}, nil
	}
	server, err := relay.New(config)
	if err != nil {
		return nil, err
	}
	return &work{
		relay: server, auth: server.Auth(), source: server, run: server.Run, close: server.Close,
		drain:    func(timeout time.Duration) { server.Drain(timeout) },
		draining: func() bool { return server.Draining().Draining },
		reload:   server.Reload,
	}, nil
}

// reloadCredentials is all that changes where there is no relay.
func reloadCredentials(a *auth.Authenticator, options auth.Options) error {
	next, err := auth.New(options)
	if err == nil {
		err = a.Adoptable(next)
	}
	if err == nil {
		a.Adopt(next)
	}
	return err
}

// noRelay is what there is to be seen of no relay, and of its end: there is nothing to wait for.
type noRelay struct {
	once    sync.Once
	drained chan struct{} // closed by drain
}

func (n *noRelay) run(ctx context.Context, authenticator *auth.Authenticator) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- authenticator.Run(ctx) }()
	select {
	case err := <-failed:
		if ctx.Err() == nil {
			return err
		}
		return nil // it ended because it was told to
	case <-n.drained:
		cancel()
		<-failed
		return nil
	}
}

func (n *noRelay) drain(time.Duration) { n.once.Do(func() { close(n.drained) }) }

func (n *noRelay) draining() bool {
	select {
	case <-n.drained:
		return true
	default:
		return false
	}
}

func (n *noRelay) Snapshot() relay.Snapshot {
	s := relay.Snapshot{Started: started}
	if n.draining() {
		s.Drain = relay.DrainState{Draining: true, Since: time.Now(), Deadline: time.Now()}
	}
	return s
}
func (*noRelay) Allocations(int, func(relay.AllocationInfo) bool)    {}
func (*noRelay) ListenerInfos() []relay.ListenerInfo                 { return nil }
func (*noRelay) Wall(allocation.Time) time.Time                      { return started }
func (*noRelay) Allocation(uint64) (a relay.AllocationInfo, ok bool) { return a, false }
func (*noRelay) History(uint64) []relay.Moment                       { return nil }
func (*noRelay) End(uint64) bool                                     { return false }
func (*noRelay) RelayPrefixes() []netip.Prefix                       { return nil }
func (*noRelay) Peers() *peers.Policy                                { return nil }

var started = time.Now() // of the process

// roomyDescriptors is how many file descriptors are enough not to be warned about.
const roomyDescriptors = 1 << 14

// announce logs what was opened.
func announce(log logging.LeveledLogger, s *Settings, server *relay.Server) {
	log.Infof("hairpin %s", readBuild())
	if server != nil {
		for _, l := range server.ListenerInfos() {
			log.Infof("listening on %s at %s, clients connect to %s", l.Name, l.Address, l.Public)
		}
		capacity := server.Capacity()
		log.Infof("relayed addresses: %s, ports %s: room for %d allocations", spellPrefixes(server.RelayPrefixes()), server.RelayPorts(), capacity)
		if capacity < 2 {
			log.Warnf("relay-ports %s: a call takes two allocations; name a larger range, or more relay addresses", server.RelayPorts())
		}
		if limit, known := descriptorLimit(); known && server.Peers().External() && limit < min(capacity, roomyDescriptors) {
			log.Warnf("peers beyond this server take a file descriptor for each allocation, and there are %d: raise the limit (ulimit -n, LimitNOFILE=), or set --total-quota", limit)
		}
		if !s.Loop {
			log.Warnf("no peer rule is loop: clients of this server reach each other only where another rule allows their relayed addresses")
		}
	}
	if s.Admin.IsValid() {
		log.Infof("admin address: %s", s.Admin)
	}
	if s.ICE.IsValid() {
		log.Infof("ICE service: %s", s.ICE)
		if len(s.ICEKeys) == 0 && !s.ICE.Addr().IsLoopback() {
			log.Warnf("the ICE service gives credentials to whoever can connect to %s: set --ice-key, or keep the port from the world", s.ICE)
		}
	}
}

// relayConfig is what package relay needs of the settings.
func (s *Settings) relayConfig(log logging.LoggerFactory) relay.Config {
	config := relay.Config{
		Certificates:    s.certificates(),
		ProxyTrusted:    s.ProxyTrusted,
		PublicAddresses: s.PublicAddress,
		RelayAddresses:  s.RelayAddress,
		RelayBind:       s.RelayBind,
		RelayPorts:      s.RelayPorts,
		Cooldown:        s.RelayCooldown,
		UserQuota:       s.UserQuota,
		ForbidMobility:  !s.Mobility,
		TotalQuota:      s.TotalQuota,
		MaxBandwidth:    s.MaxBandwidth,
		UserBandwidth:   s.UserBandwidth,
		Limits:          s.Limits,
		RedirectAt:      s.RedirectAt,
		NATDiscovery:    s.NATDiscovery,
		Peers:           peers.Options{Rules: s.Peers, File: s.PeersFile, Log: log.NewLogger("peers")},
		Alternates:      s.Alternates,
		Auth:            s.authOptions(),
		Software:        s.Software,
		Log:             log,
		Quality:         s.Quality,
		Workers:         s.Workers,
		Offload:         s.Offload,
	}
	config.Auth.Log = log.NewLogger("auth")
	config.Peers.Own = s.httpAddresses
	for _, l := range s.Listen {
		config.Listeners = append(config.Listeners, relay.Listener{Scheme: l.scheme, Proxy: l.proxy, Address: l.address(), Name: l.String()})
	}
	return config
}

// httpAddresses lists where the admin address and the ICE service can be reached, which is nothing for clients' packets.
func (s *Settings) httpAddresses() []netip.AddrPort {
	var own []netip.AddrPort
	for _, a := range []netip.AddrPort{s.Admin, s.ICE} {
		switch {
		case !a.IsValid():
		case !a.Addr().IsUnspecified():
			own = append(own, a)
		default:
			for _, ip := range append(relay.HostAddresses(), s.PublicAddress...) {
				own = append(own, netip.AddrPortFrom(ip, a.Port()))
			}
		}
	}
	return own
}
