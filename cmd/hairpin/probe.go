package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// Exit codes of hairpin probe; the help text names them.
const (
	probeGood        = 0
	probeDegraded    = 1
	probeUnreachable = 2 // the same as exitUsage
	probeRefused     = 3
)

const probeDescription = `Allocates twice on a TURN server, sends numbered packets from one allocation to
the other and back, and prints round trip times, jitter and loss. A round trip
is client A → server → client B → server → A: two passes through the relay and
about two network round trips. With --echo there is one allocation, and the
packets go to a UDP peer that returns them.

   hairpin probe turn:turn.example.org --user alice --password …
   HAIRPIN_PROBE_SECRET=… hairpin probe 'turn:turn.example.org:3478?transport=tcp'
   hairpin probe turns:turn.example.org --user alice --password …
   hairpin probe turn:[2001:db8::1]:3478 --count 500 --max-loss 0.5 --max-rtt 80ms

Take HAIRPIN_PROBE_PASSWORD and HAIRPIN_PROBE_SECRET rather than the flags where
other users can list processes. Ctrl-C ends early with the figures so far.

Exit code: 0 good; 1 degraded: more loss than --max-loss or a 99th percentile
above --max-rtt; 2 unreachable (name, route, port, no answer) or wrong usage;
3 refused by the server, with its error code and what to do.`

func probeCommand() *cli.Command {
	env := func(flag string) []string { return variable("probe", flag) }
	return &cli.Command{
		Name:        "probe",
		Usage:       "measure a TURN server: round trip times, jitter and loss through its relay",
		ArgsUsage:   "turn:HOST[:PORT][?transport=udp|tcp] or turns:…",
		Description: probeDescription,
		Action:      probeAction,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", EnvVars: env("user"), Usage: "`NAME` of a long-term credential; with --secret the id in the ephemeral one"},
			&cli.StringFlag{Name: "password", EnvVars: env("password"), Usage: "`PASSWORD` of the user"},
			&cli.StringFlag{Name: "secret", EnvVars: env("secret"), Usage: "shared `SECRET` to make ephemeral credentials from"},
			&cli.StringFlag{Name: "realm", EnvVars: env("realm"), Usage: "`REALM` of the credentials", DefaultText: "the one that the server names"},
			&cli.IntFlag{Name: "count", EnvVars: env("count"), Usage: "`NUMBER` of packets", Value: 100},
			&cli.DurationFlag{Name: "interval", EnvVars: env("interval"), Usage: "`TIME` between packets", Value: 20 * time.Millisecond},
			&cli.IntFlag{Name: "size", EnvVars: env("size"), Usage: "payload of a packet in `BYTES`", Value: 160},
			&cli.DurationFlag{Name: "timeout", EnvVars: env("timeout"), Usage: "longest `TIME` to wait for any one answer, name resolution and connection included", Value: 5 * time.Second},
			&cli.StringFlag{Name: "echo", EnvVars: env("echo"), Usage: "UDP peer `HOST:PORT` that returns packets, instead of a second allocation"},
			&cli.BoolFlag{Name: "indications", EnvVars: env("indications"), Usage: "use Send and Data indications instead of channels"},
			&cli.IntFlag{Name: "family", EnvVars: env("family"), Usage: "IP version, `4|6`, of the relayed addresses to ask for", DefaultText: "the server's default"},
			&cli.StringFlag{Name: "peer-transport", EnvVars: env("peer-transport"), Usage: "transport, `udp|tcp`, of the second allocation", DefaultText: "the URI's"},
			&cli.StringFlag{Name: "ca", EnvVars: env("ca"), Usage: "PEM `FILE` of who may have signed the certificate of a turns: server", DefaultText: "the system's authorities"},
			&cli.BoolFlag{Name: "insecure", EnvVars: env("insecure"), Usage: "take any certificate of a turns: server"},
			&cli.Float64Flag{Name: "max-loss", EnvVars: env("max-loss"), Usage: "good as long as no more than this `PERCENT` of the packets is lost"},
			&cli.DurationFlag{Name: "max-rtt", EnvVars: env("max-rtt"), Usage: "good as long as the 99th percentile of the round trip is no longer than this `TIME`", DefaultText: "any"},
			&cli.BoolFlag{Name: "json", EnvVars: env("json"), Usage: "print one JSON object, failures included"},
			&cli.BoolFlag{Name: "quiet", EnvVars: env("quiet"), Usage: "print nothing when good, else one line to standard error"},
		},
	}
}

