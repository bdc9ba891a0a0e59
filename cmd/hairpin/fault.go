package main

import "strings"

// A fault is one thing that is wrong in what the user wrote: a flag, an environment variable, a line of a file or a
// combination of them. It is printed as one line, "KEY: what is wrong; what would be right".
type fault struct {
	key    string // as the user wrote it: --listen, HAIRPIN_LISTEN, hairpin.yaml:3: listen
	what   string
	remedy string
}

func (f fault) Error() string { return f.key + ": " + f.what + "; " + f.remedy }

// faults are reported together and end the process with exit code 2.
type faults []fault

func (f faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// err is f as an error, nil when there is no fault.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// A problem is a fault that does not know yet where the value came from. Parsers return it.
type problem struct{ what, remedy string }

func (p *problem) Error() string { return p.what + "; " + p.remedy }

// wrong makes a problem. It never echoes a value by itself, because values may be secrets.
func wrong(what, remedy string) error { return &problem{what: what, remedy: remedy} }

// closest finds the candidate that the user most probably meant by a misspelt name; "" when none is near.
func closest(name string, candidates []string) string {
	best, distance := "", 3 // two slips of the finger at most
	for _, candidate := range candidates {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if distance >= len(name) {
		return ""
	}
	return best
}

// editDistance is the Levenshtein distance of two short names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitution := diagonal
			if a[i] != b[j] {
				substitution++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitution, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
