package relay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// What coturn published of its faults from 2018 on, tried on this server, from outside where that can be. A row says what
// went wrong there; its test says what happens here. Rows of what this server doesn't have (a database, a telnet console,
// a web administration on the TURN ports) show that what led there leads nowhere.
func TestRegressions(t *testing.T) {
	for _, row := range []struct {
		advisory, fault string
		test            func(t *testing.T)
	}{
		{"CVE-2018-4056", "a user name was written into an SQL statement", regressUserNames},
		{"CVE-2018-4058", "peers on loopback were allowed unless forbidden", regressLoopbackByDefault},
		{"CVE-2018-4059", "a telnet console without a password listened on loopback", regressConsole},
		{"CVE-2020-4067", "padding told what the buffer held before", regressPadding},
		{"CVE-2020-6061, CVE-2020-6062", "an HTTP POST on the TURN port was read past its end", regressHTTP},
		{"CVE-2020-26262", "0.0.0.0, :: and ::1 led to loopback", regressUnspecified},
		{"CVE-2025-69217", "nonces and relayed ports could be guessed", regressRandomness},
		{"CVE-2026-27624", "IPv4-mapped addresses passed the rules for IPv4", regressMapped},
		{"CVE-2026-53450", "so did other spellings of IPv4 addresses", regressEmbedded},
		{"CVE-2026-40613", "an attribute at an odd offset ended the process", regressOdd},
		{"CVE-2026-43994", "an access token's nonce length was trusted", regressTokenLength},
		{"CVE-2026-62959", "a redirect for ACME told what the heap held", regressACME},
		{"CVE-2026-68552", "a length near 2^16 wrapped, and the rest was read as a message of its own", regressFraming},
		{"CVE-2026-73212", "Connect took peers that rules forbid", regressConnect},
		{"CVE-2026-73213", "IPv6 ranges were compared byte by byte, each for itself", regressRanges},
		{"CVE-2026-73214", "a ClientHello without cookie took memory", regressCookie},
		{"CVE-2026-73215", "EVEN-PORT without R took the port above for ever", regressEvenPort},
		{"CVE-2026-73216", "an allocation that waits to be moved counted on no quota", regressMobilityQuota},
		{"CVE-2026-104074", "a reason phrase told what the stack held", regressReason},
		{"RFC 8016 resumed in floods", "each resumption cost a session", regressMobilityFlood},
		{"coturn pull request 1969", "whoever had a ticket and an account of his own got an allocation", regressMobilityOwner},
		{"coturn pull request 2056", "port 65535 was given to two when even ports ran out", regressLastPort},
		{"coturn pull request 2075", "attributes behind MESSAGE-INTEGRITY counted", regressBehindIntegrity},
		{"coturn issue 243", "one user's quota was used up by another", regressQuota},
		{"coturn issue 1999", "requests without credentials took memory each", regressStrangers},
	} {
		t.Run(row.advisory, func(t *testing.T) {
			row.test(t)
			if t.Failed() {
				t.Logf("as in coturn, where %s", row.fault)
			}
		})
	}
}

// alive shows that the server is well.
func (s *served) alive(t *testing.T) {
	t.Helper()
	s.serves(t)
	if n := s.Count(); n != 0 {
		t.Errorf("%d allocations are left", n)
	}
}

// nothingFrom sends bytes on a connection of its own, which has to be closed without a byte in return.
func (s *served) nothingFrom(t *testing.T, w way, sent string) {
	t.Helper()
	c := s.call(t, w)
	_, _ = c.conn.Write([]byte(sent)) // the end may come before all of it has left
	c.closed()
}

func regressUserNames(t *testing.T) {
	s := conforming(t, nil)
	for _, name := range []string{"' OR '1'='1", "alice'--", "alice\x00", "alice' UNION SELECT 'x", `";DROP TABLE users;--`, "%s%n", "alice\n"} {
		c := s.call(t, overUDP)
		c.challenge()
		for _, password := range []string{"", "wonder", name} {
			c.with(name, password).request(stun.MethodAllocate, udpTransport).want(t, 401)
		}
	}
	s.alive(t)
}

