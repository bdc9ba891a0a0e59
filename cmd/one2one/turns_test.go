package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/secure"
)

// certificateFiles writes a certificate for this host's addresses.
func certificateFiles(t *testing.T) secure.Pair {
	t.Helper()
	made, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := secure.Pair{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, block := range map[string]*pem.Block{
		files.Certificate: {Type: "CERTIFICATE", Bytes: made.Certificate[0]},
		files.Key:         {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Two browsers that may use nothing but TLS meet in the relay.
func TestCallOverTLS(t *testing.T) {
	s := newStage(t, stageOptions{tls: true})
	alice, bob := s.call("tcp", "tcp")
	for _, p := range []*person{alice, bob} {
		p.until(fmt.Sprintf("%s.then((c) => c.FramesDecoded >= %d)", counting, 40))
		if c := p.counts(); c.LocalType != "relay" || c.RemoteType != "relay" || c.Way != "tls" || c.Lost != 0 {
			t.Errorf("%s: from %s (%s) to %s, %d packets lost", p.name, c.LocalType, c.Way, c.RemoteType, c.Lost)
		}
	}
	s.agrees(alice, bob)
	alice.click("hangup")
	bob.state("ready")
}
