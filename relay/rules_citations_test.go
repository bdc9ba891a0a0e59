package relay_test

import (
	"fmt"
	"iter"
	"regexp"
	"strings"
)

// A citation is written RFC 8656 §12.4. It may run on over a line of comment, and a section alone, as in "see §12.5", is
// one of the RFC that was named last in the same paragraph. The sections that exist are in testdata/rfc/index.txt.
const (
	rfcIndex = "testdata/rfc/index.txt"
	gap      = `(?: |\n[ \t]*(?://|#|\*)?[ \t]*)`
	section  = `§(?:[A-Z]|\d+)(?:\.\d+)*`
)

var (
	// mention finds whatever looks like a citation. Its groups, of which one is filled:
	mention = regexp.MustCompile(
		`([.\w]RFC\w+|draft-[\w-]+` + gap + section + `)` + // 1: none of ours: time.RFC3339, a draft
			`|(\bRFC` + gap + `\d+,?` + gap + `(?i:sections?|sect?\.)` + gap + `?\d+(?:\.\d+)*|\bRFC[-_]?\d+|\bRFCs` + gap + `\d+|§ \d+)` + // 2: other spellings
			`|\bRFC` + gap + `(\d+)` + // 3: the number
			`|(` + section + `)`) // 4: a section
	indexed   = regexp.MustCompile(`^(RFC \d+) (?:(` + section + `) )?\S`)
	paragraph = regexp.MustCompile(`\n[ \t]*(?://|#|\*)?[ \t]*\n`)
)

// citationsExist says which citations are not in the rfcIndex, and which are not written as citations.
func citationsExist(t tree) (faults []string) {
	known, faults := readIndex(t[rfcIndex])
	for file, text := range t.prose() {
		rfc, named := "", 0 // the RFC that was named last, and where
		for at := range mentions(text) {
			group := func(n int) string {
				if at[2*n] < 0 {
					return ""
				}
				return text[at[2*n]:at[2*n+1]]
			}
			if paragraph.MatchString(text[named:at[0]]) {
				rfc = ""
			}
			key := ""
			switch {
			case group(1) != "":
				continue
			case group(3) != "":
				rfc, named = "RFC "+group(3), at[0]
				key = rfc
			case group(4) != "" && rfc != "":
				key = rfc + " " + group(4)
			}
			where := position(file, text, at[0])
			if key == "" {
				faults = append(faults, fmt.Sprintf("%s: %q is not written as RFC 8656 §12.4", where, group(0)))
			} else if !known[key] {
				faults = append(faults, fmt.Sprintf("%s: %s is not in %s", where, key, rfcIndex))
			}
		}
	}
	return faults
}

// mentions yields the places of mention and of its groups. The expression is slow, and sees only the passages of a text
// that can hold one: lines with what every mention begins with, and those after them over which its gaps may run on.
func mentions(text string) iter.Seq[[]int] {
	const gaps = 3 // in the longest spelling
	return func(yield func([]int) bool) {
		start, end, more := 0, 0, 0 // of the passage, and how many lines still belong to it
		passage := func() bool {
			for _, at := range mention.FindAllStringSubmatchIndex(text[start:end], -1) {
				for i := range at {
					if at[i] >= 0 {
						at[i] += start
					}
				}
				if !yield(at) {
					return false
				}
			}
			return true
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, "RFC") || strings.Contains(line, "§") || strings.Contains(line, "draft-") {
				more = 1 + gaps
			}
			if more == 0 {
				if start < end && !passage() {
					return
				}
				start = end + len(line)
			} else {
				more--
			}
			end += len(line)
		}
		passage()
	}
}

// readIndex reads the index: a line with the title of each RFC, then one for each of its sections.
func readIndex(text string) (known map[string]bool, faults []string) {
	known = map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		entry := indexed.FindStringSubmatch(line)
		switch {
		case entry == nil:
			faults = append(faults, fmt.Sprintf("%s: %q is neither a title nor a section", rfcIndex, line))
		case entry[2] == "":
			known[entry[1]] = true
		case !known[entry[1]]:
			faults = append(faults, fmt.Sprintf("%s: %s %s comes before the title of its RFC", rfcIndex, entry[1], entry[2]))
		default:
			known[entry[1]+" "+entry[2]] = true
		}
	}
	return known, faults
}
