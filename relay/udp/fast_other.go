//go:build !linux

package udp

import (
	"errors"
	"net"
)

// There is no fast path here: Conn.portable is always set, and nothing below is reached after a Batch or Queue was made.
const hasFastPath = false

type receiver struct{}

func newReceiver(*Batch, int) *receiver { return nil }

func (c *Conn) receiveFast(b *Batch) error { return c.receivePortable(b) }

func (b *Batch) datagramFast(i int) Datagram { return b.decoded[i] }

type sender struct{}

func newSender(int) *sender { return nil }

func (c *Conn) flushFast(q *Queue) (int, error) { return c.flushPortable(q) }

type descriptor struct{}

func detach(*net.UDPConn) (*descriptor, error) { return nil, errors.ErrUnsupported }

func (d *descriptor) Control(func(fd uintptr)) error { return errors.ErrUnsupported }

func (d *descriptor) Close() error { return errors.ErrUnsupported }

func (d *descriptor) isClosing() bool { return false }
