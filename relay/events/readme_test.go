package events

import (
	"bufio"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// README.md explains each field of a line, and no other; its examples are lines.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, _, _ := strings.Cut(string(text), "## Where to")
	var explained []string
	name := regexp.MustCompile("`([a-z_]+)`")
	for line := range strings.Lines(schema) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			for _, found := range name.FindAllStringSubmatch(cells[1], -1) {
				explained = append(explained, found[1])
			}
		}
	}
	var fields []string
	for f := range reflect.TypeFor[Event]().Fields() {
		field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, field)
	}
	slices.Sort(explained)
	slices.Sort(fields)
	if !slices.Equal(explained, fields) {
		t.Errorf("README.md explains\n%s\nand a line has\n%s", explained, fields)
	}

	_, examples, _ := strings.Cut(schema, "```\n")
	examples, _, _ = strings.Cut(examples, "```")
	lines := bufio.NewScanner(strings.NewReader(examples))
	types := map[Type]bool{}
	for lines.Scan() {
		d := json.NewDecoder(strings.NewReader(lines.Text()))
		d.DisallowUnknownFields()
		var e Event
		if err := d.Decode(&e); err != nil {
			t.Errorf("%v in %s", err, lines.Text())
			continue
		}
		types[e.Type] = true
		if again, err := json.Marshal(e); err != nil || string(again) != lines.Text() {
			t.Errorf("README.md shows\n%s\nand the stream has\n%s", lines.Text(), again)
		}
	}
	if len(types) != 5 {
		t.Errorf("examples of %v", types)
	}
}
