package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

//go:generate go test -run ^TestGolden -update .

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// What the program prints about itself is a contract too; a change of it shows in the diff of these files.
func TestGolden(t *testing.T) {
	for file, args := range map[string][]string{
		"reference.yaml":            {"config", "reference"},
		"help/hairpin.txt":          {"--help"},
		"help/serve.txt":            {"serve", "--help"},
		"help/ice.txt":              {"ice", "--help"},
		"help/probe.txt":            {"probe", "--help"},
		"help/check.txt":            {"check", "--help"},
		"help/bench.txt":            {"bench", "--help"},
		"help/status.txt":           {"status", "--help"},
		"help/sessions.txt":         {"sessions", "--help"},
		"help/sessions-end.txt":     {"sessions", "end", "--help"},
		"help/drain.txt":            {"drain", "--help"},
		"help/reload.txt":           {"reload", "--help"},
		"help/config.txt":           {"config", "--help"},
		"help/config-check.txt":     {"config", "check", "--help"},
		"help/config-print.txt":     {"config", "print", "--help"},
		"help/config-reference.txt": {"config", "reference", "--help"},
	} {
		t.Run(file, func(t *testing.T) {
			got := hairpin(t, args...)
			path := filepath.Join("testdata", file)
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got.stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got.want(t, exitGood, string(want), "")
		})
	}
}

// Every command that help lists has its golden file.
func TestGoldenIsComplete(t *testing.T) {
	for _, command := range commands() {
		if command.Hidden {
			continue
		}
		if _, err := os.Stat(filepath.Join("testdata/help", command.Name+".txt")); err != nil {
			t.Error(err)
		}
		for _, sub := range command.Subcommands {
			if _, err := os.Stat(filepath.Join("testdata/help", command.Name+"-"+sub.Name+".txt")); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestHelpCommand(t *testing.T) {
	if a, b := hairpin(t, "help", "serve"), hairpin(t, "serve", "--help"); a != b {
		t.Errorf("help serve: %+v, serve --help: %+v", a, b)
	}
}

// Every flag is a variable, too, no two flags are the same one, and help shows both.
func TestEveryFlagIsAVariable(t *testing.T) {
	meaning := map[string]string{} // by variable
	var visit func(commands []*cli.Command, path ...string)
	visit = func(commands []*cli.Command, path ...string) {
		for _, command := range commands {
			here := append(path[:len(path):len(path)], command.Name)
			visit(command.Subcommands, here...)
			if command.SkipFlagParsing {
				continue
			}
			help := strings.Join(strings.Fields(hairpin(t, append(here, "--help")...).stdout), " ")
			for _, f := range command.Flags {
				name := f.Names()[0]
				if command.Name == "ice" && name == "url" {
					continue // the variable of --ice-url means the same
				}
				variables := f.(cli.DocGenerationFlag).GetEnvVars()
				if len(variables) != 1 || !strings.Contains(help, "[$"+variables[0]+"]") {
					t.Errorf("hairpin %s --%s: variables %q; help is to show one", strings.Join(here, " "), name, variables)
					continue
				}
				of := "--" + name
				if _, isSetting := f.(*settingFlag); !isSetting {
					of = command.Name + " " + of
				}
				if other, taken := meaning[variables[0]]; taken && other != of {
					t.Errorf("%s means %s and %s", variables[0], other, of)
				}
				meaning[variables[0]] = of
			}
		}
	}
	visit(commands())
}

// The reference file is good as it is, and with each of its examples taken in.
func TestReference(t *testing.T) {
	clearEnvironment(t)
	reference := hairpinHere("config", "reference").stdout
	check := func(t *testing.T, content string) outcome {
		path := filepath.Join(t.TempDir(), "hairpin.yaml")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return hairpinHere("config", "check", path)
	}
	if got := check(t, reference); got.code != exitGood {
		t.Errorf("as it is: %s", got.stderr)
	}

	files := t.TempDir()
	certificate := selfSigned(t, files)
	for name, content := range map[string]string{"users": "bob:pass", "secrets": "text", "admin-token": "token\n", "peers": "loop\n",
		"cert.pem": certificate.both, "key.pem": certificate.key,
		"oauth-keys.json": `{"keys": [{"kid": "k", "key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]}`} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reference = strings.ReplaceAll(reference, "/etc/hairpin", files)
	examples := 0
	for block := range strings.SplitSeq(reference, "\n\n") {
		var example []string
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "#") && (line[1] != ' ' || strings.HasPrefix(line, "#  - ")) {
				example = append(example, line[1:])
			}
		}
		if example == nil {
			continue
		}
		examples++
		with := strings.Replace(reference, "#"+strings.Join(example, "#"), strings.Join(example, ""), 1)
		if with == reference {
			t.Errorf("nothing uncommented in\n%s", block)
		}
		if strings.HasPrefix(example[0], "nat-discovery-address") { // goes with a listener that has an address
			with = strings.Replace(with, "udp://:3478", "udp://203.0.113.10:3478", 1)
		}
		if got := check(t, with); got.code != exitGood {
			t.Errorf("%s: %s", example, got.stderr)
		}
	}
	want := 0
	for i := range settingsTable {
		if s := &settingsTable[i]; len(s.initial) == 0 && !s.onlyOutside && !s.later {
			want++
		}
	}
	if examples != want {
		t.Errorf("%d examples, want one for each of the %d settings without a default", examples, want)
	}
}
