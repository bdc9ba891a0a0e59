// Package peers decides which peers, beyond the relayed transport addresses of
// this server, clients may exchange packets with: the rules of --peers.
//
// It owns the rules' text (rule.go), what is never allowed unless a rule names it
// (never.go), the immutable set that packets are judged by (set.go), and how that
// set follows run-time changes (policy.go), a file (file.go) and names in DNS
// (resolve.go).
//
// It refuses to know a packet, an allocation or a socket. Whether an address is a
// relayed one of this server, which "loop" is about, is its caller's to find out;
// no CIDR rule, allowing or denying, touches that.
//
// # How a peer is judged
//
//	                     ┌─ a rule "CIDR" or a name's answer holds it?          no ──► no
//	transport address ──►│  in a block that is never allowed (never.go) ── and no rule
//	                     │      lies within that block?                        yes ──► no
//	                     │  does a rule "!CIDR" hold it?                       yes ──► no
//	                     │  is it an address of this server's own listeners?   yes ──► no
//	                     └─ the same for the IPv4 address that it embeds (NAT64, 6to4, Teredo) ──► yes
//
// So a denial wins always, and the order of rules means nothing.
//
// # Goroutines and locks
//
// Set is read by everybody through one atomic pointer. Policy.mu guards what sets
// are made of; nothing is called while it is held but Options.Own and the log.
// Policy.Run looks names up on goroutines of its own, at most maxLookups at a time,
// and waits for them before it looks again or returns.
package peers
