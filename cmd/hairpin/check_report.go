package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"strings"
	"unicode"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/check"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// checkReport is a check's outcome, ready to be printed. Its exported fields are the JSON output.
type checkReport struct {
	Status   string      `json:"status"` // conforming, broken, unreachable, refused, failed
	URI      string      `json:"uri"`
	Error    *probeError `json:"error,omitempty"` // unreachable, refused, failed; then nothing below
	Server   string      `json:"server,omitempty"`
	Realm    string      `json:"realm,omitempty"`
	Software string      `json:"software,omitempty"`
	Summary  []checkSum  `json:"summary,omitempty"`
	Rows     []checkRow  `json:"rows,omitempty"`
	Elapsed  float64     `json:"elapsed_ms,omitempty"`

	code int
}

// checkSum counts the rows of one kind of level.
type checkSum struct {
	Level         string `json:"level"` // MUST (and MUST NOT), SHOULD (and SHOULD NOT), MAY
	Pass          int    `json:"pass"`
	Fail          int    `json:"fail"`
	NotApplicable int    `json:"not_applicable"`
}

type checkRow struct {
	ID          string  `json:"id"`
	RFC         string  `json:"rfc"`
	Section     string  `json:"section"`
	Level       string  `json:"level"`
	Requirement string  `json:"requirement"`
	Verdict     string  `json:"verdict"` // pass, fail, n/a; of a MAY: yes, no, n/a
	Seen        string  `json:"seen,omitempty"`
	Took        float64 `json:"took_ms"`
}

// newCheckReport judges a result or, when there is none, the error in its place.
func newCheckReport(uri string, r *check.Result, err error) *checkReport {
	report := &checkReport{URI: uri}
	if r == nil {
		report.fail(err)
		return report
	}
	report.URI, report.Server, report.Realm, report.Software = r.URI, r.Server.String(), r.Realm, r.Software
	report.Elapsed = milliseconds(r.Took)
	for _, levels := range [][]check.Level{{check.Must, check.MustNot}, {check.Should, check.ShouldNot}, {check.May}} {
		report.Summary = append(report.Summary, checkSum{
			Level: string(levels[0]), Pass: r.Count(check.Pass, levels...), Fail: r.Count(check.Fail, levels...),
			NotApplicable: r.Count(check.NotApplicable, levels...),
		})
	}
	for _, o := range r.Outcomes {
		report.Rows = append(report.Rows, checkRow{
			ID: o.ID, RFC: o.RFC, Section: o.Section, Level: string(o.Level), Requirement: o.Requirement,
			Verdict: spellVerdict(o), Seen: o.Seen, Took: milliseconds(o.Took),
		})
	}
	if report.Status = "conforming"; r.Count(check.Fail, check.Must, check.MustNot) > 0 {
		report.Status, report.code = "broken", checkBroken
	}
	return report
}

// spellVerdict is how a verdict is printed: what a server may offer, it offers or not.
func spellVerdict(o check.Outcome) string {
	switch {
	case o.Level == check.May && o.Verdict == check.Pass:
		return "yes"
	case o.Level == check.May && o.Verdict == check.Fail:
		return "no"
	}
	return string(o.Verdict)
}

// fail makes the report that of an error.
func (r *checkReport) fail(err error) {
	var unreachable *probe.Unreachable
	var refusal *probe.Refusal
	r.Error = &probeError{Text: err.Error()}
	switch {
	case errors.As(err, &unreachable):
		r.Status, r.code = "unreachable", checkUnreachable
	case errors.As(err, &refusal):
		r.Status, r.code = "refused", checkRefused
		r.Error.Request, r.Error.Code, r.Error.Reason = refusal.Request, refusal.Code, refusal.Reason
		r.Error.Remedy = strings.ReplaceAll(refusal.Remedy(), "HAIRPIN_PROBE_", "HAIRPIN_CHECK_")
	default:
		r.Status, r.code = "failed", checkUnreachable
	}
}

// failure is the report of an error in lines of text.
func (r *checkReport) failure() string {
	text := fmt.Sprintf("hairpin check: %s: %s\n", r.Status, r.Error.Text)
	if r.Error.Remedy != "" {
		text += "  " + r.Error.Remedy + "\n"
	}
	return text
}

