package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds the file of rules, in bytes: some 30 a rule, and long comments.
const maxFile = 1 << 20

var errChanging = errors.New("the file changes while it is read")

// readFile reads the rules' file as a whole; its errors are *Fault or errChanging.
func readFile(path string) ([]byte, error) {
	content, err := readSteady(path)
	if err == nil || errors.Is(err, errChanging) {
		return content, err
	}
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		err = p.Err // it would repeat the path
	}
	return nil, &Fault{File: path, What: "cannot be used: " + err.Error(), Remedy: "name a file that can be read, with one rule in a line"}
}

func readSteady(path string) ([]byte, error) {
	if before, err := os.Stat(path); err != nil {
		return nil, err
	} else if !before.Mode().IsRegular() { // to open a pipe is to wait for its writer
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	} else if len(content) > maxFile {
		return nil, fmt.Errorf("it has more than %d MiB", maxFile>>20)
	}
	if after, err := f.Stat(); err != nil {
		return nil, err
	} else if after.Size() != int64(len(content)) {
		return nil, errChanging
	}
	return content, nil
}

// readRules reads a file into the rules that it holds.
func readRules(path string) (content []byte, rules []entry, err error) {
	if content, err = readFile(path); err == nil {
		rules, err = parseLines(path, content)
	}
	return content, rules, err
}

// parseLines reads one rule in each line that is not blank; "#" begins a comment.
// The error joins a *Fault for each faulty line.
func parseLines(path string, content []byte) ([]entry, error) {
	var rules []entry
	var faults []error
	line := 0
	for raw := range bytes.Lines(bytes.TrimPrefix(content, []byte("\ufeff"))) { // a mark that some editors put ahead
		line++
		text, _, _ := strings.Cut(string(raw), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		r, err := ParseRule(text)
		if fault := (*Fault)(nil); errors.As(err, &fault) {
			fault.File, fault.Line = path, line
			if faults = append(faults, fault); len(faults) == maxFaults {
				break
			}
			continue
		}
		rules = append(rules, entry{rule: r, line: line})
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return rules, nil
}

// readAgain takes over the file if its content is another one. A fault leaves the
// rules as they are and is logged once.
func (p *Policy) readAgain() {
	p.mu.Lock()
	file := p.file
	p.mu.Unlock()
	if file == "" {
		return
	}
	content, err := readFile(file)
	if errors.Is(err, errChanging) {
		return // the next look will find it whole
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if file != p.file {
		return // ReplaceFile came in between
	}
	if err == nil && p.fault == "" && bytes.Equal(content, p.content) {
		return
	}
	var lines []entry
	if err == nil {
		lines, err = parseLines(p.file, content)
	}
	if err == nil {
		err = p.adoptLocked(p.given, lines)
	}
	switch {
	case err != nil && p.fault != err.Error():
		p.fault = err.Error()
		p.log.Errorf("%v; the previous rules stay in force", err)
	case err == nil:
		p.content, p.fault = content, ""
		p.log.Infof("%s was read again: %d rules", p.file, len(lines))
	}
}
