package control

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// The tests speak to a Worker as a client would, with messages made and read by
// pion/stun, so that wire's reading and writing is checked by a second codec.

// Methods and attributes that pion/stun has no name for.
const (
	attrAdditionalFamily        = stun.AttrType(0x8000)
	attrAddressErrorCode        = stun.AttrType(0x8001)
	attrIntegritySHA256         = stun.AttrType(0x001C)
	attrPasswordAlgorithm       = stun.AttrType(0x001D)
	attrUserhash                = stun.AttrType(0x001E)
	attrPasswordAlgorithms      = stun.AttrType(0x8002)
	realm                       = "hairpin"
	alice, bob                  = "alice", "bob"
	alicePassword               = "correct horse"
	bobPassword                 = "battery staple"
	secret                      = "shared secret"
	ipv4, ipv6             byte = 1, 2
)

var (
	serverV4 = netip.MustParseAddrPort("192.0.2.1:3478")
	serverV6 = netip.MustParseAddrPort("[2001:db8::1]:3478")
	clientV4 = netip.MustParseAddrPort("198.51.100.7:40000")
	clientV6 = netip.MustParseAddrPort("[2001:db8:1::7]:40000")

	relayV4 = netip.MustParsePrefix("203.0.113.5/32")
	relayV6 = netip.MustParsePrefix("2001:db8:2::5/128")
	ports   = allocation.PortRange{Min: 50000, Max: 59999}
)

// clock is the one that all parts of a server under test read.
type clock struct {
	base time.Time
	off  atomic.Int64
}

