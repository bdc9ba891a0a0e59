package secure

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// made is a self-signed certificate with its key, PEM.
type made struct{ certificate, key []byte }

func issue(t testing.TB, name string, serial int64, until time.Time) made {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: until, DNSNames: []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return made{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// pairOf is where the certificates of a test lie.
func pairOf(t testing.TB) Pair {
	dir := t.TempDir()
	return Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func write(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// logged collects what is logged at info and above.
type logged struct{ bytes.Buffer }

func (l *logged) logger() logging.LeveledLogger {
	return (&logging.DefaultLoggerFactory{Writer: l, DefaultLogLevel: logging.LogLevelInfo}).NewLogger("")
}

// wants demands one line with this text since the last call, or none for the empty text.
func (l *logged) wants(t *testing.T, text string) {
	t.Helper()
	lines := strings.Count(l.String(), "\n")
	if text == "" && lines > 0 || text != "" && (lines != 1 || !strings.Contains(l.String(), text)) {
		t.Errorf("logged %q, want %q", l.String(), text)
	}
	l.Reset()
}

func TestCertificatesPoll(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour)
	one, two := issue(t, "one.test", 1, year), issue(t, "two.test", 2, year)
	files := pairOf(t)
	write(t, files.Certificate, one.certificate)
	write(t, files.Key, one.key)
	var log logged
	c, err := Load([]Pair{files}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	serial := func(want int64) {
		t.Helper()
		if got, err := c.forTLS(&tls.ClientHelloInfo{}); err != nil || got.Leaf.SerialNumber.Int64() != want {
			t.Errorf("certificate %v, want %d: %v", got.Leaf.SerialNumber, want, err)
		}
	}
	c.pollLocked()
	log.wants(t, "")

	write(t, files.Certificate, two.certificate) // the key follows
	c.pollLocked()
	log.wants(t, "")
	serial(1)
	write(t, files.Key, two.key)
	c.pollLocked()
	log.wants(t, "was read again")
	serial(2)

	write(t, files.Key, one.key) // and nothing follows
	c.pollLocked()
	log.wants(t, "")
	c.pollLocked()
	log.wants(t, files.Key+": it is no key for the first certificate in")
	c.pollLocked()
	log.wants(t, "")
	serial(2)
	os.Remove(files.Key)
	c.pollLocked()
	c.pollLocked()
	log.wants(t, files.Key+": no such file")
	serial(2)
	write(t, files.Key, two.key)
	c.pollLocked()
	log.wants(t, "is in order again")
	serial(2)
}

func TestCertificatesExpire(t *testing.T) {
	files := pairOf(t)
	end := time.Now().Add(time.Hour)
	m := issue(t, "one.test", 1, end)
	write(t, files.Certificate, append(m.certificate, m.key...))
	files.Key = files.Certificate
	var log logged
	c, err := Load([]Pair{files}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	c.warnLocked(end.Add(-time.Minute))
	log.wants(t, "")
	c.warnLocked(end.Add(time.Minute))
	log.wants(t, "expired")
	c.warnLocked(end.Add(2 * time.Minute))
	log.wants(t, "")
}

func TestCertificatesByName(t *testing.T) {
	var pairs []Pair
	for i, name := range []string{"one.test", "two.test"} {
		p, m := pairOf(t), issue(t, name, int64(i+1), time.Now().Add(time.Hour))
		write(t, p.Certificate, m.certificate)
		write(t, p.Key, m.key)
		pairs = append(pairs, p)
	}
	var log logged
	c, err := Load(pairs, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"one.test": 1, "two.test": 2, "three.test": 1, "": 1} {
		overTLS, _ := c.forTLS(&tls.ClientHelloInfo{
			ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		})
		overDTLS, _ := c.forDTLS(&dtls.ClientHelloInfo{ServerName: name})
		if overTLS.Leaf.SerialNumber.Int64() != want || overDTLS.Leaf.SerialNumber.Int64() != want {
			t.Errorf("%q: certificate %v by TLS, %v by DTLS, want %d", name, overTLS.Leaf.SerialNumber, overDTLS.Leaf.SerialNumber, want)
		}
	}
}

func TestLoadFaults(t *testing.T) {
	m := issue(t, "one.test", 1, time.Now().Add(time.Hour))
	files := pairOf(t)
	write(t, files.Certificate, m.certificate)
	write(t, files.Key, m.key)
	junk := pairOf(t)
	write(t, junk.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")}))
	write(t, junk.Key, bytes.Repeat([]byte("x"), maxFile+1))
	for _, test := range []struct {
		name  string
		pair  Pair
		file  string
		fault string
	}{
		{"directory", Pair{t.TempDir(), files.Key}, "", "not a regular file"},
		{"missing key", Pair{files.Certificate, "/nowhere"}, "/nowhere", "no such file"},
		{"no certificate", Pair{junk.Certificate, files.Key}, junk.Certificate, "x509"},
		{"swapped", Pair{files.Key, files.Certificate}, files.Key, "no certificate in it"},
		{"too large", Pair{files.Certificate, junk.Key}, junk.Key, "more than 1 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log logged
			_, err := Load([]Pair{test.pair, {files.Certificate, files.Key}}, log.logger())
			f, ok := errors.AsType[*FileError](err)
			if !ok || test.file != "" && f.File != test.file || !strings.Contains(f.Error(), test.fault) {
				t.Errorf("%v", err)
			}
		})
	}
}
