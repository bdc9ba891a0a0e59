// Command hairpin is a TURN server that turns packets around inside the process, and the tools that belong to it.
//
// This package owns everything that a user types and reads: commands, flags, files, environment, help, exit codes. It
// holds no protocol and no packet: serve hands a relay.Config to package relay, and the other commands speak to a
// server from outside.
//
//	main.go        run: arguments → command → exit code         fault.go      what a wrong input is answered with
//	arguments.go   the command line, every fault of it at once  help.go       what --help looks like
//	settings.go    the table of settings                        settings_*.go sources, file, parsers, checks, printing
//	serve.go       the server's life cycle                      welcome.go    the first start without credentials
//	serve_signals.go  drain, end, end at once                   serve_reload.go  settings read again while running
//	serve_http.go  the admin address and the ICE service        settings_ice.go  what that hands out, and to whom
//	ice.go  status.go  watch.go  sessions.go  drain.go  reload.go  config.go  probe.go  check.go  bench.go    one command each
//	log.go         pion/logging over log/slog                   version.go    what was built
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// Exit codes of every command; probe adds its own verdicts.
const (
	exitGood    = 0
	exitRuntime = 1 // the world is not as needed: a port in use, a server that does not answer
	exitUsage   = 2 // a wrong flag, file or combination: nothing was started
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdout, os.Stderr)) }

// commands is the table of what hairpin can do, in the order of help.
func commands() []*cli.Command {
	return []*cli.Command{
		serveCommand(),
		iceCommand(),
		probeCommand(),
		statusCommand(),
		sessionsCommand(),
		drainCommand(),
		reloadCommand(),
		configCommand(),
		checkCommand(),
		benchCommand(),
	}
}

func newApp(stdout, stderr io.Writer) *cli.App {
	build := readBuild()
	app := &cli.App{
		Name:            "hairpin",
		Usage:           "a TURN server in which two clients meet",
		UsageText:       "hairpin COMMAND [flags]",
		Version:         build.String(),
		Commands:        commands(),
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,

		DisableSliceFlagSeparator: true, // a list is a repeated flag; commas may be part of a value
		CustomAppHelpTemplate:     appHelp,
		ExitErrHandler:            func(*cli.Context, error) {}, // run prints and maps the error
		Description:               "Every flag is also an environment variable; \"hairpin COMMAND --help\" shows both.",
	}
	for _, command := range app.Commands {
		prepare(command)
	}
	return app
}

// prepare gives a command and its subcommands the common help and usage errors.
func prepare(command *cli.Command) {
	command.HideHelpCommand = true
	if command.CustomHelpTemplate == "" {
		command.CustomHelpTemplate = commandHelp
	}
	if command.OnUsageError == nil {
		command.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return faults{{command.HelpName, err.Error(), fmt.Sprintf("%q shows how", command.HelpName+" --help")}}
		}
	}
	for _, sub := range command.Subcommands {
		prepare(sub)
	}
}

// run is the whole program except for the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	if len(args) > 1 && args[1] == "help" { // hairpin help COMMAND
		args = append(append(args[:1:1], args[2:]...), "--help")
	}
	ordered, wrongArguments := arrange(app, args)
	if len(wrongArguments) > 0 {
		// Faults of the settings are looked for all the same, so that all come at once.
		for _, command := range app.Commands {
			reportOnly(command, wrongArguments)
		}
		app.Before = func(c *cli.Context) error {
			if c.Args().Present() {
				return nil // the command reports
			}
			return wrongArguments
		}
	}
	return exitCode(app.RunContext(ctx, ordered), stderr)
}

// reportOnly makes a command answer with the faults of the command line and, if it has settings, with those of the
// settings behind them, instead of doing its work.
func reportOnly(command *cli.Command, found faults) {
	command.Before = func(c *cli.Context) error {
		if len(command.Subcommands) > 0 && c.Args().Present() {
			return nil // the subcommand reports
		}
		all := append(faults(nil), found...)
		if hasSettings(command) {
			var more faults
			if _, err := loadSettings(c); errors.As(err, &more) {
				all = append(all, more...)
			}
		}
		return all
	}
	for _, sub := range command.Subcommands {
		reportOnly(sub, found)
	}
}

// exitCode prints an error, one line per fault, and says what the process ends with.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitGood
	}
	if message := err.Error(); message != "" {
		fmt.Fprintln(stderr, message)
	}
	var found faults
	if errors.As(err, &found) {
		return exitUsage
	}
	var verdict cli.ExitCoder
	if errors.As(err, &verdict) {
		return verdict.ExitCode()
	}
	return exitRuntime
}
