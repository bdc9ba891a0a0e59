// Package secure owns what happens on a connection ahead of its first TURN byte: the PROXY header, TLS, DTLS, and the
// certificates for both. Behind it a TLS connection is a net.Conn for package stream, and a DTLS association, like a client
// whose datagrams have PROXY headers, one that takes and sends whole messages.
//
// It refuses to know TURN, beyond telling STUN from TLS by the first byte, and whoever hasn't shown that it is where it
// says: there is no state for a DTLS client before its cookie has come back, and handshakes under way are bounded and
// give way to newer ones.
//
//	TCP ──► Listener ──► opening: PROXY header ► first byte ► TLS ──► Accept (package stream)
//	UDP ──► Associations ──► ClientHello ► cookie ► association: handshake ──► Session of each message
//	UDP ──► Flows ──► PROXY header ──► flow ──► Session of each message
//
// # Goroutines
//
//   - Listener: one that accepts, and one for each opening. Ended by Close, awaited by it.
//   - Associations.Serve receives on its caller's goroutine. One for each association handshakes, reads and calls the
//     Session; pion's own serve it. At most one more drains an association's queue while there is something in it. All
//     are ended by Close, and awaited by it.
//   - Flows.Serve does everything on its caller's goroutine, but for writing to clients, which is done by whoever flushes.
//   - Certificates.Run watches the files on its caller's goroutine.
//
// # Locks
//
// Openings.mu, Associations.mu, association.mu and Flow.mu (their queues) and inbox.mu are never held while another is taken, across a
// system call, or across a call into a Session.
package secure
