package stream

import "sync/atomic"

// CloseReason says why a connection ended. The set is closed; metrics expose each one from the start.
type CloseReason uint8

const (
	open CloseReason = iota // not a reason: the connection lives

	ClosedByClient   // the client ended the stream
	ClosedByServer   // Conn.Close
	ClosedByShutdown // Listener.Close
	ClosedByError    // reset or another failure of the socket
	ClosedHandshake  // no whole frame within Limits.Handshake
	ClosedIdle       // Limits.Idle has passed
	ClosedStalled    // the client took no byte for Limits.WriteTimeout
	ClosedNotTURN    // neither a STUN message nor ChannelData
	ClosedTooLarge   // a message longer than is ever read
	ClosedPipe       // a Pipe's, by either side

	closeReasons
)

var closeReasonNames = [closeReasons]string{
	open:             "open",
	ClosedByClient:   "client",
	ClosedByServer:   "server",
	ClosedByShutdown: "shutdown",
	ClosedByError:    "error",
	ClosedHandshake:  "handshake_timeout",
	ClosedIdle:       "idle_timeout",
	ClosedStalled:    "write_timeout",
	ClosedNotTURN:    "not_turn",
	ClosedTooLarge:   "too_large",
	ClosedPipe:       "pipe",
}

// String is the reason as a metric label.
func (r CloseReason) String() string {
	if r >= closeReasons {
		return "unknown"
	}

	return closeReasonNames[r]
}

// CloseReasons lists every reason in a fixed order.
func CloseReasons() []CloseReason {
	all := make([]CloseReason, 0, closeReasons-1)
	for r := open + 1; r < closeReasons; r++ {
		all = append(all, r)
	}

	return all
}

// Stats counts what happened at one listener since its birth. Everything may be read at any time.
type Stats struct {
	Accepted     atomic.Uint64 // connections that got a Session
	Refused      atomic.Uint64 // closed at once, because Limits.Connections was reached
	AcceptErrors atomic.Uint64 // failed accepts, each followed by a pause
	QueueFull    atomic.Uint64 // frames that Conn.Send dropped because the queue was full

	closed [closeReasons]atomic.Uint64
}

// Closed is how many connections ended for this reason.
func (s *Stats) Closed(r CloseReason) uint64 {
	if r >= closeReasons {
		return 0
	}

	return s.closed[r].Load()
}
