package peers

import (
	"errors"
	"strings"
	"testing"
)

func rule(t testing.TB, text string) Rule {
	t.Helper()
	r, err := ParseRule(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

func TestParseRule(t *testing.T) {
	label := strings.Repeat("a", maxLabel)
	longest := strings.Repeat(label+".", 3) + strings.Repeat("a", 61) // 253 octets
	for _, c := range []struct{ text, spelt string }{
		{"loop", "loop"},
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.1", "10.0.0.1"},
		{"10.0.0.1/32", "10.0.0.1"},
		{"10.0.0.1:80", "10.0.0.1:80"},
		{"10.0.0.0/8:5000-6000", "10.0.0.0/8:5000-6000"},
		{"10.0.0.0/8:5000-5000", "10.0.0.0/8:5000"},
		{"10.0.0.0/8:1-65535", "10.0.0.0/8"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"127.0.0.1", "127.0.0.1"},
		{"::/0", "::/0"},
		{"::1", "::1"},
		{"::", "::"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:0DB8:0:0::1/128", "2001:db8::1"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"[2001:db8::/32]:5000-6000", "[2001:db8::/32]:5000-6000"},
		{"[2001:db8::1]:80", "[2001:db8::1]:80"},
		{"2001:db8::1:80", "2001:db8::1:80"}, // an address, as it stands
		{"!10.0.0.0/8", "!10.0.0.0/8"},
		{"!10.0.0.1:22", "!10.0.0.1:22"},
		{"![2001:db8::/32]:1-1023", "![2001:db8::/32]:1-1023"},
		{"!::/0", "!::/0"},
		{"64:ff9b::/96", "64:ff9b::/96"},
		{"dns:Relays.Example.org", "dns:relays.example.org"},
		{"dns:relays.example.org.", "dns:relays.example.org."},
		{"dns:relay", "dns:relay"},
		{"dns:_turn._udp.relay:3478", "dns:_turn._udp.relay:3478"},
		{"dns:relay:49152-65535", "dns:relay:49152-65535"},
		{"dns:" + longest, "dns:" + longest},
	} {
		r, err := ParseRule(c.text)
		if err != nil || r.String() != c.spelt {
			t.Errorf("%s: %v, %v, want %s", c.text, r, err, c.spelt)
		}
	}
}

func TestParseRuleSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ text, fault string }{
		{"", "is empty; write " + forms},
		{"all", `"all" is not a rule; write ` + forms},
		{"Loop", `"Loop" is not a rule; write ` + forms},
		{"!", `"!" is not a rule; write ` + forms},
		{"!!10.0.0.0/8", `"!!10.0.0.0/8" is not a prefix; write one, such as 10.0.0.0/8 or 2001:db8::/32`},
		{"!loop", `"!loop" denies what is only allowed when it is listed; leave both loop and !loop out`},
		{"!dns:relay", `"!dns:relay" denies a name, whose addresses are not known at all times; write !CIDR`},
		{"relay.example", `"relay.example" is a name, not an address; write dns:relay.example`},
		{"relay.example:80", `"relay.example" is a name, not an address; write dns:relay.example:80`},
		{"!relay.example:80", `"!relay.example:80" denies a name, whose addresses are not known at all times; write !CIDR`},
		{"relay.example:\x14", `"relay.example" is a name, not an address; write dns:relay.example`},
		{"dns:10.0.0.1:\x14", `"dns:10.0.0.1:\x14" gives an address for a name; write 10.0.0.1`},
		{"dns:fe80::1%\x14", `"dns:fe80::1%\x14": ":1%\x14" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{" 10.0.0.1", `" 10.0.0.1" is not a rule; write ` + forms},
		{"10.0.0/8", `"10.0.0/8" is not a prefix; write one, such as 10.0.0.0/8 or 2001:db8::/32`},
		{"10.0.0.0/33", `"10.0.0.0/33" is not a prefix; write one, such as 10.0.0.0/8 or 2001:db8::/32`},
		{"010.0.0.0/8", `"010.0.0.0/8" is not a prefix; write one, such as 10.0.0.0/8 or 2001:db8::/32`},
		{"10.0.0.1/8", `"10.0.0.1/8" has bits set behind its length; write 10.0.0.0/8, or the address alone`},
		{"2001:db8::1/32", `"2001:db8::1/32" has bits set behind its length; write 2001:db8::/32, or the address alone`},
		{"2001:db8::/32:5000-6000", `"2001:db8::/32:5000-6000" is not an IPv6 address or prefix; with ports put it in brackets, such as [2001:db8::/32]:5000-6000`},
		{"[2001:db8::]/32:80", `"[2001:db8::]/32:80" has its length outside of the brackets; write for example [2001:db8::/32]:5000-6000`},
		{"[2001:db8::1]", `"[2001:db8::1]" has brackets and no ports behind them; leave the brackets out, or write for example [2001:db8::1]:80`},
		{"[2001:db8::1", `"[2001:db8::1" has a bracket that is not closed; write for example [2001:db8::/32]:5000-6000`},
		{"[10.0.0.1]:80", `"[10.0.0.1]:80" has brackets, which are for IPv6 addresses; leave them out`},
		{"10.0.0.1:", `"10.0.0.1:": "" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:0", `"10.0.0.1:0": "0" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:http", `"10.0.0.1:http": "http" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:1-65536", `"10.0.0.1:1-65536": "1-65536" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:+1", `"10.0.0.1:+1": "+1" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:1-2-3", `"10.0.0.1:1-2-3": "1-2-3" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"10.0.0.1:6000-5000", `"10.0.0.1:6000-5000": "6000-5000" begins above its end; write 5000-6000`},
		{"fe80::1%eth0", `"fe80::1%eth0" has a zone, which no peer's address has; write it without`},
		{"fe80::%eth0/10", `"fe80::%eth0/10" has a zone, which no peer's address has; write it without`},
		{"::ffff:127.0.0.1", `"::ffff:127.0.0.1" is an IPv4-mapped spelling, which peers cannot be named by; write 127.0.0.1`},
		{"!::ffff:10.0.0.0/104", `"!::ffff:10.0.0.0/104" is an IPv4-mapped spelling, which peers cannot be named by; write 10.0.0.0/8`},
		{"::ffff:0:0/96", `"::ffff:0:0/96" is an IPv4-mapped spelling, which peers cannot be named by; write 0.0.0.0/0`},
		{"::10.0.0.1", `"::10.0.0.1" is an IPv4-compatible spelling, which peers cannot be named by; write 10.0.0.1`},
		{"::/96", `"::/96" is an IPv4-compatible spelling, which peers cannot be named by; write 0.0.0.0/0`},
		{"dns:", `"dns:": the name is empty; write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{"dns:.", `"dns:.": the name is empty; write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{"dns:a..b", `"dns:a..b": the name has a part of 0 octets, not 1 to 63; write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{"dns:10.0.0.1", `"dns:10.0.0.1" gives an address for a name; write 10.0.0.1`},
		{"dns:10.0.0.1:80", `"dns:10.0.0.1:80" gives an address for a name; write 10.0.0.1:80`},
		{"dns:[::1]:80", `"dns:[::1]:80" gives an address for a name; write [::1]:80`},
		{"dns:2001:db8::1", `"dns:2001:db8::1" gives an address for a name; write 2001:db8::1`},
		{"dns:10.0.0.0/8", `"dns:10.0.0.0/8" gives an address for a name; write 10.0.0.0/8`},
		{"dns:a:b:80", `"dns:a:b:80": "b:80" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"dns:relay:x", `"dns:relay:x": "x" is neither a port nor a range of ports; write PORT or MIN-MAX with numbers from 1 to 65535`},
		{"dns:re\x1b[2Jlay", `"dns:re\x1b[2Jlay": the name holds other characters than letters, digits, - and _ (names in other scripts are written in their xn-- form); write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{"dns:" + strings.Repeat("a.", 126) + "ab", `"dns:` + strings.Repeat("a.", 48) + `"…: the name has 254 octets, more than 253; write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{"dns:" + strings.Repeat("a", 64), `"dns:` + strings.Repeat("a", 64) + `": the name has a part of 64 octets, not 1 to 63; write dns:NAME or dns:NAME:PORTS with a name such as relays.example.org`},
		{strings.Repeat("x", 1<<16), `"` + strings.Repeat("x", maxQuoted) + `"… is not a rule; write ` + forms},
	} {
		r, err := ParseRule(c.text)
		if fault := (*Fault)(nil); !errors.As(err, &fault) || err.Error() != c.fault {
			t.Errorf("%q: %v\n got %v\nwant %s", c.text, r, err, c.fault)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"loop", "10.0.0.0/8", "10.0.0.1:80", "[2001:db8::/32]:5000-6000", "!10.0.0.0/8:1-2", "![::1]:1", "dns:a.b:1-2", "dns:A", "::ffff:1.2.3.4", "::1.2.3.4/97", "fe80::1%a", "!dns:x", "64:ff9b::/96"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			if fault := err.(*Fault); fault.What == "" || fault.Remedy == "" || len(err.Error()) > 1200 || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' }) {
				t.Errorf("%q: fault %q", text, err)
			}
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q is spelt %q, which is %v, %v", text, r, again, err)
		}
	})
}
