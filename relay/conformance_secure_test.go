package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/hairpin-turn/hairpin/relay/secure"
)

// selfSigned writes a certificate for some addresses and its key into files of the test's.
func selfSigned(t testing.TB, hosts ...string) secure.Pair {
	t.Helper()
	dir := t.TempDir()
	p := secure.Pair{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	sign(t, p, hosts...)
	return p
}

// sign replaces the files of a pair, the certificate's serial number being another one each time.
func sign(t testing.TB, p secure.Pair, hosts ...string) (serial *big.Int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "hairpin test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	for _, h := range hosts {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(h))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{p.Certificate: {Type: "CERTIFICATE", Bytes: der}, p.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return serial
}

// dial connects by any scheme. Who the server is, is another test's business.
func dial(ctx context.Context, d *net.Dialer, scheme string, server netip.AddrPort) (net.Conn, error) {
	switch scheme {
	case "tls":
		secured := tls.Dialer{NetDialer: d, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"stun.turn"}}}
		return secured.DialContext(ctx, "tcp", server.String())
	case "dtls":
		raw, err := d.DialContext(ctx, "udp", server.String())
		if err != nil {
			return nil, err
		}
		c, err := dtls.ClientWithOptions(connected{raw.(*net.UDPConn)}, raw.RemoteAddr(),
			dtls.WithInsecureSkipVerify(true), dtls.WithSupportedProtocols("stun.turn"))
		if err == nil {
			err = c.HandshakeContext(ctx)
		}
		if err != nil {
			raw.Close()
			return nil, err
		}
		return c, nil
	}
	return d.DialContext(ctx, scheme, server.String())
}

// connected makes a connected socket the unconnected one that pion writes to.
type connected struct{ *net.UDPConn }

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }
