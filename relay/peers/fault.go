package peers

import "fmt"

// A Fault is one thing that is wrong with a rule. The errors of this package that
// concern rules are Faults, or errors.Join of them.
type Fault struct {
	File   string // "": a rule of Options.Rules, or ParseRule's
	Line   int    // in File, from 1; 0: the file as a whole
	Index  int    // in Options.Rules, where File is ""
	What   string // what is wrong
	Remedy string // what would be right
}

func (f *Fault) Error() string {
	text := f.What + "; " + f.Remedy
	switch {
	case f.File == "":
		return text
	case f.Line == 0:
		return fmt.Sprintf("%s: %s", f.File, text)
	}
	return fmt.Sprintf("%s, line %d: %s", f.File, f.Line, text)
}

func wrong(what, remedy string) error { return &Fault{What: what, Remedy: remedy} }

// maxQuoted bounds how much of a text that is no rule is repeated, in bytes.
const maxQuoted = 100

// quote repeats what somebody wrote, so that it can't disturb a log or a terminal.
func quote(text string) string {
	if len(text) > maxQuoted {
		return fmt.Sprintf("%q…", text[:maxQuoted])
	}
	return fmt.Sprintf("%q", text)
}
