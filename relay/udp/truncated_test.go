//go:build !windows

package udp

import (
	"bytes"
	"net/netip"
	"testing"
)

// Windows is left out, where an oversize datagram is an error without a sender and so is passed over.
func TestTruncated(t *testing.T) {
	const size = 16
	cases := []struct {
		length    int
		truncated bool
	}{{0, false}, {size - 1, false}, {size, false}, {size + 1, true}, {size + tailroom, true}, {size + tailroom + 1, true}, {1400, true}, {1, false}}
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		server := listenBounded(t, loopback, o)
		peer := client(t, server.LocalAddr())
		batch := NewBatch(2, size)
		payload := bytes.Repeat([]byte{'x'}, 1400)
		for _, c := range cases {
			write(t, peer, payload[:c.length])
			receive(t, server, batch)
			d := batch.Datagram(0)
			if d.Truncated != c.truncated || len(d.Bytes) != min(c.length, size) || cap(d.Bytes) < len(d.Bytes)+8 {
				t.Errorf("%d bytes: %d received, truncated %v", c.length, len(d.Bytes), d.Truncated)
			}
		}
	})
}
