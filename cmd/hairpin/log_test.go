package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pion/logging"
)

// explosive fails the test when it is formatted.
type explosive struct{ t *testing.T }

func (e explosive) String() string {
	e.t.Error("a message below the level was formatted")
	return ""
}

func TestLogLevels(t *testing.T) {
	for i, l := range logLevels {
		t.Run(l.name, func(t *testing.T) {
			var out bytes.Buffer
			log := newLoggers(&out, l.level, "text").NewLogger("test")
			for _, print := range []func(string){log.Trace, log.Debug, log.Info, log.Warn, log.Error} {
				print("plain")
			}
			for _, printf := range []func(string, ...any){log.Tracef, log.Debugf, log.Infof, log.Warnf, log.Errorf} {
				printf("%s %d", "formatted", 1)
			}
			var want strings.Builder
			for _, message := range []string{"plain", `"formatted 1"`} {
				for _, level := range logLevels[i:] {
					fmt.Fprintf(&want, "level=%s msg=%s scope=test\n", strings.ToUpper(level.name), message)
				}
			}
			if got := withoutTime(out.String()); got != want.String() {
				t.Errorf("got\n%swant\n%s", got, want.String())
			}
		})
	}
}

func TestLogFormatsOnlyWhatItPrints(t *testing.T) {
	var out bytes.Buffer
	log := newLoggers(&out, slog.LevelError, "text").NewLogger("test")
	for _, printf := range []func(string, ...any){log.Tracef, log.Debugf, log.Infof, log.Warnf} {
		printf("%v", explosive{t})
	}
	if out.Len() > 0 {
		t.Errorf("printed %s", out.String())
	}
}

func TestLogJSON(t *testing.T) {
	var out bytes.Buffer
	var factory logging.LoggerFactory = newLoggers(&out, levelTrace, "json")
	factory.NewLogger("relay").Tracef("a %q", "b")
	_, rest, _ := strings.Cut(out.String(), `,"level"`)
	if want := `:"TRACE","msg":"a \"b\"","scope":"relay"}` + "\n"; rest != want {
		t.Errorf("got %s, want …%s", out.String(), want)
	}
}

func withoutTime(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		_, rest, _ := strings.Cut(line, " ")
		b.WriteString(rest)
	}
	return b.String()
}
