package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// helpWidth is where help texts and the reference file are wrapped.
const helpWidth = 96

func init() {
	// One layout for all flags: names, and below them what they do, their default and their variable.
	cli.FlagStringer = func(f cli.Flag) string {
		if documented, ok := f.(cli.DocGenerationFlag); ok {
			return describeFlag(documented)
		}
		return ""
	}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print this", DisableDefaultText: true}
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true}
}

const appHelp = `{{.Name}}: {{.Usage}}

Usage: {{.UsageText}}

Commands:{{range .VisibleCommands}}
  {{printf "%-8s" .Name}}  {{.Usage}}{{end}}

Flags:
{{range .VisibleFlags}}  {{.}}
{{end}}
{{.Description}}
`

const commandHelp = `{{.HelpName}}: {{.Usage}}

Usage: {{if .UsageText}}{{.UsageText}}{{else}}{{.HelpName}}{{if .Subcommands}} COMMAND{{end}} [flags]{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}{{end}}
{{if .Description}}
{{.Description}}
{{end}}{{if .VisibleCommands}}
Commands:{{range .VisibleCommands}}
  {{printf "%-9s" .Name}}  {{.Usage}}{{end}}
{{end}}
Flags:
{{range .VisibleFlags}}  {{.}}
{{end}}`

// describeFlag is the entry of a flag in help.
func describeFlag(f cli.DocGenerationFlag) string {
	var b strings.Builder
	usage, placeholder := f.GetUsage(), "VALUE"
	if own, ok := f.(*settingFlag); ok {
		placeholder = own.placeholder
	} else if before, rest, quoted := strings.Cut(usage, "`"); quoted { // urfave/cli's way: `PLACEHOLDER` in the usage
		if name, after, closed := strings.Cut(rest, "`"); closed {
			placeholder, usage = name, before+name+after
		}
	}
	for i, name := range f.Names() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strings.Repeat("-", min(2, len(name))) + name)
	}
	if f.TakesValue() {
		b.WriteString(" " + placeholder)
	}
	if slice, ok := f.(cli.DocGenerationSliceFlag); ok && slice.IsSliceFlag() {
		b.WriteString(" (repeatable)")
	}
	text := usage
	if initial := f.GetDefaultText(); initial != "" && f.TakesValue() {
		text += " (default: " + initial + ")"
	}
	for _, env := range f.GetEnvVars() {
		text += " [$" + env + "]"
	}
	for _, line := range wrapText(text, helpWidth-8) {
		b.WriteString("\n        " + line)
	}
	return b.String()
}

// wrapText breaks a text between words into lines of at most width bytes, longer words excepted.
func wrapText(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
