package relay_test

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/control"
)

// Attributes of RFC 5780 §7.
const (
	attrChangeRequest  = stun.AttrType(0x0003)
	attrPadding        = stun.AttrType(0x0026)
	attrResponsePort   = stun.AttrType(0x0027)
	attrResponseOrigin = stun.AttrType(0x802B)
	attrOtherAddress   = stun.AttrType(0x802C)
)

// discovering starts a server with a second address and port, and returns its four addresses: as the listener has them,
// with the other port, with the other address, with both.
func discovering(t *testing.T) [4]netip.AddrPort {
	t.Helper()
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	if c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(two, 0))); err != nil {
		t.Skipf("SKIP: this host has no %s: %v", two, err)
	} else {
		c.Close()
	}
	var ports [2]uint16
	for i := range ports {
		free, err := net.ListenUDP("udp4", &net.UDPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = netip.MustParseAddrPort(free.LocalAddr().String()).Port()
		free.Close()
	}
	conforming(t, func(c *relay.Config) {
		c.Listeners = []relay.Listener{{Scheme: "udp", Address: netip.AddrPortFrom(one, ports[0]).String()}}
		c.NATDiscovery = netip.AddrPortFrom(two, ports[1])
		c.Limits = control.Limits{Bytes: 1 << 16}
	})
	return [4]netip.AddrPort{
		netip.AddrPortFrom(one, ports[0]), netip.AddrPortFrom(one, ports[1]), netip.AddrPortFrom(two, ports[0]), netip.AddrPortFrom(two, ports[1]),
	}
}

// bindingAt sends a Binding request with attributes and returns the answer and where it came from.
func bindingAt(t *testing.T, from *net.UDPConn, at *net.UDPConn, to netip.AddrPort, setters ...stun.Setter) (*stun.Message, netip.AddrPort) {
	t.Helper()
	request := stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...)
	if _, err := from.WriteToUDPAddrPort(request.Raw, to); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	at.SetReadDeadline(time.Now().Add(patience))
	n, by, err := at.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatalf("no answer from the server: %v", err)
	}
	m := &stun.Message{Raw: b[:n]}
	if err := m.Decode(); err != nil || m.TransactionID != request.TransactionID {
		t.Fatalf("the answer is %v, %v", m, err)
	}
	return m, netip.AddrPortFrom(by.Addr().Unmap(), by.Port())
}

// plain reads an attribute in the format of MAPPED-ADDRESS.
func plain(t *testing.T, m *stun.Message, a stun.AttrType) netip.AddrPort {
	t.Helper()
	var address stun.MappedAddress
	if err := address.GetFromAs(m, a); err != nil {
		t.Fatalf("attribute %v: %v", a, err)
	}
	ip, _ := netip.AddrFromSlice(address.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(address.Port))
}

// RFC 5780 §6.1, Table 1: where an answer comes from, by where the request went and what it asked for.
func TestNATDiscovery(t *testing.T) {
	places := discovering(t)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own := netip.MustParseAddrPort(conn.LocalAddr().String()).Port()
	for place, to := range places {
		for flags, change := range map[byte]int{0: 0, 0x2: 1, 0x4: 2, 0x6: 3} {
			m, by := bindingAt(t, conn, conn, to, stun.RawAttribute{Type: attrChangeRequest, Value: []byte{0, 0, 0, flags}})
			if want := places[place^change]; by != want || plain(t, m, attrResponseOrigin) != want {
				t.Errorf("to %v with %#x: from %v, RESPONSE-ORIGIN %v, want %v", to, flags, by, plain(t, m, attrResponseOrigin), want)
			}
			if got := plain(t, m, attrOtherAddress); got != places[place^3] {
				t.Errorf("to %v: OTHER-ADDRESS %v, want %v", to, got, places[place^3])
			}
			if got := plain(t, m, stun.AttrMappedAddress); got.Port() != own {
				t.Errorf("to %v: MAPPED-ADDRESS %v, want port %d", to, got, own)
			}
		}
	}

	// RFC 5780 §7.5: the answer goes to another port.
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	port := netip.MustParseAddrPort(other.LocalAddr().String()).Port()
	responsePort := stun.RawAttribute{Type: attrResponsePort, Value: []byte{byte(port >> 8), byte(port), 0, 0}}
	if _, by := bindingAt(t, conn, other, places[0], responsePort); by != places[0] {
		t.Errorf("with RESPONSE-PORT the answer comes from %v", by)
	}

	// RFC 5780 §7.6: as long as the request's, and no longer than a frame.
	for length, want := range map[int]int{4: 4, 1500: 1500, 1900: 1500} {
		m, _ := bindingAt(t, conn, conn, places[0], stun.RawAttribute{Type: attrPadding, Value: make([]byte, length)})
		if v, err := m.Get(attrPadding); err != nil || len(v) != want {
			t.Errorf("PADDING of %d is answered with %d: %v", length, len(v), err)
		}
	}

	for name, setters := range map[string][]stun.Setter{
		"PADDING and RESPONSE-PORT": {responsePort, stun.RawAttribute{Type: attrPadding, Value: make([]byte, 8)}},
		"short CHANGE-REQUEST":      {stun.RawAttribute{Type: attrChangeRequest, Value: []byte{6}}},
		"port 0":                    {stun.RawAttribute{Type: attrResponsePort, Value: []byte{0, 0, 0, 0}}},
	} {
		m, by := bindingAt(t, conn, conn, places[0], setters...)
		var code stun.ErrorCodeAttribute
		if code.GetFrom(m); code.Code != 400 || by != places[0] {
			t.Errorf("%s: %v from %v, want 400", name, code.Code, by)
		}
	}
	// Nothing but Binding is answered at the other three: the Binding behind it is what is.
	for _, to := range places[1:] {
		allocate := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
		conn.WriteToUDPAddrPort(allocate.Raw, to)
		bindingAt(t, conn, conn, to)
	}
}

