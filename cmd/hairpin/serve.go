package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pion/logging"
	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/metrics"
	"github.com/hairpin-turn/hairpin/relay"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the relay",
		Description: "Without any flag it listens on UDP and TCP port 3478, relays between its own clients only, and makes one user, whom it\n" +
			"prints together with an ICE configuration and a probe to try.\n\n" +
			"A flag goes before its environment variable, that before the file, the file before the default. In a variable commas part\n" +
			"the values of a repeatable flag. Flags can be seen by other users of the host: prefer files for secrets.\n\n" +
			"SIGINT and SIGTERM end the server cleanly with exit code 0, a second one at once. Exit code 2: something in the settings\n" +
			"is wrong, one line for each fault. Exit code 1: the host refuses, such as for a port in use.",
		Flags:  settingFlags(),
		Action: serve,
	}
}

// serve is the life of a server:
//
//	settings ──► sockets bound ──► welcome ──► relay and admin run ──signal──► relay closed ──► admin closed
//	    │ exit 2       │ exit 1
func serve(c *cli.Context) error {
	settings, err := loadSettings(c)
	if err != nil {
		return err
	}
	log := newLoggers(c.App.ErrWriter, settings.LogLevel, settings.LogFormat)
	config := settings.relayConfig(log)
	var made *auth.User
	if !settings.hasCredentials() {
		made = makeUser()
		config.Auth.Users = []auth.User{*made}
	}

	// Both are opened before either fault is reported, so that all ports in use are named at once.
	listening, adminErr := settings.listenAdmin()
	server, err := relay.New(config)
	if err := errors.Join(err, adminErr); err != nil {
		if listening != nil {
			listening.Close()
		}
		if server != nil {
			server.Close()
		}
		return err
	}
	own := log.NewLogger("serve")
	ctx, release := untilSignal(c.Context, own)
	defer release()
	admin := newAdmin(ctx, listening, settings, server, log)
	announce(own, settings, server)
	if made != nil {
		welcome(c.App.Writer, *made, server)
	}
	return runBoth(ctx, server, admin)
}

// announce logs what was opened.
func announce(log logging.LeveledLogger, s *Settings, server *relay.Server) {
	log.Infof("hairpin %s", readBuild())
	for _, l := range server.ListenerInfos() {
		if l.Scheme == "udp" {
			log.Infof("listening on %s at %s, clients connect to %s, offload %s", l.Name, l.Address, l.Public, l.Offload)
		} else {
			log.Infof("listening on %s at %s, clients connect to %s", l.Name, l.Address, l.Public)
		}
	}
	log.Infof("relayed addresses: %s, ports %s", spellPrefixes(server.RelayPrefixes()), server.RelayPorts())
	if s.Admin.IsValid() {
		log.Infof("admin address: %s", s.Admin)
	}
}

// relayConfig is what package relay needs of the settings.
func (s *Settings) relayConfig(log logging.LoggerFactory) relay.Config {
	config := relay.Config{
		PublicAddresses: s.PublicAddress,
		RelayAddresses:  s.RelayAddress,
		RelayPorts:      s.RelayPorts,
		Cooldown:        s.RelayCooldown,
		UserQuota:       s.UserQuota,
		TotalQuota:      s.TotalQuota,
		Auth:            s.authOptions(),
		Software:        s.Software,
		Log:             log,
		Workers:         s.Workers,
		Offload:         s.Offload,
	}
	config.Auth.Log = log.NewLogger("auth")
	for _, l := range s.Listen {
		config.Listeners = append(config.Listeners, relay.Listener{Scheme: l.scheme, Address: l.address(), Name: l.String()})
	}
	return config
}

// listenAdmin opens the admin address; nil when it is off.
func (s *Settings) listenAdmin() (net.Listener, error) {
	if !s.Admin.IsValid() {
		return nil, nil
	}
	address := s.Admin.String()
	if s.Admin.Addr().IsUnspecified() && s.Admin.Addr().Is6() {
		address = fmt.Sprintf(":%d", s.Admin.Port())
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("admin %s: port %d is in use: stop what uses it (ss -ltnp), or choose another with --admin IP:PORT, or --admin off", address, s.Admin.Port())
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("admin %s: not permitted to use port %d: choose one from 1024 on with --admin IP:PORT", address, s.Admin.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("admin %s: %s is no address of this host: name one that is with --admin IP:PORT", address, s.Admin.Addr())
	case err != nil:
		return nil, fmt.Errorf("admin %s: %w", address, err)
	}
	return l, nil
}

// Limits of the admin address: it speaks to a scraper and a person, not to the world.
const (
	adminHeaderTimeout = 5 * time.Second
	adminReadTimeout   = 10 * time.Second
	adminWriteTimeout  = time.Minute // a page of 100,000 allocations over a slow line
	adminIdleTimeout   = 2 * time.Minute
	adminHeaderBytes   = 16 << 10
	adminGrace         = time.Second // for answers under way when the server ends
)

// admin is the HTTP server beside the relay. A nil *admin is one that is off.
type admin struct {
	listener net.Listener
	server   *http.Server
	failed   chan error // what Serve returned; one value, sent by run's goroutine
}

// newAdmin makes the server for l, nil when the admin address is off. It stops being ready when ctx ends.
func newAdmin(ctx context.Context, l net.Listener, s *Settings, server *relay.Server, log *loggers) *admin {
	if l == nil {
		return nil
	}
	handler := metrics.NewHandler(server, metrics.Options{
		Token:            s.AdminToken,
		AllocationSeries: s.MetricsAllocations,
		Version:          readBuild().Version,
		Loopback:         s.Admin.Addr().IsLoopback(),
		Ready: func() error {
			if ctx.Err() != nil {
				return errors.New("the server is ending")
			}
			return nil
		},
		Log: log.NewLogger("metrics"),
	})
	return &admin{
		listener: l,
		failed:   make(chan error, 1),
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: adminHeaderTimeout,
			ReadTimeout:       adminReadTimeout,
			WriteTimeout:      adminWriteTimeout,
			IdleTimeout:       adminIdleTimeout,
			MaxHeaderBytes:    adminHeaderBytes,
			ErrorLog:          log.standard("admin"),
		},
	}
}

// start serves in a goroutine, which stop ends and waits for.
func (a *admin) start() <-chan error {
	if a == nil {
		return nil
	}
	go func() { a.failed <- a.server.Serve(a.listener) }()
	return a.failed
}

func (a *admin) stop() {
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		a.server.Close()
	}
}

// runBoth serves until ctx ends or one of the two fails, and returns when both have ended.
func runBoth(ctx context.Context, server *relay.Server, a *admin) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	failed := a.start()

	select {
	case err := <-served:
		a.stop()
		if failed != nil {
			<-failed
		}
		return err
	case err := <-failed: // it was not asked to end
		cancel()
		return errors.Join(fmt.Errorf("admin %s: %w", a.listener.Addr(), err), <-served)
	}
}

// untilSignal returns a context that ends at the first SIGINT or SIGTERM. The second one ends the process at once, also
// as process 1 of a container, whom signals without a handler do not reach. release gives the signals back.
func untilSignal(parent context.Context, log logging.LeveledLogger) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	released, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for range 2 {
			select {
			case <-released:
				return
			case s := <-signals:
				if ctx.Err() != nil {
					log.Warnf("second signal (%s): ending at once", s)
					os.Exit(exitRuntime)
				}
				log.Infof("%s: ending", s)
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(released)
		<-ended
		cancel()
	}
}