func probeAction(c *cli.Context) error {
	o, limits, err := probeOptions(c)
	if err != nil {
		return err
	}

	ctx, restore := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second Ctrl-C ends the process
	result, err := probe.Run(ctx, o)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errInterrupted
	}

	report := newProbeReport(o.Server, result, limits, err)
	switch {
	case c.Bool("json"):
		err = report.writeJSON(c.App.Writer)
	case c.Bool("quiet") && report.code == probeGood:
		err = nil
	case c.Bool("quiet"):
		_, err = fmt.Fprintln(c.App.ErrWriter, "hairpin probe: "+report.verdict())
	case result == nil:
		err = report.writeFailure(c.App.ErrWriter)
	default:
		err = report.writeText(c.App.Writer)
	}
	if err != nil {
		return fmt.Errorf("hairpin probe: writing the report: %w", err)
	}
	if report.code != probeGood {
		return cli.Exit("", report.code)
	}
	return nil
}

// probeOptions reads flags and argument; every fault of them comes at once.
func probeOptions(c *cli.Context) (probe.Options, probe.Thresholds, error) {
	var found faults
	o := probe.Options{
		User: c.String("user"), Password: c.String("password"), Secret: c.String("secret"), Realm: c.String("realm"),
		Count: c.Int("count"), Interval: c.Duration("interval"), Size: c.Int("size"), Timeout: c.Duration("timeout"),
		Echo: c.String("echo"), Indications: c.Bool("indications"),
		Family: c.Int("family"), PeerTransport: probe.Transport(c.String("peer-transport")), Insecure: c.Bool("insecure"),
	}
	if file := c.String("ca"); file != "" {
		if content, err := readBounded(file); err != nil {
			found = append(found, fault{"--ca", fmt.Sprintf("cannot read %q: %s", file, reason(err)), "name a PEM file of certificates"})
		} else if o.RootCAs = x509.NewCertPool(); !o.RootCAs.AppendCertsFromPEM(content) {
			found = append(found, fault{"--ca", fmt.Sprintf("there is no certificate in %q", file), "name a PEM file of certificates"})
		}
	}
	limits := probe.Thresholds{Loss: c.Float64("max-loss"), P99: c.Duration("max-rtt")}

	if c.NArg() != 1 {
		found = append(found, fault{"hairpin probe", fmt.Sprintf("takes one server, not %d", c.NArg()), "write hairpin probe turn:HOST:PORT"})
	} else {
		uri, wrong := probe.ParseURI(c.Args().First())
		if o.Server = uri; wrong != nil {
			found = append(found, fault{wrong.Key, wrong.What, wrong.Remedy})
		}
	}
	for _, wrong := range o.Validate() {
		found = append(found, fault{"--" + wrong.Key, wrong.What, wrong.Remedy})
	}
	if !(limits.Loss >= 0 && limits.Loss <= 100) { // NaN too
		found = append(found, fault{"--max-loss", fmt.Sprintf("%v is no percentage", limits.Loss), "write a number from 0 to 100"})
	}
	if limits.P99 < 0 {
		found = append(found, fault{"--max-rtt", fmt.Sprintf("%v is negative", limits.P99), "write for example 80ms"})
	}
	if c.Bool("json") && c.Bool("quiet") {
		found = append(found, fault{"--quiet", "excludes --json", "leave one of them out"})
	}
	return o, limits, found.err()
}
