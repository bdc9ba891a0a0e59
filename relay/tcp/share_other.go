//go:build !linux

package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Elsewhere a port that is listened on can't be shared in this order. So TCP allocations
// have no peers outside there: none is made where the rules allow such peers.

var errShare = fmt.Errorf("connections from a port that is listened on: %w", errors.ErrUnsupported)

func share(context.Context, string, string, syscall.RawConn) error { return errShare }

func shareLater(*net.TCPListener) error { return errShare }