func regressLoopbackByDefault(t *testing.T) {
	s := conforming(t, nil)
	secret := newHost(t, false)
	c := s.call(t, overUDP)
	c.allocate()
	c.request(stun.MethodCreatePermission, peer(secret.address())).want(t, 403)
	c.request(stun.MethodChannelBind, channel(0x4000), peer(secret.address())).want(t, 403)
	c.sendTo(secret.address(), []byte("in"))
	c.send(channelData(0x4000, []byte("in"), true))
	c.settle()
	secret.quietHost()
}

// quietHost shows that nothing has come: what is sent here now is the first thing.
func (h *host) quietHost() {
	h.t.Helper()
	other := newHost(h.t, false)
	if h.address().Addr().Is6() {
		other = newHost(h.t, true)
	}
	other.send(h.address(), []byte("first"))
	h.want(other.address(), []byte("first"))
}

func regressConsole(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overTCP, overTCP6, overTLS} {
		for _, typed := range []string{"help\r\n", "\r\n", "pc\r\n", "\xff\xfb\x01\xff\xfd\x03"} {
			s.nothingFrom(t, w, typed+"\r\n\r\n\r\n\r\n") // long enough to be no beginning of a STUN message
		}
	}
	s.alive(t)
}

func regressPadding(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.Software, c.Auth.Realm = "hairpin", "hairpin"
		c.RelayAddresses = relays16
	})
	for _, w := range []way{overUDP, overTCP, overTLS, overDTLS} {
		a, b := s.call(t, w), s.call(t, w)
		a.software, b.software = "hairpin", "hairpin"
		a.allocate()
		b.allocate()
		b.permit(a.relayed)
		a.bind(0x4000, b.relayed)
		// receive, through parseMessage and wantChannel, takes no padding but zeros; here every buffer was full before.
		full := bytes.Repeat([]byte{0xFF}, 1200)
		for length := range 9 {
			a.send(channelData(0x4000, full, true))
			b.wantData(a.relayed, full)
			a.send(channelData(0x4000, full[:length], true))
			b.wantData(a.relayed, full[:length])
			a.send(a.unsigned(stun.MethodAllocate, udpTransport, raw(0x8F00+stun.AttrType(length), full[:400+length]...)))
			if _, err := readAnswer(a.receive()); err != nil {
				t.Error(err)
			}
		}
		b.bind(0x4001, a.relayed)
		for length := range 9 {
			a.send(channelData(0x4000, full, true))
			b.wantChannel(0x4001, full)
			a.send(channelData(0x4000, full[:length], true))
			b.wantChannel(0x4001, full[:length])
		}
	}
}

func regressHTTP(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overTCP, overTLS} {
		for _, length := range []string{"0", "-1", "1", "4294967295", "18446744073709551616", "x", ""} {
			s.nothingFrom(t, w, "POST /logon HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+length+"\r\n\r\nuname=a&pwd=b")
		}
		s.nothingFrom(t, w, "POST / HTTP/1.1\r\n\r\n")
	}
	s.alive(t)
}

// forbidden shows that no request leads to an address, on a server whose rules allow the whole of both families.
func forbidden(t *testing.T, texts ...string) {
	t.Helper()
	s := outgoing(t, func(c *relay.Config) { c.Peers.Rules = peerRules(t, "loop", "0.0.0.0/0", "::/0") })
	witness4, witness6 := newHost(t, false), newHost(t, true)
	for _, w := range []way{overUDP, overTCP6} {
		c4, c6 := s.call(t, w), s.call(t, w)
		c4.allocate(wantIPv4)
		c6.allocate(wantIPv6)
		for i, text := range texts {
			ip := netip.MustParseAddr(text)
			for _, c := range []*caller{c4, c6} {
				want := 403
				if ip.Is6() != c.relayed.Addr().Is6() {
					want = 443
				}
				for _, port := range []uint16{witness4.address().Port(), witness6.address().Port()} {
					there := netip.AddrPortFrom(ip, port)
					permission := want
					if ip == c.relayed.Addr() {
						permission = 0 // it is for an IP address (RFC 8656 §9), and clients have this one
					}
					if got := c.request(stun.MethodCreatePermission, peer(there)).code(); got != permission {
						t.Errorf("CreatePermission %v is answered %s, want %s", there, outcome(got), outcome(permission))
					}
					if got := c.request(stun.MethodChannelBind, channel(0x4000+uint16(i)), peer(there)).code(); got != want {
						t.Errorf("ChannelBind %v is answered %s, want %d", there, outcome(got), want)
					}
					c.sendTo(there, []byte("in"))
					c.send(channelData(0x4000+uint16(i), []byte("in"), true))
				}
			}
		}
		c4.settle()
		c6.settle()
	}
	witness4.quietHost()
	witness6.quietHost()
}

