// Package check holds a TURN server to the RFCs, from outside: RFC 8489, RFC 8656, RFC 6062, RFC 8016 and RFC 5780, one
// row per requirement. It drives the server with messages of its own making, byte by byte, and judges what comes back.
// It knows nothing of how a server is built, prints nothing and decides no exit code.
//
//	row.go   a requirement, its level, a verdict         run.go      survey of the server, rows in parallel, the result
//	wire.go  messages out, messages in                   exam.go     what a row's probe can do and how it judges
//	client.go one socket and its credentials             peer.go     two allocations that are each other's peers
//
// and the rows, cut by procedure: binding.go, message.go, credentials.go, sha256.go, allocate.go, reservation.go, family.go,
// refresh.go, permission.go, send.go, channel.go, channeldata.go, stream.go, rfc6062.go, rfc8016.go, rfc5780.go.
//
// How a row judges:
//
//   - Its level is the RFC's key word. What the text says as plain procedure ("the server rejects the request with a 400
//     error") counts as MUST, RECOMMENDED as SHOULD.
//   - A row is not applicable where the server does not offer what the row is about, and says so as the RFC wants it said,
//     or where the transport or the options of the run give no means to see it. It is never a failure.
//   - A row of level MAY asks whether something is offered: "no" is an answer, not a failure.
//   - That a message is discarded is shown by silence while a later request on the same socket is answered. On a stream, whose
//     framing a broken message destroys, closing the connection is silence, too.
//
// Nothing here harms a server: each row sends some dozen messages, holds two or three allocations for a moment and deletes
// them; the only peers are its own allocations or a socket of its own.
package check
