package peers

import "net/netip"

// Set is what the rules allow at one moment. It is immutable, and its methods
// allocate nothing. The zero Set allows nothing.
type Set struct {
	loop  bool
	allow [2][]block // by family, explicit ones first
	deny  [2][]block
	names map[key][]ports  // what names have for addresses; shared with other sets
	own   map[uint16][]key // of this server, by port, but those that a rule names
}

// Loop says whether relayed transport addresses of this server are allowed.
func (s *Set) Loop() bool { return s.loop }

// known says whether ip is spelt as peers are: neither with a zone nor IPv4-mapped.
func known(ip netip.Addr) bool { return ip.IsValid() && !ip.Is4In6() && ip.Zone() == "" }

// Allows says whether clients may send to, and hear from, the transport address of
// a peer beyond loop: a datagram, a channel. An address with a zone or in the
// IPv4-mapped spelling is not allowed, as no peer is known by it; nor is port 0.
func (s *Set) Allows(a netip.AddrPort) bool {
	if !known(a.Addr()) {
		return false
	}
	k, f := keyOf(a.Addr()), familyOf(a.Addr())
	return s.ruleAllows(k, f, a.Port()) && s.blockedThrough(k, f, a.Port()) == 0
}

// ruleAllows says whether some rule allows it, denials and own addresses aside.
func (s *Set) ruleAllows(k key, f family, port uint16) bool {
	for i := range s.allow[f] {
		if b := &s.allow[f][i]; b.holds(k) && b.ports.holds(port) {
			return b.explicit || !neverKey(k, f) // the explicit ones came first
		}
	}
	for _, p := range s.names[k] {
		if p.holds(port) {
			return !neverKey(k, f)
		}
	}
	return false
}

// AllowsAddress says whether some port of ip is allowed: what a permission, which
// knows no port, is judged by (RFC 8656 §9). Each datagram is judged by Allows
// besides.
func (s *Set) AllowsAddress(ip netip.Addr) bool {
	if !known(ip) {
		return false
	}
	k, f := keyOf(ip), familyOf(ip)
	nameable := !neverKey(k, f)
	for i := range s.allow[f] {
		b := &s.allow[f][i]
		if b.holds(k) && (b.explicit || nameable) && s.somePort(k, f, b.ports) {
			return true
		}
	}
	if nameable {
		for _, p := range s.names[k] {
			if s.somePort(k, f, p) {
				return true
			}
		}
	}
	return false
}

// somePort says whether a port of p is not blocked. It goes on behind each blocked
// range, so it looks as often as there are denials and own addresses at the most.
func (s *Set) somePort(k key, f family, p ports) bool {
	for port := int(p.min); port <= int(p.max); {
		last := s.blockedThrough(k, f, uint16(port))
		if last == 0 {
			return true
		}
		port = int(last) + 1
	}
	return false
}

// blockedThrough returns the last port of a range that holds port and is blocked,
// whatever allows it; 0: port isn't.
func (s *Set) blockedThrough(k key, f family, port uint16) uint16 {
	if last := s.deniedThrough(k, f, port); last != 0 || f == ipv4 {
		return last
	}
	inside, n := embedded(k)
	for _, k := range inside[:n] {
		if neverKey(k, ipv4) {
			return everyPort.max
		}
		if last := s.deniedThrough(k, ipv4, port); last != 0 {
			return last
		}
	}
	return 0
}

func (s *Set) deniedThrough(k key, f family, port uint16) uint16 {
	for i := range s.deny[f] {
		if b := &s.deny[f][i]; b.holds(k) && b.ports.holds(port) {
			return b.ports.max
		}
	}
	for _, own := range s.own[port] {
		if own == k {
			return port
		}
	}
	return 0
}

// newSet makes a set of rules, of the transport addresses of this server and of
// the addresses that names have.
func newSet(rules []entry, own []netip.AddrPort, names map[key][]ports) *Set {
	s := &Set{names: names, own: make(map[uint16][]key)}
	named := make(map[netip.AddrPort]bool) // by a rule for that transport address alone
	var general [2][]block
	for _, e := range rules {
		if e.rule.kind != network {
			s.loop = s.loop || e.rule.kind == loop
			continue
		}
		p, f := e.rule.prefix, familyOf(e.rule.prefix.Addr())
		b := newBlock(p, e.rule.ports)
		b.explicit = explicit(p)
		switch {
		case e.rule.deny:
			s.deny[f] = append(s.deny[f], b)
			continue
		case b.explicit:
			s.allow[f] = append(s.allow[f], b)
		default:
			general[f] = append(general[f], b)
		}
		if p.IsSingleIP() && b.ports.min == b.ports.max {
			named[netip.AddrPortFrom(p.Addr(), b.ports.min)] = true
		}
	}
	for f := range general {
		s.allow[f] = append(s.allow[f], general[f]...)
	}
	for _, a := range own {
		a = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
		if !named[a] {
			s.own[a.Port()] = append(s.own[a.Port()], keyOf(a.Addr()))
		}
	}
	return s
}
