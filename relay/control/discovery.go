package control

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// NAT behavior discovery (RFC 5780): a server with two addresses and two ports answers a Binding request from the
// address and port that the client asks for, so that it learns how the NATs between them map and filter.

// Discovery is where such a server can answer from. It is immutable.
type Discovery struct {
	// Sockets are the four combinations: with bit changePort the other port, with bit changeAddress the other address.
	Sockets [4]DiscoverySocket
}

// DiscoverySocket is one of them.
type DiscoverySocket struct {
	Listener int32 // as allocation.Client has it
	Address  netip.AddrPort
}

// The bits of a place in Discovery.Sockets.
const (
	changePort    = 1 << 0
	changeAddress = 1 << 1
)

// The flags of CHANGE-REQUEST (RFC 5780 §7.2).
const (
	flagChangeIP   = 0x4
	flagChangePort = 0x2
)

// maxPadding is the length of PADDING in an answer: what the MTU of an Ethernet is, so that the answer is fragmented. It
// is no more than the request had, as the server would amplify else; a client that wants fragments sends as much
// (RFC 5780 §7.6).
const maxPadding = 1500

// route is how an answer leaves.
type route struct {
	listener int32
	port     uint16 // of the client
}

// Route says which listener's socket the last answer has to leave from, and to which port of the client it goes;
// ok is false where it goes back as the request came. It counts after a Handle with Origin.Discovery that returned an
// answer.
func (w *Worker) Route() (listener int32, port uint16, ok bool) {
	return w.route.listener, w.route.port, w.route.port != 0
}

// discoveryAttribute says whether an attribute belongs to a Binding request for discovery.
func discoveryAttribute(a wire.Attr) bool {
	return a == wire.AttrChangeRequest || a == wire.AttrResponsePort || a == wire.AttrPadding
}

// checkBinding is checkUnknown for a Binding request. Where the server has one address and port only, CHANGE-REQUEST
// and its like are unknown (RFC 5780 §6.1).
func (w *Worker) checkBinding(r *request) *protocolError {
	e := w.checkUnknown()
	if e != nil && r.from.Discovery != nil {
		if w.unknown = slices.DeleteFunc(w.unknown, discoveryAttribute); len(w.unknown) == 0 {
			return nil
		}
	}
	return e
}

// discover answers a Binding request as RFC 5780 §6.1 has it.
func (w *Worker) discover(r *request) *protocolError {
	m, d := &w.message, r.from.Discovery
	place := r.from.Place
	to := route{port: r.from.FiveTuple.Client.Port()}

	if v, ok := m.Get(wire.AttrChangeRequest); ok {
		if len(v) != 4 {
			return errBadChangeRequest
		}
		flags := binary.BigEndian.Uint32(v)
		if flags&flagChangeIP != 0 {
			place ^= changeAddress
		}
		if flags&flagChangePort != 0 {
			place ^= changePort
		}
	}
	port, hasPort := m.Get(wire.AttrResponsePort)
	if hasPort {
		// Two bytes of the four are padding (RFC 5780 §7.5), which some count as such.
		if len(port) != 2 && len(port) != 4 || binary.BigEndian.Uint16(port) == 0 {
			return errBadResponsePort
		}
		to.port = binary.BigEndian.Uint16(port)
	}
	padding, hasPadding := m.Get(wire.AttrPadding)
	if hasPadding && hasPort {
		return errPaddedPort
	}
	to.listener = d.Sockets[place].Listener
	w.route = to

	w.reply.Success(m)
	w.reply.AddPlainAddress(wire.AttrMappedAddress, r.from.FiveTuple.Client)
	w.reply.AddAddress(wire.AttrXORMappedAddress, r.from.FiveTuple.Client)
	w.reply.AddPlainAddress(wire.AttrResponseOrigin, d.Sockets[place].Address)
	w.reply.AddPlainAddress(wire.AttrOtherAddress, d.Sockets[r.from.Place^changePort^changeAddress].Address)
	if hasPadding {
		w.reply.AddBytes(wire.AttrPadding, zeros[:min(len(padding), maxPadding)])
	}
	return nil
}

var zeros [maxPadding]byte
