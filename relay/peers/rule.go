package peers

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

type kind uint8

const (
	loop    kind = iota + 1 // relayed transport addresses of this server
	network                 // CIDR, CIDR:PORTS, !CIDR, !CIDR:PORTS
	name                    // dns:NAME, dns:NAME:PORTS
)

// Rule is one value of --peers or one line of its file. ParseRule makes it; equal
// rules are ==. The zero Rule is not valid.
type Rule struct {
	kind   kind
	deny   bool // network only
	prefix netip.Prefix
	name   string // in small letters
	ports  ports
}

// ports is an inclusive range.
type ports struct{ min, max uint16 }

// everyPort leaves out 0, to which nothing can be sent.
var everyPort = ports{1, 65535}

func (p ports) holds(port uint16) bool { return p.min <= port && port <= p.max }

func (p ports) String() string {
	if p.min == p.max {
		return strconv.Itoa(int(p.min))
	}
	return fmt.Sprintf("%d-%d", p.min, p.max)
}

// String returns the rule in the one spelling that ParseRule gives back: small
// letters, a single address without its length, no ports where all are meant.
func (r Rule) String() string {
	switch r.kind {
	case loop:
		return "loop"
	case name:
		return "dns:" + r.name + r.portSuffix()
	case network:
		text := r.prefix.String()
		if r.prefix.IsSingleIP() {
			text = r.prefix.Addr().String()
		}
		if r.prefix.Addr().Is6() && r.ports != everyPort {
			text = "[" + text + "]"
		}
		if r.deny {
			text = "!" + text
		}
		return text + r.portSuffix()
	}
	return "(no rule)"
}

func (r Rule) portSuffix() string {
	if r.ports == everyPort {
		return ""
	}
	return ":" + r.ports.String()
}

// contains says whether r holds every transport address that o does; both are of
// kind network.
func (r Rule) contains(o Rule) bool {
	return r.prefix.Bits() <= o.prefix.Bits() && r.prefix.Contains(o.prefix.Addr()) &&
		r.ports.min <= o.ports.min && o.ports.max <= r.ports.max
}

const forms = "loop, CIDR, CIDR:PORTS, !CIDR, !CIDR:PORTS, dns:NAME or dns:NAME:PORTS"

// ParseRule reads one rule:
//
//	loop                       relayed transport addresses of this server
//	10.0.0.0/8, 2001:db8::1    these peers, every port
//	10.0.0.1:80                this transport address
//	[2001:db8::/32]:5000-6000  these ports of these peers
//	dns:NAME, dns:NAME:PORTS   the addresses that NAME has in DNS
//	!10.0.0.0/8, !10.0.0.1:80  denied even where another rule allows it
//
// Its errors are *Fault.
func ParseRule(text string) (Rule, error) {
	rest, deny := strings.CutPrefix(text, "!")
	host, isName := strings.CutPrefix(rest, "dns:")
	switch {
	case text == "":
		return Rule{}, wrong("is empty", "write "+forms)
	case text == "loop":
		return Rule{kind: loop, ports: everyPort}, nil
	case rest == "loop":
		return Rule{}, wrong(`"!loop" denies what is only allowed when it is listed`, "leave both loop and !loop out")
	case deny && isName:
		return Rule{}, deniesName(text)
	case isName:
		return parseName(text, host)
	}
	r, err := parseNetwork(text, rest)
	if err != nil {
		return Rule{}, err
	}
	r.deny = deny
	return r, nil
}

// parseNetwork reads rest, which is text without a "!".
func parseNetwork(text, rest string) (Rule, error) {
	host, portText, hasPorts := rest, "", false
	if inside, ok := strings.CutPrefix(rest, "["); ok {
		var tail string
		host, tail, ok = strings.Cut(inside, "]")
		portText, hasPorts = strings.CutPrefix(tail, ":")
		switch {
		case !ok:
			return Rule{}, wrong(quote(text)+" has a bracket that is not closed", "write for example [2001:db8::/32]:5000-6000")
		case strings.HasPrefix(tail, "/"):
			return Rule{}, wrong(quote(text)+" has its length outside of the brackets", "write for example [2001:db8::/32]:5000-6000")
		case !hasPorts:
			return Rule{}, wrong(quote(text)+" has brackets and no ports behind them", "leave the brackets out, or write for example [2001:db8::1]:80")
		case !strings.Contains(host, ":"):
			return Rule{}, wrong(quote(text)+" has brackets, which are for IPv6 addresses", "leave them out")
		}
	} else if strings.Count(rest, ":") == 1 {
		host, portText, hasPorts = strings.Cut(rest, ":")
	}
	prefix, err := parsePrefix(text, host)
	if err != nil {
		return Rule{}, err
	}
	r := Rule{kind: network, prefix: prefix, ports: everyPort}
	if hasPorts {
		r.ports, err = parsePorts(text, portText)
	}
	return r, err
}

