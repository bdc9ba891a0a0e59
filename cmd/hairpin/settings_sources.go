package main

import (
	"flag"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// A value is one text that was given for a setting, and where.
type value struct {
	text   string
	origin origin
}

// origin is the place that a value came from; the zero origin is the default.
type origin struct {
	flag string
	env  string
	file string
	line int
	key  string // in file
}

// String is the key of a fault: what the user has to look for.
func (o origin) String() string {
	switch {
	case o.flag != "":
		return "--" + o.flag
	case o.env != "":
		return o.env
	case o.file != "":
		return o.file + ":" + strconv.Itoa(o.line) + ": " + o.key
	}
	return "default"
}

// loadSettings joins the sources of a command, flag > environment > file > default, each setting as a whole: a list
// given by a flag replaces the file's. Every fault that can be found is in the error, which is of type faults.
func loadSettings(c *cli.Context) (*Settings, error) {
	given := map[string][]value{}
	for name, values := range flagValues(c.Command) {
		given[name] = values
	}
	for i := range settingsTable {
		s := &settingsTable[i]
		if _, ok := given[s.name]; !ok {
			if values := environmentValues(s); values != nil {
				given[s.name] = values
			}
		}
	}

	var found faults
	if file := given["config"]; len(file) == 1 && file[0].text != "" {
		fromFile, wrongInFile := readSettingsFile(file[0].text, file[0].origin.String())
		found = append(found, wrongInFile...)
		for name, values := range fromFile {
			if _, ok := given[name]; !ok {
				given[name] = values
			}
		}
	}
	return settle(given, found)
}

// loadSettingsFile judges a file by itself, without flags and environment.
func loadSettingsFile(path string) (*Settings, error) {
	given, found := readSettingsFile(path, path)
	return settle(given, found)
}

// settle parses what was given, fills in the defaults and checks how the settings go together.
func settle(given map[string][]value, found faults) (*Settings, error) {
	s := &Settings{given: map[string][]value{}}
	for i := range settingsTable {
		row := &settingsTable[i]
		values, ok := given[row.name]
		if !ok {
			for _, text := range row.initial {
				values = append(values, value{text: text})
			}
		}
		s.given[row.name] = values
		if !row.repeated && len(values) > 1 {
			found = append(found, fault{values[1].origin.String(), "is given more than once", "give it once"})
			continue
		}
		for _, v := range values {
			if err := row.parse(s, v); err != nil {
				found = append(found, faultOf(v, err))
			}
		}
	}
	found = append(found, s.checkTogether()...)
	if len(found) == 0 {
		found = append(s.checkCredentials(), s.checkPeers()...)
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return s, nil
}

func faultOf(v value, err error) fault {
	if p, ok := err.(*problem); ok {
		return fault{v.origin.String(), p.what, p.remedy}
	}
	return fault{v.origin.String(), "cannot be used", err.Error()}
}

// environmentValues reads the variable of a setting. An empty variable counts as absent, because Compose and its like
// pass on variables that nobody set. Commas part the values of a list.
func environmentValues(s *setting) []value {
	text := os.Getenv(s.env())
	if text == "" {
		return nil
	}
	texts := []string{text}
	if s.repeated {
		texts = strings.Split(text, ",")
	}
	values := make([]value, len(texts))
	for i := range texts {
		values[i] = value{texts[i], origin{env: s.env()}}
	}
	return values
}

// settingFlag is a row of the table as a flag of one command. It only collects texts; settle makes sense of them.
type settingFlag struct {
	*setting
	texts []string
}

var _ cli.DocGenerationSliceFlag = (*settingFlag)(nil)

// settingFlags makes the flags for the named settings, or for all of them.
func settingFlags(names ...string) []cli.Flag {
	var flags []cli.Flag
	for i := range settingsTable {
		row := &settingsTable[i]
		wanted := len(names) == 0
		for _, name := range names {
			wanted = wanted || name == row.name
		}
		if wanted {
			flags = append(flags, &settingFlag{setting: row})
		}
	}
	return flags
}

func hasSettings(command *cli.Command) bool {
	for _, f := range command.Flags {
		if _, ok := f.(*settingFlag); ok {
			return true
		}
	}
	return false
}

// flagValues are the settings that a command line gave.
func flagValues(command *cli.Command) map[string][]value {
	given := map[string][]value{}
	for _, f := range command.Flags {
		if own, ok := f.(*settingFlag); ok {
			for _, text := range own.texts {
				given[own.name] = append(given[own.name], value{text, origin{flag: own.name}})
			}
		}
	}
	return given
}

// The methods that urfave/cli asks of a flag.

func (f *settingFlag) Apply(set *flag.FlagSet) error {
	set.Var((*collected)(f), f.name, f.usage)
	return nil
}
func (f *settingFlag) Names() []string        { return []string{f.name} }
func (f *settingFlag) IsSet() bool            { return len(f.texts) > 0 }
func (f *settingFlag) IsVisible() bool        { return !f.later }
func (f *settingFlag) IsSliceFlag() bool      { return f.repeated }
func (f *settingFlag) TakesValue() bool       { return f.placeholder != "" }
func (f *settingFlag) GetUsage() string       { return f.usage }
func (f *settingFlag) GetValue() string       { return "" }
func (f *settingFlag) GetEnvVars() []string   { return []string{f.env()} }
func (f *settingFlag) String() string         { return describeFlag(f) }
func (f *settingFlag) GetDefaultText() string { return f.defaultText() }

// defaultText says what holds when nothing is given; empty when nothing does.
func (s *setting) defaultText() string {
	if s.initialText != "" {
		return s.initialText
	}
	if s.placeholder == "" && s.initial[0] == "false" {
		return ""
	}
	return strings.Join(s.initial, ", ")
}

// collected is the flag.Value behind a settingFlag.
type collected settingFlag

func (c *collected) String() string { return "" }
func (c *collected) Set(text string) error {
	c.texts = append(c.texts, text)
	return nil
}
func (c *collected) IsBoolFlag() bool { return c.setting != nil && c.placeholder == "" }
