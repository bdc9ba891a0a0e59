package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pion/logging"
)

// endGrace is how long ending at once may take before the process just ends: to close sockets and to log what was cut.
const endGrace = 2 * time.Second

// untilSignal returns a context that ends when the server has to end at once:
//
//	running ──SIGTERM──► draining ──any signal──► ending at once ──any signal, or endGrace after a drain──► exit code 1
//	    └──────SIGINT─────────────────────────────────►┘
//
// SIGTERM calls drain, which is not to wait. It is the same in process 1 of a container, whom signals without a handler
// do not reach. release gives the signals back.
func untilSignal(parent context.Context, log logging.LeveledLogger, drain func()) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	released, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var late <-chan time.Time
		for draining := false; ; {
			select {
			case <-released:
				return
			case <-late:
				log.Warnf("not ended within %s: ending without", endGrace)
				os.Exit(exitRuntime)
			case s := <-signals:
				switch {
				case ctx.Err() != nil:
					log.Warnf("another signal (%s): ending without waiting for anything", s)
					os.Exit(exitRuntime)
				case draining:
					log.Warnf("another signal (%s) while draining: ending at once", s)
					late = time.After(endGrace)
					cancel()
				case s == syscall.SIGTERM:
					log.Infof("%s: draining", s)
					draining = true
					drain()
				default:
					log.Infof("%s: ending", s)
					cancel()
				}
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
