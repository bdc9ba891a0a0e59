package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Cells that a user name may take in a table. Names are chosen by others, have up to 508 bytes, and stand ahead of what
// is to be read; --json has them whole.
const (
	listedName  = 64 // an ephemeral one: its end and a UUID
	watchedName = 32 // leaves a narrow terminal room for rates and loss
)

// nameIn spells a user name in so many cells at most.
func nameIn(name string, most int) string { return cut(printable(name), most) }

// printable keeps what a client chose from controlling the terminal.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if quoted[1:len(quoted)-1] == text {
		return text
	}
	return quoted
}

// cells is how much room a text takes in a line of a terminal.
func cells(text string) (n int) {
	for _, r := range text {
		n += cellsOf(r)
	}
	return n
}

func cellsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut keeps what fits into so many cells, one of which then says that there was more.
func cut(text string, most int) string {
	if cells(text) <= most {
		return text
	}
	room := most - 1
	for i, r := range text {
		if room -= cellsOf(r); room < 0 {
			return text[:i] + "…"
		}
	}
	return text
}

// writeColumns writes a table, the first row being its head.
func writeColumns(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], cells(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-cells(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
