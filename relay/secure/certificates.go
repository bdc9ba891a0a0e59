package secure

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
)

// maxFile bounds a file of certificates or of a key, in bytes.
const maxFile = 1 << 20

// pollInterval is how often Run looks at the files. They are small: reading them whole costs less than being fooled by a
// modification time.
const pollInterval = time.Second

// Pair names the files of a certificate chain, leaf first, and of its private key, both PEM.
type Pair struct{ Certificate, Key string }

// FileError says which file of a Pair is wrong, and how.
type FileError struct {
	File string
	Err  error
}

func (e *FileError) Error() string { return e.File + ": " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// Certificates are the current content of some pairs of files. All methods may be called concurrently, Run once.
type Certificates struct {
	log     logging.LeveledLogger
	current atomic.Pointer[[]*tls.Certificate] // in the order of the pairs; empty only where no listener needs one

	mu    sync.Mutex
	pairs []*watched // guarded by mu
}

// NoCertificates are for a server that needs none yet; Adopt gives it some.
func NoCertificates(log logging.LeveledLogger) *Certificates {
	c := &Certificates{log: log}
	c.publishLocked()
	return c
}

// Adopt takes over the pairs of next, which Load made and nobody else uses. Connections keep the certificate that they
// began with.
func (c *Certificates) Adopt(next *Certificates) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs = next.pairs
	c.publishLocked()
}

// watched is a pair and what was last seen of it.
type watched struct {
	Pair
	good   *tls.Certificate
	digest [sha256.Size]byte // of the content of good
	seen   [sha256.Size]byte // of the content that was read last
	fault  string            // that was logged last; empty: none
	warned bool              // of the end of good's life
}

// Load reads the pairs, at least one. Its error joins one *FileError for each that can't be used.
func Load(pairs []Pair, log logging.LeveledLogger) (*Certificates, error) {
	c := &Certificates{log: log}
	var faults []error
	for _, p := range pairs {
		w := &watched{Pair: p}
		content, err := w.read()
		if err == nil {
			w.good, err = content.parse(p)
			w.digest = content.digest()
			w.seen = w.digest
		}
		if err != nil {
			faults = append(faults, err)
		}
		c.pairs = append(c.pairs, w)
	}
	if len(pairs) == 0 {
		faults = append(faults, errors.New("secure: no certificate"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c.publishLocked()
	c.warnLocked(time.Now())
	return c, nil
}

// Run looks at the files and takes over what has changed, until ctx ends. Connections keep the certificate that they
// began with. A pair with a fault is logged once and changes nothing; a certificate and its key may be replaced one after
// the other, so a fault counts when two looks find the same one.
func (c *Certificates) Run(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			c.look(now)
		}
	}
}

func (c *Certificates) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pollLocked()
	c.warnLocked(now)
}

func (c *Certificates) pollLocked() {
	changed := false
	for _, w := range c.pairs {
		changed = w.poll(c.log) || changed
	}
	if changed {
		c.publishLocked()
	}
}

// poll tells whether good is another one now.
func (w *watched) poll(log logging.LeveledLogger) bool {
	content, err := w.read()
	digest := content.digest()
	twice := digest == w.seen
	w.seen = digest
	if err == nil && digest == w.digest {
		if w.fault != "" {
			w.fault = ""
			log.Infof("%s is in order again", w.Certificate)
		}
		return false
	}
	var next *tls.Certificate
	if err == nil {
		next, err = content.parse(w.Pair)
	}
	if err != nil {
		if twice && w.fault != err.Error() {
			w.fault = err.Error()
			log.Errorf("%v; the previous certificate stays in use", err)
		}
		return false
	}
	w.good, w.digest, w.fault, w.warned = next, digest, "", false
	log.Infof("%s was read again: valid until %s", w.Certificate, next.Leaf.NotAfter.Format(time.RFC3339))
	return true
}

// warnLocked says once of each certificate that clients are going to refuse it.
func (c *Certificates) warnLocked(now time.Time) {
	for _, w := range c.pairs {
		switch leaf := w.good.Leaf; {
		case w.warned:
		case now.After(leaf.NotAfter):
			w.warned = true
			c.log.Warnf("%s expired at %s: clients that check it will refuse it; renew it, the file is read again by itself", w.Certificate, leaf.NotAfter.Format(time.RFC3339))
		case now.Before(leaf.NotBefore):
			w.warned = true
			c.log.Warnf("%s is not valid before %s: clients that check it will refuse it; is the clock right?", w.Certificate, leaf.NotBefore.Format(time.RFC3339))
		}
	}
}

func (c *Certificates) publishLocked() {
	all := make([]*tls.Certificate, len(c.pairs))
	for i, w := range c.pairs {
		all[i] = w.good
	}
	c.current.Store(&all)
}

// errNoCertificate ends a handshake at a listener that goes on without its certificate for those whom it has.
var errNoCertificate = errors.New("secure: there is no certificate any longer")

// forTLS picks the first certificate that suits the client's name and algorithms, else the first one.
func (c *Certificates) forTLS(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *c.current.Load()
	if len(all) == 0 {
		return nil, errNoCertificate
	}
	for _, one := range all {
		if len(all) > 1 && hello.SupportsCertificate(one) == nil {
			return one, nil
		}
	}
	return all[0], nil
}

// forDTLS picks the first certificate for the name that the client gives, else the first one.
func (c *Certificates) forDTLS(hello *dtls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *c.current.Load()
	if len(all) == 0 {
		return nil, errNoCertificate
	}
	for _, one := range all {
		if len(all) > 1 && hello.ServerName != "" && one.Leaf.VerifyHostname(hello.ServerName) == nil {
			return one, nil
		}
	}
	return all[0], nil
}

// pairContent is what the files of a pair hold.
type pairContent struct{ certificate, key []byte }

func (p pairContent) digest() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{p.certificate, p.key} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (p Pair) read() (content pairContent, err error) {
	if content.certificate, err = readFile(p.Certificate); err != nil {
		return content, &FileError{p.Certificate, err}
	}
	if content.key, err = readFile(p.Key); err != nil {
		return content, &FileError{p.Key, err}
	}
	return content, nil
}

func readFile(path string) ([]byte, error) {
	// Before it is opened, for to open a named pipe is to wait for its writer.
	if info, err := os.Stat(path); err != nil {
		return nil, withoutPath(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("this is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		return nil, fmt.Errorf("the file has more than %d MiB", maxFile>>20)
	}
	return content, withoutPath(err)
}

func withoutPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// parse checks that certificate and key are what they should be and belong together. Its error is a *FileError and
// repeats nothing of the key.
func (p pairContent) parse(of Pair) (*tls.Certificate, error) {
	if !hasBlock(p.certificate, "CERTIFICATE") {
		return nil, &FileError{of.Certificate, errors.New("there is no certificate in it (PEM, \"BEGIN CERTIFICATE\")")}
	}
	if !hasBlock(p.key, "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY") {
		return nil, &FileError{of.Key, errors.New("there is no private key in it (PEM, \"BEGIN PRIVATE KEY\", not encrypted)")}
	}
	for rest := p.certificate; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, &FileError{of.Certificate, err}
			}
		}
	}
	pair, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, &FileError{of.Key, fmt.Errorf("it is no key for the first certificate in %s: %w", of.Certificate, err)}
	}
	return &pair, nil
}

func hasBlock(content []byte, types ...string) bool {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		for _, t := range types {
			if block.Type == t {
				return true
			}
		}
	}
	return false
}
