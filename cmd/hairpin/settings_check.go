package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hairpin-turn/hairpin/auth"
)

// checkTogether finds what is wrong with settings that are good one by one, and settles what depends on others.
func (s *Settings) checkTogether() faults {
	if s.ListenNone && s.originOf("admin") == "default" {
		s.Admin = netip.AddrPort{}
	}
	found := append(s.checkListeners(), s.checkNATDiscovery()...)
	found = append(found, s.checkAdminToken()...)
	return append(found, s.checkICE()...)
}

func (s *Settings) checkListeners() faults {
	var found faults
	for i, l := range s.Listen {
		for _, earlier := range s.Listen[:i] {
			switch {
			case l.String() == earlier.String():
				found = append(found, fault{l.from.String(), fmt.Sprintf("%q is given twice", l), "remove one"})
			case l.overlaps(earlier):
				found = append(found, fault{l.from.String(), fmt.Sprintf("%q overlaps %q", l, earlier), "remove one, or change its port"})
			}
		}
	}
	return append(found, s.checkHTTP()...)
}

// checkHTTP finds what overlaps the addresses for HTTP.
func (s *Settings) checkHTTP() faults {
	var found faults
	taken := slices.Clone(s.Listen)
	for _, own := range []struct {
		name, what string
		address    netip.AddrPort
	}{{"admin", "admin address", s.Admin}, {"ice", "ICE address", s.ICE}} {
		if !own.address.IsValid() {
			continue
		}
		l := listener{scheme: "tcp", host: own.address.Addr(), port: own.address.Port(), from: s.given[own.name][0].origin}
		if l.host.IsUnspecified() && l.host.Is6() {
			l.host = netip.Addr{} // net.Listen opens both families
		}
		for _, other := range taken {
			if other.overlaps(l) {
				place := s.originOf(own.name)
				if place == "default" {
					place = other.from.String()
				}
				found = append(found, fault{place, fmt.Sprintf("%q and the %s %s overlap", other, own.what, own.address), "change the port of one of them"})
			}
		}
		taken = append(taken, l)
	}
	return found
}

// checkAdminToken fills AdminToken from its file.
func (s *Settings) checkAdminToken() faults {
	if s.AdminTokenFile == "" {
		return nil
	}
	place := s.originOf("admin-token-file")
	if s.AdminToken != "" {
		return faults{{place, "is given together with admin-token", "give one of them"}}
	}
	token, err := readToken(s.AdminTokenFile)
	if err != nil {
		return faults{faultOf(s.given["admin-token-file"][0], err)}
	}
	s.AdminToken = token
	return nil
}

// readToken reads a file that holds one token; the line end behind it does not belong to it.
func readToken(path string) (string, error) {
	content, err := readBounded(path)
	if err != nil {
		return "", wrong(fmt.Sprintf("cannot read %q: %s", path, reason(err)), "name a file that holds the token")
	}
	var token string
	if err := checkToken(&token, strings.TrimRight(string(content), "\r\n")); err != nil {
		p := err.(*problem)
		return "", wrong(fmt.Sprintf("the token in %q %s", path, p.what), p.remedy)
	}
	return token, nil
}

// checkCredentials lets package auth judge the credentials with their files. That there are none is no fault: serve
// makes a user then.
func (s *Settings) checkCredentials() faults {
	if !s.hasCredentials() {
		return nil
	}
	_, err := auth.New(s.authOptions())
	if err == nil {
		return nil
	}
	if errors.Is(err, auth.ErrNoCredentials) {
		return faults{{s.credentialFiles(), "holds no credentials", "write at least one line, or leave the file out and one user is made"}}
	}
	var found faults
	for _, single := range unjoin(err) {
		found = append(found, s.credentialFault(single))
	}
	return found
}

func (s *Settings) credentialFault(err error) fault {
	place, what := "credentials", err // which says itself whose
	var inFile *auth.FileError
	if errors.As(err, &inFile) {
		if inFile.Line == 0 { // the file as a whole
			name := "users-file"
			switch inFile.File {
			case s.SecretsFile:
				name = "secrets-file"
			case s.TokenKeysFile:
				return fault{s.originOf("oauth-keys-file"), fmt.Sprintf("cannot use %q: %s", inFile.File, inFile.Err), "correct it"}
			}
			return fault{s.originOf(name), fmt.Sprintf("cannot use %q: %s", inFile.File, inFile.Err), "name a file that can be read, with one entry in a line"}
		}
		place, what = fmt.Sprintf("%s:%d", inFile.File, inFile.Line), inFile.Err
	}
	p := explained(what, "correct it").(*problem)
	return fault{place, p.what, p.remedy}
}

// credentialFiles names the files that credentials were expected in.
func (s *Settings) credentialFiles() string {
	var places []string
	for _, name := range []string{"users-file", "secrets-file", "oauth-keys-file"} {
		if len(s.given[name]) > 0 {
			places = append(places, s.originOf(name))
		}
	}
	return strings.Join(places, ", ")
}

func (s *Settings) hasCredentials() bool {
	return len(s.Users) > 0 || s.UsersFile != "" || len(s.Secrets) > 0 || s.SecretsFile != "" || s.TokenKeysFile != ""
}

// originOf says where a setting came from: the key of a fault that concerns it.
func (s *Settings) originOf(name string) string {
	if values := s.given[name]; len(values) > 0 {
		return values[0].origin.String()
	}
	return "default"
}

// unjoin takes errors.Join apart.
func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, single := range joined.Unwrap() {
		all = append(all, unjoin(single)...)
	}
	return all
}

// authOptions are the settings that package auth is concerned with.
func (s *Settings) authOptions() auth.Options {
	return auth.Options{
		Realm: s.Realm,
		Users: s.Users, UsersFile: s.UsersFile,
		Secrets: s.Secrets, SecretsFile: s.SecretsFile,
		NonceSecret: s.NonceSecret, NonceLifetime: s.NonceLifetime,
		EnforceExpiry: s.EnforceExpiry,
		Algorithms:    s.Algorithms,
		TokenKeysFile: s.TokenKeysFile, ServerName: s.ServerName,
	}
}
