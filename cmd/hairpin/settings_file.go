package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// readSettingsFile reads the YAML file at path into values that know their lines. key names the file where no line
// can: the flag or variable that gave it. The nodes of the YAML are read rather than decoded into a struct, so that
// every fault names its line and numbers keep the digits that were written.
func readSettingsFile(path, key string) (map[string][]value, faults) {
	content, err := readBounded(path)
	if err != nil {
		return nil, faults{{key, fmt.Sprintf("cannot read %q: %s", path, reason(err)), "name a YAML file that can be read"}}
	}
	file := settingsFile{path: path, given: map[string][]value{}, lines: map[string]int{}}
	file.read(content)
	return file.given, file.found
}

// maxFile bounds a file that settings are read from, in bytes, so that a path such as /dev/zero fills no memory.
const maxFile = 16 << 20

// readBounded reads a file, which may be a pipe such as bash's <(…), as a whole.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		return nil, fmt.Errorf("it has more than %d MiB", maxFile>>20)
	}
	return content, err
}

type settingsFile struct {
	path  string
	given map[string][]value
	lines map[string]int // where each key stands
	found faults
}

func (f *settingsFile) fault(line int, key, what, remedy string) {
	place := origin{file: f.path, line: line, key: key}.String()
	f.found = append(f.found, fault{place, what, remedy})
}

func (f *settingsFile) read(content []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, further yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return // an empty file sets nothing
	} else if err != nil {
		f.syntax(err)
		return
	}
	if err := decoder.Decode(&further); err == nil {
		f.fault(further.Line, "---", "begins a second document", "keep all settings in one")
	} else if !errors.Is(err, io.EOF) {
		f.syntax(err)
	}
	if len(document.Content) == 0 {
		return
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return // comments only
	}
	if root.Kind != yaml.MappingNode {
		f.fault(root.Line, "file", "is not a list of settings", "write lines of the form \"KEY: VALUE\"")
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		f.entry(root.Content[i], root.Content[i+1])
	}
}

// entry takes one "key: value" of the file.
func (f *settingsFile) entry(key, node *yaml.Node) {
	name := key.Value
	row := settingNamed(name)
	if row == nil || row.onlyOutside {
		f.fault(key.Line, name, "is not a known key", fileSuggestion(name, row))
		return
	}
	if line, twice := f.lines[name]; twice {
		f.fault(key.Line, name, fmt.Sprintf("is given a second time, first in line %d", line), "give it once")
		return
	}
	f.lines[name] = key.Line

	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.SequenceNode {
		f.scalar(row, key.Line, node)
		return
	}
	if !row.repeated {
		f.fault(node.Line, name, "is a list", "give one value")
		return
	}
	if len(node.Content) == 0 {
		f.fault(node.Line, name, "is an empty list", "give a value or leave the key out")
		return
	}
	for _, item := range node.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		f.scalar(row, item.Line, item)
	}
}

func (f *settingsFile) scalar(row *setting, line int, node *yaml.Node) {
	switch {
	case node.Kind != yaml.ScalarNode:
		f.fault(line, row.name, "is a structure, not a text", "put the value in quotes, on the key's line")
	case node.Tag == "!!null":
		f.fault(line, row.name, "has no value", "give one or leave the key out")
	default:
		place := origin{file: f.path, line: node.Line, key: row.name}
		f.given[row.name] = append(f.given[row.name], value{node.Value, place})
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

// syntax reports what the YAML parser stumbled over.
func (f *settingsFile) syntax(err error) {
	place, what := f.path, err.Error()
	if parts := yamlLine.FindStringSubmatch(what); parts != nil {
		what = parts[2]
		if parts[1] != "" {
			place += ":" + parts[1]
		}
	}
	f.found = append(f.found, fault{place, "is not YAML: " + what, "put values with special characters in quotes"})
}

func fileSuggestion(name string, row *setting) string {
	if row != nil {
		return "give it as a flag or in the environment"
	}
	var names []string
	for i := range settingsTable {
		if !settingsTable[i].onlyOutside && !settingsTable[i].later {
			names = append(names, settingsTable[i].name)
		}
	}
	if near := closest(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "\"hairpin config reference\" lists them"
}

// reason is what the system says about a file, without the path, which stands there already.
func reason(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}
