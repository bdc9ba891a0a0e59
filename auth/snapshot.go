package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// snapshot is what is valid at one moment: immutable once it is stored in Authenticator.current.
type snapshot struct {
	fixed   map[string]account // from Options.Users, by name
	file    map[string]account // from Options.UsersFile, by name; disjoint from fixed
	secrets [][]byte           // those of the options, then those of the file; the first one signs

	tokenKeys map[string]*tokenKey // by kid

	names map[[sha256.Size]byte]string // by USERHASH; nil where USERHASH is not supported
	offer offer                        // of challenges
}

func (s *snapshot) count() int { return len(s.fixed) + len(s.file) }
func (s *snapshot) empty() bool {
	return s.count() == 0 && len(s.secrets) == 0 && len(s.tokenKeys) == 0
}

// find looks into both maps whatever the first one says, so that every name takes the same way.
func (s *snapshot) find(name []byte) (account, bool) {
	inFixed, isFixed := s.fixed[string(name)]
	inFile, isFile := s.file[string(name)]
	if isFixed {
		return inFixed, true
	}
	return inFile, isFile
}

// findHash is find for a USERHASH: two look-ups more, for users who are known and for others.
func (s *snapshot) findHash(hash []byte) (account, bool) {
	if len(hash) != sha256.Size {
		return account{}, false
	}
	name := s.names[[sha256.Size]byte(hash)]
	return s.find([]byte(name)) // nobody has the empty name
}

// only is the one static user there is; false when there is none, or several.
func (s *snapshot) only() (account, bool) {
	if s.count() == 1 {
		for _, users := range []map[string]account{s.fixed, s.file} {
			for _, a := range users {
				return a, true
			}
		}
	}
	return account{}, false
}

// sources is the newest good content of every place that credentials come from.
type sources struct {
	fixedUsers   map[string]account
	fixedSecrets [][]byte
	fileUsers    map[string]account
	fileSecrets  [][]byte
	tokenKeys    map[string]*tokenKey

	usersFile     *watched // nil: none
	secretsFile   *watched // nil: none
	tokenKeysFile *watched // nil: none
}

// snapshot puts the sources together. The error says why nobody, or not everybody, could be let in with them.
func (a *Authenticator) snapshot() (*snapshot, error) {
	f := &a.files
	s := &snapshot{
		fixed:   f.fixedUsers,
		file:    f.fileUsers,
		secrets: slices.Concat(f.fixedSecrets, f.fileSecrets),

		tokenKeys: f.tokenKeys,
	}
	if s.empty() {
		return nil, ErrNoCredentials
	}
	if err := checkKeys(s, a.algorithms); err != nil {
		return nil, err
	}
	if !slices.Contains(a.algorithms, SHA256) {
		return s, nil
	}
	s.names = make(map[[sha256.Size]byte]string, s.count())
	for _, users := range []map[string]account{s.fixed, s.file} {
		for name := range users {
			s.names[userhash(name, a.realm)] = name
		}
	}
	// A client must use USERHASH where it is announced (RFC 8489 §9.2.5), and the name of an ephemeral user can't be
	// found by its hash, as the server has never heard of it. Nor is there a hash of a token's kid (RFC 7635 §5).
	if len(s.secrets) == 0 && len(s.tokenKeys) == 0 {
		s.offer |= offerUserhash
	}
	return s, nil
}

func fixedUsers(users []User, realm string) (map[string]account, error) {
	var faults []error
	accounts := make(map[string]account, len(users))
	for i, u := range users {
		acc, err := u.account(realm)
		if err != nil {
			faults = append(faults, fmt.Errorf("auth: user %d: %w", i+1, err))
			continue
		}
		if _, twice := accounts[acc.name]; twice {
			faults = append(faults, fmt.Errorf("auth: user %d: %q is given twice; remove one", i+1, acc.name))
			continue
		}
		accounts[acc.name] = acc
	}
	return accounts, errors.Join(faults...)
}

func fixedSecrets(secrets []string) ([][]byte, error) {
	var faults []error
	var good [][]byte
	for i, s := range secrets {
		err := checkSecret(s)
		if err == nil && slices.Contains(secrets[:i], s) {
			err = errors.New("is given twice; remove one")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("auth: secret %d %w", i+1, err))
			continue
		}
		good = append(good, []byte(s))
	}
	return good, errors.Join(faults...)
}

// checkSecret refuses what cannot be meant. A secret is used as bytes, so no profile is applied. Errors don't quote it.
func checkSecret(s string) error {
	switch {
	case s == "":
		return errEmptyText
	case !utf8.ValidString(s):
		return errNotUTF8
	case s != strings.TrimSpace(s):
		return errors.New("begins or ends with white space; remove it")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("contains a control character")
	}
	return nil
}
