package check

import (
	"bytes"
	"net"
	"net/netip"
)

// ChannelData: RFC 8656 §12.4 to §12.7.
var channelDataRows = group{
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "relays ChannelData to the peer of the channel, unchanged",
		probe: func(x *exam) { x.channelled([]byte("over the channel")) }},
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "relays ChannelData of one, two, three and four bytes without padding",
		probe: func(x *exam) {
			for n := 1; n <= 4; n++ {
				x.channelled(bytes.Repeat([]byte{byte(n)}, n))
			}
		}},
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "relays 1,200 bytes of ChannelData",
		probe: func(x *exam) { x.channelled(bytes.Repeat([]byte("0123456789"), 120)) }},
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "forms and sends an empty datagram for ChannelData of length zero",
		probe: func(x *exam) { x.channelled(nil) }},
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "sends from the relayed transport address of the allocation",
		probe: func(x *exam) {
			if r, c := x.channelled([]byte("where from?")); r.from != c.relayed {
				x.fail("from %v, not from %v", r.from, c.relayed)
			}
		}},
	{RFC: "8656", Section: "12.6", Level: Must, Requirement: "discards ChannelData on a channel that is not bound",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			c.write(c.frame(firstChannel, x.payload("nowhere")))
			x.stopped(f.receive, x.payload("nowhere"))
			x.silent(c)
		}},
	{RFC: "8656", Section: "12.6", Level: Must, reach: overDatagrams, Requirement: "discards ChannelData whose number is in the reserved range",
		probe: func(x *exam) {
			c := x.allocated()
			for _, n := range []uint16{0x5000, 0x7FFF} {
				c.write(c.frame(n, []byte("reserved")))
			}
			x.silent(c)
		}},
	{RFC: "8656", Section: "12.6", Level: Must, reach: overDatagrams, Requirement: "discards ChannelData whose length is greater than the datagram",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			b := c.frame(firstChannel, x.payload("cut off"))
			b[3] += 2
			c.write(b)
			x.stopped(f.receive, x.payload("cut off"))
		}},
	{RFC: "8656", Section: "12.5", Level: Must, reach: overDatagrams, Requirement: "takes ChannelData that is padded over UDP and relays as much as its length says",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			payload := []byte("five!")
			x.arrives(func() { c.write(append(c.frame(firstChannel, payload), 0, 0, 0)) }, f.receive, payload)
		}},
	{RFC: "8656", Section: "12.5", Level: Must, Requirement: "uses ChannelData for a peer that a channel is bound to",
		probe: func(x *exam) { x.channelData([]byte("back")) }},
	{RFC: "8656", Section: "12.4", Level: Must, Requirement: "counts in the length of ChannelData the application data only",
		probe: func(x *exam) {
			for _, n := range []int{0, 1, 2, 3, 5} {
				r := x.channelData(bytes.Repeat([]byte{9}, n))
				if got := int(r.frame[2])<<8 | int(r.frame[3]); got != n {
					x.fail("the length is %d for %d bytes", got, n)
				}
			}
		}},
	{RFC: "8656", Section: "12.5", Level: Must, reach: overStreams, Requirement: "pads ChannelData over TCP to a multiple of four bytes",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			for n := 1; n <= 5; n++ { // without padding, the next frame would not be found
				payload := bytes.Repeat([]byte{byte(n)}, n)
				x.arrives(func() { f.send(c.relayed, payload) }, c.relays, payload)
			}
			x.wants(c.request(refresh), 0)
			x.saw("five frames of one to five bytes, each behind the padding of the one before")
		}},
	{RFC: "8656", Section: "12.5", Level: Must, reach: overDatagrams, Requirement: "pads ChannelData over UDP by three bytes at most, or not",
		probe: func(x *exam) {
			for n := 1; n <= 4; n++ {
				if r := x.channelData(make([]byte, n)); len(r.frame) != 4+n && len(r.frame) != 4+n+padding(n) {
					x.fail("%d bytes for %d of data", len(r.frame), n)
				}
			}
		}},
	{RFC: "8656", Section: "12.7", Level: Must, Requirement: "uses the channel only for the transport address it is bound to, and Data indications for the peer's other ports",
		probe: func(x *exam) {
			c, f := x.pair()
			elsewhere := netip.AddrPortFrom(f.address.Addr(), f.address.Port()^1)
			if f.socket != nil { // the socket's other port may be anything
				other, err := net.ListenPacket("udp", netip.AddrPortFrom(f.address.Addr(), 0).String())
				if err != nil {
					x.skip("no second socket: %v", err)
				}
				x.others = append(x.others, other)
				elsewhere = socketAddress(other)
			}
			x.bindsChannel(c, firstChannel, elsewhere)
			payload := []byte("another port")
			if r := x.arrives(func() { f.send(c.relayed, payload) }, c.relays, payload); r.message == nil {
				x.fail("%v, although the channel is bound to %v", r, elsewhere)
			}
		}},
	{RFC: "8656", Section: "12.6", Level: MustNot, slow: true, Requirement: "refreshes the permission of a channel's peer when ChannelData comes",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			for range 31 {
				x.wait(10)
				f.welcomes(c)
				c.write(c.frame(firstChannel, []byte("on and on")))
			}
			for f.receive(x.quiet) != nil {
			}
			c.write(c.frame(firstChannel, x.payload("not permitted any more")))
			x.stopped(f.receive, x.payload("not permitted any more"))
		}},
}

// channelled fails the row unless a payload reaches a peer over a channel.
func (x *exam) channelled(payload []byte) (*relayed, *client) {
	c, f := x.pair()
	x.bindsChannel(c, firstChannel, f.address)
	return x.arrives(func() { c.write(c.frame(firstChannel, payload)) }, f.receive, payload), c
}

// channelData is what a client gets over a channel when its peer sends a payload.
func (x *exam) channelData(payload []byte) *relayed {
	c, f := x.pair()
	x.bindsChannel(c, lastChannel, f.address)
	r := x.arrives(func() { f.send(c.relayed, payload) }, c.relays, payload)
	if r.number != lastChannel {
		x.fail("%v instead of ChannelData on 0x%04X", r, lastChannel)
	}
	return r
}
