package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
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

// Whoever comes by TLS or DTLS reaches and is reached by everybody else, by channels and by indications.
func TestSecureRelaying(t *testing.T) {
	s := conforming(t, nil)
	all := append(slices.Clip(ways), overTLS, overDTLS)
	for _, from := range all {
		for _, to := range all {
			if from != overTLS && from != overDTLS && to != overTLS && to != overDTLS {
				continue // TestConformanceRelaying has these
			}
			t.Run(from.String()+" to "+to.String(), func(t *testing.T) {
				a, b := s.call(t, from), s.call(t, to)
				a.allocate()
				b.allocate()
				a.permit(b.relayed)
				b.permit(a.relayed)
				for _, size := range []int{0, 1, 2, 3, 4, 1200, 4000} {
					data := bytes.Repeat([]byte{'x'}, size)
					a.sendTo(b.relayed, data)
					b.wantData(a.relayed, data)
				}
				a.bind(0x4001, b.relayed)
				b.bind(0x4002, a.relayed)
				for _, size := range []int{0, 1, 2, 3, 4, 1200, 4000} {
					data := bytes.Repeat([]byte{'y'}, size)
					a.send(channelData(0x4001, data, true))
					b.wantChannel(0x4002, data)
				}
				a.quiet()
				b.quiet()
			})
		}
	}
	for _, h := range s.Snapshot().Handshakes {
		if want := h.Outcome == "completed" && h.Protocol != "proxy" || h.Outcome == "challenged"; (h.Value > 0) != want {
			t.Errorf("%s %s: %d", h.Protocol, h.Outcome, h.Value)
		}
	}
}

// A server whose client goes away by closing knows it: the allocation ends.
func TestSecureClose(t *testing.T) {
	for _, w := range []way{overTLS, overDTLS} {
		t.Run(w.String(), func(t *testing.T) {
			s := conforming(t, nil)
			c := s.call(t, w)
			c.allocate()
			s.Allocations(1, func(a relay.AllocationInfo) bool {
				if a.Transport != w.scheme || a.Client != c.local() {
					t.Errorf("%+v", a)
				}
				return true
			})
			c.conn.Close()
			eventually(t, "no allocation is left", func() bool { return s.Count() == 0 })
		})
	}
}

// openTLS connects as a client that demands some things of TLS.
func openTLS(t *testing.T, s *served, scheme string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	config.InsecureSkipVerify = true
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.at(t, way{scheme, false}).String(), config)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// The protocol is agreed upon by ALPN if the client wants that, and TLS is no older than 1.2.
func TestSecureTLS(t *testing.T) {
	s := conforming(t, nil)
	for _, test := range []struct {
		name     string
		config   *tls.Config
		protocol string
		refused  bool
	}{
		{"no ALPN", &tls.Config{}, "", false},
		{"stun.turn", &tls.Config{NextProtos: []string{"stun.nat-discovery", "stun.turn"}}, "stun.turn", false},
		{"another protocol", &tls.Config{NextProtos: []string{"h2"}}, "", true},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, "", false},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := openTLS(t, s, "tls", test.config)
			if (err != nil) != test.refused {
				t.Fatal(err)
			}
			if err == nil && c.ConnectionState().NegotiatedProtocol != test.protocol {
				t.Errorf("agreed on %q", c.ConnectionState().NegotiatedProtocol)
			}
		})
	}
}