// Without a second address the attributes are unknown.
func TestNoNATDiscovery(t *testing.T) {
	s := conforming(t, nil)
	c := s.call(t, overUDP)
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest,
		stun.RawAttribute{Type: attrChangeRequest, Value: []byte{0, 0, 0, 6}})
	c.send(request.Raw)
	m := &stun.Message{Raw: c.receive()}
	var code stun.ErrorCodeAttribute
	if err := m.Decode(); err != nil || code.GetFrom(m) != nil || code.Code != 420 {
		t.Errorf("%v: %v, want 420", m, code.Code)
	}
	if m.Contains(attrOtherAddress) {
		t.Error("OTHER-ADDRESS of a server with one address")
	}
}

func TestNATDiscoveryFaults(t *testing.T) {
	for _, test := range []struct {
		listen, other string
		bytes         int
		want          string
	}{
		{"127.0.0.1:3478", "127.0.0.2:3479", 0, "need a limit of bytes"},
		{":3478", "127.0.0.2:3479", 1, "no UDP listener has an IPv4 address of its own"},
		{"127.0.0.1:3478", "[::1]:3479", 1, "no UDP listener has an IPv6 address of its own"},
		{"127.0.0.1:3478", "127.0.0.1:3479", 1, "must both be others"},
		{"127.0.0.1:3478", "127.0.0.2:3478", 1, "must both be others"},
		{"127.0.0.1:3478", "0.0.0.0:3479", 1, "give an address of this host"},
		{"127.0.0.1:3478", "127.0.0.2:0", 1, "give an address of this host"},
	} {
		_, err := relay.New(relay.Config{
			Listeners:    []relay.Listener{{Scheme: "udp", Address: test.listen}},
			NATDiscovery: netip.MustParseAddrPort(test.other), Limits: control.Limits{Bytes: test.bytes},
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s beside %s: %v, want %q", test.other, test.listen, err, test.want)
		}
	}
}

// coturn's client finds no NAT on loopback.
func TestNATDiscoveryByCoturn(t *testing.T) {
	client, err := exec.LookPath("turnutils_natdiscovery")
	if err != nil {
		t.Skip("SKIP: turnutils_natdiscovery is not installed (Debian package coturn)")
	}
	places := discovering(t)
	for _, test := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"-m"}, `NAT with Endpoint Independent Mapping|No NAT`},
		{[]string{"-f"}, `Endpoint Independent Filtering`},
		{[]string{"-m", "-f", "-P"}, `Endpoint Independent Filtering`},
		{[]string{"-H"}, `(?i)hairpin`},
		{[]string{"-t", "-T", "1"}, `(?i)lifetime`},
	} {
		t.Run(strings.Join(test.arguments, " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			arguments := slices.Concat(test.arguments, []string{"-p", strconv.Itoa(int(places[0].Port())), "-L", "127.0.0.1", places[0].Addr().String()})
			out, err := exec.CommandContext(ctx, client, arguments...).CombinedOutput()
			if err != nil || !regexp.MustCompile(test.want).Match(out) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
