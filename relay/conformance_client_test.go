package relay_test

// The conformance tests speak to a running server over sockets, as clients do that were written elsewhere. What they
// send is built by pion/stun or by hand and what they receive is read by hand, so that no code of the server's judges
// itself. A row of their tables names the section and the requirement that it holds the server to.
//
// Nobody sleeps: each answer is awaited with a deadline, and that something is not answered or not relayed is shown by
// a Binding request behind it, whose answer has to be the first thing that comes.

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// patience bounds each wait; a good run does not use it up.
const patience = 10 * time.Second

// Relayed transport addresses of the servers under test are drawn from prefixes, so that each allocation has an IP
// address, and with it permissions, of its own.
var (
	relays4 = netip.MustParsePrefix("198.51.100.0/24")
	relays6 = netip.MustParsePrefix("2001:db8:77::/64")
	// relays16 are enough for those who are many.
	relays16 = []netip.Prefix{netip.MustParsePrefix("198.18.0.0/16")}
)

const secret = "a shared secret"

// served is a server under test. The sockets of its callers stay open as long as it lives: the kernel would give their
// ports to others, who would meet the allocations of those before them.
type served struct {
	*relay.Server

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

// conforming starts the server that most tests talk to, with all of the kernel's help that it can get.
func conforming(t *testing.T, change func(*relay.Config)) *served {
	t.Helper()
	s := new(served)
	t.Cleanup(s.dismiss)
	s.Server = start(t, func(c *relay.Config) {
		c.RelayAddresses = []netip.Prefix{relays4, relays6}
		c.Offload = udp.Offload{GRO: true, GSO: true}
		addSecure(t, c)
		c.Workers = 2 // whatever the machine has
		c.Log = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelTrace}
		c.Auth = auth.Options{
			Realm:   "hairpin",
			Users:   []auth.User{{Name: "alice", Password: "wonder"}, {Name: "bob", Password: "builder"}},
			Secrets: []string{secret},
		}
		if change != nil {
			change(c)
		}
	})
	return s
}

// dismiss closes the sockets of all callers.
func (s *served) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
}

// addSecure has a server listen for those who come over TLS and DTLS.
func addSecure(t *testing.T, c *relay.Config) {
	t.Helper()
	c.Listeners = append(c.Listeners, relay.Listener{Scheme: "tls", Address: "127.0.0.1:0"}, relay.Listener{Scheme: "dtls", Address: "[::1]:0"})
	c.Certificates = []secure.Pair{selfSigned(t, "127.0.0.1", "::1")}
}

// way is how a client reaches a server.
type way struct {
	scheme string
	v6     bool
}

var (
	overUDP  = way{"udp", false}
	overTCP  = way{"tcp", false}
	overUDP6 = way{"udp", true}
	overTCP6 = way{"tcp", true}
	overTLS  = way{"tls", false}
	overDTLS = way{"dtls", true}
	ways     = []way{overUDP, overTCP, overUDP6, overTCP6}
)

func (w way) String() string {
	if w.v6 {
		return w.scheme + " IPv6"
	}
	return w.scheme + " IPv4"
}

// eachWay runs a test over every transport and family of a server.
func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range append(slices.Clip(ways), overTLS, overDTLS) {
		t.Run(w.String(), func(t *testing.T) { test(t, w) })
	}
}

// caller is a client with one socket. It belongs to the test's goroutine.
type caller struct {
	t      testing.TB
	conn   net.Conn
	stream *bufio.Reader // of a TCP connection, else nil

	user, password, realm, nonce string

	relayed netip.AddrPort // after allocate

	software string // that the server is to tell
}

// call connects to a server as alice.
func (s *served) call(t testing.TB, w way) *caller {
	t.Helper()
	return s.callAt(t, w.scheme, s.at(t, w), netip.AddrPort{})
}

// at is where the server listens.
func (s *served) at(t testing.TB, w way) netip.AddrPort {
	t.Helper()
	for _, l := range s.ListenerInfos() {
		if l.Scheme == w.scheme && l.Address.Addr().Is6() == w.v6 {
			return l.Address
		}
	}
	t.Fatalf("no listener for %s", w)
	return netip.AddrPort{}
}

