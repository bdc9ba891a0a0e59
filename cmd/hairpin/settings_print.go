package main

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hairpin-turn/hairpin/relay/events"
)

const hidden = "(hidden)"

// printReference writes the commented reference file: every key with what it does, its flag and variable, and its
// default. What has no default is there as an example behind a "#" without a space, ready to be uncommented.
func printReference(w io.Writer) {
	fmt.Fprint(w, "# The settings of hairpin serve --config FILE. A flag goes before its environment variable, that before this file, this file\n"+
		"# before the default. All values below are the defaults; lines that begin with \"#\" and no space are examples.\n")
	for i := range settingsTable {
		s := &settingsTable[i]
		if s.onlyOutside || s.later {
			continue
		}
		fmt.Fprintln(w)
		usage := s.usage
		if s.initialText != "" {
			usage += ". Default: " + s.initialText
		}
		for _, line := range wrapText(usage, helpWidth) {
			fmt.Fprintf(w, "# %s\n", line)
		}
		fmt.Fprintf(w, "# --%s, %s\n", s.name, s.env())
		if len(s.initial) > 0 {
			printEntry(w, "", s, s.initial, "")
		} else {
			printEntry(w, "#", s, s.example, "")
		}
	}
}

// printEffective writes the settings as a file, each with where it came from. Secrets are hidden.
func printEffective(w io.Writer, settings *Settings) {
	for i := range settingsTable {
		s := &settingsTable[i]
		if s.onlyOutside || s.later {
			continue
		}
		values := settings.given[s.name]
		if len(values) == 0 {
			none := s.initialText
			if none == "" {
				none = "none"
			}
			fmt.Fprintf(w, "# %s: default, %s\n", s.name, none)
			continue
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = v.text
			if s.secret {
				texts[i] = hideSecret(s, v.text)
			}
		}
		printEntry(w, "", s, texts, describeOrigin(values[0].origin))
	}
}

// hideSecret keeps of a secret what is none: the name of a user, the server of a URL.
func hideSecret(s *setting, text string) string {
	if s.name == "events" {
		return events.Hide(text, hidden)
	}
	if name, _, found := strings.Cut(text, ":"); found && s.name == "user" {
		return name + ":" + hidden
	}
	return hidden
}

// describeOrigin is an origin without the key, which stands beside it.
func describeOrigin(o origin) string {
	if o.file != "" {
		return fmt.Sprintf("%s:%d", o.file, o.line)
	}
	return o.String()
}

// printEntry writes one key with its values as YAML.
func printEntry(w io.Writer, prefix string, s *setting, texts []string, remark string) {
	if remark != "" {
		remark = " # " + remark
	}
	if !s.repeated {
		fmt.Fprintf(w, "%s%s: %s%s\n", prefix, s.name, scalar(texts[0]), remark)
		return
	}
	fmt.Fprintf(w, "%s%s:%s\n", prefix, s.name, remark)
	for _, text := range texts {
		fmt.Fprintf(w, "%s  - %s\n", prefix, scalar(text))
	}
}

// scalar spells a text as a YAML scalar, in quotes where it needs them. Numbers and switches need none: the file's
// reader takes every scalar by its text.
func scalar(text string) string {
	node := yaml.Node{Kind: yaml.ScalarNode, Value: text}
	out, err := yaml.Marshal(&node)
	if err != nil || strings.Count(string(out), "\n") > 1 {
		return fmt.Sprintf("%q", text) // a YAML double-quoted scalar knows Go's escapes
	}
	return strings.TrimSuffix(string(out), "\n")
}
