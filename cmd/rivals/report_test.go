package main

import (
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 2}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestSpell(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 3.456: "3.46", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567: "1,234,567"} {
		if got := spell(v); got != want {
			t.Errorf("spell(%v) = %q, want %q", v, got, want)
		}
	}
}

// The ratio is hairpin's figure over the rival's, and who didn't take part has none.
func TestReport(t *testing.T) {
	c := benchCase{name: "x", title: "a case", metrics: []metric{cpu}}
	b := &bench{rivals: []rival{{name: "hairpin"}, {name: "slow"}, {name: "absent"}}, cases: []benchCase{c}}
	f := figures{key(c, cpu, b.rivals[0]): {2, 9, 1}, key(c, cpu, b.rivals[1]): {8}}
	r := newReport(b, f, 3)
	if got := r.markdown(); !strings.Contains(got, "| a case | CPU per relayed packet, µs | **2.00** | 8.00 (0.25 ×) | – |") {
		t.Errorf("got\n%s", got)
	}
	if svg := r.svg(); !strings.Contains(svg, "2.00 µs") || !strings.Contains(svg, "8.00 µs") || strings.Contains(svg, "absent") {
		t.Errorf("got\n%s", svg)
	}
}
