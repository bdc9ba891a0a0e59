package udp

import (
	"net/netip"
	"reflect"
	"testing"
	"unsafe"
)

func TestDestination(t *testing.T) {
	local4, local6, link := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")
	cases := []struct {
		name    string
		remote  string
		local   netip.Addr
		ifindex uint32
		want    string // of Remote
		source  bool   // local is kept
		kept    uint32 // of ifindex
	}{
		{"v4", "192.0.2.9:3478", netip.Addr{}, 0, "192.0.2.9:3478", false, 0},
		{"v4 from", "192.0.2.9:3478", local4, 7, "192.0.2.9:3478", true, 0},
		{"v6 from", "[2001:db8::9]:65535", local6, 7, "[2001:db8::9]:65535", true, 0},
		{"mapped", "[::ffff:192.0.2.9]:1", local4, 0, "192.0.2.9:1", true, 0},
		{"other family's source", "192.0.2.9:1", local6, 0, "192.0.2.9:1", false, 0},
		{"unspecified source", "192.0.2.9:2", netip.IPv4Unspecified(), 0, "192.0.2.9:2", false, 0},
		{"link-local", "[fe80::9]:1", link, 7, "[fe80::9%7]:1", true, 7},
		{"link-local by zone", "[fe80::9%5]:1", netip.Addr{}, 0, "[fe80::9%5]:1", false, 5},
		{"global from link-local", "[2001:db8::9]:1", link, 7, "[2001:db8::9]:1", true, 7},
		{"v4 link-local", "169.254.0.9:1", netip.Addr{}, 7, "169.254.0.9:1", false, 7},
	}
	seen := map[Destination]string{}
	for _, c := range cases {
		remote := netip.MustParseAddrPort(c.remote)
		d := NewDestination(remote, c.local, c.ifindex)
		if d.Remote() != netip.MustParseAddrPort(c.want) || d.hasLocal != c.source || d.ifindex != c.kept {
			t.Errorf("%s: %v %+v", c.name, d.Remote(), d)
		}
		if d != NewDestination(remote, c.local, c.ifindex) {
			t.Errorf("%s: differs from itself", c.name)
		}
		if before, ok := seen[d]; ok {
			t.Errorf("%s is the same as %s", c.name, before)
		}
		seen[d] = c.name
		if again := NewDestination(d.Remote(), c.local, c.ifindex); again != d {
			t.Errorf("%s: %+v turns into %+v", c.name, d, again)
		}
	}
	if d := (Destination{}); d.Remote().IsValid() || d != NewDestination(netip.AddrPort{}, local4, 1) {
		t.Error("the zero Destination is somewhere")
	}
	if size := unsafe.Sizeof(Destination{}); size > 64 {
		t.Errorf("%d bytes", size)
	}
	for field := range reflect.TypeFor[Destination]().Fields() {
		switch field.Type.Kind() {
		case reflect.Array, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Bool:
		default:
			t.Errorf("%s holds a %s", field.Name, field.Type)
		}
	}
}
