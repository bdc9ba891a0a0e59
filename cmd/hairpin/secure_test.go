package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certificate is a self-signed one for the loopback addresses, as PEM and in files.
type certificate struct {
	key, both         string
	certFile, keyFile string
}

func selfSigned(t *testing.T, dir string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hairpin test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c := certificate{
		key:      string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		certFile: filepath.Join(dir, "own-cert.pem"), keyFile: filepath.Join(dir, "own-key.pem"),
	}
	c.both = cert + c.key
	for file, content := range map[string]string{c.certFile: cert, c.keyFile: c.key} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// What is wrong with certificates and load balancers names the flag, the file and the remedy, and nothing of a key.
func TestWrongCertificates(t *testing.T) {
	clearEnvironment(t)
	own, other := selfSigned(t, t.TempDir()), selfSigned(t, t.TempDir())
	port := freePorts(t, 1)[0]
	listen := "tls://127.0.0.1:" + port
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"none", nil, `--listen: "` + listen + `" needs a certificate; give --tls-cert FILE and --tls-key FILE, or remove the listener`},
		{"missing", []string{"--tls-cert", "/nowhere.pem"}, `--tls-cert: cannot use "/nowhere.pem": no such file or directory; name the PEM files`},
		{"swapped", []string{"--tls-cert", own.keyFile, "--tls-key", own.certFile}, `--tls-cert: cannot use "` + own.keyFile + `": there is no certificate in it (PEM, "BEGIN CERTIFICATE"); name`},
		{"no key", []string{"--tls-cert", own.certFile}, `--tls-cert: cannot use "` + own.certFile + `": there is no private key in it`},
		{"another's key", []string{"--tls-cert", own.certFile, "--tls-key", other.keyFile}, `--tls-key: cannot use "` + other.keyFile + `": it is no key for the first certificate in ` + own.certFile},
		{"too many keys", []string{"--tls-cert", own.certFile, "--tls-key", own.keyFile, "--tls-key", other.keyFile}, `--tls-key: there are 1 of tls-cert and 2 of tls-key; give one`},
		{"nobody trusted", []string{"--listen", "tcp://127.0.0.2:" + port + "?proxy=v2"}, `would refuse everybody: nobody is trusted to send PROXY headers; give --proxy-trusted CIDR`},
		{"a port for both", []string{"--tls-cert", own.certFile, "--tls-key", own.keyFile, "--listen", "tcp://127.0.0.1:" + port}, `"tcp://127.0.0.1:` + port + `" overlaps "` + listen + `"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := hairpinHere(append([]string{"serve", "--admin", "off", "--user", "a:b", "--listen", listen}, test.args...)...)
			if got.code != exitUsage || !strings.Contains(got.stderr, test.want) || strings.Contains(got.stderr, "PRIVATE KEY-----") {
				t.Errorf("code %d\n%s\nwant\n%s", got.code, got.stderr, test.want)
			}
		})
	}
}

// A client gets to the relay by TLS and DTLS, if it trusts the certificate, and with the addresses that it is told.
func TestProbeSecure(t *testing.T) {
	ports := freePorts(t, 3)
	own, other := selfSigned(t, t.TempDir()), selfSigned(t, t.TempDir())
	p := startProcess(t, "hairpin", "serve", "--admin", "off", "--user", "alice:wonder", "--tls-cert", own.certFile, "--tls-key", own.keyFile,
		"--listen", "tls://127.0.0.1:"+ports[0], "--listen", "dtls://127.0.0.1:"+ports[0], "--listen", "tcp+tls://127.0.0.1:"+ports[1],
		"--ice", "127.0.0.1:"+ports[2])
	for _, port := range ports { // HTTP opens ahead of the relay
		waitForTCP(t, "127.0.0.1:"+port)
	}
	for _, test := range []struct {
		url   string
		flags []string
		code  int
		says  string
	}{
		{"turns:127.0.0.1:" + ports[0], []string{"--ca", own.certFile}, probeGood, "tls"},
		{"turns:127.0.0.1:" + ports[0] + "?transport=udp", []string{"--ca", own.certFile}, probeGood, "dtls"},
		{"turns:127.0.0.1:" + ports[1], []string{"--insecure"}, probeGood, "tls"},
		{"turns:127.0.0.1:" + ports[0] + "?transport=udp", []string{"--insecure", "--indications"}, probeGood, "dtls"},
		{"turn:127.0.0.1:" + ports[1] + "?transport=tcp", nil, probeGood, "tcp"},
		{"turns:127.0.0.1:" + ports[0], []string{"--ca", other.certFile}, probeUnreachable, "its certificate is not trusted"},
		{"turns:127.0.0.1:" + ports[0] + "?transport=udp", []string{"--ca", other.certFile}, probeUnreachable, "its certificate is not trusted"},
	} {
		got := hairpin(t, append(append([]string{"probe", "--user", "alice", "--password", "wonder", "--count", "20", "--interval", "1ms"}, test.flags...), test.url)...)
		if got.code != test.code || !strings.Contains(got.stdout+got.stderr, test.says) {
			t.Errorf("%s %q: %+v", test.url, test.flags, got)
		}
	}

	answer, err := http.Get("http://127.0.0.1:" + ports[2] + "/ice?service=turn&username=alice")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	for _, url := range []string{
		`"turns:127.0.0.1:` + ports[0] + `?transport=tcp"`, `"turns:127.0.0.1:` + ports[0] + `?transport=udp"`,
		`"turn:127.0.0.1:` + ports[1] + `?transport=tcp"`, `"turns:127.0.0.1:` + ports[1] + `?transport=tcp"`,
	} {
		if !strings.Contains(string(body), url) {
			t.Errorf("the ICE service does not name %s: %s", url, body)
		}
	}
	if code := p.end(t, syscall.SIGTERM); code != exitGood {
		t.Errorf("exit code %d", code)
	}
}
