package probe

import (
	"strings"
	"testing"
	"time"
)

func TestParseURI(t *testing.T) {
	for _, c := range []struct{ in, want, fault string }{
		{in: "turn:example.org", want: "turn:example.org:3478?transport=udp"},
		{in: "turn:example.org:443?transport=tcp", want: "turn:example.org:443?transport=tcp"},
		{in: "TURN:127.0.0.1:1?transport=UDP", want: "turn:127.0.0.1:1?transport=udp"},
		{in: "turn:[::1]", want: "turn:[::1]:3478?transport=udp"},
		{in: "turn:[2001:db8::1]:65535?transport=tcp", want: "turn:[2001:db8::1]:65535?transport=tcp"},
		{in: "turns:example.org", want: "turns:example.org:5349?transport=tcp"},
		{in: "turns:example.org:443?transport=tcp", want: "turns:example.org:443?transport=tcp"},
		{in: "turns:[::1]?transport=udp", want: "turns:[::1]:5349?transport=udp"},
		{in: "stun:example.org", fault: "STUN server"},
		{in: "example.org", fault: "is not a turn URI"},
		{in: "example.org:3478", fault: "is not a turn URI"},
		{in: "", fault: "is not a turn URI"},
		{in: "turn:", fault: "host is missing"},
		{in: "turn::3478", fault: "host is missing"},
		{in: "turn://example.org", fault: "no slashes"},
		{in: "turn:alice:geheim@example.org", fault: "no credentials"},
		{in: "turn:2001:db8::1", fault: "in brackets"},
		{in: "turn:[127.0.0.1]:1", fault: "IPv6 address"},
		{in: "turn:[::1", fault: "IPv6 address"},
		{in: "turn:[::1]3478", fault: "is no port"},
		{in: "turn:h:0", fault: "is not a port"},
		{in: "turn:h:65536", fault: "is not a port"},
		{in: "turn:h:", fault: "is not a port"},
		{in: "turn:h:3478?transport=sctp", fault: "not known"},
		{in: "turn:h?", fault: "not known"},
	} {
		u, fault := ParseURI(c.in)
		switch {
		case c.fault != "" && fault == nil:
			t.Errorf("%q: accepted as %v", c.in, u)
		case c.fault != "" && !strings.Contains(fault.Error(), c.fault):
			t.Errorf("%q: fault %q, want one about %q", c.in, fault, c.fault)
		case c.fault != "" && (strings.Contains(fault.Error(), "\n") || strings.Contains(fault.Error(), "geheim")):
			t.Errorf("%q: fault %q has a line break or a password", c.in, fault)
		case c.fault == "" && (fault != nil || u.String() != c.want):
			t.Errorf("%q: %v, %v; want %s", c.in, u, fault, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Options{Server: URI{"h", 1, UDP}, Count: 1, Interval: time.Millisecond, Size: MinSize, Timeout: time.Second}
	for _, c := range []struct {
		name   string
		change func(*Options)
		keys   string // of the faults
	}{
		{"nothing", func(*Options) {}, ""},
		{"credentials", func(o *Options) { o.User, o.Password = "u", "p" }, ""},
		{"secret", func(o *Options) { o.Secret = "s" }, ""},
		{"secret and id", func(o *Options) { o.User, o.Secret = "u", "s" }, ""},
		{"no password", func(o *Options) { o.User = "u" }, "user"},
		{"no user", func(o *Options) { o.Password = "p" }, "password"},
		{"both", func(o *Options) { o.User, o.Password, o.Secret = "u", "p", "s" }, "secret"},
		{"long user", func(o *Options) { o.User, o.Password = strings.Repeat("u", 498), "p" }, "user"},
		{"control character", func(o *Options) { o.User, o.Password = "u\x00", "p\x00" }, "user password"},
		{"numbers", func(o *Options) { o.Count, o.Interval, o.Size, o.Timeout = 0, 0, MinSize-1, 0 }, "count interval size timeout"},
		{"large numbers", func(o *Options) { o.Count, o.Size, o.Timeout = 1e7, 65001, time.Hour }, "count size timeout"},
		{"family", func(o *Options) { o.Family = 5 }, "family"},
		{"peer transport", func(o *Options) { o.PeerTransport = "tls" }, "peer-transport"},
		{"peer transport of turns", func(o *Options) { o.Server.Transport, o.PeerTransport = TLS, TCP }, "peer-transport"},
		{"insecure", func(o *Options) { o.Server.Transport, o.Insecure = DTLS, true }, ""},
		{"insecure turn", func(o *Options) { o.Insecure = true }, "insecure"},
		{"echo", func(o *Options) { o.Echo = "h:7" }, ""},
		{"echo without port", func(o *Options) { o.Echo = "h" }, "echo"},
		{"echo and peer transport", func(o *Options) { o.Echo, o.PeerTransport = "h:7", TCP }, "peer-transport"},
	} {
		o := good
		c.change(&o)
		var keys []string
		for _, f := range o.Validate() {
			keys = append(keys, f.Key)
			if f.What == "" || f.Remedy == "" || strings.Contains(f.Error(), "\n") {
				t.Errorf("%s: fault %q is not one line with what and remedy", c.name, f)
			}
		}
		if got := strings.Join(keys, " "); got != c.keys {
			t.Errorf("%s: faults of %q, want %q", c.name, got, c.keys)
		}
	}
}
