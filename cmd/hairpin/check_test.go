package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/check"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe/probetest"
)

// Against pion/turn's server, which breaks some rules and keeps others.
func TestCheckVerdicts(t *testing.T) {
	at := probetest.Start(t, probetest.Hooks{}).Address.String()
	junit := filepath.Join(t.TempDir(), "report.xml")
	base := []string{"check", "turn:" + at, "--user", probetest.User, "--password", probetest.Password, "--timeout", "300ms", "--quiet", "50ms"}
	for _, c := range []struct {
		name      string
		arguments []string
		code      int
		stdout    string // pattern
		stderr    string // pattern
	}{
		{"kept", []string{"--only", "RFC 8656 §12.4"}, checkGood, `(?s)^turn:` + at + `\?transport=udp at ` + at + `, realm "probetest"\n\nRFC 8656 §12.4\n  pass  MUST .*\n\nMUST      1 pass    0 fail    0 n/a\n`, `^$`},
		{"broken", []string{"--only", "RFC 8656 §18.7"}, checkBroken, `(?s)\n  fail  MUST        ignores the RFFU.*\n +success with RESERVATION-TOKEN\n`, `^$`},
		{"only what fails", []string{"--only", "RFC 8656 §12", "--faults"}, checkBroken, `(?s)^[^\n]*\n\nRFC 8656 §12.2\n  fail `, `^$`},
		{"JUnit instead", []string{"--only", "RFC 8656 §18.7", "--junit", "-"}, checkBroken, `(?s)^<\?xml .*<testsuite name="RFC 8656" tests="1" failures="1" .*<failure message="success with RESERVATION-TOKEN"></failure>`, `^$`},
		{"JUnit besides", []string{"--only", "RFC 5780 §7.5", "--junit", junit}, checkGood, `\nMAY `, `^$`},
		{"refused", []string{"--password", "?"}, checkRefused, `^$`, `^hairpin check: refused: Allocate .*400.*\n  check user name and password`},
		{"refused, as JSON", []string{"--password", "?", "--json"}, checkRefused, `(?s)"status": "refused".*"code": 400`, `^$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := hairpin(t, append(append([]string{}, base...), c.arguments...)...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d", got.code, c.code)
			}
			if !regexp.MustCompile(c.stdout).MatchString(got.stdout) || !regexp.MustCompile(c.stderr).MatchString(got.stderr) {
				t.Errorf("printed\n%s\n%s", got.stdout, got.stderr)
			}
		})
	}
	text, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(text, &suites); err != nil || len(suites.Suites) != 1 || suites.Suites[0].Skipped == 0 {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestCheckJSON(t *testing.T) {
	at := probetest.Start(t, probetest.Hooks{}).Address.String()
	got := hairpin(t, "check", "turn:"+at, "--user", probetest.User, "--password", probetest.Password, "--timeout", "300ms", "--quiet", "50ms", "--json")
	var report checkReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, s := range report.Summary {
		sum += s.Pass + s.Fail + s.NotApplicable
	}
	if got.code != checkBroken || report.Status != "broken" || len(report.Rows) != len(check.Rows()) || sum != len(report.Rows) {
		t.Errorf("code %d, status %s, %d rows, %d counted", got.code, report.Status, len(report.Rows), sum)
	}
	for _, row := range report.Rows {
		if row.ID == "" || row.Verdict == "" || row.Level == "MAY" != (row.Verdict == "yes" || row.Verdict == "no") && row.Verdict != "n/a" {
			t.Errorf("%+v", row)
		}
	}
}

func TestCheckUsage(t *testing.T) {
	for _, c := range []struct {
		name      string
		arguments []string
		stderr    string
	}{
		{"no server", nil, "hairpin check: takes one server, not 0; write hairpin check turn:HOST:PORT"},
		{"everything at once", []string{"stun:host", "--parallel", "0", "--quiet", "0s", "--peer", "here", "--other-user", "bob", "--only", "nothing", "--json", "--junit", "-", "--insecure"},
			"stun:host: .*\n--peer: \"here\" is no IP address; .*\n--parallel: 0 is out of range; choose from 1 to 32\n--quiet: 0s is out of range; .*\n" +
				"--other-user: goes together with --other-password; .*\n--insecure: .*\n--only: \"nothing\" begins no row; .*\n--junit: - excludes --json; .*"},
		{"turns over UDP", []string{"turns:host?transport=udp"}, "turns:host\\?transport=udp: .*; write turns:HOST:PORT\\?transport=tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := hairpin(t, append([]string{"check"}, c.arguments...)...)
			if got.code != exitUsage || !regexp.MustCompile("(?s)^"+c.stderr+"\n$").MatchString(got.stderr) {
				t.Errorf("%d, %s", got.code, strings.TrimSpace(got.stderr))
			}
		})
	}
}
