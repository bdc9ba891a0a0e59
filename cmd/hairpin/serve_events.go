package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/events"
)

// newRecorder opens the target of --events.
func newRecorder(target string, stdout io.Writer, log logging.LoggerFactory) (*events.Writer, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	recorder, err := events.New(events.Options{
		Target: target, Stdout: stdout, Log: log.NewLogger("events"),
		Instance: fmt.Sprintf("%s/%d", host, time.Now().UnixNano()), // of this run: numbers begin anew with it
	})
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return recorder, nil
}

// recording lets a recorder, which may be nil, write as long as work works and until what that left is written.
func recording(recorder *events.Writer, work func(context.Context) error, log logging.LeveledLogger) func(context.Context) error {
	if recorder == nil {
		return work
	}
	return func(ctx context.Context) error {
		beside, stop := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- recorder.Run(beside) }()
		err := work(ctx)
		stop()
		if lost := <-ended; lost != nil {
			log.Warnf("events: %v", lost)
		}
		return err
	}
}
