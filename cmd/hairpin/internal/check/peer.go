package check

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// far is the other end of what an allocation relays: a second allocation on the same server, which every server that
// lets its own relayed addresses be peers has, or a UDP socket of ours where the options name an address for it.
type far struct {
	x       *exam
	address netip.AddrPort
	client  *client        // a second allocation, or
	socket  net.PacketConn // a socket
}

// pair is a client with an allocation and a peer that lets everything from it in. The client has no permission for the
// peer yet.
func (x *exam) pair() (*client, *far) {
	x.peers()
	c := x.allocated()
	return c, x.far(c)
}

// peers skips the row where the server lets no client reach the peers that there are.
func (x *exam) peers() {
	if x.noPeers != "" {
		x.skip("%s", x.noPeers)
	}
}

// far is a new peer for a client.
func (x *exam) far(c *client) *far {
	if x.options.Peer.IsValid() {
		socket, err := net.ListenPacket("udp", netip.AddrPortFrom(x.options.Peer, 0).String())
		if err != nil {
			x.skip("no peer socket: %v", err)
		}
		x.others = append(x.others, socket)
		return &far{x: x, address: socketAddress(socket), socket: socket}
	}
	other := x.allocated()
	if m := other.request(createPermission, peer(c.relayed)); m == nil || m.code() != 0 {
		x.skip("a permission for an allocation of this server is answered with %v", m)
	}
	return &far{x: x, address: other.relayed, client: other}
}

func socketAddress(socket net.PacketConn) netip.AddrPort {
	a, _ := netip.ParseAddrPort(socket.LocalAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// send makes the peer send a datagram to a relayed address.
func (f *far) send(to netip.AddrPort, payload []byte) {
	if f.socket != nil {
		_, _ = f.socket.WriteTo(payload, net.UDPAddrFromAddrPort(to))
		return
	}
	f.client.write(build(send|classIndication, peer(to), raw(attrData, payload...)))
}

// relayed is one datagram that came through the server.
type relayed struct {
	from    netip.AddrPort // of a Data indication or a datagram; invalid for ChannelData
	number  uint16         // of ChannelData; 0 for others
	payload []byte
	frame   []byte
	message *message // the Data indication
}

func (r *relayed) String() string {
	if r.number != 0 {
		return fmt.Sprintf("ChannelData on 0x%04X with %d bytes", r.number, len(r.payload))
	}
	return fmt.Sprintf("%d bytes from %v", len(r.payload), r.from)
}

// receive waits for the next datagram that reaches the peer; nil when none comes.
func (f *far) receive(patience time.Duration) *relayed {
	if f.socket == nil {
		return f.client.relays(patience)
	}
	b := make([]byte, largestDatagram)
	_ = f.socket.SetReadDeadline(time.Now().Add(patience))
	n, from, err := f.socket.ReadFrom(b)
	if err != nil {
		return nil
	}
	source, _ := netip.ParseAddrPort(from.String())
	return &relayed{from: netip.AddrPortFrom(source.Addr().Unmap(), source.Port()), payload: b[:n], frame: b[:n]}
}

// relays waits for the next Data indication or ChannelData.
func (c *client) relays(patience time.Duration) *relayed {
	frame := c.await(time.Now().Add(patience), func(b []byte) bool {
		return len(b) >= 4 && b[0]>>6 == 1 || len(b) >= headerSize && kindOf(b) == data|classIndication
	})
	if frame == nil {
		return nil
	}
	if frame[0]>>6 == 1 {
		n := int(frame[2])<<8 | int(frame[3])
		return &relayed{number: kindOf(frame), payload: frame[4:min(4+n, len(frame))], frame: frame}
	}
	m, err := parse(frame)
	if err != nil {
		return &relayed{payload: frame, frame: frame}
	}
	return &relayed{from: m.address(attrPeer), payload: m.get(attrData), frame: frame, message: m}
}

// permits installs a permission for a peer, which is what the row takes for granted.
func (x *exam) permits(c *client, address netip.AddrPort) {
	if m := c.request(createPermission, peer(address)); m == nil || m.code() != 0 {
		x.fail("CreatePermission for %v: %v", address, orSilence(m))
	}
}

// binds binds a channel, which is what the row takes for granted.
func (x *exam) bindsChannel(c *client, n uint16, address netip.AddrPort) {
	if m := c.request(channelBind, channel(n), peer(address)); m == nil || m.code() != 0 {
		x.fail("ChannelBind of 0x%04X to %v: %v", n, address, orSilence(m))
	}
}

func orSilence(m *message) string {
	if m == nil {
		return "no answer"
	}
	return m.String()
}

// sends makes a client send an indication to a peer.
func (c *client) sends(to netip.AddrPort, payload []byte, more ...attr) {
	c.write(build(send|classIndication, append([]attr{peer(to), raw(attrData, payload...)}, more...)...))
}

// frame is ChannelData, padded to four bytes where it goes over a stream (RFC 8656 §12.5).
func (c *client) frame(n uint16, payload []byte) []byte {
	b := append([]byte{byte(n >> 8), byte(n), byte(len(payload) >> 8), byte(len(payload))}, payload...)
	if c.stream {
		b = append(b, make([]byte, padding(len(payload)))...)
	}
	return b
}

// arrives sends until a payload is received, because datagrams get lost, and fails the row when it never is.
func (x *exam) arrives(sends func(), receive func(time.Duration) *relayed, payload []byte) *relayed {
	var other *relayed
	for range 3 {
		sends()
		for {
			r := receive(x.timeout / 3)
			if r == nil {
				break
			}
			if bytes.Equal(r.payload, payload) {
				x.saw("%v arrived", r)
				return r
			}
			other = r
		}
	}
	if other != nil {
		x.fail("%v arrived, not the %d bytes that were sent", other, len(payload))
	}
	x.fail("nothing arrived")
	return nil
}

// stopped fails the row when a payload arrives within a while. Others are none of its business: on a busy server they may
// be meant for whoever had the relayed transport address before.
func (x *exam) stopped(receive func(time.Duration) *relayed, payload []byte) {
	for end := time.Now().Add(x.quiet); ; {
		r := receive(time.Until(end))
		if r == nil {
			x.saw("nothing arrived")
			return
		}
		if bytes.Equal(r.payload, payload) {
			x.fail("%v arrived", r)
		}
	}
}

// payload is bytes that only this row sends.
func (x *exam) payload(what string) []byte { return []byte(what + ", row " + x.row.ID) }
