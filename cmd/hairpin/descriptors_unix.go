//go:build unix

package main

import "syscall"

// descriptorLimit is how many file descriptors this process may have.
func descriptorLimit() (limit uint64, known bool) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return uint64(l.Cur), true
}
