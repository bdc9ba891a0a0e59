package relay

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/stream"
)

// Schemes are the kinds of listeners. With tcp+tls both share a port, told by the
// first byte of each connection.
func Schemes() []string { return []string{"udp", "tcp", "tls", "tcp+tls", "dtls"} }

// ICETransport is one way in which an ICE configuration can send clients to a
// listener.
type ICETransport struct {
	Secure    bool   // turns: instead of turn:
	Transport string // "udp" or "tcp"
}

func (t ICETransport) scheme() string {
	if t.Secure {
		return "turns:"
	}
	return "turn:"
}

// ICETransports lists the ways into a listener of this scheme (RFC 7065 §3.2).
func ICETransports(scheme string) []ICETransport {
	switch scheme {
	case "tls":
		return []ICETransport{{true, "tcp"}}
	case "dtls":
		return []ICETransport{{true, "udp"}}
	case "tcp+tls":
		return []ICETransport{{false, "tcp"}, {true, "tcp"}}
	}
	return []ICETransport{{false, scheme}}
}

// NeedsCertificate tells whether listeners of this scheme do.
func NeedsCertificate(scheme string) bool {
	return slices.ContainsFunc(ICETransports(scheme), func(t ICETransport) bool { return t.Secure })
}

// checkSecure finds what is wrong with a listener's scheme and what belongs to it.
func (c *Config) checkSecure(l Listener) (faults []error) {
	if !slices.Contains(Schemes(), l.Scheme) {
		faults = append(faults, fmt.Errorf("listener %s: scheme %q is not available; use one of %q", l.Name, l.Scheme, Schemes()))
	}
	if NeedsCertificate(l.Scheme) && len(c.Certificates) == 0 {
		faults = append(faults, fmt.Errorf("listener %s: there is no certificate for it; give one", l.Name))
	}
	if l.Proxy && l.Scheme == "dtls" {
		faults = append(faults, fmt.Errorf("listener %s: PROXY headers are not taken ahead of DTLS; use udp, tcp, tls or tcp+tls", l.Name))
	}
	if l.Proxy && len(c.ProxyTrusted) == 0 {
		faults = append(faults, fmt.Errorf("listener %s: nobody is trusted to send PROXY headers; name the load balancers' addresses", l.Name))
	}
	return faults
}

// secureShared loads the certificates if a listener needs them.
func (c *Config) secureShared() (*secure.Shared, error) {
	if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return NeedsCertificate(l.Scheme) }) {
		return secure.NewShared(secure.NoCertificates(c.Log.NewLogger("secure"))), nil
	}
	certificates, err := secure.Load(c.Certificates, c.Log.NewLogger("secure"))
	if err != nil {
		return nil, err
	}
	return secure.NewShared(certificates), nil
}

// openStream opens a listener for connections. Plain TCP has nothing in between.
func (s *Server) openStream(k *socket, address netip.AddrPort) (*stream.Listener, error) {
	l, limits, handler := k.of, stream.Limits{OpensWithSTUN: true}, sessions{s, k}
	if l.Scheme == "tcp" && !l.Proxy {
		return stream.Listen(address, limits, handler)
	}
	inner, err := stream.ListenTCP(address)
	if err != nil {
		return nil, err
	}
	return stream.NewListener(secure.NewListener(inner, secure.ListenerOptions{
		Proxy: l.Proxy, Trusted: s.config.ProxyTrusted,
		TLS: l.Scheme != "tcp", Plain: l.Scheme == "tcp+tls",
	}, s.secure), limits, handler)
}

// associations makes the sessions of one DTLS listener.
type associations struct{ sessions }

// Opened implements secure.Handler.
func (h associations) Opened(a *secure.Association) stream.Session {
	return h.session(a, allocation.DTLS)
}

// openFlows opens a listener for datagrams with PROXY headers.
func (s *Server) openFlows(k *socket, address netip.AddrPort) (*secure.Flows, error) {
	return secure.ListenFlows(address, s.socketOptions(), s.config.ProxyTrusted, flows{sessions{s, k}}, s.secure)
}

// flows makes the sessions of one listener for such datagrams.
type flows struct{ sessions }

// Began implements secure.FlowHandler.
func (h flows) Began(f *secure.Flow) stream.Session { return h.session(f, allocation.UDP) }
