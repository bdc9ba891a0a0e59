package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// other is a second user, whom the rows about one user's allocation in another's hands need.
const (
	otherUser     = "other"
	otherPassword = "other-only-on-loopback"
)

// checked is what "hairpin check --json" prints, as far as it is needed.
type checked struct {
	Software string `json:"software"`
	Summary  []struct {
		Level string `json:"level"`
		Pass  int    `json:"pass"`
		Fail  int    `json:"fail"`
	} `json:"summary"`
	Rows []checkedRow `json:"rows"`
	Err  *struct {
		Text string `json:"text"`
	} `json:"error"`
}

type checkedRow struct {
	ID          string `json:"id"`
	RFC         string `json:"rfc"`
	Section     string `json:"section"`
	Level       string `json:"level"`
	Requirement string `json:"requirement"`
	Verdict     string `json:"verdict"`
	Seen        string `json:"seen"`
}

// conformance is a rival's results by transport.
type conformance struct {
	name string
	over map[string]*checked
}

var checkedTransports = []string{"udp", "tcp"}

// compareConformance checks every rival over UDP and TCP and writes the comparison to a file.
func compareConformance(ctx context.Context, hairpin string, port int, out string) error {
	var all []conformance
	for _, r := range available(hairpin, "", port) {
		if r.bare || r.blind {
			continue
		}
		c := conformance{name: r.name, over: map[string]*checked{}}
		for _, transport := range checkedTransports {
			result, err := r.check(ctx, hairpin, port, transport)
			if err != nil {
				return fmt.Errorf("%s over %s: %w", r.name, transport, err)
			}
			c.over[transport] = result
		}
		all = append(all, c)
		fmt.Fprintf(os.Stderr, "checked %s\n", r.name)
	}
	if len(all) == 0 || all[0].name != "hairpin" {
		return errors.New("without hairpin there is nothing to compare with")
	}
	return os.WriteFile(out, []byte(conformanceTable(all)), 0o644)
}

// check starts the rival and runs "hairpin check" against it.
func (r rival) check(ctx context.Context, hairpin string, port int, transport string) (*checked, error) {
	r.command = slices.Concat(r.command, r.inside)
	_, stop, err := r.start(ctx, port)
	if err != nil {
		return nil, err
	}
	defer stop()
	cmd := exec.CommandContext(ctx, hairpin, "check", "turn:127.0.0.1:"+strconv.Itoa(port)+"?transport="+transport, "--json",
		"--user", user, "--password", password, "--other-user", otherUser, "--other-password", otherPassword)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: a MUST fails
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	result := new(checked)
	if err := json.Unmarshal(text, result); err != nil {
		return nil, err
	}
	return result, nil
}

const conformanceHead = `<!-- Written by "make conformance". -->

# How relays conform

` + "`hairpin check`" + ` against each server on loopback, over UDP and TCP, each started as for [the measurements](../rivals/rivals.go):
with its defaults, one relayed address family and no optional extension switched on. Levels are the RFCs'; what they say as plain procedure
counts as MUST. n/a: the server doesn't offer it, or it can't be seen over this transport. A row that fails over either
transport fails here.

`

// conformanceTable is the sums and every row that not all servers pass.
func conformanceTable(all []conformance) string {
	var b strings.Builder
	b.WriteString(conformanceHead + "| passed, failed |")
	for _, c := range all {
		fmt.Fprintf(&b, " %s |", titled(c))
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(all)) + "\n")
	for i, level := range []string{"MUST, MUST NOT", "SHOULD, SHOULD NOT", "MAY (offered, not)"} {
		for _, transport := range checkedTransports {
			fmt.Fprintf(&b, "| %s, %s |", level, strings.ToUpper(transport))
			for _, c := range all {
				s := c.over[transport].Summary[i]
				fmt.Fprintf(&b, " %d, %d |", s.Pass, s.Fail)
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\n## Where they differ\n\nWhat all of them pass, or none offers, is left out. What was seen where a row fails stands below the table.\n\n| section | level | requirement |")
	for _, c := range all {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(all)) + "\n")
	var notes []string
	for i, row := range all[0].over[checkedTransports[0]].Rows {
		verdicts := make([]string, len(all))
		for k, c := range all {
			verdict, seen := c.verdict(i)
			if verdicts[k] = verdict; verdict == "fail" {
				notes = append(notes, fmt.Sprintf("- %s, %s: %s: %s\n", row.ID, c.name, row.Requirement, seen))
			}
		}
		if same := !slices.ContainsFunc(verdicts, func(v string) bool { return v != verdicts[0] }); same && verdicts[0] != "fail" {
			continue
		}
		fmt.Fprintf(&b, "| RFC %s §%s | %s | %s | %s |\n", row.RFC, row.Section, row.Level, strings.ReplaceAll(row.Requirement, "|", `\|`),
			strings.ReplaceAll(strings.Join(verdicts, " | "), "fail", "**fail**"))
	}
	b.WriteString("\n## What was seen\n\n" + strings.Join(notes, ""))
	return b.String()
}

// titled is a rival's name with what it calls itself.
func titled(c conformance) string {
	if s := c.over[checkedTransports[0]].Software; s != "" {
		return c.name + " (" + strings.ReplaceAll(s, "|", "") + ")"
	}
	return c.name
}

// verdict is that of a row over all transports: a failure over one counts, and what one can't see another may.
func (c conformance) verdict(row int) (verdict, seen string) {
	verdict = "n/a"
	for _, transport := range checkedTransports {
		switch r := c.over[transport].Rows[row]; r.Verdict {
		case "fail":
			return r.Verdict, strings.ToUpper(transport) + ", " + r.Seen
		case "n/a":
		case "no":
			if verdict == "n/a" {
				verdict = r.Verdict
			}
		default:
			verdict = r.Verdict
		}
	}
	return verdict, ""
}
