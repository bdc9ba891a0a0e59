package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

// reloadTimeout is for the answer to a reload: certificates, a large file of users and listeners take their time.
const reloadTimeout = time.Minute

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:      "reload",
		Usage:     "have a running server read its settings again",
		ArgsUsage: "[HOST:PORT]",
		Description: "Asks the admin address of the server: HOST:PORT, else the one in the settings. The server reads its file again and takes over\n" +
			"what has changed, without ending anything; flags and environment are still those of its start. If something is wrong, or needs\n" +
			"a restart, nothing changes. SIGHUP does the same.\n\n" +
			"These settings are taken over; every other one needs a restart:\n  " +
			strings.Join(wrapText(strings.Join(reloadable, ", "), helpWidth), "\n  ") + "\n" +
			"A listener that is taken out gets no new clients, which are sent to others, and is closed when its last client has gone.\n" +
			"One that is new is bound first: a port in use refuses all of the reload.\n\n" +
			"Exit code: 0 taken over, or nothing has changed; 1 no answer; 2 refused, with one line for each fault, or wrong usage.",
		Flags:  settingFlags("config", "admin", "admin-token", "admin-token-file"),
		Action: reload,
	}
}

func reload(c *cli.Context) error {
	server, found, err := adminOf(c, 0)
	if err == nil {
		err = found.err()
	}
	if err != nil {
		return err
	}
	body, err := server.ask(c.Context, http.MethodPost, "/reload", reloadTimeout)
	if err != nil {
		return err
	}
	var what metrics.Reload
	if err := json.Unmarshal(body, &what); err != nil {
		return notHairpin(err)
	}
	switch what.Result {
	case metrics.ReloadRefused:
		return refusedReload{what.Faults}
	case metrics.ReloadUnchanged:
		_, err = fmt.Fprintln(c.App.Writer, "no setting has changed")
	default:
		_, err = fmt.Fprintf(c.App.Writer, "taken over: %s\n", strings.Join(what.Changed, ", "))
	}
	return err
}

// refusedReload is the faults as the server spells them.
type refusedReload struct{ lines []string }

func (r refusedReload) Error() string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar // who answers at an admin address may be anybody
	}, strings.Join(r.lines, "\n"))
}

// ExitCode implements cli.ExitCoder.
func (r refusedReload) ExitCode() int { return exitUsage }
