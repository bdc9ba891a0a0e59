package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
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
			"stream of media from the client to the relay, retransmissions aside; they are empty without RTP and with --quality=off. A TCP\n" +
			"allocation's relayed address ends with /tcp; its connections follow below, the oldest first.\n\n" +
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
		if len(report.Allocations) == 0 {
			fmt.Fprintln(w, "none")
			return nil
		}
		writeColumns(w, sessionTable(rowsOf(report.Allocations), listedColumns, listedName, time.Now()))
		if connections := connectionTable(report, time.Now()); len(connections) > 1 {
			fmt.Fprintln(w)
			writeColumns(w, connections)
		}
		switch {
		case c.String("user") == "":
			writeMore(w, report)
		case len(report.Allocations) == c.Int("limit"):
			fmt.Fprintln(w, "and perhaps more; --limit shows them")
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

// sessionTable is a line for each row below a head of these columns.
func sessionTable(rows []metrics.Row, columns []string, name int, now time.Time) [][]string {
	table := [][]string{columns}
	for _, r := range rows {
		cells := map[string]string{
			"ID": strconv.FormatUint(r.ID, 10), "USER": nameIn(r.User, name), "CLIENT": r.Client.String(), "LISTENER": r.Listener,
			"RELAYED ADDRESS": r.Relays(), "AGE": spellDuration(now.Sub(r.Created)), "EXPIRES IN": spellDuration(r.Expires.Sub(now)),
			"FROM CLIENT": spellTraffic(r.ClientIn), "TO CLIENT": spellTraffic(r.ClientOut),
			"DROPPED": strconv.FormatUint(r.Dropped, 10), "IN": spellBitrate(r.In), "OUT": spellBitrate(r.Out),
		}
		if r.Loss != nil {
			cells["LOSS"] = fmt.Sprintf("%.1f %%", 100**r.Loss)
		}
		if r.Jitter != nil {
			cells["JITTER"] = fmt.Sprintf("%.1f ms", *r.Jitter)
		}
		line := make([]string, len(columns))
		for i, column := range columns {
			line[i] = cells[column]
		}
		table = append(table, line)
	}
	return table
}

// connectionTable is a row for each connection of a TCP allocation below a head.
func connectionTable(report *metrics.Status, now time.Time) [][]string {
	rows := [][]string{{"ID", "PEER", "CONNECTION", "AGE", "FROM CLIENT", "TO CLIENT"}}
	for _, a := range report.Allocations {
		for _, c := range a.Connections {
			rows = append(rows, []string{
				strconv.FormatUint(a.ID, 10), c.Peer.String(), c.State, spellDuration(now.Sub(c.Since)), spellBytes(c.BytesIn), spellBytes(c.BytesOut),
			})
		}
	}
	return rows
}

// rowsOf are allocations as the server's own table has them, but for the rates.
func rowsOf(allocations []metrics.Allocation) (rows []metrics.Row) {
	for _, a := range allocations {
		r := metrics.Row{
			ID: a.ID, User: a.User, Listener: a.Listener, Client: a.Client, Created: a.Created, Expires: a.Expires,
			Relay: a.Relay, Additional: a.Additional, RelayTransport: a.RelayTransport,
			ClientIn: a.Counters.ClientIn, ClientOut: a.Counters.ClientOut, Dropped: a.Dropped.ClientIn + a.Dropped.PeerIn,
		}
		for _, s := range a.Streams { // the worst of each
			if s.RepairOf != 0 {
				continue
			}
			if r.Loss == nil || s.Loss > *r.Loss {
				r.Loss = &s.Loss
			}
			if s.MeanJitter != nil && (r.Jitter == nil || *s.MeanJitter > *r.Jitter) {
				r.Jitter = s.MeanJitter
			}
		}
		rows = append(rows, r)
	}
	return rows
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