func (r *checkReport) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeText prints the table, by section, and the sums.
func (r *checkReport) writeText(w io.Writer, faultsOnly bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s, realm %q", r.URI, r.Server, r.Realm)
	if r.Software != "" {
		fmt.Fprintf(&b, ", %s", r.Software)
	}
	b.WriteString("\n")
	section := ""
	for _, row := range r.Rows {
		if faultsOnly && row.Verdict != string(check.Fail) {
			continue
		}
		if s := "RFC " + row.RFC + " §" + row.Section; s != section {
			section = s
			fmt.Fprintf(&b, "\n%s\n", s)
		}
		fmt.Fprintf(&b, "  %-4s  %-10s  %s\n", row.Verdict, row.Level, row.Requirement)
		if row.Seen != "" && row.Verdict != "pass" && row.Verdict != "yes" {
			fmt.Fprintf(&b, "  %-4s  %-10s    %s\n", "", "", row.Seen)
		}
	}
	b.WriteString("\n")
	for _, s := range r.Summary {
		if s.Level == string(check.May) {
			fmt.Fprintf(&b, "%-7s %3d yes   %3d no    %3d n/a\n", s.Level, s.Pass, s.Fail, s.NotApplicable)
			continue
		}
		fmt.Fprintf(&b, "%-7s %3d pass  %3d fail  %3d n/a\n", s.Level, s.Pass, s.Fail, s.NotApplicable)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The JUnit format as CI servers read it: a suite for each RFC, a case for each row. What a server may offer and does not is
// skipped, as is what a row could not see. The tags are for whoever reads it; it is written by hand, as the standard
// library's encoder is 80 KB of every image.
type (
	junitSuites struct {
		Name   string       `xml:"name,attr"`
		Suites []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     float64     `xml:"time,attr"` // seconds
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string     `xml:"classname,attr"`
		Name    string     `xml:"name,attr"`
		Time    float64    `xml:"time,attr"` // seconds
		Failure *junitSeen `xml:"failure"`
		Error   *junitSeen `xml:"error"`
		Skipped *junitSeen `xml:"skipped"`
	}
	junitSeen struct {
		Message string `xml:"message,attr"`
	}
)

func (r *checkReport) writeJUnit(w io.Writer) error {
	all := junitSuites{Name: "hairpin check " + r.URI}
	if r.Error != nil {
		all.Suites = []junitSuite{{Name: "server", Tests: 1, Errors: 1, Cases: []junitCase{{
			Class: "server", Name: "can be checked", Error: &junitSeen{r.Status + ": " + r.Error.Text},
		}}}}
	}
	for _, row := range r.Rows {
		name := "RFC " + row.RFC
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != name {
			all.Suites = append(all.Suites, junitSuite{Name: name})
		}
		suite := &all.Suites[len(all.Suites)-1]
		c := junitCase{Class: name + " §" + row.Section, Name: row.ID + " " + row.Level + " " + row.Requirement, Time: row.Took / 1000}
		switch {
		case row.Verdict == string(check.Fail):
			c.Failure = &junitSeen{row.Seen}
			suite.Failures++
		case row.Verdict == string(check.NotApplicable) || row.Verdict == "no":
			c.Skipped = &junitSeen{row.Seen}
			suite.Skipped++
		}
		suite.Tests++
		suite.Time += c.Time
		suite.Cases = append(suite.Cases, c)
	}
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	fmt.Fprintf(&b, "<testsuites name=%s>\n", attribute(all.Name))
	for _, suite := range all.Suites {
		fmt.Fprintf(&b, "  <testsuite name=%s tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%g\">\n",
			attribute(suite.Name), suite.Tests, suite.Failures, suite.Errors, suite.Skipped, suite.Time)
		for _, c := range suite.Cases {
			fmt.Fprintf(&b, "    <testcase classname=%s name=%s time=\"%g\">", attribute(c.Class), attribute(c.Name), c.Time)
			for _, seen := range []struct {
				element string
				seen    *junitSeen
			}{{"failure", c.Failure}, {"error", c.Error}, {"skipped", c.Skipped}} {
				if seen.seen != nil {
					fmt.Fprintf(&b, "\n      <%s message=%s></%[1]s>\n    ", seen.element, attribute(seen.seen.Message))
				}
			}
			b.WriteString("</testcase>\n")
		}
		b.WriteString("  </testsuite>\n")
	}
	b.WriteString("</testsuites>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// attribute quotes a text as the value of an XML attribute. Characters that XML 1.0 has no way to write are replaced.
func attribute(text string) string {
	return `"` + html.EscapeString(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))) + `"`
}
