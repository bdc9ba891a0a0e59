package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// maxFile bounds a users or secrets file, in bytes: half a million users, and still read within the poll interval.
	maxFile = 16 << 20

	// maxFaults bounds how many faulty lines of one file are reported.
	maxFaults = 20
)

// FileError is a fault in a users or secrets file. Its text holds nothing of a line but a user name.
type FileError struct {
	File string
	Line int // from 1; 0: the file as a whole
	Err  error
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s, line %d: %v", e.File, e.Line, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// parseUsers reads a users file: NAME:PASSWORD or NAME:0xHEX in each line. taken are the users that are configured elsewhere.
func parseUsers(path string, content []byte, realm string, taken map[string]account) (map[string]account, error) {
	accounts := make(map[string]account)
	lineOf := make(map[string]int)
	err := eachLine(path, content, func(number int, line string) error {
		u, err := ParseUser(line)
		if err != nil {
			return err
		}
		acc, err := u.account(realm)
		if err != nil {
			return err
		}
		if first, twice := lineOf[acc.name]; twice {
			return fmt.Errorf("user %q is in line %d already; remove one", acc.name, first)
		}
		if _, twice := taken[acc.name]; twice {
			return fmt.Errorf("user %q is given outside the file, too; remove one", acc.name)
		}
		accounts[acc.name], lineOf[acc.name] = acc, number
		return nil
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

// parseSecrets reads a secrets file: one secret in each line. taken are the secrets that are configured elsewhere.
func parseSecrets(path string, content []byte, taken [][]byte) ([][]byte, error) {
	var secrets [][]byte
	lineOf := make(map[string]int)
	for _, s := range taken {
		lineOf[string(s)] = 0
	}
	err := eachLine(path, content, func(number int, line string) error {
		if err := checkSecret(line); err != nil {
			return fmt.Errorf("the secret %w", err)
		}
		switch first, twice := lineOf[line]; {
		case twice && first == 0:
			return errors.New("the secret is given outside the file, too; remove one")
		case twice:
			return fmt.Errorf("the secret is in line %d already; remove one", first)
		}
		secrets, lineOf[line] = append(secrets, []byte(line)), number
		return nil
	})
	if err != nil {
		return nil, err
	}
	return secrets, nil
}

// eachLine calls do for each line that is neither blank nor a comment. It joins the faults, each with its line's number.
func eachLine(path string, content []byte, do func(number int, line string) error) error {
	var faults []error
	skipped, number := 0, 0
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // the mark that some editors put ahead
	for raw := range bytes.Lines(content) {
		number++
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		if err := do(number, line); err == nil {
			continue
		} else if len(faults) < maxFaults {
			faults = append(faults, &FileError{path, number, err})
		} else {
			skipped++
		}
	}
	if skipped > 0 {
		faults = append(faults, &FileError{path, 0, fmt.Errorf("%d more faulty lines", skipped)})
	}
	return errors.Join(faults...)
}

var errChanging = errors.New("the file changes while it is read")

// readFile reads a file as a whole, with the state that its content belongs to. errChanging: somebody writes to it.
func readFile(path string) (content []byte, info os.FileInfo, err error) {
	defer func() {
		if err == nil {
			return
		}
		if p := (*os.PathError)(nil); errors.As(err, &p) {
			err = p.Err // it would repeat the path
		}
		content, info, err = nil, nil, &FileError{path, 0, err}
	}()
	// Before it is opened, for to open a named pipe is to wait for its writer.
	if info, err = os.Stat(path); err != nil {
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, errors.New("this is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	} else if info.Size() > maxFile {
		return nil, nil, fmt.Errorf("the file has more than %d MiB", maxFile>>20)
	}
	content = make([]byte, info.Size())
	if _, err = io.ReadFull(f, content); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, errChanging
	} else if err != nil {
		return nil, nil, err
	}
	if after, err := f.Stat(); err != nil {
		return nil, nil, err
	} else if !sameState(info, after) {
		return nil, nil, errChanging
	}
	return content, info, nil
}

// sameState tells whether two looks at a path found the same file, unchanged as far as the file system tells.
func sameState(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
