// Package stream carries TURN over connections: TCP today, anything that is a net.Conn tomorrow (TLS).
//
// It owns listeners, connections, framing and the bounded way out. It refuses to know what is in a frame: it
// cuts the stream with wire.FrameSize (RFC 8489 §6.2.2, RFC 8656 §12.5), hands each frame to a Session and
// copies whatever is sent to a connection into that connection's queue.
//
//	Listener.Serve ── accept ──► Conn ── reader goroutine ──────────────────────────────┐
//	                                                                                    │
//	     read ──► cut into whole frames ──► Session.Frame, Frame, … ──► Session.Flush ──┘ (once per read)
//	                                               │                         │
//	     any goroutine ──────────────────────► Conn.Send ─► queue ──► Conn.Flush ──► kernel, without waiting
//	                                                          │
//	                                                          └─ what it didn't take ──► drain goroutine
//
// # Goroutines
//
//   - One reader per connection. Started by Listener.Serve, stopped by closing the connection, awaited by
//     Listener.Close. It alone closes the net.Conn and calls the Session.
//   - At most one drain goroutine per connection, alive only while the peer takes bytes more slowly than they
//     come. Started by Flush, ends when the queue is empty or the connection ends, awaited by the reader.
//   - Serve runs on its caller's goroutine; Close awaits it.
//
// # Locks
//
// Listener.mu guards the set of connections, Conn.mu one connection's queue. Neither is ever held while the
// other is taken, across a system call, or across a call into a Session.
//
// # Memory
//
// A quiet TCP connection holds a goroutine and no buffer: the read buffer is borrowed when the socket is
// readable and given back when no partial frame is left in it, queue blocks go back as they are written.
package stream
