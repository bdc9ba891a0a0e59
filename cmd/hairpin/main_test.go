package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// asProgram makes the test binary behave as the program itself, for tests that need a process: signals, a pasted line.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "hairpin":
		main()
	case "signals":
		waitForSignals()
	default:
		os.Exit(m.Run())
	}
}

// outcome is what a run left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// hairpin runs a command line within the test, without what the environment holds.
func hairpin(t *testing.T, args ...string) outcome {
	t.Helper()
	clearEnvironment(t)
	return hairpinHere(args...)
}

// hairpinHere runs a command line with the environment as it is. A serve that starts against the test's will ends when
// patience does.
func hairpinHere(args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, append([]string{"hairpin"}, args...), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "HAIRPIN_") {
			t.Setenv(name, "")
		}
	}
}

func (o outcome) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	if o.stdout != stdout {
		t.Errorf("standard output\n%s\nwant\n%s", o.stdout, stdout)
	}
	if o.stderr != stderr {
		t.Errorf("standard error\n%s\nwant\n%s", o.stderr, stderr)
	}
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"unknown command", []string{"srve"},
			`srve: is not a command of "hairpin"; did you mean serve?` + "\n"},
		{"unknown command, nothing near", []string{"fly"},
			`fly: is not a command of "hairpin"; "hairpin --help" lists them` + "\n"},
		{"unknown global flag", []string{"--verbose"},
			`--verbose: is not a flag of "hairpin"; "hairpin --help" lists them` + "\n"},
		{"unknown subcommand", []string{"config", "chek", "file"},
			`chek: is not a command of "hairpin config"; did you mean check?` + "\n"},
		{"config by itself", []string{"config"},
			`config: is not a command by itself; write "hairpin config check FILE", "hairpin config print" or "hairpin config reference"` + "\n"},
		{"unknown flag", []string{"serve", "--lsten", "udp://:1"},
			`--lsten: is not a flag of "hairpin serve"; did you mean --listen?` + "\n"},
		{"unknown flag with its value", []string{"serve", "--no-auth=true"},
			`--no-auth: is not a flag of "hairpin serve"; "hairpin serve --help" lists them` + "\n"},
		{"no value at the end", []string{"serve", "--realm"},
			`--realm: has no value; write --realm VALUE, see "hairpin serve --help"` + "\n"},
		{"no value before a flag", []string{"serve", "--realm", "--workers", "1", "--listen", "udp://x"},
			`--realm: has no value; write --realm VALUE, see "hairpin serve --help"` + "\n" +
				`--listen: "udp://x" has no port; write udp://HOST:PORT, such as udp://:3478` + "\n"},
		{"surplus argument", []string{"config", "reference", "x"},
			`x: is a surplus argument; "hairpin config reference" takes flags only` + "\n"},
		{"faults of all kinds together", []string{"serve", "--lsten", "x", "here", "--realm", `a"b`, "--workers=many"},
			`--lsten: is not a flag of "hairpin serve"; did you mean --listen?` + "\n" +
				`here: is a surplus argument; "hairpin serve" takes flags only` + "\n" +
				`--realm: "a\"b" contains a quotation mark or a backslash; write it without` + "\n" +
				`--workers: "many" is not a number from 0 to 2147483647; write one in decimal digits` + "\n"},
		{"subcommand with settings", []string{"config", "print", "--nothing", "--admin", "x"},
			`--nothing: is not a flag of "hairpin config print"; "hairpin config print --help" lists them` + "\n" +
				`--admin: "x" is not IP:PORT; write for example 127.0.0.1:9478, [::1]:9478, :9478 or off` + "\n"},
		{"no file to check", []string{"config", "check"},
			`FILE: 0 files are named; write "hairpin config check FILE"` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			hairpin(t, test.args...).want(t, exitUsage, "", test.stderr)
		})
	}
}

// Flags may stand behind arguments; urfave/cli by itself would take them for further arguments.
func TestArrange(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"hairpin probe turn:192.0.2.1 --user a --password b", "hairpin probe --user a --password b -- turn:192.0.2.1"},
		{"hairpin probe --user a turn:192.0.2.1 --password=b", "hairpin probe --user a --password=b -- turn:192.0.2.1"},
		{"hairpin probe -json turn:192.0.2.1", "hairpin probe -json -- turn:192.0.2.1"},
		{"hairpin probe --password -secret- turn:192.0.2.1", "hairpin probe --password -secret- -- turn:192.0.2.1"},
		{"hairpin config check -- --odd", "hairpin config check -- --odd"},
		{"hairpin config check -", "hairpin config check -- -"},
		{"hairpin serve --enforce-expiry --workers 2", "hairpin serve --enforce-expiry --workers 2"},
		{"hairpin --version", "hairpin --version"},
		{"hairpin serve -h", "hairpin serve -h"},
	} {
		ordered, found := arrange(newApp(nil, nil), strings.Fields(test.line))
		if got := strings.Join(ordered, " "); got != test.want || len(found) > 0 {
			t.Errorf("%s\nbecame %s\nwant   %s\nfaults %v", test.line, got, test.want, found)
		}
	}
}

func TestVersion(t *testing.T) {
	got := hairpin(t, "--version")
	if !strings.HasPrefix(got.stdout, "hairpin version ") || got.code != exitGood {
		t.Errorf("got %+v", got)
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What could not be written is no success, for scripts that redirect it into a file.
func TestFullDisk(t *testing.T) {
	admin := adminStandIn(t)
	writeFile(t, "realm: x\n")
	clearEnvironment(t)
	for _, line := range []string{
		"ice --secret s --url turn:x", "config print", "config reference", "config check hairpin.yaml", "status --admin-token token " + admin,
	} {
		t.Run(line, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), append([]string{"hairpin"}, strings.Fields(line)...), fullDisk{}, &stderr)
			outcome{code, "", stderr.String()}.want(t, exitRuntime, "", "no space left on device\n")
		})
	}
}
