package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// secure tells whether there is TLS or DTLS between client and server.
func (t Transport) secure() bool { return t == TLS || t == DTLS }

// network is what the sockets of a transport are, as URIs and the standard library call it.
func (t Transport) network() string {
	switch t {
	case TLS:
		return string(TCP)
	case DTLS:
		return string(UDP)
	}
	return string(t)
}

// dial connects to the server, and shakes hands with it where the transport wants that. The certificate has to name the
// host of the URI.
func (o Options) dial(ctx context.Context, transport Transport, server netip.AddrPort) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, transport.network(), server.String())
	if err != nil || !transport.secure() {
		return raw, err
	}
	var secured interface {
		net.Conn
		HandshakeContext(context.Context) error
	}
	if transport == TLS {
		secured = tls.Client(raw, &tls.Config{
			ServerName: o.Server.Host, RootCAs: o.RootCAs, InsecureSkipVerify: o.Insecure, NextProtos: []string{alpn},
		})
	} else {
		options := []dtls.ClientOption{
			dtls.WithServerName(o.Server.Host), dtls.WithInsecureSkipVerify(o.Insecure), dtls.WithSupportedProtocols(alpn),
			dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}),
		}
		if o.RootCAs != nil {
			options = append(options, dtls.WithRootCAs(o.RootCAs))
		}
		secured, err = dtls.ClientWithOptions(connected{raw}, raw.RemoteAddr(), options...)
	}
	if err == nil {
		err = secured.HandshakeContext(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return secured, nil
}

// alpn is the protocol of TURN over TLS (RFC 7443).
const alpn = "stun.turn"

// distrusted tells what a client has against the server's certificate; false: it is something else.
func distrusted(err error) (string, bool) {
	authority, isAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	name, isName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case isAuthority:
		return authority.Error(), true
	case isName:
		return name.Error(), true
	case isInvalid:
		return invalid.Error(), true
	}
	return "", false
}
