package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/pion/logging"
)

// levelTrace lies below slog's own levels, as far from debug as debug is from info.
const levelTrace = slog.LevelDebug - 4

// logLevels are the values of --log-level, most talkative first.
var logLevels = []struct {
	name  string
	level slog.Level
}{
	{"trace", levelTrace}, {"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
}

// logFormats are the values of --log-format.
var logFormats = []string{"text", "json"}

// newLoggers makes the factory that every package gets its logger from: pion/logging's interface, log/slog's output.
func newLoggers(w io.Writer, level slog.Level, format string) *loggers {
	l := new(loggers)
	l.level.Set(level)
	options := &slog.HandlerOptions{Level: &l.level, ReplaceAttr: nameTrace}
	if format == "json" {
		l.handler = slog.NewJSONHandler(w, options)
	} else {
		l.handler = slog.NewTextHandler(w, options)
	}
	return l
}

// nameTrace prints levelTrace as TRACE; slog would say DEBUG-4.
func nameTrace(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		if level, ok := a.Value.Any().(slog.Level); ok && level == levelTrace {
			a.Value = slog.StringValue("TRACE")
		}
	}
	return a
}

// loggers implements logging.LoggerFactory.
type loggers struct {
	handler slog.Handler  // immutable
	level   slog.LevelVar // of all loggers, also of those that were made before it changes
}

// NewLogger returns the logger of one package; scope stands in every line of it.
func (l *loggers) NewLogger(scope string) logging.LeveledLogger {
	return logger{slog.New(l.handler).With("scope", scope)}
}

// standard is for net/http, which wants a *log.Logger.
func (l *loggers) standard(scope string) *log.Logger {
	return slog.NewLogLogger(l.handler.WithAttrs([]slog.Attr{slog.String("scope", scope)}), slog.LevelWarn)
}

// logger implements logging.LeveledLogger. A message is only formatted when its level is on.
type logger struct{ out *slog.Logger }

func (l logger) print(level slog.Level, msg string) {
	l.out.Log(context.Background(), level, msg)
}

func (l logger) printf(level slog.Level, format string, args []any) {
	if l.out.Enabled(context.Background(), level) {
		l.out.Log(context.Background(), level, fmt.Sprintf(format, args...))
	}
}

func (l logger) Trace(msg string)                  { l.print(levelTrace, msg) }
func (l logger) Tracef(format string, args ...any) { l.printf(levelTrace, format, args) }
func (l logger) Debug(msg string)                  { l.print(slog.LevelDebug, msg) }
func (l logger) Debugf(format string, args ...any) { l.printf(slog.LevelDebug, format, args) }
func (l logger) Info(msg string)                   { l.print(slog.LevelInfo, msg) }
func (l logger) Infof(format string, args ...any)  { l.printf(slog.LevelInfo, format, args) }
func (l logger) Warn(msg string)                   { l.print(slog.LevelWarn, msg) }
func (l logger) Warnf(format string, args ...any)  { l.printf(slog.LevelWarn, format, args) }
func (l logger) Error(msg string)                  { l.print(slog.LevelError, msg) }
func (l logger) Errorf(format string, args ...any) { l.printf(slog.LevelError, format, args) }
