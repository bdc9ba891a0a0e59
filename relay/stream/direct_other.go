//go:build !unix

package stream

import "errors"

// direct is not available here: every connection is read with a buffer in hand and written by its drain goroutine.
type direct struct{ pending chain }

func (d *direct) init(*Conn) {}

func (d *direct) usable() bool { return false }

func (d *direct) read() (int, error) { return 0, errors.ErrUnsupported }

func (d *direct) write() (int, error) { return 0, errors.ErrUnsupported }
