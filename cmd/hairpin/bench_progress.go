package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/load"
)

// progressLine is one line on a terminal that is written over and over again. Elsewhere it is nothing.
type progressLine struct {
	out   io.Writer // nil: nobody looks
	width int       // of what stands there
}

func newProgressLine(c *cli.Context) *progressLine {
	l := &progressLine{}
	if file, ok := c.App.ErrWriter.(*os.File); ok && !c.Bool("json") && !c.Bool("quiet") {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			l.out = file
		}
	}
	return l
}

// show replaces the line. A write that fails is nobody's loss.
func (l *progressLine) show(p load.Progress) {
	if l.out == nil {
		return
	}
	text := progressText(p)
	fmt.Fprintf(l.out, "\r%s%s", text, strings.Repeat(" ", max(0, l.width-len(text))))
	l.width = len(text)
}

// clear takes the line away before the report.
func (l *progressLine) clear() {
	if l.out != nil && l.width > 0 {
		fmt.Fprintf(l.out, "\r%s\r", strings.Repeat(" ", l.width))
	}
}

func progressText(p load.Progress) string {
	text := p.Phase
	if p.Of > 0 {
		text += fmt.Sprintf(" %v of %v", p.Elapsed.Truncate(100*time.Millisecond), p.Of)
	}
	if p.Total > 0 {
		text += fmt.Sprintf(" %s of %s", grouped(float64(p.Count)), grouped(float64(p.Total)))
	}
	if p.Rate > 0 {
		text += fmt.Sprintf("  %s/s", grouped(p.Rate))
	}
	if p.Lost > 0 {
		text += fmt.Sprintf("  %s on the way or lost", grouped(float64(p.Lost)))
	}
	return text
}

// grouped writes a whole number with commas: 118,204.
func grouped(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
