// Package load measures a TURN server under load: thousands of clients in one process, on one thread, send to each other
// through the server, and every packet is judged where it arrives. It prints nothing and decides no exit code; that is
// the command's business. It does not guard against loading somebody else's server either.
//
// The instrument must cost less than what it measures, and must not share its faults. So it has sockets of its own and
// not those of relay/udp, and on Linux an event loop that moves 64 packets of any clients by one system call, as the
// fastest servers do. What it shares with the server is relay/wire, which has tests of its own.
//
//	           ┌────────────── generator.loop, one thread ───────────────┐
//	network ──►│ message ─┬ data ──► traffic.arrive ─ judged, counted    │
//	receive    │          └ STUN ──► response ─► mode.granted ─► ask     │
//	           │ work ──── traffic (pairs) │ setup │ churn │ releasing   │──► network
//	           │ tick ──── requests sent again, allocations refreshed    │    flush
//	           └─────────────────────────────────────────────────────────┘
//
// A run goes through phases, each of them this loop with other work: relay.go (packets), churn.go (allocations per
// second), hold.go (memory per allocation), all of them beginning with setup.go.
//
// Files in the order in which a packet meets them: traffic.go (whose turn it is), payload.go (what a packet carries),
// frame.go (how it is framed), network*.go with lane_linux.go and stream_linux.go (sockets), flow.go (its place among the
// others), latency.go. Beside them client.go (requests), process_linux.go (the server seen from outside), result.go,
// limit.go (who was the limit), failure.go.
//
// What is counted, and what it says:
//
//   - relayed: received and verified by the far client. Packets per second count these and nothing else.
//   - lost: left this process and did not arrive until nothing arrived any more. A part of it may be this process's own
//     fault: datagrams that came and found its socket's buffer full. The kernel counts these, and so does the report.
//   - unsent: refused by this machine's kernel; neither relayed nor lost.
//   - damaged, foreign: something arrived that was never sent so, or that was meant for another client.
//
// The processor time of the server is read from its process's clock, in nanoseconds. On loopback a sender does the work
// of the network up to the receiver's socket, so the server's share includes delivering to the generator's sockets, and
// the generator's delivering to the server's.
package load
