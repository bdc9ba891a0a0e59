package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/metrics"
)

const (
	statusTimeout = 10 * time.Second // for one answer; the server writes a large one in less
	healthTimeout = 2 * time.Second  // a health check that waits longer than its interval is no help
)

func statusCommand() *cli.Command {
	env := func(flag string) []string { return variable("status", flag) }
	return &cli.Command{
		Name:      "status",
		Usage:     "show the listeners and live allocations of a running server",
		ArgsUsage: "[HOST:PORT]",
		Description: "Asks the admin address of the server: HOST:PORT, else the one in the settings. Exits with 1 when there is no answer.\n" +
			"Off loopback the server must have a token, and this command must be given it.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "json", EnvVars: env("json"), Usage: "print the server's JSON as it is"},
			&cli.BoolFlag{Name: "watch", EnvVars: env("watch"), Usage: "show it again and again until interrupted; on a terminal in place, the busiest allocations first, with bitrates"},
			&cli.DurationFlag{Name: "interval", EnvVars: env("interval"), Value: 2 * time.Second, Usage: "`TIME` between two looks of --watch"},
			&cli.IntFlag{Name: "limit", EnvVars: env("limit"), Value: 1000, Usage: "show `N` allocations at most, the oldest first"},
			&cli.BoolFlag{Name: "health", EnvVars: env("health"), Usage: "print nothing, only exit with 0 when the server is alive: for health checks of containers"},
		}, settingFlags("config", "admin", "admin-token", "admin-token-file")...),
		Action: status,
	}
}

func status(c *cli.Context) error {
	server, found, err := adminOf(c, 0)
	if err != nil {
		return err
	}
	found = append(found, wrongLimit(c)...)
	if c.Duration("interval") <= 0 {
		found = append(found, fault{"--interval", fmt.Sprintf("%s is no time", c.Duration("interval")), "write for example 2s"})
	}
	if err := found.err(); err != nil {
		return err
	}

	if c.Bool("health") {
		_, err := server.get(c.Context, "/healthz", healthTimeout)
		return err
	}
	show := showTable
	if c.Bool("json") {
		show = showJSON
	}
	if c.Bool("watch") {
		return watch(c, server, c.Bool("json"))
	}
	answer, err := server.get(c.Context, allocationsPath(c), statusTimeout)
	if err != nil {
		return err
	}
	return writeWholeOr(c.App.Writer, func(w io.Writer) error { return show(w, answer, time.Now()) })
}

func wrongLimit(c *cli.Context) faults {
	if c.Int("limit") < 0 {
		return faults{{"--limit", fmt.Sprintf("%d is negative", c.Int("limit")), "write 0 or more"}}
	}
	return nil
}

// writeWholeOr writes a page at once, or nothing of one that could not be made.
func writeWholeOr(to io.Writer, print func(io.Writer) error) error {
	var page bytes.Buffer
	if err := print(&page); err != nil {
		return err
	}
	_, err := to.Write(page.Bytes())
	return err
}

func allocationsPath(c *cli.Context) string {
	return fmt.Sprintf("/allocations?limit=%d", c.Int("limit"))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// adminOf is the server that a command line means behind so many other arguments, with what is wrong about that.
func adminOf(c *cli.Context, others int) (server adminClient, found faults, err error) {
	settings, err := loadSettings(c)
	if err != nil && !errors.As(err, &found) {
		return server, nil, err
	}
	if c.NArg() > others+1 {
		found = append(found, fault{c.Args().Get(others + 1), "is a second address", "name one server"})
	}
	if settings != nil {
		address, wrongAddress := settings.adminTarget(c.Args().Get(others))
		found = append(found, wrongAddress...)
		server = adminClient{address: address, token: settings.AdminToken}
	}
	return server, found, nil
}

// adminTarget is HOST:PORT to ask: the one that was named, else the admin address of the settings. Where that is every
// address of the host, loopback is one of them.
func (s *Settings) adminTarget(named string) (string, faults) {
	if named != "" {
		host, port, err := splitHostPort(named)
		if err == nil {
			_, err = parsePort(port)
		}
		if err != nil || host == "" {
			return "", faults{{named, "is not HOST:PORT", "write for example 127.0.0.1:9478"}}
		}
		return net.JoinHostPort(host, port), nil
	}
	switch a := s.Admin.Addr(); {
	case !a.IsValid():
		return "", faults{{s.originOf("admin"), "the admin address is off", "name the server's as HOST:PORT"}}
	case a.IsUnspecified() && a.Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), s.Admin.Port()).String(), nil
	case a.IsUnspecified():
		return net.JoinHostPort("localhost", strconv.Itoa(int(s.Admin.Port()))), nil
	}
	return s.Admin.String(), nil
}

