//go:build !unix

package main

import "os"

// terminalSize is not known here.
func terminalSize(*os.File) (columns, lines int) { return 0, 0 }
