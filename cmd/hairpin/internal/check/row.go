package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Level is how much a requirement demands (RFC 2119's key words).
type Level string

// The levels. May is a feature that a server offers or not.
const (
	Must      Level = "MUST"
	MustNot   Level = "MUST NOT"
	Should    Level = "SHOULD"
	ShouldNot Level = "SHOULD NOT"
	May       Level = "MAY"
)

// Absolute says whether a failure breaks the RFC.
func (l Level) Absolute() bool { return l == Must || l == MustNot }

// Verdict is what became of a row.
type Verdict string

// The verdicts.
const (
	Pass          Verdict = "pass"
	Fail          Verdict = "fail"
	NotApplicable Verdict = "n/a" // not offered, or not to be seen from here
)

// reach says over which transports a row means something.
type reach uint8

const (
	everywhere reach = iota
	overDatagrams
	overStreams // TCP and TLS
	overTLS
)

// Row is one requirement and the probe that tries it on a server.
type Row struct {
	ID          string // stable, for machines: "8656-7.2-07"
	RFC         string // "8656"
	Section     string // "7.2"
	Level       Level
	Requirement string // close to the RFC's words, "the server" left out

	reach reach
	slow  bool // takes an RFC's timer to run out: only with Options.Slow
	probe func(*exam)
}

// Citation is the row's place as the RFCs are cited: "RFC 8656 §7.2".
func (r Row) Citation() string { return "RFC " + r.RFC + " §" + r.Section }

// group is the rows of one procedure.
type group []Row

// Rows is every row, in the order of the RFCs and their sections' rows.
func Rows() []Row {
	all := slices.Concat(
		messageRows, bindingRows, challengeRows, credentialRows, sha256Rows, algorithmRows, streamRows,
		allocateRows, reservationRows, familyRows, refreshRows, permissionRows, sendRows, channelRows, channelDataRows,
		tcpAllocationRows, connectionRows, mobilityRows, discoveryRows,
	)
	order := []string{"8489", "8656", "6062", "8016", "5780"}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(slices.Index(order, a.RFC)-slices.Index(order, b.RFC), compareSections(a.Section, b.Section)) < 0
	})
	number := map[string]int{}
	for i := range all {
		place := all[i].RFC + "-" + all[i].Section
		number[place]++
		all[i].ID = fmt.Sprintf("%s-%02d", place, number[place])
	}
	return all
}

// compareSections orders "6.3.1.1" behind "6.3.1" and "14.2" ahead of "14.10".
func compareSections(a, b string) int { return slices.Compare(sectionParts(a), sectionParts(b)) }

func sectionParts(s string) (parts []int) {
	n := 0
	for _, c := range s {
		if c == '.' {
			parts, n = append(parts, n), 0
			continue
		}
		n = n*10 + int(c-'0')
	}
	return append(parts, n)
}