func newClock() *clock { return &clock{base: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time          { return c.base.Add(time.Duration(c.off.Load())) }
func (c *clock) advance(d time.Duration) { c.off.Add(int64(d)) }

// server is a handler with what it stands on.
type server struct {
	t       testing.TB
	clock   *clock
	table   *allocation.Table
	auth    *auth.Authenticator
	stats   *Stats
	handler *Handler
	worker  *Worker
}

// newServer makes a server with IPv4 and IPv6 relay addresses, two users and one
// secret; change may alter its options first.
func newServer(t testing.TB, change ...func(*allocation.Options, *auth.Options, *Options)) *server {
	t.Helper()
	s := &server{t: t, clock: newClock(), stats: new(Stats)}
	tableOptions := allocation.Options{Relay: []netip.Prefix{relayV4, relayV6}, Ports: ports, Now: s.clock.now}
	authOptions := auth.Options{
		Realm:   realm,
		Users:   []auth.User{{Name: alice, Password: alicePassword}, {Name: bob, Password: bobPassword}},
		Secrets: []string{secret},
		Now:     s.clock.now,
	}
	options := Options{Stats: s.stats, Now: s.clock.now}
	for _, f := range change {
		f(&tableOptions, &authOptions, &options)
	}
	var err error
	if s.table, err = allocation.NewTable(tableOptions); err != nil {
		t.Fatal(err)
	}
	if s.auth, err = auth.New(authOptions); err != nil {
		t.Fatal(err)
	}
	options.Table, options.Auth = s.table, s.auth
	s.handler = New(options)
	s.worker = s.handler.NewWorker()
	return s
}

// handle hands msg to the server as a listener does: in a slab whose neighbours must
// stay as they are. It returns nil when there was no answer.
func (s *server) handle(msg []byte, from *Origin) []byte {
	s.t.Helper()
	const guard = 64
	slab := bytes.Repeat([]byte{0xA5}, len(msg)+2*guard)
	copy(slab[guard:], msg)
	before := bytes.Clone(slab)
	prefix := []byte("already here")
	dst := s.worker.Handle(slab[guard:guard+len(msg)], from, prefix)
	if !bytes.Equal(slab, before) {
		s.t.Fatalf("Handle wrote into the received slab")
	}
	if !bytes.HasPrefix(dst, prefix) {
		s.t.Fatalf("Handle did not append to dst, but made %x of it", dst)
	}
	if len(dst) == len(prefix) {
		return nil
	}
	return dst[len(prefix):]
}

// client is one five-tuple with credentials.
type client struct {
	s         *server
	from      Origin
	user      string
	password  string
	realm     string
	nonce     string
	lastBytes []byte // the answer as it came
}

func (s *server) client(user, password string) *client {
	return s.clientAt(clientV4, serverV4, user, password)
}

func (s *server) clientAt(at, server netip.AddrPort, user, password string) *client {
	return &client{
		s: s, user: user, password: password, realm: realm,
		nonce: string(s.auth.AppendNonce(nil, at)),
		from: Origin{
			FiveTuple: allocation.FiveTuple{Client: at, Server: server, Transport: allocation.UDP},
			Client:    allocation.Client{Listener: 1},
		},
	}
}

// nth is the same user on another port.
func (c *client) nth(n int) *client {
	at := netip.AddrPortFrom(c.from.FiveTuple.Client.Addr(), c.from.FiveTuple.Client.Port()+uint16(n))
	return c.s.clientAt(at, c.from.FiveTuple.Server, c.user, c.password)
}

// as is another user on the same five-tuple.
func (c *client) as(user, password string) *client {
	return c.s.clientAt(c.from.FiveTuple.Client, c.from.FiveTuple.Server, user, password)
}

func (c *client) key() stun.MessageIntegrity {
	return stun.NewLongTermIntegrity(c.user, c.realm, c.password)
}

// sign is the long-term credential as setters.
func (c *client) sign() []stun.Setter {
	return []stun.Setter{
		stun.NewUsername(c.user), stun.NewRealm(c.realm), stun.NewNonce(c.nonce), c.key(),
	}
}

func build(t testing.TB, setters ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// request builds a signed request with FINGERPRINT.
func (c *client) request(method stun.Method, setters ...stun.Setter) *stun.Message {
	c.s.t.Helper()
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)
	return build(c.s.t, append(append(all, c.sign()...), stun.Fingerprint)...)
}

// send hands over a message and returns the answer, checked for what every answer
// must be; nil when there is none.
func (c *client) send(m *stun.Message) *stun.Message {
	c.s.t.Helper()
	c.lastBytes = c.s.handle(m.Raw, &c.from)
	if c.lastBytes == nil {
		return nil
	}
	answer := &stun.Message{Raw: bytes.Clone(c.lastBytes)}
	if err := answer.Decode(); err != nil {
		c.s.t.Fatalf("answer is malformed: %v", err)
	}
	if err := stun.Fingerprint.Check(answer); err != nil {
		c.s.t.Fatalf("answer without a valid FINGERPRINT (RFC 8489 §14.7): %v", err)
	}
	if answer.TransactionID != m.TransactionID || answer.Type.Method != m.Type.Method {
		c.s.t.Fatalf("answer %v is not to %v", answer, m)
	}
	if answer.Contains(stun.AttrMessageIntegrity) {
		if err := c.key().Check(answer); err != nil {
			c.s.t.Fatalf("MESSAGE-INTEGRITY of the answer: %v", err)
		}
	}
	return answer
}

// do sends a signed request and returns its answer.
func (c *client) do(method stun.Method, setters ...stun.Setter) *stun.Message {
	c.s.t.Helper()
	answer := c.send(c.request(method, setters...))
	if answer == nil {
		c.s.t.Fatalf("%v is not answered", method)
	}
	return answer
}

// allocate makes an allocation that the test needs to go on.
func (c *client) allocate(setters ...stun.Setter) *allocation.Allocation {
	c.s.t.Helper()
	answer := c.do(stun.MethodAllocate, append([]stun.Setter{udpTransport}, setters...)...)
	wantCode(c.s.t, answer, 0)
	a := c.allocation()
	if a == nil {
		c.s.t.Fatal("success without an allocation")
	}
	return a
}

func (c *client) allocation() *allocation.Allocation {
	return c.s.table.Find(&c.from.FiveTuple, c.s.table.Now())
}

// wantCode checks an answer's class, its code, and whether it carries
// MESSAGE-INTEGRITY and the challenge: signed unless the sender proved nothing.
func wantCode(t testing.TB, answer *stun.Message, code int) {
	t.Helper()
	if answer == nil {
		t.Fatalf("no answer, want code %d", code)
	}
	if got := codeOf(answer); got != code {
		t.Fatalf("answered %s, want code %d", describe(answer), code)
	}
	challenge := code == 401 || code == 438
	if got := answer.Contains(stun.AttrRealm); got != challenge {
		t.Errorf("REALM in answer %d: %v", code, got)
	}
	if got := answer.Contains(stun.AttrNonce); got != challenge {
		t.Errorf("NONCE in answer %d: %v", code, got)
	}
	if got := answer.Contains(stun.AttrUnknownAttributes); got != (code == 420) {
		t.Errorf("UNKNOWN-ATTRIBUTES in answer %d: %v", code, got)
	}
}

// wantSigned checks that an answer carries MESSAGE-INTEGRITY or does not; that it is
// right has been checked by send.
func wantSigned(t testing.TB, answer *stun.Message, signed bool) {
	t.Helper()
	if got := answer.Contains(stun.AttrMessageIntegrity); got != signed {
		t.Errorf("MESSAGE-INTEGRITY in %s: %v, want %v", describe(answer), got, signed)
	}
}

// codeOf returns an answer's error code, 0 for a success.
func codeOf(answer *stun.Message) int {
	if answer.Type.Class == stun.ClassSuccessResponse {
		return 0
	}
	var e stun.ErrorCodeAttribute
	if answer.Type.Class != stun.ClassErrorResponse || e.GetFrom(answer) != nil {
		return -1
	}
	return int(e.Code)
}

func describe(answer *stun.Message) string {
	var e stun.ErrorCodeAttribute
	if e.GetFrom(answer) == nil {
		return answer.Type.String() + " " + e.String()
	}
	return answer.Type.String()
}

// attributes lists an answer's attributes in their order.
func attributes(m *stun.Message) []stun.AttrType {
	var list []stun.AttrType
	for _, a := range m.Attributes {
		list = append(list, a.Type)
	}
	return list
}

func wantAttributes(t testing.TB, answer *stun.Message, want ...stun.AttrType) {
	t.Helper()
	if got := attributes(answer); !slices.Equal(got, want) {
		t.Errorf("attributes of the answer are %v, want %v", got, want)
	}
}

// value returns an attribute that must be there.
func value(t testing.TB, m *stun.Message, a stun.AttrType) []byte {
	t.Helper()
	v, err := m.Get(a)
	if err != nil {
		t.Fatalf("%v in %s: %v", a, describe(m), err)
	}
	return v
}

func lifetimeOf(t testing.TB, m *stun.Message) time.Duration {
	t.Helper()
	return time.Duration(binary.BigEndian.Uint32(value(t, m, stun.AttrLifetime))) * time.Second
}

func xorAddress(t testing.TB, m *stun.Message, a stun.AttrType) netip.AddrPort {
	t.Helper()
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, a); err != nil {
		t.Fatalf("%v in %s: %v", a, describe(m), err)
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	if len(value(t, m, a)) == 8 {
		ip = ip.Unmap()
	}
	return netip.AddrPortFrom(ip, uint16(x.Port))
}

// raw is an attribute of any bytes.
func raw(a stun.AttrType, v ...byte) stun.Setter { return stun.RawAttribute{Type: a, Value: v} }

// peer is XOR-PEER-ADDRESS, in the family that the address has: an IPv4-mapped one is
// IPv6, which pion/stun's own type cannot send.
type peer netip.AddrPort

func (p peer) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	v := binary.BigEndian.AppendUint16([]byte{0, ipv4}, a.Port()^0x2112)
	v = append(v, a.Addr().AsSlice()...)
	if a.Addr().Is6() {
		v[1] = ipv6
	}
	for i := range v[4:] {
		v[4+i] ^= m.Raw[4+i]
	}
	m.Add(stun.AttrXORPeerAddress, v)
	return nil
}

func peerAt(s string) peer { return peer(netip.MustParseAddrPort(s)) }

func lifetime(seconds uint32) stun.Setter {
	return raw(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds)...)
}

func channel(n uint16) stun.Setter {
	return raw(stun.AttrChannelNumber, byte(n>>8), byte(n), 0, 0)
}

func family(f byte) stun.Setter     { return raw(stun.AttrRequestedAddressFamily, f, 0, 0, 0) }
func additional(f byte) stun.Setter { return raw(attrAdditionalFamily, f, 0, 0, 0) }
func token(v []byte) stun.Setter    { return raw(stun.AttrReservationToken, v...) }

var (
	udpTransport = raw(stun.AttrRequestedTransport, 17, 0, 0, 0)
	evenPort     = raw(stun.AttrEvenPort, 0)
	evenPair     = raw(stun.AttrEvenPort, 0x80)
	dontFragment = raw(stun.AttrDontFragment)
	unknownAttr  = raw(0x7ABC, 1, 2, 3, 4)
)

type authOptions = auth.Options

func addrPort(ip [4]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(ip), port)
}

func label(method string, code int) string { return fmt.Sprintf("%s %d", method, code) }

func equalCounts(a, b map[string]uint64) bool { return maps.Equal(a, b) }
