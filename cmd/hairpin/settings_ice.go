package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// parseICEURL reads turn(s):HOST[:PORT][?transport=udp|tcp] with a label (RFC 7065 §3.1).
func parseICEURL(s *Settings, v value) error {
	text, label, err := cutLabel(v.text)
	if err != nil {
		return err
	}
	if !isICEURL(text) {
		return wrong(fmt.Sprintf("%q is not a TURN URL", v.text), "write turn:HOST:PORT?transport=udp or …=tcp")
	}
	scheme, rest, _ := strings.Cut(text, ":")
	where, query, _ := strings.Cut(rest, "?")
	l := auth.ICEListener{
		Namespace: label.namespace, Gateway: label.gateway, Name: label.name,
		Secure: scheme == "turns", Host: strings.Trim(where, "[]"), Transport: strings.TrimPrefix(query, "transport="),
	}
	if host, port, err := net.SplitHostPort(where); err == nil {
		number, _ := strconv.ParseUint(port, 10, 16) // isICEURL has seen to it
		l.Host, l.Port = host, uint16(number)
	}
	if slices.Contains(s.ICEURLs, l) {
		return wrong(fmt.Sprintf("%q is given twice", v.text), "remove one")
	}
	s.ICEURLs = append(s.ICEURLs, l)
	return nil
}

func parseICEKey(s *Settings, v value) error {
	var key string
	if err := checkToken(&key, v.text); err != nil {
		return err
	}
	if slices.Contains(s.ICEKeys, key) {
		return wrong("is given twice", "remove one")
	}
	s.ICEKeys = append(s.ICEKeys, key)
	return nil
}

// parseOrigin takes an origin as a browser writes it (RFC 6454 §6.2), because it is compared with that.
func parseOrigin(s *Settings, v value) error {
	if v.text != "*" {
		u, err := url.Parse(v.text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || v.text != u.Scheme+"://"+strings.ToLower(u.Host) {
			return wrong(fmt.Sprintf("%q is not an origin", v.text), "write https://HOST or https://HOST:PORT in small letters and without a path, or *")
		}
	}
	s.ICEAllowOrigins = append(s.ICEAllowOrigins, v.text)
	return nil
}

// checkICE finds what is wrong with the ICE service and with a server that is nothing else.
func (s *Settings) checkICE() faults {
	var found faults
	if s.ListenNone {
		place := s.originOf("listen")
		switch {
		case len(s.Listen) > 0:
			found = append(found, fault{place, "is none and something beside it", "write one of them"})
		case !s.ICE.IsValid():
			found = append(found, fault{place, "is none, and there is no ICE service either", "give --ice IP:PORT, or a listener"})
		case len(s.ICEURLs) == 0 && len(s.PublicAddress) == 0:
			found = append(found, fault{place, "is none, so nobody knows where to send clients", "give --ice-url, or --public-address for port 3478 there"})
		}
		if !s.hasCredentials() {
			found = append(found, fault{place, "is none, and there are no credentials to hand out", "give the secret that the relays have"})
		}
	}
	hasSecret := len(s.Secrets) > 0 || s.SecretsFile != ""
	if s.ICE.IsValid() && s.hasCredentials() && !hasSecret && !s.handsOutStatic() {
		found = append(found, fault{s.originOf("ice"), fmt.Sprintf("would hand out the passwords of static users to whoever can connect to %s", s.ICE),
			"give a secret for ephemeral credentials, an --ice-key, or a loopback address"})
	}
	return found
}

// handsOutStatic says whether the ICE service may hand out passwords that do not end by themselves.
func (s *Settings) handsOutStatic() bool { return len(s.ICEKeys) > 0 || s.ICE.Addr().IsLoopback() }

// iceServiceOptions are what package auth needs of the settings to serve ICE configurations for a relay, nil with
// --listen none.
func (s *Settings) iceServiceOptions(server *relay.Server) auth.ICEServiceOptions {
	listeners := s.iceListeners(server)
	return auth.ICEServiceOptions{
		Listeners:    func() []auth.ICEListener { return listeners },
		Keys:         s.ICEKeys,
		Static:       s.handsOutStatic(),
		Local:        s.ICE.Addr().IsLoopback(),
		AllowOrigins: s.ICEAllowOrigins,
		MaxLifetime:  s.ICEMaxTTL,
		Rate:         s.ICERate,
	}
}

// iceListeners are where the ICE service sends clients.
func (s *Settings) iceListeners(server *relay.Server) []auth.ICEListener {
	switch {
	case len(s.ICEURLs) > 0:
		return s.ICEURLs
	case server == nil:
		listeners, _ := s.advertised() // checkICE has seen to it
		return listeners
	}
	labels := map[string]label{}
	for _, l := range s.Listen {
		labels[l.String()] = l.label
	}
	var listeners []auth.ICEListener
	for _, bound := range server.Advertised() {
		listeners = append(listeners, iceListeners(bound.Public, bound.Scheme, labels[bound.Name])...)
	}
	return listeners
}
