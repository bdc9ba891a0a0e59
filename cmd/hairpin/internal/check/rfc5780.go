package check

import (
	"net"
	"net/netip"
	"time"
)

// Flags of CHANGE-REQUEST, RFC 5780 §7.2.
const (
	changeIP   = 0x04
	changePort = 0x02
)

// NAT behaviour discovery: RFC 5780 §6 and §7.
var discoveryRows = group{
	{RFC: "5780", Section: "6.1", Level: May, reach: overDatagrams, Requirement: "offers an alternate address and port, told in OTHER-ADDRESS",
		probe: func(x *exam) { x.has(x.binding(x.dial()), attrOtherAddress) }},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "answers CHANGE-REQUEST with 420 where it has no alternate address and port",
		probe: func(x *exam) {
			if x.binding(x.dial()).has(attrOtherAddress) {
				x.skip("the server has an alternate address")
			}
			x.wants(x.dial().exchange(build(binding, number(attrChangeRequest, changeIP|changePort))), 420)
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "adds RESPONSE-ORIGIN with the address and port that the response comes from",
		probe: func(x *exam) {
			x.alternate()
			from, m := x.changed(0)
			if origin, ok := plainAddress(m.get(attrResponseOrigin)); !ok || origin != from {
				x.fail("RESPONSE-ORIGIN is %v, the response comes from %v", origin, from)
			}
		}},
	{RFC: "5780", Section: "6", Level: Must, reach: overDatagrams, Requirement: "has an alternate address of another IP and another port",
		probe: func(x *exam) {
			other := x.alternate()
			if other.Addr() == x.address.Addr() || other.Port() == x.address.Port() || other.Addr().Is4() != x.address.Addr().Is4() {
				x.fail("OTHER-ADDRESS is %v", other)
			}
			x.saw("OTHER-ADDRESS is %v", other)
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "includes both MAPPED-ADDRESS and XOR-MAPPED-ADDRESS",
		probe: func(x *exam) {
			x.alternate()
			m := x.binding(x.dial())
			x.has(m, attrMappedAddress, attrMapped)
			if plain, ok := plainAddress(m.get(attrMappedAddress)); !ok || plain != m.address(attrMapped) {
				x.fail("%v and %v", plain, m.address(attrMapped))
			}
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "answers from the address and port of the request where no change is asked for",
		probe: func(x *exam) {
			x.alternate()
			x.comesFrom(0, x.address)
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "answers from the alternate port where a change of the port is asked for",
		probe: func(x *exam) {
			other := x.alternate()
			x.comesFrom(changePort, netip.AddrPortFrom(x.address.Addr(), other.Port()))
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "answers from the alternate IP address where a change of the address is asked for",
		probe: func(x *exam) {
			other := x.alternate()
			x.comesFrom(changeIP, netip.AddrPortFrom(other.Addr(), x.address.Port()))
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "answers from the alternate address and port where a change of both is asked for",
		probe: func(x *exam) {
			other := x.alternate()
			x.comesFrom(changeIP|changePort, other)
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "tells the same OTHER-ADDRESS whatever change is asked for",
		probe: func(x *exam) {
			other := x.alternate()
			for _, flags := range []uint32{changeIP, changePort, changeIP | changePort} {
				_, m := x.changed(flags)
				if told, _ := plainAddress(m.get(attrOtherAddress)); told != other {
					x.fail("%v, and %v with flags %d", other, told, flags)
				}
			}
		}},
	{RFC: "5780", Section: "6", Level: Must, reach: overDatagrams, Requirement: "serves Binding requests on its alternate address, too",
		probe: func(x *exam) {
			other := x.alternate()
			socket := x.socket()
			request := build(binding)
			_, _ = socket.WriteTo(request, net.UDPAddrFromAddrPort(other))
			if from, m := receiveOn(socket, request, x.timeout); m == nil || m.code() != 0 || from != other {
				x.fail("%v from %v", orSilence(m), from)
			}
		}},
	{RFC: "5780", Section: "7.5", Level: Must, reach: overDatagrams, Requirement: "sends the response to the port of RESPONSE-PORT, or answers 420 if it does not know it",
		probe: func(x *exam) {
			x.alternate()
			socket, other := x.socket(), x.socket()
			request := build(binding, raw(attrResponsePort, byte(socketAddress(other).Port()>>8), byte(socketAddress(other).Port()), 0, 0))
			_, _ = socket.WriteTo(request, net.UDPAddrFromAddrPort(x.address))
			if _, m := receiveOn(other, request, 2*x.quiet); m != nil {
				x.wants(m, 0)
				return
			}
			if _, m := receiveOn(socket, request, x.quiet); m == nil && !x.onThisHost(x.dial()) {
				x.skip("nothing came, which a NAT explains, too")
			} else if m == nil || m.code() != 420 {
				x.fail("%v on the port of the request, nothing on that of RESPONSE-PORT", orSilence(m))
			}
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "includes PADDING in the response to a request with PADDING",
		probe: func(x *exam) { x.has(x.padded(), attrPadding) }},
	{RFC: "5780", Section: "6.1", Level: Should, reach: overDatagrams, Requirement: "sends PADDING of a multiple of four bytes",
		probe: func(x *exam) {
			m := x.padded()
			x.has(m, attrPadding)
			if n := len(m.get(attrPadding)); n%4 != 0 {
				x.fail("%d bytes", n)
			}
		}},
	{RFC: "5780", Section: "6.1", Level: Must, reach: overDatagrams, Requirement: "rejects PADDING together with RESPONSE-PORT with 400",
		probe: func(x *exam) {
			x.padded()
			x.wants(x.dial().exchange(build(binding, raw(attrPadding, make([]byte, 8)...), raw(attrResponsePort, 0xC0, 0, 0, 0))), 400)
		}},
}

// alternate is the server's OTHER-ADDRESS; it skips the row where there is none.
func (x *exam) alternate() (other netip.AddrPort) {
	m := x.binding(x.dial())
	if !m.has(attrOtherAddress) {
		x.skip("the server has no alternate address")
	}
	other, ok := plainAddress(m.get(attrOtherAddress))
	if !ok {
		x.fail("OTHER-ADDRESS can't be read")
	}
	return other
}

// socket is a datagram socket that takes what comes from anywhere.
func (x *exam) socket() net.PacketConn {
	local := x.dial().local() // of the family and, on loopback, the address that the server can reach
	socket, err := net.ListenPacket("udp", netip.AddrPortFrom(local.Addr(), 0).String())
	if err != nil {
		x.skip("no socket: %v", err)
	}
	x.others = append(x.others, socket)
	return socket
}

// receiveOn waits for the response to a request on a socket.
func receiveOn(socket net.PacketConn, request []byte, patience time.Duration) (netip.AddrPort, *message) {
	b := make([]byte, largestDatagram)
	_ = socket.SetReadDeadline(time.Now().Add(patience))
	for {
		n, source, err := socket.ReadFrom(b)
		if err != nil {
			return netip.AddrPort{}, nil
		}
		if m, err := parse(append([]byte{}, b[:n]...)); err == nil && m.id == identity(request) {
			a, _ := netip.ParseAddrPort(source.String())
			return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), m
		}
	}
}

// changed is the answer to a Binding request with CHANGE-REQUEST, and where it came from.
func (x *exam) changed(flags uint32) (netip.AddrPort, *message) {
	socket := x.socket()
	request := build(binding, number(attrChangeRequest, flags))
	for range 2 {
		_, _ = socket.WriteTo(request, net.UDPAddrFromAddrPort(x.address))
		if from, m := receiveOn(socket, request, x.timeout/2); m != nil {
			x.wants(m, 0)
			return from, m
		}
	}
	if !x.onThisHost(x.dial()) {
		x.skip("nothing came, which a NAT or a firewall explains, too")
	}
	x.fail("nothing came for CHANGE-REQUEST with flags %d", flags)
	return netip.AddrPort{}, nil
}

// comesFrom fails the row unless the response comes from an address.
func (x *exam) comesFrom(flags uint32, want netip.AddrPort) {
	if from, _ := x.changed(flags); from != want {
		x.fail("from %v, not from %v", from, want)
	}
	x.saw("from %v", want)
}

// padded is the answer to a Binding request with PADDING; it skips the row where that is not known.
func (x *exam) padded() *message {
	x.alternate()
	m := x.dial().exchange(build(binding, raw(attrPadding, make([]byte, 8)...)))
	if m != nil && m.code() == 420 {
		x.skip("the server does not know PADDING")
	}
	return x.wants(m, 0)
}
