package load

import (
	"errors"
	"net/netip"
	"time"
)

// network is all sockets of a generator. It belongs to one goroutine, which alone calls it and is called back by it.
//
// There are two: one for Linux, an event loop that serves thousands of clients by few system calls, and one over the
// standard library with a goroutine for each client, for everywhere else.
type network interface {
	// open gives a client a five-tuple that it has not had before. A TCP connection need not be established when open
	// returns: messages wait for it.
	open(client int32, t Transport) error

	// close takes the five-tuple away.
	close(client int32)

	// room is where the next message of a client is to be written, size bytes at once. It leaves at the next flush and
	// is the network's from then on. With a segment size of more than 0 it leaves as one message that the kernel
	// takes for as many datagrams of that size. It is nil, and the message counted as unsent, when the client's
	// connection takes no more.
	room(client int32, size, segment int) []byte

	// flush sends what was written since the last one.
	flush()

	// receive hands what has arrived to the receiver, a batch at most, and tells how many messages that were. When there
	// is nothing it waits for something, but no longer than it is told.
	receive(wait time.Duration) int

	// counts tells what was not as it should be.
	counts() networkCounts

	// shutdown closes everything.
	shutdown()
}

// receiver is whom a network calls while it receives.
type receiver interface {
	// batch says that the messages that follow have just arrived together.
	batch()

	// message brings one STUN message, or one ChannelData message with its padding, that the server has sent to a
	// client. The bytes are the network's again when message returns.
	message(client int32, b []byte)

	// broken says that a client's connection has failed, or that nobody listens at the server's port.
	broken(client int32, err error)
}

// networkCounts are cumulative.
type networkCounts struct {
	unsent    uint64 // datagrams and frames that this machine did not take, or whose connection takes no more
	failure   error  // why, the first time
	overflow  uint64 // datagrams that this process fetched too late: its own sockets' buffers were full
	stray     uint64 // datagrams from somewhere else than the server, or to an address that isn't in use any more
	truncated uint64 // datagrams larger than what any server has to say here
}

// networkOptions are the part of Options that a network needs.
type networkOptions struct {
	server   netip.AddrPort
	from     netip.Prefix // of the clients' addresses; invalid: the system's choice
	own      bool         // a socket for each client
	gro      bool
	message  int // bytes of the largest message that will be sent
	received int // bytes of the largest frame that will be received
}

// batchSize is how many messages are sent or received at once: one system call on Linux.
const batchSize = 64

var (
	errClosed  = errors.New("the server closed the connection")
	errNotTURN = errors.New("the server sent something that is neither STUN nor ChannelData")
)

// addresses hands out the addresses of a prefix in turn, beginning with the second: the first one names the network.
type addresses struct {
	prefix netip.Prefix
	last   netip.Addr
}

func (a *addresses) next() netip.Addr {
	if !a.prefix.IsValid() {
		return netip.Addr{}
	}
	if a.prefix.IsSingleIP() {
		return a.prefix.Addr()
	}
	if !a.last.IsValid() {
		a.last = a.prefix.Masked().Addr()
	}
	if a.last = a.last.Next(); !a.prefix.Contains(a.last) {
		a.last = a.prefix.Masked().Addr().Next()
	}
	return a.last
}
