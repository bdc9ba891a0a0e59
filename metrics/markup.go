package metrics

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// markup writes HTML. What is put between its tags is escaped without exception, for text and for quoted attributes:
// user names are chosen by others.
type markup struct{ strings.Builder }

// put writes a format whose verbs are all %v.
func (m *markup) put(format string, values ...any) {
	for i, v := range values {
		values[i] = html.EscapeString(strings.ToValidUTF8(fmt.Sprint(v), "\uFFFD"))
	}
	fmt.Fprintf(m, format, values...)
}

// spellCount writes a number with a thin space between thousands.
func spellCount(n uint64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// spellBytes writes a size with three or four digits and a binary unit.
func spellBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// spellBits writes a rate of bits per second with three or four digits.
func spellBits(rate float64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	unit := 0
	for rate >= 999.95 && unit < len(units)-1 {
		rate /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f %s", rate, units[0])
	}
	return fmt.Sprintf("%.1f %s", rate, units[unit])
}

// spellDuration writes the two largest units.
func spellDuration(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %02d h", s/(24*3600), s%(24*3600)/3600)
}

// spellLoss writes a fraction in percent; nothing for what is not known.
func spellLoss(loss *float64) string {
	if loss == nil {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100**loss)
}

// spellJitter writes milliseconds; nothing for what is not known.
func spellJitter(jitter *float64) string {
	if jitter == nil {
		return ""
	}
	return fmt.Sprintf("%.1f ms", *jitter)
}
