package check

import (
	"fmt"
	"slices"
	"strings"
)

// offers begins the requirement that a whole extension hangs on.
const offers = "offers "

// Support writes, as Markdown, what a server supports of the RFCs: one line per section, from checks of it over several
// transports. "yes" is every requirement, "no" none, "partial" the rest; the reasons name what is missing.
func Support(results ...*Result) string {
	var b strings.Builder
	rfc := ""
	rows := Rows()
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(r Row) bool { return r.Citation() != rows[0].Citation() })
		if n < 0 {
			n = len(rows)
		}
		section := rows[:n]
		rows = rows[n:]
		if section[0].RFC != rfc {
			rfc = section[0].RFC
			fmt.Fprintf(&b, "\n## RFC %s\n\n| section | support | met | why not more |\n|---|---|---:|---|\n", rfc)
		}
		met, asked, offered, reasons := 0, 0, true, []string(nil)
		for _, row := range section {
			verdict, seen := together(row.ID, results)
			switch {
			case verdict == NotApplicable && (row.slow || strings.HasPrefix(seen, notOfRun)):
				continue // says nothing either way
			case verdict == Pass:
				met++
			case verdict == Fail && row.Level == May:
				reasons = append(reasons, "not offered: "+strings.TrimPrefix(row.Requirement, offers))
				offered = offered && !strings.HasPrefix(row.Requirement, offers)
			case verdict == Fail:
				reasons = append(reasons, string(row.Level)+": "+row.Requirement)
			default:
				reasons = append(reasons, seen)
			}
			asked++
		}
		if asked == 0 {
			continue
		}
		support := "partial"
		switch {
		case met == asked:
			support = "yes"
		case met == 0 || !offered:
			support = "no"
		}
		slices.Sort(reasons)
		fmt.Fprintf(&b, "| %s | %s | %d of %d | %s |\n", section[0].Citation(), support, met, asked,
			strings.ReplaceAll(strings.Join(slices.Compact(reasons), "; "), "|", `\|`))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// together is a row's verdict over several checks: a failure of one counts, and what one of them can't see the other may.
func together(id string, results []*Result) (verdict Verdict, seen string) {
	verdict = NotApplicable
	for _, r := range results {
		for _, o := range r.Outcomes {
			switch {
			case o.ID != id:
			case o.Verdict == Fail:
				return Fail, o.Seen
			case o.Verdict == Pass:
				verdict, seen = Pass, o.Seen
			case verdict == NotApplicable && (seen == "" || strings.HasPrefix(seen, notOfRun)):
				seen = o.Seen
			}
		}
	}
	return verdict, seen
}
