// Package udp owns datagram sockets and the memory that crosses them: one system call brings in or takes out many
// datagrams, and nothing is allocated or copied in user space on the way.
//
//	kernel ── recvmmsg ──► Batch ──► Datagram.Bytes ─┐   (the caller rewrites the bytes in place)
//	kernel ◄─ sendmmsg ─── Queue ◄── Append ◄────────┘   (head, body and padding gathered, not joined)
//
// The package knows nothing of TURN: it takes no decision about a datagram, keeps no table, starts no goroutine and
// writes no log.
//
// # Who may write, and until when
//
// A Batch belongs to one goroutine. The bytes that its Datagrams point to are that goroutine's to read and modify from
// the return of Receive until the next Receive on the same Batch. A Queue belongs to one goroutine too, and only refers
// to what is appended to it: head and body must stay as they are until Flush has returned. So a loop is
//
//	for {
//		Receive(batch)                  // the previous round's bytes end here
//		for each datagram: Append(…)    // may point into the batch
//		Flush(queue)                    // must come before the next Receive
//	}
//
// A Conn is safe for concurrent use: several goroutines may Flush their own Queues on it at the same time without waiting
// for each other. They may also Receive at the same time, each into its own Batch, but then they take turns; one socket
// per goroutine (Options.ReusePort) is the faster arrangement where it exists.
//
// # Two paths
//
// On Linux datagrams move by recvmmsg and sendmmsg. Everywhere else, and on Linux when Options.Portable asks for it, they
// move one by one through the standard library. The signatures are the same, and every test runs on both. What the portable
// path can't do outside Linux is said at Options.
//
// # Errors of one datagram
//
// A datagram that can't be sent costs only itself. An ICMP message about an earlier datagram, which some systems report on
// whatever call comes next, costs nothing: the call is repeated.
package udp