// adminClient speaks to the admin address of a server.
type adminClient struct{ address, token string }

// silentServer is the error of a server that did not answer, or not to the end.
type silentServer struct {
	what  string
	cause error
}

func (s *silentServer) Error() string { return s.what }
func (s *silentServer) Unwrap() error { return s.cause }

func (a adminClient) get(ctx context.Context, path string, timeout time.Duration) ([]byte, error) {
	return a.ask(ctx, http.MethodGet, path, timeout)
}

// ask returns what a path answers with. Its errors say what to do.
func (a adminClient) ask(ctx context.Context, method, path string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, nil)
	if err != nil {
		return nil, err
	}
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the address is the server's own
	response, err := client.Do(request)
	if err != nil {
		cause := err
		for inner := errors.Unwrap(cause); inner != nil; inner = errors.Unwrap(cause) {
			cause = inner
		}
		return nil, &silentServer{fmt.Sprintf("%s does not answer: %v; is the server running, and is this its --admin address?", a.address, cause), cause}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, &silentServer{fmt.Sprintf("the answer of %s broke off: %v", a.address, err), err}
	case response.StatusCode == http.StatusOK, response.StatusCode == http.StatusUnprocessableEntity: // the latter says why in the same form
		return body, nil
	case response.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s wants its token; give --admin-token or --admin-token-file, as the server has it", a.address)
	}
	return nil, fmt.Errorf("%s refuses (%s): %s", a.address, response.Status, printable(strings.TrimSpace(string(body))))
}

func showJSON(w io.Writer, answer []byte, _ time.Time) error {
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimSpace(answer))
	return err
}

func showTable(w io.Writer, answer []byte, now time.Time) error {
	report, err := readStatus(answer)
	if err != nil {
		return err
	}
	listeners := [][]string{{"LISTENER", "ADDRESS", "PUBLIC ADDRESS"}}
	for _, l := range report.Listeners {
		listeners = append(listeners, []string{l.Label(), l.Address.String(), l.Public.String()})
	}
	allocations := [][]string{{"ID", "USER", "CLIENT", "LISTENER", "RELAYED ADDRESS", "AGE", "EXPIRES IN", "PEERS", "CHANNELS", "FROM CLIENT", "TO CLIENT", "DROPPED"}}
	for _, a := range report.Allocations {
		allocations = append(allocations, []string{
			strconv.FormatUint(a.ID, 10), nameIn(a.User, listedName), a.Client.String(), a.Listener, a.Relays(),
			spellDuration(now.Sub(a.Created)), spellDuration(a.Expires.Sub(now)),
			strconv.Itoa(len(a.Permissions)), strconv.Itoa(len(a.Channels)),
			spellTraffic(a.Counters.ClientIn), spellTraffic(a.Counters.ClientOut),
			strconv.FormatUint(a.Dropped.ClientIn+a.Dropped.PeerIn, 10),
		})
	}
	writeHead(w, report, now)
	writeColumns(w, listeners)
	if len(report.Allocations) > 0 {
		fmt.Fprintln(w)
		writeColumns(w, allocations)
	}
	writeMore(w, report)
	return nil
}

// writeHead writes what concerns the whole server.
func writeHead(w io.Writer, report *metrics.Status, now time.Time) {
	fmt.Fprintf(w, "hairpin %s, up %s, %s\n\n", report.Version, spellDuration(now.Sub(report.Started)), spellCount(report.Total))
	if report.Deadline != nil {
		fmt.Fprintf(w, "draining: no new allocations; what is left ends in %s at the latest\n\n", spellDuration(report.Deadline.Sub(now)))
	}
}

func writeMore(w io.Writer, report *metrics.Status) {
	if more := report.Total - len(report.Allocations); more > 0 {
		fmt.Fprintf(w, "and %d more; --limit shows them\n", more)
	}
}

func spellCount(allocations int) string {
	if allocations == 1 {
		return "1 allocation"
	}
	return fmt.Sprintf("%d allocations", allocations)
}

// spellTraffic is packets and bytes, such as "1200 / 240.0 kB".
func spellTraffic(t metrics.Traffic) string {
	return fmt.Sprintf("%d / %s", t.Packets, spellBytes(t.Bytes))
}

func spellBytes(bytes uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	n, unit := float64(bytes), 0
	for n >= 1000 && unit < len(units)-1 {
		n /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", n, units[unit])
}

// spellDuration is a duration in whole seconds.
func spellDuration(d time.Duration) string { return max(d, 0).Truncate(time.Second).String() }