// A new certificate is taken without dropping a connection; a faulty one changes nothing.
func TestSecureRotation(t *testing.T) {
	var files secure.Pair
	s := conforming(t, func(c *relay.Config) { files = c.Certificates[0] })
	old := s.call(t, overTLS)
	old.allocate()
	serial := func() *big.Int {
		c, err := openTLS(t, s, "tls", &tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber
	}
	first := serial()
	second := sign(t, files, "127.0.0.1")
	eventually(t, "the new certificate is shown", func() bool { return serial().Cmp(second) == 0 })
	if first.Cmp(second) == 0 {
		t.Fatal("the certificates are the same")
	}
	old.request(stun.MethodRefresh).want(t, 0)

	if err := os.WriteFile(files.Key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got.Cmp(second) != 0 {
		t.Errorf("after a faulty key: certificate %v, want %v", got, second)
	}
	third := sign(t, files, "127.0.0.1")
	eventually(t, "the third certificate is shown", func() bool { return serial().Cmp(third) == 0 })
	old.request(stun.MethodRefresh).want(t, 0)
}

// A thousand who begin and don't go on, all from the same address, keep nobody out.
func TestSecureStalled(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.Listeners = append(c.Listeners, relay.Listener{Scheme: "tcp+tls", Address: "127.0.0.1:0"})
	})
	for _, scheme := range []string{"tls", "tcp+tls"} {
		t.Run(scheme, func(t *testing.T) {
			at := s.at(t, way{scheme, false})
			for i := range 1000 {
				c, err := net.Dial("tcp", at.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				if i%2 == 0 {
					c.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
				}
			}
			if _, err := openTLS(t, s, scheme, &tls.Config{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	var displaced uint64
	for _, h := range s.Snapshot().Handshakes {
		if h.Protocol == "tls" && h.Outcome == "displaced" {
			displaced = h.Value
		}
	}
	if displaced < 1000 {
		t.Errorf("%d gave way", displaced)
	}
}

// TCP and TLS share a port, told by the first byte; anything else is closed.
func TestSecureShared(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.Listeners = append(c.Listeners, relay.Listener{Scheme: "tcp+tls", Address: "127.0.0.1:0"})
	})
	at := s.at(t, way{"tcp+tls", false})
	plain, secured := s.callAt(t, "tcp", at, netip.AddrPort{}), s.callAt(t, "tls", at, netip.AddrPort{})
	for c, transport := range map[*caller]string{plain: "tcp", secured: "tls"} {
		if got := c.allocate().address(t, stun.AttrXORMappedAddress); got != c.local() {
			t.Errorf("%s: XOR-MAPPED-ADDRESS is %v, want %v", transport, got, c.local())
		}
		found := false
		s.Allocations(-1, func(a relay.AllocationInfo) bool {
			found = found || a.Client == c.local() && a.Transport == transport
			return true
		})
		if !found {
			t.Errorf("there is no allocation over %s", transport)
		}
	}
	plain.permit(secured.relayed)
	secured.permit(plain.relayed)
	plain.sendTo(secured.relayed, []byte("to the secured"))
	secured.wantData(plain.relayed, []byte("to the secured"))
	secured.sendTo(plain.relayed, []byte("to the plain"))
	plain.wantData(secured.relayed, []byte("to the plain"))
	web := s.callAt(t, "tcp", at, netip.AddrPort{})
	web.send([]byte("GET / HTTP/1.1\r\n\r\n"))
	web.closed()
}

// Behind a load balancer the client's address is the one in the header, for those only who are trusted.
func TestSecureProxy(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		for _, scheme := range []string{"tcp", "tls", "tcp+tls"} {
			c.Listeners = append(c.Listeners, relay.Listener{Scheme: scheme, Address: "127.0.0.2:0", Proxy: true, Name: scheme + " behind a balancer"})
		}
		c.ProxyTrusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x02\x30\x39\x0d\x96") // 192.0.2.7:12345 to 127.0.0.2:3478
	local := []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	client := netip.MustParseAddrPort("192.0.2.7:12345")
	at := map[string]netip.AddrPort{}
	for _, l := range s.ListenerInfos() {
		if l.Address.Addr().String() == "127.0.0.2" {
			at[l.Scheme] = l.Address
		}
	}
	// through connects as the balancer does.
	through := func(t *testing.T, scheme string, secured bool, from string, header []byte) *caller {
		t.Helper()
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		raw, err := d.Dial("tcp", at[scheme].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		raw.Write(header)
		c := &caller{t: t, user: "alice", password: "wonder", realm: "hairpin", conn: raw}
		if secured {
			c.conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		}
		c.stream = bufio.NewReader(c.conn)
		return c
	}
	for _, row := range []struct {
		scheme  string
		secured bool
	}{{"tcp", false}, {"tls", true}, {"tcp+tls", false}, {"tcp+tls", true}} {
		t.Run(fmt.Sprintf("%s, TLS %v", row.scheme, row.secured), func(t *testing.T) {
			c := through(t, row.scheme, row.secured, "127.0.0.1", header)
			if got := c.binding().address(t, stun.AttrXORMappedAddress); got != client {
				t.Errorf("XOR-MAPPED-ADDRESS is %v, want %v", got, client)
			}
			own := through(t, row.scheme, row.secured, "127.0.0.1", local)
			if got := own.binding().address(t, stun.AttrXORMappedAddress); got != own.local() {
				t.Errorf("LOCAL: XOR-MAPPED-ADDRESS is %v, want %v", got, own.local())
			}
		})
	}
	for _, bad := range []struct {
		name, from string
		sent       []byte
		outcome    string
	}{
		{"a stranger", "127.0.0.3", header, "untrusted"},
		{"version 1", "127.0.0.1", []byte("PROXY TCP4 192.0.2.7 127.0.0.2 12345 3478\r\n"), "malformed"},
		{"no header", "127.0.0.1", []byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"), "malformed"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			count := func() (n uint64) {
				for _, h := range s.Snapshot().Handshakes {
					if h.Protocol == "proxy" && h.Outcome == bad.outcome {
						n = h.Value
					}
				}
				return n
			}
			before := count()
			through(t, "tcp", false, bad.from, bad.sent).closed()
			eventually(t, "it is counted", func() bool { return count() == before+1 })
		})
	}
}
