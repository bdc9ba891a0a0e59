package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange reads a command line once before urfave/cli does, because that stops at the first unknown flag and at the
// first argument that is no flag. It returns the line with the flags moved ahead of the arguments and without what is
// wrong, and one fault for everything that is: unknown command, unknown flag, missing value, surplus argument.
//
//	hairpin [global flags] COMMAND [SUBCOMMAND] [flags and arguments in any order] [-- arguments]
func arrange(app *cli.App, args []string) ([]string, faults) {
	if len(args) == 0 {
		return args, nil
	}
	line := argumentLine{path: app.Name, known: globalFlags(), ordered: args[:1:1]}
	rest := args[1:]

	// The names of the command and its subcommand, with the flags between them.
	command, level := (*cli.Command)(nil), app.Commands
	for len(rest) > 0 && len(level) > 0 {
		if isFlag(rest[0]) {
			rest = line.takeFlag(rest)
			continue
		}
		next := commandNamed(level, rest[0])
		if next == nil && command != nil && command.ArgsUsage != "" {
			break // it works without a subcommand, too
		}
		if next == nil {
			line.fault(rest[0], fmt.Sprintf("is not a command of %q", line.path), suggestion(rest[0], commandNames(level), "", line.path))
			return line.stopped(), line.found
		}
		line.endLevel()
		command, level = next, next.Subcommands
		line.path += " " + command.Name
		line.known = command.Flags
		line.ordered = append(line.ordered, command.Name)
		rest = rest[1:]
	}
	if command == nil || command.SkipFlagParsing {
		line.endLevel()
		return append(line.ordered, rest...), line.found
	}

	for len(rest) > 0 {
		switch {
		case rest[0] == "--":
			line.arguments = append(line.arguments, rest[1:]...)
			rest = nil
		case isFlag(rest[0]):
			rest = line.takeFlag(rest)
		default:
			line.arguments = append(line.arguments, rest[0])
			rest = rest[1:]
		}
	}
	if command.ArgsUsage == "" {
		for _, argument := range line.arguments {
			line.fault(argument, "is a surplus argument", fmt.Sprintf("%q takes flags only", line.path))
		}
		line.arguments = nil
	}
	line.endLevel()
	if len(line.arguments) > 0 {
		line.ordered = append(append(line.ordered, "--"), line.arguments...)
	}
	return line.ordered, line.found
}

// variable is the environment variable of a flag that is a command's own, not a setting.
func variable(command, flag string) []string {
	return []string{"HAIRPIN_" + strings.ToUpper(command+"_"+strings.ReplaceAll(flag, "-", "_"))}
}

// argumentLine is the state of one arrange.
type argumentLine struct {
	path      string     // "hairpin config print"
	known     []cli.Flag // of the innermost command so far
	ordered   []string   // finished part of the result
	flags     []string   // flags of the innermost command, to be put ahead of its arguments
	arguments []string
	found     faults
}

func (l *argumentLine) fault(key, what, remedy string) {
	l.found = append(l.found, fault{key, what, remedy})
}

func (l *argumentLine) endLevel() {
	l.ordered = append(l.ordered, l.flags...)
	l.flags = nil
}

// stopped is the line as far as it was understood; no command follows, so the faults are all that happens.
func (l *argumentLine) stopped() []string {
	l.endLevel()
	return l.ordered
}

// takeFlag consumes the flag at the head of rest together with its value.
func (l *argumentLine) takeFlag(rest []string) []string {
	token := rest[0]
	rest = rest[1:]
	name, _, hasValue := strings.Cut(strings.TrimPrefix(token[1:], "-"), "=")
	known := flagNamed(l.known, name)
	if known == nil {
		l.fault("--"+name, fmt.Sprintf("is not a flag of %q", l.path), suggestion(name, flagNames(l.known), "--", l.path))
		if !hasValue && len(rest) > 0 && !isFlag(rest[0]) {
			rest = rest[1:] // most probably its value
		}
		return rest
	}
	l.flags = append(l.flags, token)
	if hasValue || !takesValue(known) {
		return rest
	}
	if len(rest) == 0 || rest[0] == "--" || (isFlag(rest[0]) && isNameOf(l.known, rest[0])) {
		l.flags = l.flags[:len(l.flags)-1]
		l.fault("--"+name, "has no value", fmt.Sprintf("write --%s VALUE, see %q", name, l.path+" --help"))
		return rest
	}
	l.flags = append(l.flags, rest[0])
	return rest[1:]
}

// isFlag reports whether a word begins as a flag does; a lone "-" is an argument, as is the "--" that ends the flags.
func isFlag(word string) bool { return len(word) > 1 && word[0] == '-' && word != "--" }

func isNameOf(known []cli.Flag, word string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	return flagNamed(known, name) != nil
}

func globalFlags() []cli.Flag { return []cli.Flag{cli.HelpFlag, cli.VersionFlag} }

func flagNamed(known []cli.Flag, name string) cli.Flag {
	for _, candidate := range append(known[:len(known):len(known)], cli.HelpFlag) {
		for _, n := range candidate.Names() {
			if n == name {
				return candidate
			}
		}
	}
	return nil
}

func flagNames(known []cli.Flag) []string {
	var names []string
	for _, f := range known {
		if visible, ok := f.(cli.VisibleFlag); ok && visible.IsVisible() {
			names = append(names, f.Names()...)
		}
	}
	return append(names, "help")
}

func takesValue(f cli.Flag) bool {
	documented, ok := f.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

func commandNamed(level []*cli.Command, name string) *cli.Command {
	for _, c := range level {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func commandNames(level []*cli.Command) []string {
	var names []string
	for _, c := range level {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// suggestion is the remedy for a misspelt name: the nearest one, else where the names are listed.
func suggestion(name string, candidates []string, prefix, path string) string {
	if near := closest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %s%s?", prefix, near)
	}
	return fmt.Sprintf("%q lists them", path+" --help")
}