func regressUnspecified(t *testing.T) {
	forbidden(t, "0.0.0.0", "0.0.0.1", "0.1.2.3", "127.0.0.1", "127.255.255.254", "::", "::1")
}

func regressMapped(t *testing.T) {
	forbidden(t, "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:127.1.2.3", "::ffff:169.254.169.254", "::ffff:8.8.8.8")
}

func regressEmbedded(t *testing.T) {
	forbidden(t, "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::127.0.0.1", "2002:7f00:1::", "2002:7f00:1::1",
		"2001:0:7f00:1::", "2001:0:808:808::80ff:fffe", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::0.0.0.0",
		"fe80::1", "ff02::1", "169.254.169.254")
}

func regressRandomness(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")} })
	const clients = 64
	steps, nonces, tokens := make(map[uint16]bool), make(map[string]bool), make(map[string]bool)
	var last uint16
	var first *caller
	for range clients {
		c := s.call(t, overUDP)
		a := c.allocate(evenPair)
		steps[c.relayed.Port()-last], last = true, c.relayed.Port()
		nonces[c.nonce[20:]] = true
		tokens[string(a.get(stun.AttrReservationToken))] = true
		first = c
	}
	if len(steps) < clients/2 || len(nonces) != clients || len(tokens) != clients {
		t.Errorf("%d steps from port to port, %d nonces, %d tokens, of %d each", len(steps), len(nonces), len(tokens), clients)
	}
	// A nonce with another byte, wherever, is none; nor is one of another client.
	nonce := first.nonce
	for i := range nonce {
		b := []byte(nonce)
		b[i] ^= 1
		first.nonce = string(b)
		first.request(stun.MethodRefresh).want(t, 438)
	}
	other := s.call(t, overUDP)
	other.nonce = nonce
	other.request(stun.MethodAllocate, udpTransport).want(t, 438)
}

func regressOdd(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overUDP, overUDP6} {
		c := s.call(t, w)
		for length := range 4 {
			for odd := range 4 {
				b := c.unsigned(stun.MethodBinding, raw(0x8F00, make([]byte, length)...), raw(0x8F01, 1, 2, 3, 4))
				binary.BigEndian.PutUint16(b[22:], uint16(length+odd)) // the next attribute seems to begin elsewhere
				c.send(b)
				binary.BigEndian.PutUint16(b[2:], binary.BigEndian.Uint16(b[2:])-uint16(odd))
				c.send(b)
				c.send(b[:len(b)-odd])
			}
		}
		// Whatever was answered came first.
		ask := c.unsigned(stun.MethodBinding)
		for c.send(ask); !bytes.Equal(c.receive()[8:20], ask[8:20]); {
		}
	}
	s.alive(t)
}

func regressTokenLength(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys": [{"kid": "north", "key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := conforming(t, func(c *relay.Config) { c.Auth.TokenKeysFile, c.Auth.ServerName = keys, "turn.example.org" })
	for _, length := range []uint16{0, 1, 11, 12, 13, 255, 256, 257, 735, 991, 1000, 0x7FFF, 0x8000, 0xFFFF} {
		for _, size := range []int{0, 1, 12, 40, 256, 991} {
			c := s.call(t, overUDP)
			c.challenge()
			token := append(binary.BigEndian.AppendUint16(nil, length), bytes.Repeat([]byte{0x41}, size)...)
			c.with("north", "any").request(stun.MethodAllocate, udpTransport, raw(0x001B, token...)).want(t, 401)
		}
	}
	s.alive(t)
}

