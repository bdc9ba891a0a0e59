// Command one2one is a small application server on top of the relay: two people register by name in a browser, one calls
// the other, and their video goes through the relay.
//
// This package owns the page, the signalling between two browsers, and the request for their ICE configuration. It never
// touches media, and it knows nothing about the relay but the address of its ICE service.
//
//	main.go         flags, and the life of the process      message.go   what is said over the WebSocket
//	server.go       HTTP: the page and /one2one             hub.go       who is there, and who is in a call with whom
//	certificate.go  a self-signed certificate               call.go      one call from ringing to its end
//	ice.go          asks for ICE configurations             session.go   one browser's WebSocket
//	page/           HTML, CSS and JavaScript as they are served
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// Exit codes, as those of hairpin.
const (
	exitRuntime = 1 // the world is not as needed: a port in use
	exitUsage   = 2 // a wrong flag: nothing was started
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdout, os.Stderr)) }

// faults are wrong flags, one line each.
type faults []string

func (f faults) Error() string {
	return errors.Join(asErrors(f)...).Error()
}

func asErrors(lines []string) (all []error) {
	for _, line := range lines {
		all = append(all, errors.New(line))
	}
	return all
}

// options are what the flags say.
type options struct {
	address  netip.AddrPort
	secure   bool
	cert     string // file; empty: self-signed
	key      string
	ice      *url.URL
	iceKey   string
	policy   string
	ringFor  time.Duration
	logLevel slog.Level
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:            "one2one",
		Usage:           "a video call between two browsers through the relay",
		UsageText:       "one2one [flags]",
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		Description: "Serves one page and its WebSocket. On a loopback address it speaks plain HTTP, for which browsers open camera and microphone;\n" +
			"elsewhere HTTPS, by default with a certificate that is made at start and that browsers warn of.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Value: "127.0.0.1:8443", EnvVars: []string{"ONE2ONE_ADDRESS"}, Usage: "`IP:PORT` that the page is served at"},
			&cli.StringFlag{Name: "ice-url", Value: "http://127.0.0.1:8088/ice", EnvVars: []string{"ONE2ONE_ICE_URL"}, Usage: "`URL` of the relay's ICE service; parameters such as ?listener=NAME are kept"},
			&cli.StringFlag{Name: "ice-key", EnvVars: []string{"ONE2ONE_ICE_KEY"}, Usage: "API `KEY` that the ICE service wants"},
			&cli.StringFlag{Name: "policy", Value: "relay", EnvVars: []string{"ONE2ONE_POLICY"}, Usage: "`POLICY`: relay = always through the relay, all = directly where that works"},
			&cli.StringFlag{Name: "tls", Value: "auto", EnvVars: []string{"ONE2ONE_TLS"}, Usage: "`MODE`: on, off (behind a proxy), or auto = off on loopback only"},
			&cli.StringFlag{Name: "cert", EnvVars: []string{"ONE2ONE_CERT"}, Usage: "`FILE` with the certificate chain, instead of one made at start"},
			&cli.StringFlag{Name: "key", EnvVars: []string{"ONE2ONE_KEY"}, Usage: "`FILE` with its private key"},
			&cli.DurationFlag{Name: "ring", Value: time.Minute, EnvVars: []string{"ONE2ONE_RING"}, Usage: "`DURATION` that a call rings for"},
			&cli.BoolFlag{Name: "verbose", EnvVars: []string{"ONE2ONE_VERBOSE"}, Usage: "log every step of signalling"},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return faults{err.Error() + "; \"one2one --help\" lists the flags"}
		},
		Action: func(c *cli.Context) error {
			o, err := readOptions(c)
			if err != nil {
				return err
			}
			return serve(c.Context, o, stdout, stderr)
		},
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	var wrong faults
	if errors.As(err, &wrong) {
		return exitUsage
	}
	return exitRuntime
}

