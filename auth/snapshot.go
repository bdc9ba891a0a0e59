package auth

import (
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
}

func (s *snapshot) count() int  { return len(s.fixed) + len(s.file) }
func (s *snapshot) empty() bool { return s.count() == 0 && len(s.secrets) == 0 }

// find looks into both maps whatever the first one says, so that every name takes the same way.
func (s *snapshot) find(name []byte) (account, bool) {
	inFixed, isFixed := s.fixed[string(name)]
	inFile, isFile := s.file[string(name)]
	if isFixed {
		return inFixed, true
	}
	return inFile, isFile
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

	usersFile   *watched // nil: none
	secretsFile *watched // nil: none
}

func (s *sources) snapshot() *snapshot {
	return &snapshot{
		fixed:   s.fixedUsers,
		file:    s.fileUsers,
		secrets: slices.Concat(s.fixedSecrets, s.fileSecrets),
	}
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
