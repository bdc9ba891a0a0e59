package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// report turns figures into tables.
type report struct {
	rivals []rival
	rows   []row
	rounds int
}

// row is one case judged by one metric: medians by rival, NaN-free; absent rivals
// are missing.
type row struct {
	title  string
	metric metric
	values map[string]float64
}

func newReport(b *bench, f figures, rounds int) *report {
	r := &report{rivals: b.rivals, rounds: rounds}
	for _, c := range b.cases {
		for _, m := range c.metrics {
			values := map[string]float64{}
			for _, rival := range b.rivals {
				if v := f[key(c, m, rival)]; len(v) > 0 {
					values[rival.name] = median(v)
				}
			}
			r.rows = append(r.rows, row{c.title, m, values})
		}
	}
	return r
}

// median returns the middle value, the lower one of two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// markdown is the table with each rival's figure and hairpin's ratio to it.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d interleaved rounds over loopback on %s/%s, server and generator pinned to one core each. Behind each\n"+
		"rival's figure stands hairpin's as a multiple of it.\n\n", r.rounds, runtime.GOOS, runtime.GOARCH)
	b.WriteString("| case | measured |")
	for _, rival := range r.rivals {
		fmt.Fprintf(&b, " %s |", rival.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---:|", len(r.rivals)) + "\n")
	for _, row := range r.rows {
		unit := row.metric.name
		if row.metric.unit != "" {
			unit += ", " + row.metric.unit
		}
		fmt.Fprintf(&b, "| %s | %s |", row.title, unit)
		own, measured := row.values["hairpin"]
		for _, rival := range r.rivals {
			v, ok := row.values[rival.name]
			switch {
			case !ok:
				b.WriteString(" – |")
			case rival.name == "hairpin" || !measured || v == 0:
				fmt.Fprintf(&b, " **%s** |", spell(v))
			default:
				fmt.Fprintf(&b, " %s (%s ×) |", spell(v), strings.TrimSpace(spell(own/v)))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// spell writes three significant digits, with commas from a thousand on.
func spell(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Measures of the plot, in its own units.
const (
	plotWidth, rowHeight, barHeight = 860, 18, 13
	labelWidth, barWidth            = 330, 440
)

// svg plots each row as bars relative to the longest of it, so that rows of any
// unit stand side by side.
func (r *report) svg() string {
	var body strings.Builder
	y := 20
	for _, row := range r.rows {
		longest := 0.0
		for _, v := range row.values {
			longest = max(longest, v)
		}
		better := "more is better"
		if row.metric.less {
			better = "less is better"
		}
		fmt.Fprintf(&body, `<text x="0" y="%d" class="title">%s: %s (%s)</text>`+"\n", y, row.title, row.metric.name, better)
		y += 8
		for _, rival := range r.rivals {
			v, ok := row.values[rival.name]
			if !ok || longest == 0 {
				continue
			}
			class := "rival"
			if rival.name == "hairpin" {
				class = "own"
			}
			length := max(v/longest*barWidth, 1)
			fmt.Fprintf(&body, `<text x="%d" y="%d" class="name">%s</text><rect x="%d" y="%d" width="%.0f" height="%d" class="%s"/><text x="%.0f" y="%d">%s %s</text>`+"\n",
				labelWidth-180, y+barHeight-2, rival.name, labelWidth-60, y, length, barHeight, class, labelWidth-54+length, y+barHeight-2, spell(v), row.metric.unit)
			y += rowHeight
		}
		y += 22
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="hairpin beside other relays">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .own { fill: #0a7d5a } .rival { fill: #9aa4b0 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .own { fill: #3fcf9b } .rival { fill: #57606a } }
</style>
%s</svg>
`, plotWidth, y, body.String())
}