func readOptions(c *cli.Context) (options, error) {
	var found faults
	o := options{cert: c.String("cert"), key: c.String("key"), iceKey: c.String("ice-key"), policy: c.String("policy"), ringFor: c.Duration("ring")}
	for _, argument := range c.Args().Slice() {
		found = append(found, fmt.Sprintf("%s: is a surplus argument; one2one takes flags only", argument))
	}
	var err error
	if o.address, err = netip.ParseAddrPort(c.String("address")); err != nil {
		found = append(found, fmt.Sprintf("--address: %q is not IP:PORT; write for example 127.0.0.1:8443 or 0.0.0.0:8443", c.String("address")))
	}
	if o.ice, err = url.Parse(c.String("ice-url")); err != nil || o.ice.Scheme != "http" && o.ice.Scheme != "https" || o.ice.Host == "" {
		found = append(found, fmt.Sprintf("--ice-url: %q is not an HTTP address; write for example http://127.0.0.1:8088/ice", c.String("ice-url")))
	}
	if o.policy != "relay" && o.policy != "all" {
		found = append(found, fmt.Sprintf("--policy: %q is not an ICE transport policy; write relay or all", o.policy))
	}
	switch tls := c.String("tls"); tls {
	case "on", "off":
		o.secure = tls == "on"
	case "auto":
		o.secure = !o.address.Addr().IsLoopback() || o.cert != ""
	default:
		found = append(found, fmt.Sprintf("--tls: %q is not known; write on, off or auto", tls))
	}
	if (o.cert == "") != (o.key == "") {
		found = append(found, "--cert: certificate and key belong together; give --cert and --key, or neither")
	}
	if o.ringFor < time.Second {
		found = append(found, fmt.Sprintf("--ring: %s is too short; write 1s or more", o.ringFor))
	}
	if c.Bool("verbose") {
		o.logLevel = slog.LevelDebug
	}
	if len(found) > 0 {
		return o, found
	}
	return o, nil
}

// serve runs until ctx ends or a signal comes.
func serve(ctx context.Context, o options, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel}))
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.address.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("address %s: the port is in use; stop what uses it (ss -ltnp), or choose another with --address IP:PORT", o.address)
	} else if err != nil {
		return fmt.Errorf("address %s: %w", o.address, err)
	}
	s := newServer(ctx, o, log)
	scheme := "http"
	if o.secure {
		scheme = "https"
	}
	var welcome strings.Builder
	for _, at := range reachable(l.Addr()) {
		fmt.Fprintf(&welcome, "\n  %s://%s/", scheme, at)
	}
	fmt.Fprint(&welcome, "\n\n  Open it in two windows, register a name in each, and call one from the other.\n")
	if o.secure && o.cert == "" {
		fmt.Fprint(&welcome, "  The certificate was made just now, so the browser warns of it once: \"Advanced\", then \"Proceed\".\n")
	}
	fmt.Fprintln(stdout, welcome.String())
	return s.serve(ctx, l, certificates)
}

// reachable are the addresses to type into a browser: on this host, and where the page is served at every address of it,
// those by which other hosts come.
func reachable(a net.Addr) []string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return []string{a.String()}
	}
	local := fmt.Sprintf("localhost:%d", at.Port())
	switch {
	case at.Addr().IsLoopback() && at.Addr().Is4():
		return []string{local}
	case !at.Addr().IsUnspecified():
		return []string{at.String()}
	}
	all := []string{local}
	interfaces, _ := net.InterfaceAddrs() // without them it is localhost alone
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil && p.Addr().IsGlobalUnicast() {
			all = append(all, netip.AddrPortFrom(p.Addr(), at.Port()).String())
		}
	}
	return all
}

// serve answers on l until ctx ends, then closes every WebSocket and waits.
func (s *server) serve(ctx context.Context, l net.Listener, certificates certificates) error {
	failed := make(chan error, 1)
	go func() {
		if certificates == nil {
			failed <- s.http.Serve(l)
			return
		}
		s.http.TLSConfig = certificates
		failed <- s.http.ServeTLS(l, "", "")
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if s.http.Shutdown(grace) != nil {
		s.http.Close()
	}
	s.hub.wait() // the sessions end with ctx
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
