package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

// Control sequences of terminals (ECMA-48, and xterm's other screen, on which what stood there before comes back).
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenTop   = "\x1b[H"
	lineRest    = "\x1b[K"
	screenRest  = "\x1b[J"
)

// watch shows the answers until it is interrupted. On a terminal each one takes the place of the one before, and a server
// that falls silent is waited for; elsewhere they follow each other, and silence is an error.
func watch(c *cli.Context, server adminClient, raw bool) error {
	ctx, release := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer release()
	w := &watching{out: c.App.Writer, interval: c.Duration("interval"), raw: raw}
	if isTerminal(c.App.Writer) {
		w.terminal = c.App.Writer.(*os.File)
		fmt.Fprint(w.out, screenOpen)
		defer fmt.Fprint(w.out, screenClose)
	}
	return w.run(ctx, func(path string) ([]byte, error) { return server.get(ctx, path, statusTimeout) }, c.Int("limit"))
}

// watching is one --watch.
type watching struct {
	out      io.Writer
	terminal *os.File // nil: out is none
	interval time.Duration
	raw      bool // the server's JSON as it is
}

// run shows limit allocations at most, which get asks the server for.
func (w *watching) run(ctx context.Context, get func(path string) ([]byte, error), limit int) error {
	ticker := time.NewTicker(w.interval)
	defer ticker.Stop()
	for {
		var page bytes.Buffer // written as a whole, so that nothing flickers
		err := w.show(&page, get, limit)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && w.terminal == nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(&page, "%v\n", err)
		}
		content := page.Bytes()
		if w.terminal != nil {
			columns, lines := terminalSize(w.terminal)
			content = inPlace(page.String(), columns, lines)
		}
		if _, err := w.out.Write(content); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// show asks for the server's table, which it sorts: the busiest of 10,000 would not be among those that come first.
func (w *watching) show(page io.Writer, get func(path string) ([]byte, error), limit int) error {
	if w.raw {
		answer, err := get(fmt.Sprintf("/allocations?limit=%d", limit))
		if err != nil {
			return err
		}
		return showJSON(page, answer, time.Time{})
	}
	answer, err := get("/allocations?limit=0")
	if err != nil {
		return err
	}
	report, err := readStatus(answer)
	if err != nil {
		return err
	}
	if answer, err = get(fmt.Sprintf("/table?sort=traffic&limit=%d", min(limit, metrics.MaxTableRows))); err != nil {
		return err
	}
	var table metrics.Table
	if err := json.Unmarshal(answer, &table); err != nil {
		return notHairpin(err)
	}
	now := time.Now()
	writeHead(page, report, now)
	if len(table.Rows) > 0 {
		writeColumns(page, sessionTable(table.Rows, watchedColumns, watchedName, now))
	}
	if more := table.Total - len(table.Rows); more > 0 {
		fmt.Fprintf(page, "and %d more that are less busy\n", more)
	}
	return nil
}

// inPlace turns a page into what redraws a terminal of that size; 0: it is not known. What does not fit is left out,
// because a line that wraps or scrolls would shift all others.
func inPlace(page string, columns, lines int) []byte {
	var out bytes.Buffer
	out.WriteString(screenTop)
	rows := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if lines > 0 && len(rows) > lines {
		rows = append(rows[:lines-1:lines-1], fmt.Sprintf("… %d more lines", len(rows)-lines+1))
	}
	for i, row := range rows {
		if columns > 0 {
			row = cut(row, columns)
		}
		out.WriteString(row + lineRest)
		if i < len(rows)-1 {
			out.WriteString("\r\n")
		}
	}
	out.WriteString(screenRest)
	return out.Bytes()
}

func readStatus(answer []byte) (*metrics.Status, error) {
	report := new(metrics.Status)
	if err := json.Unmarshal(answer, report); err != nil {
		return nil, notHairpin(err)
	}
	return report, nil
}

func notHairpin(err error) error {
	return fmt.Errorf("the answer is not the JSON of a hairpin server: %w", err)
}
