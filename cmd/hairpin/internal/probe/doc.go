// Package probe measures a TURN server from outside: it allocates twice, lets
// numbered packets travel through both allocations and back, and says how long
// that took and what got lost. It prints nothing and decides no exit code;
// that is the command's business.
//
// The way of one packet, and where it is counted:
//
//	A ──► server: A's relayed address ──► B's relayed address ──► B     "outward"
//	A ◄── server: A's relayed address ◄── B's relayed address ◄── B     "returning"
//
// A and B are two clients in this process with a socket each. B returns every
// packet unchanged from its reader, so a round trip is two passes through the
// relay and four trips between this machine and the server: about twice the
// network's round trip time plus twice the relay's own work. With an echo peer
// there is no B: the packet leaves the server towards the peer, and the round
// trip is one round trip to the server plus one between server and peer.
//
// Requests, their retransmission and the framing on TCP are pion/turn's client,
// an implementation that is not ours. Allocations are made on top of its
// transactions instead of by its Allocate: that one keeps the error code of a
// refusal to itself, cannot ask for an address family, fails on a server that
// wants no credentials, and its relayed connection falls back from a
// channel to Send indications without saying so, which a measurement must not.
//
// Files stand in the order of a probe: uri.go and options.go (what is asked),
// session.go (a socket, requests), allocation.go (Allocate, permission, channel,
// data), run.go (the steps), packet.go and tally.go (what is measured),
// result.go and failure.go (what comes out).
package probe
