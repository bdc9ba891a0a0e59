package peers

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func parseAll(t testing.TB, texts ...string) []Rule {
	t.Helper()
	var rules []Rule
	for _, text := range texts {
		rules = append(rules, rule(t, text))
	}
	return rules
}

func addresses(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// setOf makes a set of rules without a policy, and gives the names an answer.
func setOf(rules []Rule, own []netip.AddrPort, answer ...string) *Set {
	var entries []entry
	names := make(map[key][]ports)
	for i, r := range rules {
		entries = append(entries, entry{rule: r, index: i})
		for _, text := range answer {
			if a := netip.MustParseAddr(text); r.kind == name {
				names[keyOf(a)] = append(names[keyOf(a)], r.ports)
			}
		}
	}
	return newSet(entries, own, names)
}

func TestSet(t *testing.T) {
	own := addresses("192.0.2.1:3478", "10.0.0.1:3478", "[2001:db8::1]:3478", "127.0.0.1:9478", "[fe80::1%eth0]:3478", "[::ffff:10.0.0.2]:3478")
	for _, c := range []struct {
		rules   string
		allowed string // transport addresses
		denied  string
		ip      string // addresses of which some port is allowed
		notIP   string
	}{
		{
			rules:   "10.0.0.0/8 2001:db8::/32",
			allowed: "10.0.0.1:1 10.0.0.1:65535 10.255.255.255:80 [2001:db8::1]:80 [2001:db8:ffff::]:80",
			denied:  "11.0.0.0:80 9.255.255.255:80 10.0.0.1:0 [2001:db9::]:80 [::ffff:10.0.0.1]:80 [::10.0.0.1]:80 [2001:db8::1%eth0]:80",
			ip:      "10.0.0.1 2001:db8::1",
			notIP:   "11.0.0.0 ::ffff:10.0.0.1 2001:db8::1%eth0",
		},
		{
			rules:   "10.0.0.0/8:5000-6000 10.0.0.7:80 [2001:db8::/32]:5000",
			allowed: "10.0.0.1:5000 10.0.0.1:6000 10.0.0.7:80 10.0.0.7:5500 [2001:db8::1]:5000",
			denied:  "10.0.0.1:4999 10.0.0.1:6001 10.0.0.1:80 [2001:db8::1]:5001",
			ip:      "10.0.0.1 10.0.0.7 2001:db8::1",
			notIP:   "11.0.0.1",
		},
		{ // a denial wins wherever it stands, in part or in whole
			rules:   "!10.1.0.0/16 10.0.0.0/8 !10.2.0.0/16:22 10.3.0.0/16:80-90 !10.3.0.1:80-85 !10.3.0.1:84-90 !10.0.0.0/8:86-90",
			allowed: "10.0.0.1:80 10.2.0.1:23 10.3.0.2:80",
			denied:  "10.1.0.1:80 10.2.0.1:22 10.3.0.1:80 10.3.0.1:85 10.3.0.1:90 10.3.0.2:86",
			ip:      "10.0.0.1 10.2.0.1 10.3.0.1",
			notIP:   "10.1.0.1",
		},
		{
			rules:   "10.3.0.0/16:80-90 !10.3.0.1:80-85 !10.3.0.1:84-89",
			allowed: "10.3.0.1:90",
			denied:  "10.3.0.1:89",
			ip:      "10.3.0.1",
		},
		{
			rules:  "10.3.0.0/16:80-90 !10.3.0.1:80-85 !10.3.0.1:84-95",
			denied: "10.3.0.1:80 10.3.0.1:90",
			ip:     "10.3.0.2",
			notIP:  "10.3.0.1",
		},
		{ // what has to be named
			rules: "0.0.0.0/0 ::/0",
			allowed: "8.8.8.8:53 10.0.0.1:80 100.100.100.201:80 168.63.129.17:80 169.253.0.0:1 169.255.0.0:1 126.255.255.255:1 128.0.0.0:1 1.0.0.0:1 223.255.255.255:1 255.255.255.254:1" +
				" [2001:db8::2]:80 [fd00:ec2::253]:80 [fec0::1]:80 [2002:808:808::1]:80 [64:ff9b::808:808]:80 [64:ff9b:2::1]:80",
			denied: "0.0.0.0:80 0.1.2.3:80 127.0.0.1:80 127.255.255.255:80 169.254.169.254:80 169.254.0.1:80 224.0.0.1:80 239.255.255.255:80 255.255.255.255:80 100.100.100.200:80 168.63.129.16:80 192.0.0.192:80" +
				" [::]:80 [::1]:80 [fe80::1]:80 [febf::1]:80 [fe80::1%eth0]:80 [ff02::1]:80 [fd00:ec2::254]:80 [fd20:ce::254]:80 [fd00:42::42]:80" +
				" [::ffff:8.8.8.8]:80 [::ffff:127.0.0.1]:80 [::8.8.8.8]:80 [::127.0.0.1]:80 [::ffff:0:808:808]:80 [64:ff9b:1::808:808]:80" +
				" [2002:7f00:1::1]:80 [2002:a9fe:a9fe::]:80 [64:ff9b::7f00:1]:80 [64:ff9b::a9fe:a9fe]:80 [2001:0:7f00:1::]:80 [2001:0:808:808:0:0:80ff:fffe]:80 [2001:0:808:808:0:0:5601:5601]:80",
			ip:    "8.8.8.8 2001:db8::2 64:ff9b::808:808 2001:0:808:808::f7f7:f7f7",
			notIP: "0.0.0.0 127.0.0.1 169.254.169.254 224.0.0.1 255.255.255.255 100.100.100.200 :: ::1 fe80::1 ff02::1 ::ffff:8.8.8.8 ::8.8.8.8 64:ff9b:1::808:808 2002:7f00:1::1 64:ff9b::7f00:1 2001:0:7f00:1::",
		},
		{ // and is
			rules:   "0.0.0.0/0 127.0.0.0/8 169.254.169.254:80 ::1 fe80::/10 100.100.100.200 64:ff9b:1::/48 ff02::/16 0.0.0.0",
			allowed: "127.0.0.1:80 127.1.2.3:1 169.254.169.254:80 [::1]:80 [fe80::2]:80 100.100.100.200:80 [64:ff9b:1::808:808]:80 [ff02::1]:80 0.0.0.0:80",
			denied:  "169.254.169.254:81 169.254.169.253:80 127.0.0.1:9478 [::]:80 [64:ff9b:1::7f00:1]:80 [ff05::1]:80 0.0.0.1:80 224.0.0.1:80 [::ffff:127.0.0.1]:80 [64:ff9b::7f00:1]:80",
			ip:      "127.0.0.1 169.254.169.254 ::1 fe80::2 0.0.0.0",
			notIP:   "169.254.169.253 :: 0.0.0.1 64:ff9b:1::7f00:1",
		},
		{ // a wider rule does not name what lies in it, nor does a block's neighbour
			rules:  "126.0.0.0/7 168.0.0.0/7 ::/64 fe00::/7",
			denied: "127.0.0.1:80 169.254.169.254:80 168.63.129.16:80 [::1]:80 [fe80::1]:80 [ff02::1]:80",
			ip:     "126.0.0.1 168.0.0.1",
			notIP:  "127.0.0.1 ::1",
		},
		{ // other spellings of what is denied
			rules:   "0.0.0.0/0 ::/0 !10.0.0.0/8:80 !192.168.0.0/16",
			allowed: "10.0.0.1:81 [2002:a00:1::1]:81 [64:ff9b::a00:1]:81",
			denied:  "10.0.0.1:80 [2002:a00:1::1]:80 [64:ff9b::a00:1]:80 [2002:c0a8:101::]:1 [64:ff9b::c0a8:101]:1 [2001:0:c0a8:101::]:1 [2001:0:808:808::3f57:fefe]:1",
			ip:      "64:ff9b::a00:1",
			notIP:   "64:ff9b::c0a8:101 2002:c0a8:101::",
		},
		{ // this server's own sockets
			rules:   "0.0.0.0/0 ::/0",
			allowed: "192.0.2.1:3479 10.0.0.1:3477 [2001:db8::1]:3479 [2001:db8::2]:3478",
			denied:  "192.0.2.1:3478 10.0.0.1:3478 10.0.0.2:3478 [2001:db8::1]:3478 [64:ff9b::c000:201]:3478 [2002:a00:1::]:3478",
			ip:      "192.0.2.1 2001:db8::1",
		},
		{
			rules:  "192.0.2.1:3470-3480 10.0.0.1:3477-3478 fe80::1 2001:db8::1",
			denied: "192.0.2.1:3478 10.0.0.1:3478 [fe80::1]:3478 [2001:db8::1]:3478",
			ip:     "192.0.2.1 10.0.0.1 fe80::1",
		},
		{
			rules:   "192.0.2.1:3478 10.0.0.0/8:3478 127.0.0.1:9478 [2001:db8::1]:3478 !10.0.0.2",
			allowed: "192.0.2.1:3478 127.0.0.1:9478 [2001:db8::1]:3478 10.0.0.3:3478",
			denied:  "10.0.0.1:3478 10.0.0.2:3478",
			ip:      "192.0.2.1 127.0.0.1 10.0.0.3",
			notIP:   "10.0.0.1 10.0.0.2 127.0.0.2",
		},
		{ // names: 10.0.0.1, 127.0.0.1, 8.8.8.8, 2001:db8::9, 64:ff9b::7f00:1
			rules:   "dns:relays:5000-6000 dns:others:80 !8.8.8.8:80",
			allowed: "10.0.0.1:5000 10.0.0.1:80 8.8.8.8:5000 [2001:db8::9]:80",
			denied:  "10.0.0.1:81 10.0.0.3:80 127.0.0.1:80 8.8.8.8:80 [64:ff9b::7f00:1]:80",
			ip:      "10.0.0.1 8.8.8.8 2001:db8::9",
			notIP:   "10.0.0.3 127.0.0.1 64:ff9b::7f00:1",
		},
		{
			rules:   "dns:relays:3478 dns:relays:5000",
			allowed: "10.0.0.1:5000",
			denied:  "10.0.0.1:3478", // own
			ip:      "10.0.0.1",
		},
		{rules: "loop", denied: "10.0.0.1:80 192.0.2.1:3478", notIP: "10.0.0.1"},
	} {
		t.Run(c.rules, func(t *testing.T) {
			s := setOf(parseAll(t, strings.Fields(c.rules)...), own, "10.0.0.1", "127.0.0.1", "8.8.8.8", "2001:db8::9", "64:ff9b::7f00:1")
			if s.Loop() != strings.Contains(c.rules, "loop") {
				t.Error("loop is", s.Loop())
			}
			for want, texts := range map[bool]string{true: c.allowed, false: c.denied} {
				for _, text := range strings.Fields(texts) {
					a, err := netip.ParseAddrPort(text)
					if err != nil {
						t.Error(err)
					} else if s.Allows(a) != want {
						t.Errorf("%s is allowed: %v", a, !want)
					}
				}
			}
			for want, texts := range map[bool]string{true: c.ip, false: c.notIP} {
				for _, text := range strings.Fields(texts) {
					if s.AllowsAddress(netip.MustParseAddr(text)) != want {
						t.Errorf("some port of %s is allowed: %v", text, !want)
					}
				}
			}
			if s.Allows(netip.AddrPort{}) || s.AllowsAddress(netip.Addr{}) {
				t.Error("no address is allowed")
			}
		})
	}
}

func TestNeverAllowedBlocksDoNotOverlap(t *testing.T) {
	for i, a := range neverAllowed {
		if a.block != a.block.Masked() || a.what == "" {
			t.Error(a)
		}
		for _, b := range neverAllowed[:i] {
			if a.block.Overlaps(b.block) {
				t.Errorf("%v overlaps %v", a, b)
			}
		}
	}
}

func TestSetDoesNotAllocate(t *testing.T) {
	s := setOf(parseAll(t, benched...), addresses("192.0.2.1:3478"), "203.0.113.7")
	for _, text := range []string{"10.0.0.1:5000", "203.0.113.7:5000", "8.8.8.8:53", "[2001:db8::1]:5000", "[2001:db8::1%eth0]:5000"} {
		a := netip.MustParseAddrPort(text)
		if n := testing.AllocsPerRun(100, func() {
			s.Allows(a)
			s.AllowsAddress(a.Addr())
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

var benched = []string{"10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "!10.1.0.0/16", "dns:relays"}

func BenchmarkAllows(b *testing.B) {
	s := setOf(parseAll(b, benched...), addresses("192.0.2.1:3478", "127.0.0.1:9478"), "203.0.113.7", "2001:db9::7")
	for _, text := range []string{"10.0.0.1:5000", "192.168.0.1:5000", "203.0.113.7:5000", "8.8.8.8:53", "[2001:db8::1]:5000", "[2001:db9::7]:5000"} {
		a := netip.MustParseAddrPort(text)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				s.Allows(a)
			}
		})
	}
}

// naive is the comment of Set and of ParseRule once more, slowly: with bits as text
// and every rule asked for every port.
type naive struct {
	rules []Rule
	own   []netip.AddrPort
	names []netip.Addr
}

func bits(a netip.Addr) string {
	var text strings.Builder
	for _, b := range a.AsSlice() {
		fmt.Fprintf(&text, "%08b", b)
	}
	return text.String()
}

func inside(a netip.Addr, p netip.Prefix) bool {
	return a.BitLen() == p.Addr().BitLen() && strings.HasPrefix(bits(a), bits(p.Addr())[:p.Bits()])
}

var naiveNever = []string{
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
	"::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128", "fd00:42::42/128",
}

func (n naive) allows(a netip.AddrPort) bool {
	ip := a.Addr()
	if a.Port() == 0 || ip.Zone() != "" || !ip.IsValid() {
		return false
	}
	spellings := []netip.Addr{ip}
	if x := ip.As16(); ip.Is6() {
		switch text := ip.StringExpanded(); {
		case strings.HasPrefix(text, "2002:"):
			spellings = append(spellings, netip.AddrFrom4([4]byte(x[2:])))
		case strings.HasPrefix(text, "2001:0000:"):
			spellings = append(spellings, netip.AddrFrom4([4]byte(x[4:])), netip.AddrFrom4([4]byte{x[12] ^ 255, x[13] ^ 255, x[14] ^ 255, x[15] ^ 255}))
		case strings.HasPrefix(text, "0064:ff9b:0000:0000:0000:0000:"), strings.HasPrefix(text, "0064:ff9b:0001:"), strings.HasPrefix(text, "0000:0000:0000:0000:ffff:0000:"):
			spellings = append(spellings, netip.AddrFrom4([4]byte(x[12:])))
		}
	}
	var within []netip.Prefix // never-allowed blocks that hold ip
	for i, s := range spellings {
		for _, text := range naiveNever {
			if p := netip.MustParsePrefix(text); inside(s, p) {
				if within = append(within, p); i > 0 {
					return false
				}
			}
		}
		for _, r := range n.rules {
			if r.kind == network && r.deny && inside(s, r.prefix) && r.ports.min <= a.Port() && a.Port() <= r.ports.max {
				return false
			}
		}
		for _, o := range n.own {
			exempt := false
			for _, r := range n.rules {
				exempt = exempt || r.kind == network && !r.deny && r.prefix == netip.PrefixFrom(o.Addr(), o.Addr().BitLen()) && r.ports == (ports{o.Port(), o.Port()})
			}
			if o == netip.AddrPortFrom(s, a.Port()) && !exempt {
				return false
			}
		}
	}
	for _, r := range n.rules {
		if r.kind == loop || r.deny || a.Port() < r.ports.min || a.Port() > r.ports.max {
			continue
		}
		if r.kind == name {
			for _, answer := range n.names {
				if answer == ip && within == nil {
					return true
				}
			}
			continue
		}
		named := within == nil
		for _, p := range within {
			named = named || r.prefix.Bits() >= p.Bits() && inside(r.prefix.Addr(), p)
		}
		if named && inside(ip, r.prefix) {
			return true
		}
	}
	return false
}

func FuzzAllows(f *testing.F) {
	for _, seed := range [][4]string{
		{"0.0.0.0/0 ::/0 !10.0.0.0/8:1-80", "192.0.2.1:3478", "10.0.0.1", "64:ff9b::a00:1"},
		{"127.0.0.0/8 fe80::/10", "127.0.0.1:9478", "127.0.0.1", "127.0.0.1"},
		{"10.0.0.0/8:3478 10.0.0.1:3478 !10.0.0.1:1-3477 !10.0.0.1:3480-65535", "10.0.0.1:3478 10.0.0.1:3479", "10.0.0.1", "10.0.0.1"},
		{"dns:a:80 dns:b:1-70 !8.8.8.8:60-79", "8.8.8.8:80", "8.8.8.8 ::1 2001::1", "8.8.8.8"},
		{"64:ff9b:1::/48 ::/0 !0.0.0.0/0:5", "", "", "64:ff9b:1::808:808"},
		{"::/0 !192.168.0.0/16", "", "2001:0:808:808::3f57:fefe", "2001:0:808:808::3f57:fefe"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], uint16(80))
	}
	f.Fuzz(func(t *testing.T, rules, own, answer, text string, port uint16) {
		var n naive
		for _, text := range strings.Fields(rules) {
			if r, err := ParseRule(text); err == nil && len(n.rules) < 20 {
				n.rules = append(n.rules, r)
			}
		}
		for _, text := range strings.Fields(own) {
			if a, err := netip.ParseAddrPort(text); err == nil && len(n.own) < 10 {
				n.own = append(n.own, netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()))
			}
		}
		var texts []string
		for _, text := range strings.Fields(answer) {
			if a, err := netip.ParseAddr(text); err == nil && len(texts) < 10 && a.Zone() == "" {
				n.names, texts = append(n.names, a.Unmap()), append(texts, a.Unmap().String())
			}
		}
		s := setOf(n.rules, n.own, texts...)
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if a := netip.AddrPortFrom(ip, port); s.Allows(a) != n.allows(a) {
			t.Errorf("%s: %v, want %v", a, s.Allows(a), n.allows(a))
		}
		// Whether a port is allowed changes at the ends of ranges and at own ports only.
		some := false
		try := func(port uint16) { some = some || n.allows(netip.AddrPortFrom(ip, port)) }
		for _, r := range n.rules {
			try(r.ports.min)
			try(r.ports.max)
			try(r.ports.max + 1)
			try(r.ports.min - 1)
		}
		for _, o := range n.own {
			for d := range uint16(10) {
				try(o.Port() + d)
			}
		}
		for _, r := range n.rules {
			for d := range uint16(10) {
				try(r.ports.min + d)
				try(r.ports.max + d)
			}
		}
		if s.AllowsAddress(ip) != some {
			t.Errorf("some port of %s: %v, want %v", ip, !some, some)
		}
	})
}
