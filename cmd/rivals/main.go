// Command rivals measures hairpin beside coturn, pion/turn's server and a bare
// packet loop: in one run, on one machine, pinned to the same processors and
// interleaved, so that what disturbs one disturbs all. It is a tool for this
// project's developers, started by "make bench-rivals".
//
// It owns the list of rivals and cases and the tables that come of them, and
// refuses to measure and to judge: every figure is one that "hairpin bench"
// printed, and every verdict one of "hairpin check" ("make conformance").
//
//	for each round: for each case: for each rival: start server ─► hairpin bench --json ─► stop
//	medians over the rounds ─► results.md, results.svg
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &cli.App{
		Name:            "rivals",
		Usage:           "measure hairpin beside other relays, on loopback",
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "hairpin", Value: "bin/hairpin", Usage: "the binary to measure and to measure with"},
			&cli.StringFlag{Name: "loop", Value: "bin/bare-loop", Usage: "the bare loop's binary; it is left out where there is none"},
			&cli.StringFlag{Name: "out", Value: "cmd/rivals", Usage: "directory for results.md and results.svg"},
			&cli.IntFlag{Name: "rounds", Value: 5, Usage: "rounds; figures are medians over them"},
			&cli.DurationFlag{Name: "duration", Value: 3 * time.Second, Usage: "of each measurement"},
			&cli.IntFlag{Name: "port", Value: 23478, Usage: "port on 127.0.0.1"},
			&cli.StringFlag{Name: "only", Usage: "only cases whose name contains this"},
			&cli.StringFlag{Name: "rivals", Usage: "only rivals whose name contains this"},
		},
		Action: func(c *cli.Context) error { return run(c.Context, c) },
		Commands: []*cli.Command{{
			Name: "conformance", Usage: "hold the rivals to the RFCs with \"hairpin check\" and write the comparison",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "hairpin", Value: "bin/hairpin", Usage: "the binary to check and to check with"},
				&cli.IntFlag{Name: "port", Value: 23478, Usage: "port on 127.0.0.1"},
				&cli.StringFlag{Name: "out", Value: "cmd/hairpin/conformance.md", Usage: "file to write"},
			},
			Action: func(c *cli.Context) error {
				return compareConformance(c.Context, c.String("hairpin"), c.Int("port"), c.String("out"))
			},
		}, {
			Name: "pion", Usage: "serve with pion/turn's server on 127.0.0.1:PORT, UDP and TCP", ArgsUsage: "PORT",
			Action: func(c *cli.Context) error { return servePion(c.Context, c.Args().First()) },
		}, {
			Name: "echo", Usage: "send back whatever comes to UDP port PORT of 127.0.0.1", ArgsUsage: "PORT",
			Action: func(c *cli.Context) error { return serveEcho(c.Context, c.Args().First()) },
		}},
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

// run measures everything and writes the results.
func run(ctx context.Context, c *cli.Context) error {
	b := &bench{
		hairpin: c.String("hairpin"), port: c.Int("port"), duration: c.Duration("duration"),
		rivals: available(c.String("hairpin"), c.String("loop"), c.Int("port")),
	}
	for _, k := range cases {
		if strings.Contains(k.name, c.String("only")) {
			b.cases = append(b.cases, k)
		}
	}
	b.rivals = slices.DeleteFunc(b.rivals, func(r rival) bool { return !strings.Contains(r.name, c.String("rivals")) })
	figures := make(figures)
	for round := range c.Int("rounds") {
		for _, k := range b.cases {
			for _, r := range b.rivals {
				if err := b.measure(ctx, figures, r, k); err != nil {
					return err
				}
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, c.Int("rounds"), k.title)
		}
	}
	report := newReport(b, figures, c.Int("rounds"))
	fmt.Print(report.markdown())
	for name, content := range map[string]string{"results.md": report.markdown(), "results.svg": report.svg()} {
		if err := os.WriteFile(filepath.Join(c.String("out"), name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
