package peers

import (
	"errors"
	"fmt"
)

// check finds what is wrong with rules that are good one by one. A fault of two
// rules is laid at the later one.
func check(file string, rules []entry) error {
	var faults []error
	skipped := 0
	found := func(e entry, what, remedy string) {
		if len(faults) >= maxFaults {
			skipped++
			return
		}
		f := &Fault{Index: e.index, What: what, Remedy: remedy}
		if e.line > 0 {
			f.File, f.Line, f.Index = file, e.line, 0
		}
		faults = append(faults, f)
	}
	if len(rules) > maxRules {
		found(rules[maxRules], fmt.Sprintf("is one of %d rules", len(rules)), fmt.Sprintf("write %d or fewer; neighbouring prefixes can be joined", maxRules))
		return faults[0]
	}
	first := make(map[Rule]entry)
	names := make(map[string]bool)
	allows := false
	for i, e := range rules {
		r := e.rule
		if r.kind == 0 {
			found(e, "is no rule", "make rules with ParseRule")
			continue
		}
		if earlier, twice := first[r]; twice {
			found(e, fmt.Sprintf("%q is given twice%s", r, earlier.where(file)), "remove one")
			continue
		}
		first[r] = e
		allows = allows || !r.deny
		if r.kind == name && !names[r.name] {
			if names[r.name] = true; len(names) == maxNames+1 {
				found(e, fmt.Sprintf("%q is one name more than %d", r, maxNames), "give relays that belong together one name with all their addresses")
			}
		}
		if r.kind != network {
			continue
		}
		for _, earlier := range rules[:i] {
			switch o := earlier.rule; {
			case o.kind != network || o.deny == r.deny:
			case r.deny && r.contains(o):
				found(e, fmt.Sprintf("%q denies all that %q%s allows", r, o, earlier.where(file)), "remove one, or deny a part of it")
			case o.deny && o.contains(r):
				found(e, fmt.Sprintf("%q is wholly denied by %q%s", r, o, earlier.where(file)), "remove one, or deny a part of it")
			}
		}
	}
	if len(rules) > 0 && !allows && len(faults) == 0 {
		found(rules[0], fmt.Sprintf("%q and all other rules deny, so that clients could reach nobody", rules[0].rule), "add loop, or a rule that allows something")
	}
	if skipped > 0 {
		faults = append(faults, fmt.Errorf("%d more faulty rules", skipped))
	}
	return errors.Join(faults...)
}

// where says where a rule stands that a fault elsewhere mentions.
func (e entry) where(file string) string {
	if e.line == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s, line %d)", file, e.line)
}