func regressACME(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overTCP, overTLS} {
		for _, path := range []string{"", "a", string(bytes.Repeat([]byte("A"), 4000)), "%00", "../../etc/passwd"} {
			s.nothingFrom(t, w, "GET /.well-known/acme-challenge/"+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
	s.alive(t)
}

func regressFraming(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overTCP, overTLS} {
		for length := 65516; length <= 65535; length++ {
			c := s.call(t, w)
			head := c.unsigned(stun.MethodBinding)
			binary.BigEndian.PutUint16(head[2:], uint16(length))
			// Wherever a wrapped length would have the next message begin, there is one.
			inner := c.unsigned(stun.MethodBinding)
			c.send(append(bytes.Clone(head[:20]), bytes.Repeat(inner, 4)...))
			c.closed()
			for _, cut := range []int{4, 8, 12, 16} {
				c := s.call(t, w)
				c.send(append(bytes.Clone(head[:cut]), inner...))
				c.closed()
			}
		}
		// A Send indication may be that long. What is in it is no message.
		for length := 65520; length <= 65532; length += 4 {
			c := s.call(t, w)
			c.binding() // a connection doesn't begin with data
			inner, ask := c.unsigned(stun.MethodBinding), c.unsigned(stun.MethodBinding)
			head := bytes.Clone(inner)
			binary.BigEndian.PutUint16(head, 0x0016)
			binary.BigEndian.PutUint16(head[2:], uint16(length))
			c.send(slices.Concat(head, bytes.Repeat(inner, length/len(inner)+1)[:length], ask))
			c.answerTo(ask).want(t, 0)
		}
	}
	s.alive(t)
}

func regressConnect(t *testing.T) {
	s := outgoing(t, func(c *relay.Config) { c.Peers.Rules = peerRules(t, "loop", "0.0.0.0/0", "::/0") })
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	port := inside.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, w := range []way{overTCP, overTLS} {
		c4, c6 := s.call(t, w), s.call(t, w)
		c4.allocateTCP(wantIPv4)
		c6.allocateTCP(wantIPv6)
		for _, text := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1",
			"::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "fe80::1"} {
			there := netip.AddrPortFrom(netip.MustParseAddr(text), port)
			for _, c := range []*caller{c4, c6} {
				want := 403
				if there.Addr().Is6() != c.relayed.Addr().Is6() {
					want = 443
				}
				if got := c.request(stun.MethodConnect, peer(there)).code(); got != want {
					t.Errorf("Connect %v is answered %s, want %d", there, outcome(got), want)
				}
			}
		}
	}
	// The first to be accepted is who connects now.
	conn, err := net.Dial("tcp", inside.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := inside.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if accepted.RemoteAddr().String() != conn.LocalAddr().String() {
		t.Errorf("%v got through", accepted.RemoteAddr())
	}
}

func regressRanges(t *testing.T) {
	s := outgoing(t, func(c *relay.Config) {
		c.Peers.Rules = peerRules(t, "loop", "2001:db8:1::/48", "!2001:db8:1:8000::/49", "198.51.100.128/26")
	})
	for text, code := range map[string]int{
		"2001:db8:1::": 0, "2001:db8:1:7fff:ffff:ffff:ffff:ffff": 0, "2001:db8:1:7fff::1": 0,
		"2001:db8:1:8000::": 403, "2001:db8:1:8000:0:0:0:1": 403, "2001:db8:1:ffff:ffff:ffff:ffff:ffff": 403, "2001:db8:1:9000::ff": 403,
		"2001:db8:2::": 403, "2001:db8:2:9000::1": 403, "2001:db8:0:ffff:ffff:ffff:ffff:ffff": 403, "2001:db7:1::": 403, "2002:db8:1::": 403,
		"198.51.100.128": 0, "198.51.100.191": 0, "198.51.100.127": 403, "198.51.100.192": 403, "198.51.101.128": 403, "198.50.100.150": 403,
	} {
		c := s.call(t, overUDP)
		ip := netip.MustParseAddr(text)
		c.allocate(familyOf(ip.Is6()))
		if got := c.request(stun.MethodCreatePermission, peer(netip.AddrPortFrom(ip, 9))).code(); got != code {
			t.Errorf("%v is answered %s, want %s", ip, outcome(got), outcome(code))
		}
	}
}

// firstFlight is a ClientHello without a cookie.
func firstFlight(t *testing.T) (hello []byte) {
	t.Helper()
	sink := newHost(t, true)
	raw, err := net.DialUDP("udp", nil, sink.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := dtls.ClientWithOptions(connected{raw}, raw.RemoteAddr(), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.HandshakeContext(ctx)
	}()
	b := make([]byte, 2048)
	n, err := sink.Read(b)
	cancel()
	<-over
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func regressCookie(t *testing.T) {
	s := conforming(t, nil)
	s.alive(t)
	hello := firstFlight(t)
	count := func(outcome string) (n uint64) {
		for _, h := range s.Snapshot().Handshakes {
			if h.Protocol == "dtls" && h.Outcome == outcome {
				n += h.Value
			}
		}
		return n
	}
	const strangers = 2000
	bounded(t, 1<<20, func() {
		for range strangers {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.at(t, overDTLS)))
			if err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(deadline())
			c.Write(hello)
			b := make([]byte, 2048)
			if n, err := c.Read(b); err != nil || n >= len(hello) || b[0] != 22 || b[13] != 3 { // HelloVerifyRequest
				t.Fatalf("%x, %v", b[:n], err)
			}
			c.Close()
		}
	})
	if n := count("challenged"); n != strangers {
		t.Errorf("%d were asked for their cookie, want %d", n, strangers)
	}
	if n := count("completed") + count("failed") + count("displaced"); n != 0 {
		t.Errorf("%d openings of strangers", n)
	}
	c := s.call(t, overDTLS)
	c.allocate()
}

// narrow starts a server of few ports.
func narrow(t *testing.T, ports allocation.PortRange) *served {
	return conforming(t, func(c *relay.Config) {
		c.RelayAddresses, c.RelayPorts, c.Cooldown = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}, ports, 1
	})
}