// callAt connects to an address, over UDP from a local one if that is valid. A connected UDP socket takes datagrams
// from that address alone, so an answer from anywhere else is as good as none.
func (s *served) callAt(t testing.TB, scheme string, server, local netip.AddrPort) *caller {
	t.Helper()
	c := &caller{t: t, user: "alice", password: "wonder", realm: "hairpin"}
	d := net.Dialer{Timeout: patience}
	if local.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(local)
	}
	var err error
	if c.conn, err = dial(t.Context(), &d, scheme, server); err != nil {
		t.Fatal(err)
	}
	if scheme == "tcp" || scheme == "tls" {
		c.stream = bufio.NewReaderSize(c.conn, 1<<17)
	}
	s.mu.Lock()
	s.conns = append(s.conns, c.conn)
	s.mu.Unlock()
	return c
}

// as makes the caller somebody else. The nonce stays, since it belongs to the address.
func (c *caller) as(user, password string) *caller {
	c.user, c.password = user, password
	return c
}

// with is the same socket under another name.
func (c *caller) with(user, password string) *caller {
	other := *c
	return other.as(user, password)
}

// local is the caller's own transport address, as the server should see it.
func (c *caller) local() netip.AddrPort {
	a := netip.MustParseAddrPort(c.conn.LocalAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (c *caller) key() []byte {
	sum := md5.Sum([]byte(c.user + ":" + c.realm + ":" + c.password)) // RFC 8489 §9.2.2
	return sum[:]
}

// send writes b at once: one datagram, or one segment as a rule.
func (c *caller) send(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the next message or ChannelData, with its padding.
func (c *caller) receive() []byte {
	c.t.Helper()
	b, err := c.read()
	if err != nil {
		c.t.Fatalf("no message from the server: %v", err)
	}
	return b
}

func (c *caller) read() ([]byte, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	if c.stream == nil {
		b := make([]byte, 1<<16)
		n, err := c.conn.Read(b)
		return b[:n:n], err
	}
	head, err := c.stream.Peek(4)
	if err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] >> 6 {
	case 0: // RFC 8489 §5
		length += 20
	case 1: // RFC 8656 §12.4, §12.5
		length = (4 + length + 3) &^ 3
	default:
		return nil, fmt.Errorf("the stream has lost its framing at %x", head)
	}
	b := make([]byte, length)
	_, err = io.ReadFull(c.stream, b)
	return b, err
}

// closed waits for the server to end the connection.
func (c *caller) closed() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := c.stream.ReadByte()
	if err == nil {
		c.t.Fatalf("the connection is open and brought %#x", b)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.t.Fatal("the server leaves the connection open")
	}
}

// ask sends a request and reads its answer, which has to be the next thing that comes, and to be well-formed.
func (c *caller) ask(request []byte) answer {
	c.t.Helper()
	c.send(request)
	return c.answerTo(request)
}

// answerTo reads the answer to a request that was sent.
func (c *caller) answerTo(request []byte) answer {
	c.t.Helper()
	raw := c.receive()
	a, err := readAnswer(raw)
	if err != nil {
		c.t.Fatalf("%v in\n%x", err, raw)
	}
	if !bytes.Equal(a.id(), request[8:20]) || a.method != methodOf(request) {
		c.t.Fatalf("what came is not the answer (RFC 8489 §6.3.1.1)\n%x\nto\n%x", raw, request)
	}
	if got := string(a.get(stun.AttrSoftware)); got != c.software {
		c.t.Errorf("the answer tells SOFTWARE %q, want %q", got, c.software)
	}
	return a
}

// unsigned builds a request without credentials.
func (c *caller) unsigned(method stun.Method, setters ...stun.Setter) []byte {
	c.t.Helper()
	return c.build(append([]stun.Setter{stun.NewType(method, stun.ClassRequest)}, setters...)...)
}

// signed builds a request with the long-term credential and FINGERPRINT; it fetches a nonce first if there is none.
func (c *caller) signed(method stun.Method, setters ...stun.Setter) []byte {
	c.t.Helper()
	if c.nonce == "" {
		c.challenge()
	}
	return c.unsigned(method, append(slices.Clip(setters), c.credentials(), stun.Fingerprint)...)
}

// credentials is what signs a request, MESSAGE-INTEGRITY last.
func (c *caller) credentials() stun.Setter {
	return setters{stun.NewUsername(c.user), stun.NewRealm(c.realm), stun.NewNonce(c.nonce), stun.MessageIntegrity(c.key())}
}

// build makes a message of setters; a transaction ID comes first.
func (c *caller) build(s ...stun.Setter) []byte {
	c.t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID}, s...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return m.Raw
}

// challenge asks without credentials for what they need.
func (c *caller) challenge() answer {
	c.t.Helper()
	a := c.ask(c.unsigned(stun.MethodAllocate, udpTransport))
	a.want(c.t, 401)
	c.realm, c.nonce = string(a.get(stun.AttrRealm)), string(a.get(stun.AttrNonce))
	return a
}

