//go:build !unix

package events

// dontWait is for pipes in the file system, of which there are none.
const dontWait = 0
