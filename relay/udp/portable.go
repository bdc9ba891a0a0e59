package udp

import (
	"net"
	"net/netip"
)

// receivePortable takes one datagram through the standard library, which has no way to ask for more without waiting.
func (c *Conn) receivePortable(b *Batch) error {
	buffer := b.buffer(0)
	oob := b.control
	if !c.packetInfo {
		oob = nil
	}
	for failures := 0; ; {
		// One byte more than asked for tells an oversize datagram on systems that don't flag it.
		n, oobn, _, source, err := c.udp.ReadMsgUDPAddrPort(buffer[:b.size+1], oob)
		if err != nil {
			err = closedOr(err)
			if failures++; failures == maxErrors || err == net.ErrClosed {
				return err
			}
			continue
		}
		d := &b.single[0]
		d.Truncated = n > b.size
		n = min(n, b.size)
		d.Bytes, d.Segment = buffer[:n], n
		d.Local, d.Interface = netip.Addr{}, 0
		parseControl(oob[:oobn], d)
		d.Source = numericZone(source, d.Interface)
		b.decoded, b.n = b.single[:], 1
		return nil
	}
}

// flushPortable sends one datagram after another. An error may belong to an earlier datagram, and only a second one in a
// row is this datagram's own.
func (c *Conn) flushPortable(q *Queue) (sent int, err error) {
	for i := range q.messages[:q.n] {
		m := &q.messages[i]
		payload := m.body
		if len(m.head) > 0 || m.pad > 0 {
			q.scratch = append(q.scratch[:0], m.head...)
			q.scratch = append(q.scratch, m.body...)
			q.scratch = append(q.scratch, padding[:m.pad]...)
			payload = q.scratch
		}
		oob := q.control[:putPacketInfo(q.control, &m.to)]
		e := c.write(payload, oob, m.to.Remote())
		if e != nil && closedOr(e) != net.ErrClosed {
			e = c.write(payload, oob, m.to.Remote())
		}
		if e != nil {
			err = firstError(err, e)
			continue
		}
		sent++
	}
	return sent, err
}

func (c *Conn) write(payload, oob []byte, to netip.AddrPort) error {
	_, _, err := c.udp.WriteMsgUDPAddrPort(payload, oob, to)
	return err
}