// request makes a signed request. The credentials being right, the answer has to be signed, too (RFC 8489 §9.2.4),
// unless it is the one that asks for others.
func (c *caller) request(method stun.Method, setters ...stun.Setter) answer {
	c.t.Helper()
	return c.signedAnswer(c.signed(method, setters...))
}

func (c *caller) signedAnswer(request []byte) answer {
	c.t.Helper()
	a := c.ask(request)
	if code := a.code(); !a.signedBy(c.key()) && code != 401 && code != 438 {
		c.t.Errorf("MESSAGE-INTEGRITY of the answer (code %d) is missing or wrong", code)
	}
	return a
}

// allocate makes an allocation that the test stands on.
func (c *caller) allocate(setters ...stun.Setter) answer {
	c.t.Helper()
	a := c.request(stun.MethodAllocate, append([]stun.Setter{udpTransport}, setters...)...)
	a.want(c.t, 0)
	c.relayed = a.address(c.t, stun.AttrXORRelayedAddress)
	return a
}

func (c *caller) permit(peers ...netip.AddrPort) {
	c.t.Helper()
	all := make([]stun.Setter, len(peers))
	for i, p := range peers {
		all[i] = peer(p)
	}
	c.request(stun.MethodCreatePermission, all...).want(c.t, 0)
}

func (c *caller) bind(number uint16, to netip.AddrPort) {
	c.t.Helper()
	c.request(stun.MethodChannelBind, channel(number), peer(to)).want(c.t, 0)
}

// binding asks for the reflexive address, which anybody may at any time.
func (c *caller) binding() answer {
	c.t.Helper()
	a := c.ask(c.unsigned(stun.MethodBinding))
	a.want(c.t, 0)
	return a
}

// quiet shows that nothing has come or is under way: the answer to a Binding request is the first thing received.
func (c *caller) quiet() {
	c.t.Helper()
	c.binding()
}

// settle returns when the server is done with everything sent so far: what it had to relay is in its receiver's
// socket. The first answer may leave ahead of what came in the same read; the second request is a later read.
func (c *caller) settle() {
	c.t.Helper()
	c.binding()
	c.binding()
}

// sendTo sends a Send indication.
func (c *caller) sendTo(to netip.AddrPort, data []byte, setters ...stun.Setter) {
	c.t.Helper()
	c.send(c.indication(to, data, setters...))
}

func (c *caller) indication(to netip.AddrPort, data []byte, setters ...stun.Setter) []byte {
	c.t.Helper()
	return c.build(append([]stun.Setter{stun.NewType(stun.MethodSend, stun.ClassIndication), peer(to), raw(stun.AttrData, data...)}, setters...)...)
}

// wantData reads a Data indication and holds it against RFC 8656 §11.3.
func (c *caller) wantData(from netip.AddrPort, data []byte) {
	c.t.Helper()
	b := c.receive()
	a, err := parseMessage(b)
	if err != nil {
		c.t.Fatalf("%v in %x", err, b)
	}
	if a.method != stun.MethodData || a.class != stun.ClassIndication || a.has(stun.AttrMessageIntegrity) {
		c.t.Fatalf("want a Data indication, without integrity, of %q; got\n%x", trim(data), trim(b))
	}
	if got := a.get(stun.AttrData); !a.has(stun.AttrData) || !bytes.Equal(got, data) {
		c.t.Errorf("DATA is %q, want %q", trim(got), trim(data))
	}
	if got := a.address(c.t, stun.AttrXORPeerAddress); got != from {
		c.t.Errorf("XOR-PEER-ADDRESS is %v, want %v", got, from)
	}
}

// wantChannel reads ChannelData and holds it against RFC 8656 §12.5.
func (c *caller) wantChannel(number uint16, data []byte) {
	c.t.Helper()
	b := c.receive()
	if len(b) < 4 || binary.BigEndian.Uint16(b) != number {
		c.t.Fatalf("want ChannelData on %#x of %q, got\n%x", number, trim(data), trim(b))
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length > len(b)-4 || !bytes.Equal(b[4:4+length], data) {
		c.t.Errorf("ChannelData carries %q, want %q", trim(b[4:]), trim(data))
	}
	if rest := b[4+length:]; len(rest) > 3 || len(bytes.Trim(rest, "\x00")) > 0 {
		c.t.Errorf("behind %d bytes of ChannelData come %x", length, trim(rest))
	}
}

// deadline is when a wait that begins now is given up.
func deadline() time.Time { return time.Now().Add(patience) }

// eventually waits for what the server does after its answer has left, such as counting it.
func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !true(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
