package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"time"
)

// settle is how old a modification time must be before it is trusted to change with the next write; file systems
// count it in ticks of up to two seconds (FAT), most in milliseconds.
const settle = 2 * time.Second

// watched is a credentials file and what was seen of it last. Guarded by Authenticator.mu once New has returned.
//
//	        stat differs, or not settled              content differs        no fault
//	poll ──────────────────────────────► read, hash ─────────────────► parse ────────► publish
//	  └─ same: done                          └─ same: done               └─ fault: log once, keep the old content
type watched struct {
	path    string
	info    os.FileInfo       // nil: unreadable when last seen
	settled bool              // info can be relied on: the file was last written well before it was read
	parsed  bool              // some content was read and parsed, with or without a fault
	digest  [sha256.Size]byte // of that content
	bad     error             // and its fault, nil: none
	logged  string            // the fault that was logged last; empty: none
}

// Run looks at the files every Options.PollInterval and takes over what has changed, until ctx ends; then it returns nil.
// The path is followed anew each time, so files that are replaced, also through symbolic links as Kubernetes does it, are
// seen. A file that is faulty, missing or leaves nobody to be let in changes nothing and is logged once. Call it once.
func (a *Authenticator) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			a.poll()
		}
	}
}

// poll looks at each file once and publishes a new snapshot when one of them has new content.
func (a *Authenticator) poll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	users := a.report(a.files.usersFile, a.loadUsers)
	secrets := a.report(a.files.secretsFile, a.loadSecrets)
	tokenKeys := a.report(a.files.tokenKeysFile, a.loadTokenKeys)
	if !users && !secrets && !tokenKeys {
		return
	}
	s, err := a.snapshot()
	switch {
	case errors.Is(err, ErrNoCredentials):
		a.log.Errorf("the credentials files are empty: %v; the previous content stays valid", err)
		return
	case err != nil:
		a.log.Errorf("%v; the previous content stays valid", err)
		return
	}
	a.current.Store(s)
	a.log.Infof("credentials were read again: %d users, %d secrets, %d token keys", s.count(), len(s.secrets), len(s.tokenKeys))
}

// report calls load if f has changed, and logs its fault once. It tells whether there is new content.
func (a *Authenticator) report(f *watched, load func() error) bool {
	if f == nil || f.unchanged() {
		return false
	}
	before := f.digest
	err := load()
	switch {
	case errors.Is(err, errChanging):
		return false
	case err != nil:
		if f.logged != err.Error() {
			f.logged = err.Error()
			a.log.Errorf("%v; the previous content stays valid", err)
		}
		return false
	case f.logged != "":
		f.logged = ""
		a.log.Infof("%s is in order again", f.path)
	}
	return f.digest != before
}

// loadUsers, loadSecrets and loadTokenKeys take over the file's content if it is new and has no fault.

func (a *Authenticator) loadUsers() error {
	f := a.files.usersFile
	return f.load(func(content []byte) error {
		accounts, err := parseUsers(f.path, content, a.realm, a.files.fixedUsers)
		if err == nil {
			a.files.fileUsers = accounts
		}
		return err
	})
}

func (a *Authenticator) loadSecrets() error {
	f := a.files.secretsFile
	return f.load(func(content []byte) error {
		secrets, err := parseSecrets(f.path, content, a.files.fixedSecrets)
		if err == nil {
			a.files.fileSecrets = secrets
		}
		return err
	})
}

func (a *Authenticator) loadTokenKeys() error {
	f := a.files.tokenKeysFile
	return f.load(func(content []byte) error {
		keys, err := parseTokenKeys(f.path, content)
		if err == nil {
			a.files.tokenKeys = keys
		}
		return err
	})
}

func (f *watched) load(parse func(content []byte) error) error {
	content, info, err := readFile(f.path)
	f.info = info
	if err != nil {
		return err
	}
	f.settled = time.Since(info.ModTime()) > settle
	digest := sha256.Sum256(content)
	if !f.parsed || digest != f.digest {
		f.parsed, f.digest = true, digest
		f.bad = parse(content)
	}
	return f.bad
}

func (f *watched) unchanged() bool {
	if !f.settled || f.info == nil {
		return false
	}
	info, err := os.Stat(f.path)
	return err == nil && sameState(f.info, info)
}
