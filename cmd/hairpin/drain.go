package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

const (
	drainPoll    = 250 * time.Millisecond // between two looks at the server
	drainAnswer  = 2 * time.Second        // for one answer while waiting
	drainSilence = 8                      // looks in a row without an answer, after which the server counts as gone
	drainLine    = 10 * time.Second       // between two progress lines where nobody rewrites them
	// drainMargin is how close to its deadline a server must have ended for what it still had to count as cut.
	drainMargin = 4 * drainPoll
)

func drainCommand() *cli.Command {
	return &cli.Command{
		Name:      "drain",
		Usage:     "have a running server take no new allocations, and wait until it is empty",
		ArgsUsage: "[HOST:PORT]",
		Description: "Asks the admin address of the server: HOST:PORT, else the one in the settings. From then on new clients are refused, or\n" +
			"sent to the server's --alternate-server; calls go on, and the server ends with the last one or after its --drain-timeout.\n\n" +
			"Exit code: 0 the server was empty and is gone; 1 time is up and allocations are left or were cut, or there is no answer;\n" +
			"2 wrong usage. As the preStop hook of a container it needs no shell: exec: [/hairpin, drain].",
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "timeout", EnvVars: variable("drain", "wait"), Usage: "longest `TIME` to wait; the server goes on draining after it", DefaultText: "as long as the server takes"},
			&cli.BoolFlag{Name: "no-wait", EnvVars: variable("drain", "no-wait"), Usage: "only ask, and exit with 0 when the server has heard"},
		}, settingFlags("config", "admin", "admin-token", "admin-token-file")...),
		Action: drain,
	}
}

func drain(c *cli.Context) error {
	server, found, err := adminOf(c, 0)
	if err != nil {
		return err
	}
	if c.IsSet("timeout") && c.Duration("timeout") <= 0 {
		found = append(found, fault{"--timeout", fmt.Sprintf("%s is no time", c.Duration("timeout")), "write for example 5m, or --no-wait"})
	}
	if err := found.err(); err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer release()
	w := drainWait{server: server, timeout: c.Duration("timeout"), progress: &drainProgress{out: c.App.ErrWriter, rewrite: isTerminal(c.App.ErrWriter)}}
	state, err := w.look(ctx, http.MethodPost, statusTimeout)
	if err != nil {
		return err
	}
	if c.Bool("no-wait") {
		_, err := fmt.Fprintln(c.App.Writer, spellDrain(state))
		return err
	}
	return w.wait(ctx, state)
}

// drainWait is the waiting for one server.
type drainWait struct {
	server   adminClient
	timeout  time.Duration // 0: none but the server's
	progress *drainProgress
}

// look asks the server how far it is, or by POST to begin.
func (w *drainWait) look(ctx context.Context, method string, timeout time.Duration) (state metrics.Drain, err error) {
	body, err := w.server.ask(ctx, method, "/drain", timeout)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(body, &state); err != nil {
		return state, notHairpin(err)
	}
	return state, nil
}

// wait returns when the server is gone, or with an error when allocations outlast the time that there is. Its state was
// just told.
func (w *drainWait) wait(ctx context.Context, state metrics.Drain) error {
	asked := time.Now()
	cut := asked.Add(seconds(state.Remaining)) // by the server
	var timeUp <-chan time.Time
	if w.timeout > 0 {
		timeUp = time.After(w.timeout)
	}
	again := time.NewTicker(drainPoll)
	defer again.Stop()
	defer func() { w.progress.end() }()
	w.progress.show(state)
	for silent := 0; ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("interrupted; %s goes on draining, %s left", w.server.address, spellCount(state.Allocations))
		case <-timeUp:
			return fmt.Errorf("%s left after %s; %s goes on draining", spellCount(state.Allocations), w.timeout, w.server.address)
		case <-again.C:
		}
		now, err := w.look(ctx, http.MethodGet, drainAnswer)
		var silence *silentServer
		switch {
		case ctx.Err() != nil:
			continue
		case err == nil && !now.Draining:
			return w.gone(state, cut) // another process has taken its place
		case err == nil && now.Remaining > 0:
			silent, state = 0, now
			w.progress.show(state)
		case err == nil: // what it still tells at its deadline may be after the cut
			silent = 0
		case !errors.As(err, &silence):
			return err
		case errors.Is(err, syscall.ECONNREFUSED):
			return w.gone(state, cut)
		default:
			if silent++; silent == drainSilence {
				return w.gone(state, cut)
			}
		}
	}
}

// gone judges by what was told last whether the server ended empty.
func (w *drainWait) gone(last metrics.Drain, cut time.Time) error {
	if last.Allocations > 0 && time.Until(cut) < drainMargin {
		return fmt.Errorf("%s has ended at its deadline; %s cut", w.server.address, spellCount(last.Allocations))
	}
	w.progress.done = true
	return nil
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// spellDrain is a state as one line.
func spellDrain(d metrics.Drain) string {
	return fmt.Sprintf("draining: %s left, for %s at the longest", spellCount(d.Allocations), spellDuration(seconds(d.Remaining)))
}

// drainProgress is a line on a terminal that is written over and over again; elsewhere a new line now and then, when
// there is news.
type drainProgress struct {
	out     io.Writer
	rewrite bool
	done    bool // the server ended empty

	width int       // of what stands there
	shown int       // allocations
	last  time.Time // when something was written
}

// show tells how far the server is. A write that fails is nobody's loss.
func (p *drainProgress) show(d metrics.Drain) {
	text := spellDrain(d)
	switch {
	case p.rewrite:
		fmt.Fprintf(p.out, "\r%s%s", text, strings.Repeat(" ", max(0, p.width-len(text))))
		p.width = len(text)
	case p.last.IsZero(), d.Allocations != p.shown && time.Since(p.last) >= drainLine:
		fmt.Fprintln(p.out, text)
		p.shown, p.last = d.Allocations, time.Now()
	}
}

func (p *drainProgress) end() {
	if p.width > 0 {
		fmt.Fprintln(p.out)
	}
	if p.done {
		fmt.Fprintln(p.out, "drained: the server is gone")
	}
}