func regressEvenPort(t *testing.T) {
	s := narrow(t, allocation.PortRange{Min: 50001, Max: 50004})
	for range 100 { // of which each would cost a port
		c := s.call(t, overUDP)
		c.allocate(evenPort)
		c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	}
	even := []*caller{s.call(t, overUDP), s.call(t, overUDP)}
	for _, c := range even {
		c.allocate(evenPort)
	}
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport, evenPort).want(t, 508)
	for range 2 {
		s.call(t, overUDP).allocate() // the odd ones are free
	}
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport).want(t, 508)
}

func regressLastPort(t *testing.T) {
	s := narrow(t, allocation.PortRange{Min: 65533, Max: 65535})
	holders := make(map[uint16]*caller)
	for range 3 {
		c := s.call(t, overUDP)
		c.allocate()
		holders[c.relayed.Port()] = c
	}
	if len(holders) != 3 {
		t.Fatalf("%d ports for three", len(holders))
	}
	for range 50 {
		for _, kind := range []setters{{evenPort}, {evenPair}, {}} {
			s.call(t, overUDP).request(stun.MethodAllocate, udpTransport, kind).want(t, 508)
		}
	}
	holders[65534].request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport, evenPair).want(t, 508) // 65535 is somebody's
	c := s.call(t, overUDP)
	if c.allocate(evenPort); c.relayed.Port() != 65534 {
		t.Errorf("got port %d", c.relayed.Port())
	}
}

func regressMobilityQuota(t *testing.T) {
	const quota = 3
	s := conforming(t, func(c *relay.Config) { c.UserQuota, c.TotalQuota = quota, 2*quota })
	for range quota { // each waits for its client to come back
		c := s.call(t, overTCP)
		c.mobile()
		c.conn.Close()
	}
	for range 5 * quota {
		for _, w := range []way{overTCP, overUDP} {
			s.call(t, w).request(stun.MethodAllocate, udpTransport, raw(attrTicket)).want(t, 486)
		}
		if n := s.Count(); n != quota {
			t.Fatalf("alice has %d allocations, may have %d", n, quota)
		}
	}
	s.call(t, overTCP).as("bob", "builder").allocate()
}

