//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe that the settings came from is not read again, which would wait for ever, or take nothing for everything.
func TestReloadOfPipe(t *testing.T) {
	ports := freePorts(t, 2)
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	p := startProcess(t, "hairpin", "serve", "--config", pipe)
	write(t, pipe, fmt.Sprintf("listen: [\"udp://127.0.0.1:%s\"]\nadmin: 127.0.0.1:%s\nuser: [a:b]\n", ports[0], ports[1]))
	untilListening(t, ports[1])
	hairpin(t, "reload", "127.0.0.1:"+ports[1]).want(t, exitUsage, "", "--config: is no regular file, so it cannot be read a second time; restart the server, or give it a file\n")
	if code := p.end(t, os.Interrupt); code != exitGood {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}
