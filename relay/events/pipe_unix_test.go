//go:build unix

package events

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe that nobody reads is a fault at once, where opening it would wait without an end; so is its reader's end later.
func TestPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New((&log{}).options(path, 0)); err == nil || !strings.Contains(err.Error(), "nobody reads the pipe "+path) {
		t.Fatalf("%v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New((&log{}).options(path, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Emit(birth(1))
	written(t, w, 1)
	text := make([]byte, 1000)
	n, err := reader.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, string(text[:n]), "birth 1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	reader.Close()
}
