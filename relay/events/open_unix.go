//go:build unix

package events

import "syscall"

// dontWait opens a pipe only if there is somebody who reads it: opening would wait for that, without an end.
const dontWait = syscall.O_NONBLOCK