// parsePrefix reads an address or prefix of text in the one spelling that peers
// are known by.
func parsePrefix(text, host string) (netip.Prefix, error) {
	if strings.Contains(host, "%") {
		return netip.Prefix{}, wrong(quote(text)+" has a zone, which no peer's address has", "write it without")
	}
	var p netip.Prefix
	if a, err := netip.ParseAddr(host); err == nil {
		p = netip.PrefixFrom(a, a.BitLen())
	} else if p, err = netip.ParsePrefix(host); err != nil {
		return netip.Prefix{}, noPrefix(text, host)
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.Prefix{}, otherSpelling(text, "IPv4-mapped", a.Unmap(), p.Bits())
	} else if compatible.Contains(a) && p.Bits() >= 96 && a != netip.IPv6Loopback() && p != unspecified6 {
		x := a.As16()
		return netip.Prefix{}, otherSpelling(text, "IPv4-compatible", netip.AddrFrom4([4]byte(x[12:])), p.Bits())
	}
	if p != p.Masked() {
		return netip.Prefix{}, wrong(quote(text)+" has bits set behind its length", fmt.Sprintf("write %s, or the address alone", p.Masked()))
	}
	return p, nil
}

// otherSpelling refuses an IPv4 address or prefix in the form of an IPv6 one, of
// that many bits: peers are allowed and denied by their own spelling only.
func otherSpelling(text, which string, a netip.Addr, bits int) error {
	p := netip.PrefixFrom(a, bits-96).Masked()
	return wrong(quote(text)+" is an "+which+" spelling, which peers cannot be named by", "write "+Rule{kind: network, prefix: p, ports: everyPort}.String())
}

// noPrefix finds out what somebody meant by a text that is no address.
func noPrefix(text, host string) error {
	switch {
	case strings.Count(host, ":") > 1:
		return wrong(quote(text)+" is not an IPv6 address or prefix", "with ports put it in brackets, such as [2001:db8::/32]:5000-6000")
	case strings.Contains(host, "/"):
		return wrong(quote(text)+" is not a prefix", "write one, such as 10.0.0.0/8 or 2001:db8::/32")
	case strings.Contains(host, ".") && CheckName(host) == nil:
		if strings.HasPrefix(text, "!") {
			return deniesName(text)
		}
		meant := Rule{kind: name, name: host, ports: everyPort}
		if _, portText, ok := strings.Cut(text, ":"); ok {
			if p, err := parsePorts(text, portText); err == nil {
				meant.ports = p
			}
		}
		return wrong(quote(host)+" is a name, not an address", "write "+meant.String())
	}
	return wrong(quote(text)+" is not a rule", "write "+forms)
}

func deniesName(text string) error {
	return wrong(quote(text)+" denies a name, whose addresses are not known at all times", "write !CIDR")
}

func parsePorts(text, portText string) (ports, error) {
	low, high, isRange := strings.Cut(portText, "-")
	if !isRange {
		high = low
	}
	first, errFirst := strconv.ParseUint(low, 10, 16)
	last, errLast := strconv.ParseUint(high, 10, 16)
	switch {
	case errFirst != nil || errLast != nil || first == 0 || last == 0:
		return ports{}, wrong(fmt.Sprintf("%s: %s is neither a port nor a range of ports", quote(text), quote(portText)), "write PORT or MIN-MAX with numbers from 1 to 65535")
	case first > last:
		return ports{}, wrong(fmt.Sprintf("%s: %s begins above its end", quote(text), quote(portText)), fmt.Sprintf("write %d-%d", last, first))
	}
	return ports{uint16(first), uint16(last)}, nil
}

func parseName(text, rest string) (Rule, error) {
	host, portText, hasPorts := strings.Cut(rest, ":")
	if r, err := parseNetwork(text, rest); err == nil {
		return Rule{}, wrong(quote(text)+" gives an address for a name", "write "+r.String())
	} else if a, err := netip.ParseAddr(host); err == nil {
		return Rule{}, wrong(quote(text)+" gives an address for a name", "write "+a.String())
	}
	if err := CheckName(host); err != nil {
		return Rule{}, wrong(fmt.Sprintf("%s: the name %s", quote(text), err), "write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org")
	}
	r := Rule{kind: name, name: strings.ToLower(host), ports: everyPort}
	if hasPorts {
		var err error
		if r.ports, err = parsePorts(text, portText); err != nil {
			return Rule{}, err
		}
	}
	return r, nil
}

// Lengths of a name and of its parts, in octets (RFC 1035 §2.3.4). In text a name
// has 253: its first length and its last, empty label are not written.
const maxName, maxLabel = 253, 63

// CheckName judges a host name: letters, digits, "-" and, as services are named,
// "_". A dot at the end is kept: it tells the resolver to add no search domain.
func CheckName(host string) error {
	labels := strings.TrimSuffix(host, ".")
	if labels == "" {
		return errors.New("is empty")
	} else if len(labels) > maxName {
		return fmt.Errorf("has %d octets, more than %d", len(labels), maxName)
	}
	for label := range strings.SplitSeq(labels, ".") {
		if len(label) == 0 || len(label) > maxLabel {
			return fmt.Errorf("has a part of %d octets, not 1 to %d", len(label), maxLabel)
		}
	}
	if i := strings.IndexFunc(labels, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}); i >= 0 {
		return errors.New("holds other characters than letters, digits, - and _ (names in other scripts are written in their xn-- form)")
	}
	return nil
}
