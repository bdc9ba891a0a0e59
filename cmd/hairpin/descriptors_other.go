//go:build !unix

package main

// descriptorLimit knows nothing: handles are limited by memory.
func descriptorLimit() (limit uint64, known bool) { return 0, false }
