package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hairpin-turn/hairpin/metrics"
)

// Limits of the admin address: it speaks to a scraper and a person, not to the world.
const (
	adminHeaderTimeout = 5 * time.Second
	adminReadTimeout   = 10 * time.Second
	adminWriteTimeout  = time.Minute // a page of 100,000 allocations over a slow line
	adminIdleTimeout   = 2 * time.Minute
	adminHeaderBytes   = 16 << 10
)

// Limits of the ICE service, which may well speak to the world: questions and answers are one packet each.
const (
	iceTimeout     = 5 * time.Second
	iceIdleTimeout = 15 * time.Second
	iceHeaderBytes = 64 << 10 // a user name of 10,000 characters gets an answer that says what is wrong with it
	iceConnections = 2048     // at a time; others wait, so that the relay's own clients keep their file descriptors
)

// httpGrace is for answers under way when the server ends.
const httpGrace = time.Second

// sideServer is an HTTP server beside the relay. A nil *sideServer is one that is off.
type sideServer struct {
	name     string // of its setting
	listener net.Listener
	server   *http.Server
}

// listenHTTP opens the address of a setting; nil when it is off.
func listenHTTP(name string, at netip.AddrPort) (net.Listener, error) {
	if !at.IsValid() {
		return nil, nil
	}
	address := at.String()
	if at.Addr().IsUnspecified() && at.Addr().Is6() {
		address = fmt.Sprintf(":%d", at.Port())
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s: port %d is in use: stop what uses it (ss -ltnp), or choose another with --%[1]s IP:PORT, or --%[1]s off", name, address, at.Port())
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s %s: not permitted to use port %d: choose one from 1024 on with --%[1]s IP:PORT", name, address, at.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s %s: %s is no address of this host: name one that is with --%[1]s IP:PORT", name, address, at.Addr())
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", name, address, err)
	}
	return l, nil
}

// newAdmin makes the server for l, nil when the admin address is off. It stops being ready when w drains or ctx ends.
func newAdmin(ctx context.Context, l net.Listener, s *Settings, w *work, again *reloader, log *loggers) *sideServer {
	if l == nil {
		return nil
	}
	again.admin = metrics.NewHandler(w.source, metrics.Options{
		Token:            s.AdminToken,
		AllocationSeries: s.MetricsAllocations,
		Version:          readBuild().Version,
		Loopback:         s.Admin.Addr().IsLoopback(),
		Ready: func() error {
			if ctx.Err() != nil {
				return errors.New("the server is ending")
			}
			if w.draining() {
				return errors.New("draining")
			}
			return nil
		},
		Drain:   func() { w.drain(again.settings.Load().DrainTimeout) },
		Reload:  func() metrics.Reload { return again.reload("POST /reload") },
		Reloads: &again.attempts,
		Log:     log.NewLogger("metrics"),
	})
	side := &sideServer{
		name: "admin", listener: l,
		server: &http.Server{
			Handler:           again.admin,
			ReadHeaderTimeout: adminHeaderTimeout,
			ReadTimeout:       adminReadTimeout,
			WriteTimeout:      adminWriteTimeout,
			IdleTimeout:       adminIdleTimeout,
			MaxHeaderBytes:    adminHeaderBytes,
			ErrorLog:          log.standard("admin"),
		},
	}
	again.admin.Record()
	side.server.RegisterOnShutdown(again.admin.Close)
	return side
}

// newICE makes the ICE credential service for l, nil when it is off.
func newICE(l net.Listener, s *Settings, w *work, again *reloader, log *loggers) (*sideServer, error) {
	if l == nil {
		return nil, nil
	}
	again.ice = new(iceService)
	if err := again.ice.set(s, w); err != nil {
		return nil, err
	}
	limited := limitConnections(l, iceConnections)
	return &sideServer{
		name: "ice", listener: limited,
		server: &http.Server{
			Handler:           limited.unlessCrowded(again.ice),
			ReadHeaderTimeout: iceTimeout,
			ReadTimeout:       iceTimeout,
			WriteTimeout:      iceTimeout,
			IdleTimeout:       iceIdleTimeout,
			MaxHeaderBytes:    iceHeaderBytes,
			ErrorLog:          log.standard("ice"),
		},
	}, nil
}

// fromHereHTTP is an address at which this host itself reaches an HTTP address.
func fromHereHTTP(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().IsUnspecified() {
		return a
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
}

// runTogether works until ctx ends or one of them fails, and returns when all have ended. The sides outlive the work:
// they show how it ends.
func runTogether(ctx context.Context, work func(context.Context) error, sides ...*sideServer) error {
	ctx, stopWork := context.WithCancel(ctx)
	defer stopWork()
	beside, stopSides := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSides()

	var running sync.WaitGroup
	faults := make(chan error, len(sides))
	for _, side := range sides {
		if side != nil {
			running.Go(func() {
				if err := side.serve(beside); err != nil {
					faults <- err
					stopWork()
				}
			})
		}
	}
	err := work(ctx)
	stopSides()
	running.Wait()
	close(faults)
	for fault := range faults {
		err = errors.Join(fault, err)
	}
	return err
}

// serve answers until ctx ends.
func (s *sideServer) serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.server.Serve(s.listener) }()
	select {
	case err := <-failed: // it was not asked to end
		return fmt.Errorf("%s %s: %w", s.name, s.listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), httpGrace)
	defer cancel()
	if s.server.Shutdown(grace) != nil {
		s.server.Close()
	}
	<-failed
	return nil
}
