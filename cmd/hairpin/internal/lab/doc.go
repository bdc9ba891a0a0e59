// Package lab tests the built program on hosts of their own: network namespaces with addresses, routers, NATs and a name
// server between them, as root on Linux. It owns nothing that is not a test, and refuses to touch the host's own network.
//
//	relays ──┐                        ┌── NAT ── client (full cone, port-restricted, symmetric)
//	peers ───┴── 203.0.113.0/24 ── router ── 198.51.100.0/24 ──┴── client without a NAT
//
// A line (line_linux_test.go) is a way to a relay that loses, repeats and delays packets as it is told, and counts what it did.
package lab
