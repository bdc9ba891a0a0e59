package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/check"
)

// Exit codes of hairpin check; the help text names them. The last two are those of a probe.
const (
	checkGood        = 0
	checkBroken      = 1
	checkUnreachable = probeUnreachable
	checkRefused     = probeRefused
)

const checkDescription = `Holds any TURN server to RFC 8489, 8656, 6062, 8016 and 5780, one line per
requirement: where it stands, how strong it is, pass, fail or n/a, and what was
seen. What a server does not offer is n/a; a feature that it may offer and does
not is "no". Nothing harms the server: each row allocates for a moment, and the
only peers are the row's own allocations.

   hairpin check turn:turn.example.org --user alice --password …
   HAIRPIN_CHECK_SECRET=… hairpin check 'turn:turn.example.org:3478?transport=tcp'
   hairpin check turns:turn.example.org:5349 --junit report.xml
   hairpin check turn:127.0.0.1 --only "RFC 8656 §12"

A server that lets no client reach its own relayed addresses needs --peer: an
address of this machine that the server can send to. coturn on loopback needs
--allow-loopback-peers. Rows about one user's allocation in another's hands
need a second user, or --secret.

Exit code: 0 no MUST fails; 1 a MUST or MUST NOT fails; 2 unreachable or wrong
usage; 3 the credentials are refused.`

func checkCommand() *cli.Command {
	env := func(flag string) []string { return variable("check", flag) }
	return &cli.Command{
		Name:        "check",
		Usage:       "hold a TURN server to the RFCs: one line per requirement",
		ArgsUsage:   "turn[s]:HOST[:PORT][?transport=udp|tcp]",
		Description: checkDescription,
		Action:      checkAction,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", EnvVars: env("user"), Usage: "`NAME` of a long-term credential; with --secret the id in the ephemeral one"},
			&cli.StringFlag{Name: "password", EnvVars: env("password"), Usage: "`PASSWORD` of the user"},
			&cli.StringFlag{Name: "secret", EnvVars: env("secret"), Usage: "shared `SECRET` to make ephemeral credentials from"},
			&cli.StringFlag{Name: "realm", EnvVars: env("realm"), Usage: "`REALM` of the credentials", DefaultText: "the one that the server names"},
			&cli.StringFlag{Name: "other-user", EnvVars: env("other-user"), Usage: "`NAME` of a second user"},
			&cli.StringFlag{Name: "other-password", EnvVars: env("other-password"), Usage: "`PASSWORD` of the second user"},
			&cli.StringFlag{Name: "peer", EnvVars: env("peer"), Usage: "IP `ADDRESS` of this machine where peers listen, instead of second allocations"},
			&cli.BoolFlag{Name: "insecure", EnvVars: env("insecure"), Usage: "accept any certificate of a turns server"},
			&cli.DurationFlag{Name: "timeout", EnvVars: env("timeout"), Usage: "longest `TIME` to wait for an answer", Value: 2 * time.Second},
			&cli.DurationFlag{Name: "quiet", EnvVars: env("quiet"), Usage: "`TIME` for which nothing has to come for silence; more than a round trip", Value: 250 * time.Millisecond},
			&cli.IntFlag{Name: "parallel", EnvVars: env("parallel"), Usage: "`NUMBER` of rows tried at a time", Value: 8},
			&cli.StringFlag{Name: "only", EnvVars: env("only"), Usage: "only rows whose citation or ID begins with `TEXT`", DefaultText: "all"},
			&cli.BoolFlag{Name: "slow", EnvVars: env("slow"), Usage: "also rows that wait up to six minutes for a timer of an RFC"},
			&cli.BoolFlag{Name: "faults", EnvVars: env("faults"), Usage: "print only the rows that fail"},
			&cli.BoolFlag{Name: "json", EnvVars: env("json"), Usage: "print one JSON object, failures to begin included"},
			&cli.StringFlag{Name: "junit", EnvVars: env("junit"), Usage: "write a JUnit report to `FILE`; - is standard output and replaces the table"},
		},
	}
}

func checkAction(c *cli.Context) error {
	o, err := checkOptions(c)
	if err != nil {
		return err
	}
	ctx, restore := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second Ctrl-C ends the process
	result, err := check.Run(ctx, o)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errors.New("interrupted")
	}

	report := newCheckReport(c.Args().First(), result, err)
	if err := report.write(c); err != nil {
		return fmt.Errorf("hairpin check: writing the report: %w", err)
	}
	if report.code != checkGood {
		return cli.Exit("", report.code)
	}
	return nil
}

// write puts the report where the flags want it.
func (r *checkReport) write(c *cli.Context) error {
	junit := c.String("junit")
	if junit == "-" {
		return r.writeJUnit(c.App.Writer)
	}
	if junit != "" {
		file, err := os.Create(junit)
		if err != nil {
			return err
		}
		if err := errors.Join(r.writeJUnit(file), file.Close()); err != nil {
			return err
		}
	}
	switch {
	case c.Bool("json"):
		return r.writeJSON(c.App.Writer)
	case r.Error != nil:
		_, err := io.WriteString(c.App.ErrWriter, r.failure())
		return err
	}
	return r.writeText(c.App.Writer, c.Bool("faults"))
}

// checkOptions reads flags and argument; every fault of them comes at once.
func checkOptions(c *cli.Context) (check.Options, error) {
	var found faults
	o := check.Options{
		User: c.String("user"), Password: c.String("password"), Secret: c.String("secret"), Realm: c.String("realm"),
		OtherUser: c.String("other-user"), OtherPassword: c.String("other-password"), Insecure: c.Bool("insecure"),
		Timeout: c.Duration("timeout"), Quiet: c.Duration("quiet"), Parallel: c.Int("parallel"), Slow: c.Bool("slow"), Only: c.String("only"),
	}
	if c.NArg() != 1 {
		found = append(found, fault{"hairpin check", fmt.Sprintf("takes one server, not %d", c.NArg()), "write hairpin check turn:HOST:PORT"})
	} else {
		uri, secure, wrong := check.ParseURI(c.Args().First())
		if o.Server, o.Secure = uri, secure; wrong != nil {
			found = append(found, fault{wrong.Key, wrong.What, wrong.Remedy})
		}
	}
	if given := c.String("peer"); given != "" {
		var err error
		if o.Peer, err = netip.ParseAddr(given); err != nil {
			found = append(found, fault{"--peer", fmt.Sprintf("%q is no IP address", given), "write an address of this machine that the server can send to"})
		}
	}
	for _, wrong := range o.Validate() {
		found = append(found, fault{"--" + wrong.Key, wrong.What, wrong.Remedy})
	}
	if c.Bool("json") && c.String("junit") == "-" {
		found = append(found, fault{"--junit", "- excludes --json", "write the JUnit report to a file"})
	}
	return o, found.err()
}
