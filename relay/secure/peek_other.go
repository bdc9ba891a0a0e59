//go:build !linux

package secure

import "io"

// peek waits for the first byte of the stream and keeps it for the next Read.
func (c *conn) peek() (byte, error) {
	c.ahead = make([]byte, 1)
	_, err := io.ReadFull(c.TCPConn, c.ahead)
	return c.ahead[0], err
}