func regressMobilityFlood(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.UserQuota, c.TotalQuota = 1, 2 })
	a := s.call(t, overUDP)
	ticket := a.mobile()
	relayed := a.relayed
	bounded(t, 2<<20, func() {
		for i := range 200 {
			c := s.call(t, overUDP)
			old := ticket
			ticket = c.move(ticket)
			// What was used opens nothing.
			s.call(t, overUDP).request(stun.MethodRefresh, raw(attrTicket, old...)).want(t, 400)
			if n := s.Count(); n != 1 {
				t.Fatalf("%d moves have made %d allocations of one", i+1, n)
			}
			c.conn.Close()
		}
		s.dismiss()
	})
	last := s.call(t, overUDP)
	last.move(ticket)
	b := s.call(t, overUDP).as("bob", "builder")
	b.allocate()
	b.permit(relayed)
	last.permit(b.relayed)
	last.sendTo(b.relayed, []byte("still there"))
	b.wantData(relayed, []byte("still there"))
}

func regressMobilityOwner(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overUDP, overTCP} {
		a := s.call(t, w)
		ticket := a.mobile()
		established := s.call(t, w).as("bob", "builder")
		established.allocate()
		for _, mallory := range []*caller{established, s.call(t, w).as("bob", "builder"), s.call(t, overUDP6).as("bob", "builder")} {
			mallory.request(stun.MethodRefresh, raw(attrTicket, ticket...)).want(t, 441)
			mallory.request(stun.MethodRefresh, raw(attrTicket, ticket...), lifetime(0)).want(t, 441)
		}
		for i := range ticket { // nor does a ticket of one's own making
			forged := bytes.Clone(ticket)
			forged[i] ^= 1
			s.call(t, w).request(stun.MethodRefresh, raw(attrTicket, forged...)).want(t, 400)
		}
		a.request(stun.MethodRefresh).want(t, 0) // it is where it was
	}
}

func regressReason(t *testing.T) {
	s := conforming(t, nil)
	for _, w := range []way{overUDP, overTCP} {
		c := s.call(t, w)
		for range 20 {
			a := c.ask(c.unsigned(stun.MethodAllocate, udpTransport))
			if got := string(a.get(stun.AttrErrorCode)[4:]); got != "Unauthenticated" {
				t.Errorf("the reason is %q", got)
			}
			c.ask(c.unsigned(stun.MethodBinding, raw(0x7ABC), raw(0x7ABD))).want(t, 420)
		}
	}
}

func regressBehindIntegrity(t *testing.T) {
	s := conforming(t, nil)
	a, b := s.call(t, overUDP), s.call(t, overUDP)
	a.allocate()
	b.allocate()
	b.permit(a.relayed)
	// What somebody on the way adds permits nobody, binds nothing, ends nothing.
	a.signedAnswer(a.unsigned(stun.MethodCreatePermission, peer(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.250"), 1)),
		a.credentials(), peer(b.relayed), stun.Fingerprint)).want(t, 0)
	a.sendTo(b.relayed, []byte("in"))
	a.settle()
	b.quiet()
	a.signedAnswer(a.unsigned(stun.MethodChannelBind, channel(0x4000), a.credentials(), peer(b.relayed), stun.Fingerprint)).want(t, 400)
	a.signedAnswer(a.unsigned(stun.MethodRefresh, a.credentials(), lifetime(0), stun.Fingerprint)).want(t, 0)
	a.request(stun.MethodRefresh).want(t, 0)
}

func regressQuota(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.UserQuota = 2 })
	var alice *caller
	for range 2 {
		alice = s.call(t, overUDP)
		alice.allocate()
	}
	s.call(t, overUDP).request(stun.MethodAllocate, udpTransport).want(t, 486)
	for range 2 {
		s.call(t, overUDP).as("bob", "builder").allocate()
	}
	alice.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	s.call(t, overUDP).as("bob", "builder").request(stun.MethodAllocate, udpTransport).want(t, 486)
	s.call(t, overUDP).allocate()
}

func regressStrangers(t *testing.T) {
	s := conforming(t, nil)
	s.alive(t)
	bounded(t, 1<<20, func() {
		for range 2000 {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.at(t, overUDP)))
			if err != nil {
				t.Fatal(err)
			}
			request := (&caller{t: t}).unsigned(stun.MethodAllocate, udpTransport)
			c.SetReadDeadline(deadline())
			c.Write(request)
			b := make([]byte, 2048)
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := readAnswer(b[:n]); err != nil || a.code() != 401 {
				t.Fatalf("%v, %d", err, a.code())
			}
			c.Close()
		}
	})
	s.alive(t)
}
