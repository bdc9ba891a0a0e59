// Package relay is the server: it wires listeners, tables and the two planes
// together and owns every goroutine of theirs.
//
// # The way of a packet
//
//	             ┌─────────────── udpLoop (worker.go), one per CPU and UDP socket address ───────────────┐
//	datagrams ──►│ Receive ──► classify ──► ChannelData, Send ──► forward ────────────────► Flush        │──► datagrams
//	             │                   └────► other STUN ─────────► control ──► reply ──────► Flush        │
//	             └───────────────────────────────────────────────────────────────────────────────────────┘
//	             ┌─────────────── session (session.go), on each connection's reader ─────────────────────┐
//	frames ─────►│ Frame ────► classify ──► (the same)                                      Flush        │──► frames
//	             └───────────────────────────────────────────────────────────────────────────────────────┘
//
// Either may send to any client: a loop holds a socket of every UDP listener, and
// a connection takes frames from any goroutine.
//
// # Goroutines
//
//	udpLoop     one per CPU and UDP socket address, or per CPU if clients have peers outside and there is no such address;
//	            starts with the server or with its listener, with one more that waits for those of its address;
//	            ends when its socket, or what it polls, is closed
//	reading     one per socket of a relayed transport address, only where many can't be polled (relayed.go); ends with it
//	Serve       one per stream listener; ends when the listener is closed
//	Flows.Serve one per UDP listener behind load balancers (package secure); ends when its socket is closed
//	reader      one per connection (package stream)
//	tcp         those of the connections of TCP allocations (package tcp)
//	Policy.Run  looks peers' names up and reads their file; ends with the context
//	Table.Run   the sweeper; ends with the context
//	awaitDrain  waits for the end of Drain; ends then or with the context
//	removed     closes listeners that were removed when they are empty; ends with the context
//	alternates  looks up where clients are sent then; ends with the context
//	Auth.Run    watches credential files; ends with the context
//
// Run starts them all, but for those of listeners that Reload adds, and waits for all of them.
//
// # Locks
//
// Server.reload → Server.changing and Policy.mu (listeners.go, once per change of listeners).
// Table.mu → Allocation.mu (package allocation), polled.mu (poll.go, once per wait), a stream connection's own mutex,
// toolbox.mu (session.go, once per read of a connection), Plane.mu (making
// forwarders, scraping), streams.mu (scraping) and those of history's stripes (once
// per request). None is held while another is taken, but those at the arrows.
package relay
