package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// defaultTTL is how long a printed credential is good for.
const defaultTTL = "24h"

func iceCommand() *cli.Command {
	env := func(flag string) []string { return variable("ice", flag) }
	return &cli.Command{
		Name:  "ice",
		Usage: "print the ICE configuration for a user",
		Description: "Prints the JSON that new RTCPeerConnection(…) takes: with the password of a static user, or with ephemeral credentials\n" +
			"signed by the first secret. Give it the settings that the server has, by flags, environment or --config.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "username", Aliases: []string{"id"}, EnvVars: env("username"), Usage: "whom it is for: `NAME` of a static user, else the id in an ephemeral user name"},
			&cli.StringFlag{Name: "ttl", EnvVars: env("ttl"), DefaultText: defaultTTL, Usage: "`DURATION` that ephemeral credentials are good for"},
			&cli.StringSliceFlag{Name: "url", Usage: "`URL` of the server; otherwise those of --ice-url, or of --public-address and the listeners"},
			&cli.StringFlag{Name: "policy", EnvVars: env("policy"), Usage: "iceTransportPolicy: `all or relay`; left out when not given"},
		}, settingFlags("config", "user", "users-file", "secret", "secrets-file", "realm", "listen", "public-address", "ice-url")...),
		Action: printICE,
	}
}

func printICE(c *cli.Context) error {
	settings, err := loadSettings(c)
	var found faults
	if err != nil && !errors.As(err, &found) {
		return err
	}
	spelt := cmp.Or(c.String("ttl"), defaultTTL)
	ttl, err := time.ParseDuration(spelt)
	if err != nil || ttl < time.Second {
		found = append(found, fault{"--ttl", fmt.Sprintf("%q is not a duration of at least one second", spelt), "write for example 24h or 90m"})
	}
	policy := c.String("policy")
	if policy != "" && policy != "all" && policy != "relay" {
		found = append(found, fault{"--policy", fmt.Sprintf("%q is not an ICE transport policy", policy), "write all or relay"})
	}
	urls := c.StringSlice("url")
	for _, url := range urls {
		if !isICEURL(url) {
			found = append(found, fault{"--url", fmt.Sprintf("%q is not a TURN URL", url), "write turn:HOST:PORT?transport=udp or …=tcp"})
		}
	}
	if settings != nil {
		if !settings.hasCredentials() {
			found = append(found, fault{"--secret", "no credentials are given", "give --secret, --secrets-file, --user or --users-file"})
		}
		if len(urls) == 0 {
			var missing faults
			urls, missing = settings.iceURLs()
			found = append(found, missing...)
		}
	}
	if err := found.err(); err != nil {
		return err
	}

	authenticator, err := auth.New(settings.authOptions())
	if err != nil {
		return err
	}
	config, err := authenticator.ICE(urls, settings.iceUser(c), ttl)
	switch {
	case errors.Is(err, auth.ErrNoSecret):
		return faults{{"--username", "no static user has this name, and there is no secret for ephemeral credentials", "name one of the users, or give --secret"}}
	case errors.Is(err, auth.ErrNoPassword):
		return faults{{"--username", "this user is known by its HA1 key only", "give its password, NAME:PASSWORD"}}
	case err != nil:
		p := explained(err, "write another one").(*problem)
		return faults{{"--username", p.what, p.remedy}}
	}
	config.ICETransportPolicy = policy
	return printJSON(c.App.Writer, config)
}

// iceUser is whom credentials are for: the one that is named, or the only static user where there is no secret.
func (s *Settings) iceUser(c *cli.Context) string {
	if c.String("username") == "" && len(s.Users) == 1 && len(s.Secrets) == 0 && s.SecretsFile == "" {
		return s.Users[0].Name
	}
	return c.String("username")
}

// iceURLs are the URLs of advertised.
func (s *Settings) iceURLs() ([]string, faults) {
	listeners, missing := s.advertised()
	var urls []string
	for _, l := range listeners {
		urls = append(urls, l.URL())
	}
	return urls, missing
}

// advertised are --ice-url, else the listeners at the addresses that the server tells clients: the public address, else
// the listener's, else the first global ones of the host, which should be the server's then. Without a listener, those
// that a server has by default.
func (s *Settings) advertised() ([]auth.ICEListener, faults) {
	if len(s.ICEURLs) > 0 {
		return s.ICEURLs, nil
	}
	own := s.Listen
	if s.ListenNone {
		own = []listener{{scheme: "udp", port: defaultPort}, {scheme: "tcp", port: defaultPort}}
	}
	var listeners []auth.ICEListener
	for _, l := range own {
		addresses := s.PublicAddress
		switch {
		case len(addresses) > 0:
		case l.host.IsValid() && !l.host.IsUnspecified():
			addresses = []netip.Addr{l.host}
		default:
			addresses = relay.GlobalAddresses()
		}
		for _, a := range addresses {
			if l.takes(a) {
				listeners = append(listeners, iceListeners(netip.AddrPortFrom(a, l.port), l.scheme, l.label)...)
			}
		}
	}
	if len(listeners) == 0 {
		return nil, faults{{"--public-address", "there is no address of the listeners' IP version to connect to", "give --public-address IP or --url URL"}}
	}
	return listeners, nil
}

// iceListeners are the ways into a listener of a scheme.
func iceListeners(at netip.AddrPort, scheme string, l label) []auth.ICEListener {
	var ways []auth.ICEListener
	for _, t := range relay.ICETransports(scheme) {
		ways = append(ways, auth.ICEListener{
			Namespace: l.namespace, Gateway: l.gateway, Name: l.name, Secure: t.Secure,
			Host: at.Addr().String(), Port: at.Port(), Transport: t.Transport,
		})
	}
	return ways
}

// takes reports whether clients of an address can come to the listener: NAT keeps the IP version.
func (l listener) takes(a netip.Addr) bool { return !l.host.IsValid() || l.host.Is4() == a.Is4() }

// turnURL is the first URL (RFC 7065 §3.1) of a listener.
func turnURL(at netip.AddrPort, scheme string) string {
	return iceListeners(at, scheme, label{})[0].URL()
}

// isICEURL checks the form of RFC 7065: turn(s):HOST[:PORT][?transport=udp|tcp].
func isICEURL(url string) bool {
	rest, ok := strings.CutPrefix(url, "turn:")
	if !ok {
		if rest, ok = strings.CutPrefix(url, "turns:"); !ok {
			return false
		}
	}
	where, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery && query != "transport=udp" && query != "transport=tcp" {
		return false
	}
	host := where
	if h, port, err := net.SplitHostPort(where); err == nil {
		host = h
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return host != "" && !strings.ContainsAny(host, "/@? \t")
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
