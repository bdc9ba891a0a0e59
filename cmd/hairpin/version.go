package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the release build: -ldflags "-X main.version=v1.2.3". Otherwise the module's own version or the
// revision of the working tree stands in.
var version string

// A build says what this binary was made of; --version and the build_info metric show it.
type build struct {
	Version  string
	Revision string // short commit, with "+" when the tree had changes; empty outside a repository
}

func readBuild() build {
	b := build{Version: version}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		modified := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				if s.Value == "true" {
					modified = "+"
				}
			}
		}
		if b.Revision != "" {
			b.Revision += modified
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

func (b build) String() string {
	details := fmt.Sprintf("%s, %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if b.Revision != "" {
		details = b.Revision + ", " + details
	}
	return fmt.Sprintf("%s (%s)", b.Version, details)
}
