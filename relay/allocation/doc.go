// Package allocation owns the tables that both planes share: five-tuple →
// allocation, relayed transport address → allocation, and within each
// allocation its permissions and channels. It also draws relayed transport
// addresses, counts quotas, and lets everything expire.
//
// It refuses to do I/O, to parse or build messages, and to know about
// credentials: the control plane decides who may, this package says whether
// there is room, and the data plane only reads.
//
// # Who touches what
//
//	control plane ──Create, Refresh, Permit, Bind, Move, Delete──► Table ◄──Sweep── one sweeper goroutine
//	data plane    ──FindSender, FindRelayed, Permitted, Channel…──► (no lock, no heap allocation,
//	                                                                     but for the packet that completes a move)
//
// Readers take no lock. They see an index slot, a permission set or a channel
// set either as it was before a change or as it is after it, never half of one:
// sets are replaced whole (copy on write) and expiry times are atomics, so that
// a refresh, the frequent case, replaces nothing.
//
// # Lock order
//
//	Table.moving  →  Table.mu  →  Allocation.mu, IPv4 half's before IPv6 half's
//
// Table.mu guards the address pool, quotas, reservations, the expiry wheel and
// writes to the indexes. Allocation.mu guards replacing the sets. Callbacks
// (Options.Born, Options.Died) run with neither held.
//
// # Time
//
// Everything expires by comparing with [Time], so an allocation, a permission or
// a channel is over at its exact deadline, whether or not the sweeper has come by
// yet; the sweeper only gives the memory back.
package allocation
