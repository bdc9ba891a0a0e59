// Package tcp owns the connections of TCP allocations (RFC 6062): which wait for a
// ConnectionBind request, which are joined, and the bytes between them.
//
// It refuses to know about credentials and about the peer rules beyond a question to
// whoever does, and it never looks into what it relays.
//
//	Connect ─────────────► another allocation? ──► link of two clients ──┐
//	   │                       └── no: dial ─────► link to a peer ───────┤ CONNECTION-ID
//	a peer's connection ── permitted? ───────────► link to a peer ───────┤
//	                                                                     ▼
//	                      ConnectionBind ──► stream.Conn.TakeOver ──► both ends there? ──► bytes
//
// Between two clients of this server nothing but their own two connections exists: the
// hairpin stays in the process, and on Linux its bytes in the kernel (splice). Whoever
// reads too slowly stops whoever writes, and nobody else: no byte is held here that was
// not yet read from a socket, but for what came in one piece with the ConnectionBind
// request, and the piece in hand that waits for bandwidth (pace.go). That, and the kernel's
// own buffer, is what RFC 6062 §5.2 and §5.3 have the server keep for a connection that
// waits.
//
// # Goroutines
//
//	client → other end   on the reader of the client data connection (package stream)
//	peer → client        one per joined link to a peer outside; that reader awaits it
//	dial                 one per Connect request under way; ends after 30 s at most,
//	                     or with the allocation; awaited by Wait
//	accept               one per listening relayed transport address; ends with the
//	                     allocation; awaited by Wait
//
// Timers run for links that wait for an end, one for each.
//
// # Locks
//
// Connections.mu guards all tables and the state of all links. It is not held across a
// system call or a call into another package.
package tcp
