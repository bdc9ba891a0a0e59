// Package forward is the data plane: it takes what clients send to their peers
// and, when the peer is another relayed transport address of this server, turns
// it around to that address's client. It owns the outgoing queues of a batch and
// the packet counters.
//
//	ChannelData ─┐                                                   ┌─► ChannelData ─┐
//	             ├─► five-tuple ─► peer ─► relayed address ─► client ┤                ├─► queue ─► Flush
//	Send ────────┘    (from.go)              (route.go)              └─► Data ────────┘  (flush.go)
//
// It refuses to change any allocation, to answer requests, to log, to lock and to
// allocate: all that it may do is read package allocation's tables, write headers
// into the received bytes, and count.
//
// # Ownership of bytes
//
// A Forwarder belongs to one goroutine. The bytes handed to it are its own to
// write to until Flush returns; payloads are never copied on the way to a
// datagram socket. A stream connection copies them into its own queue.
package forward
