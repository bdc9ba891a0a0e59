package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

func sessionsCommand() *cli.Command {
	env := func(flag string) []string { return variable("sessions", flag) }
	admin := []string{"config", "admin", "admin-token", "admin-token-file"}
	return &cli.Command{
		Name:      "sessions",
		Usage:     "list the live allocations of a running server and how well their media arrive, or end one",
		ArgsUsage: "[HOST:PORT]",
		Description: "Asks the admin address of the server: HOST:PORT, else the one in the settings. LOSS and JITTER are those of the worst\n" +
			"stream from the client to the relay; they are empty without RTP and with --quality=off.\n\n" +
			"\"hairpin sessions end ID\" ends an allocation, which the server allows only to those who have its token.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "user", EnvVars: env("user"), Usage: "only those of the user `NAME`"},
			&cli.BoolFlag{Name: "json", EnvVars: env("json"), Usage: "print the server's JSON as it is"},
			&cli.IntFlag{Name: "limit", EnvVars: env("limit"), Value: 1000, Usage: "show `N` allocations at most, the oldest first"},
		}, settingFlags(admin...)...),
		Action: sessions,
		Subcommands: []*cli.Command{{
			Name:      "end",
			Usage:     "end a live allocation",
			ArgsUsage: "ID [HOST:PORT]",
			Description: "The client's next request is answered with 437 (Allocation Mismatch); most clients make a new allocation then, or give up\n" +
				"the call. To keep a user out, change the credentials too.",
			Flags:  settingFlags(admin...),
			Action: endSession,
		}},
	}
}

func sessions(c *cli.Context) error {
	server, found, err := adminOf(c, 0)
	if err != nil {
		return err
	}
	found = append(found, wrongLimit(c)...)
	if c.IsSet("user") && c.String("user") == "" {
		found = append(found, fault{"--user", "is empty", "write the name as \"hairpin status\" shows it, or leave it out"})
	}
	if err := found.err(); err != nil {
		return err
	}
	path := allocationsPath(c)
	if user := c.String("user"); user != "" {
		path += "&user=" + url.QueryEscape(user)
	}
	answer, err := server.get(c.Context, path, statusTimeout)
	if err != nil {
		return err
	}
	return writeWholeOr(c.App.Writer, func(w io.Writer) error {
		if c.Bool("json") {
			return showJSON(w, answer, time.Now())
		}
		report, err := readStatus(answer)
		if err != nil {
			return err
		}
		rows := sessionTable(report, nil, 0, time.Now())
		if len(rows) == 1 {
			fmt.Fprintln(w, "none")
			return nil
		}
		writeColumns(w, rows)
		if c.String("user") == "" {
			writeMore(w, report)
		}
		return nil
	})
}

func endSession(c *cli.Context) error {
	server, found, err := adminOf(c, 1)
	if err != nil {
		return err
	}
	id, wrong := strconv.ParseUint(c.Args().First(), 10, 64)
	if wrong != nil || id == 0 {
		found = append(found, fault{"ID", fmt.Sprintf("%q is not the ID of an allocation", c.Args().First()), "\"hairpin sessions\" lists them"})
	}
	if err := found.err(); err != nil {
		return err
	}
	if _, err := server.ask(c.Context, http.MethodPost, fmt.Sprintf("/end?id=%d", id), statusTimeout); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "allocation %d is over\n", id)
	return err
}

// Columns of sessionTable. Where it is watched, a narrow terminal still has what changes.
var (
	listedColumns  = []string{"ID", "USER", "CLIENT", "LISTENER", "RELAYED ADDRESS", "AGE", "EXPIRES IN", "FROM CLIENT", "TO CLIENT", "DROPPED", "LOSS", "JITTER"}
	watchedColumns = []string{"ID", "USER", "IN", "OUT", "LOSS", "JITTER", "DROPPED", "AGE", "EXPIRES IN", "CLIENT", "LISTENER", "RELAYED ADDRESS", "FROM CLIENT", "TO CLIENT"}
)

// sessionTable is a row for each allocation below a head. With an earlier answer there are bitrates, and the busiest come
// first.
func sessionTable(report, earlier *metrics.Status, between time.Duration, now time.Time) [][]string {
	columns, listed := listedColumns, report.Allocations
	rates := func(metrics.Allocation) (in, out float64) { return 0, 0 }
	if earlier != nil && between > 0 {
		columns, listed = watchedColumns, slices.Clone(listed)
		before := make(map[uint64]metrics.Counters, len(earlier.Allocations))
		for _, a := range earlier.Allocations {
			before[a.ID] = a.Counters
		}
		rates = func(a metrics.Allocation) (in, out float64) {
			b := before[a.ID]
			bits := func(now, then uint64) float64 { return 8 * float64(now-min(then, now)) / between.Seconds() }
			return bits(a.Counters.ClientIn.Bytes, b.ClientIn.Bytes), bits(a.Counters.ClientOut.Bytes, b.ClientOut.Bytes)
		}
		slices.SortStableFunc(listed, func(a, b metrics.Allocation) int {
			aIn, aOut := rates(a)
			bIn, bOut := rates(b)
			return cmp.Compare(bIn+bOut, aIn+aOut)
		})
	}
	rows := [][]string{columns}
	for _, a := range listed {
		in, out := rates(a)
		loss, jitter := worst(a.Streams)
		cells := map[string]string{
			"ID": strconv.FormatUint(a.ID, 10), "USER": printable(a.User), "CLIENT": a.Client.String(), "LISTENER": a.Listener,
			"RELAYED ADDRESS": a.Relay.String(), "AGE": spellDuration(now.Sub(a.Created)), "EXPIRES IN": spellDuration(a.Expires.Sub(now)),
			"FROM CLIENT": spellTraffic(a.Counters.ClientIn), "TO CLIENT": spellTraffic(a.Counters.ClientOut),
			"DROPPED": strconv.FormatUint(a.Dropped.ClientIn+a.Dropped.PeerIn, 10), "LOSS": loss, "JITTER": jitter,
			"IN": spellBitrate(in), "OUT": spellBitrate(out),
		}
		row := make([]string, len(columns))
		for i, column := range columns {
			row[i] = cells[column]
		}
		rows = append(rows, row)
	}
	return rows
}

// worst is the loss and the mean jitter of the streams that have the most of it.
func worst(streams []metrics.Stream) (loss, jitter string) {
	mostLoss, mostJitter := -1.0, -1.0
	for _, s := range streams {
		mostLoss = max(mostLoss, s.Loss)
		if s.MeanJitter != nil {
			mostJitter = max(mostJitter, *s.MeanJitter)
		}
	}
	if mostLoss >= 0 {
		loss = fmt.Sprintf("%.1f %%", 100*mostLoss)
	}
	if mostJitter >= 0 {
		jitter = fmt.Sprintf("%.1f ms", mostJitter)
	}
	return loss, jitter
}

// spellBitrate is a rate of bits per second, such as "1.2 Mbit/s".
func spellBitrate(rate float64) string {
	switch {
	case rate >= 1e9:
		return fmt.Sprintf("%.1f Gbit/s", rate/1e9)
	case rate >= 1e6:
		return fmt.Sprintf("%.1f Mbit/s", rate/1e6)
	}
	return fmt.Sprintf("%.0f kbit/s", rate/1e3)
}
