package main

import (
	"crypto/sha256"
	"os"
	"slices"
)

// reloadable are the settings that a running server takes over. Every other one needs a restart: a setting that nobody
// has thought about here is refused, not ignored.
var reloadable = []string{
	"listen", "tls-cert", "tls-key", "peers", "peers-file",
	"user", "users-file", "secret", "secrets-file", "enforce-expiry", "oauth-keys-file",
	"user-quota", "total-quota", "admin-token", "admin-token-file", "metrics-allocations",
	"ice-url", "ice-key", "ice-allow-origin", "ice-max-ttl", "ice-rate",
	"quality", "drain-timeout", "alternate-server", "log-level",
}

// changesSince names the settings that differ from before, in the order of the table, and as faults those that can't
// change while a server runs. Of values it says nothing: they may be secrets.
func (s *Settings) changesSince(before *Settings) (names []string, found faults) {
	for i := range settingsTable {
		row := &settingsTable[i]
		switch {
		case slices.EqualFunc(s.given[row.name], before.given[row.name], func(a, b value) bool { return a.text == b.text }):
		case row.name == "listen" && s.ListenNone != before.ListenNone:
			found = append(found, fault{s.originOf(row.name), "a relay is taken away or added, which needs a restart", "restart the server, or undo the change"})
		case slices.Contains(reloadable, row.name):
			names = append(names, row.name)
		default:
			place := s.originOf(row.name)
			if place == "default" { // it is not there any longer
				place = before.originOf(row.name)
			}
			found = append(found, fault{place, row.name + " has changed, which needs a restart", "restart the server, or undo the change"})
		}
	}
	return names, found
}

// contents are digests of the files that settings name, by setting.
type contents map[string][sha256.Size]byte

// contents looks into the files of s; a file that can't be read has the digest of why. Pipes are not read: that would take
// what is in them away from whoever they are for.
func (s *Settings) contents() contents {
	all := contents{}
	for name, files := range map[string][]string{
		"config": {s.Config}, "admin-token-file": {s.AdminTokenFile}, "peers-file": {s.PeersFile},
		"users-file": {s.UsersFile}, "secrets-file": {s.SecretsFile}, "oauth-keys-file": {s.TokenKeysFile},
		"tls-cert": s.TLSCert, "tls-key": s.TLSKey,
	} {
		whole := sha256.New()
		for _, path := range files {
			if path == "" || !isRegular(path) {
				continue
			}
			content, err := readBounded(path)
			if err != nil {
				content = []byte(reason(err))
			}
			sum := sha256.Sum256(content)
			whole.Write(sum[:])
		}
		all[name] = [sha256.Size]byte(whole.Sum(nil))
	}
	return all
}

// isRegular says whether a path can be read again and again.
func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// differ names the settings whose files do, among names.
func (c contents) differ(other contents, names ...string) (different []string) {
	for _, name := range names {
		if c[name] != other[name] {
			different = append(different, name)
		}
	}
	return different
}

// checkAgain finds what can't be read a second time.
func (s *Settings) checkAgain() (found faults) {
	for _, file := range []struct{ name, path string }{{"config", s.Config}, {"admin-token-file", s.AdminTokenFile}} {
		if info, err := os.Stat(file.path); file.path != "" && err == nil && !info.Mode().IsRegular() {
			found = append(found, fault{s.originOf(file.name), "is no regular file, so it cannot be read a second time", "restart the server, or give it a file"})
		}
	}
	return found
}
