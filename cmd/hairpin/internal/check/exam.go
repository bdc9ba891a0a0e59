package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// exam is one row being tried. Its methods that judge (fail, skip, wants…) end the probe at once, as those of testing.T
// do, by a panic that the runner takes for the verdict; a probe that returns has passed.
type exam struct {
	*server
	ctx     context.Context
	row     *Row
	clients []*client
	others  []net.PacketConn
	seen    string // what a pass is reported with
}

// judgement ends a probe.
type judgement struct {
	verdict Verdict
	seen    string
}

func (x *exam) fail(format string, args ...any) { panic(judgement{Fail, fmt.Sprintf(format, args...)}) }
func (x *exam) skip(format string, args ...any) {
	panic(judgement{NotApplicable, fmt.Sprintf(format, args...)})
}

// saw is what is reported when the row passes; the last one counts.
func (x *exam) saw(format string, args ...any) { x.seen = fmt.Sprintf(format, args...) }

// try runs a row's probe and cleans up behind it.
func (x *exam) try() (j judgement) {
	defer func() {
		switch r := recover().(type) {
		case nil:
			j = judgement{Pass, x.seen}
		case judgement:
			j = r
		default:
			panic(r)
		}
		for _, c := range x.clients {
			c.leave()
		}
		for _, conn := range x.others {
			conn.Close()
		}
	}()
	x.row.probe(x)
	return
}

// dial opens a new socket towards the server.
func (x *exam) dial() *client { return x.dialOver(x.Server.Transport == probe.UDP) }

// dialOver opens a datagram socket or a connection.
func (x *exam) dialOver(datagrams bool) *client {
	c, err := x.server.open(x.ctx, datagrams)
	if err != nil {
		x.fail("no socket to the server: %v", err)
	}
	if x.options.wrap != nil {
		c.conn = x.options.wrap(c.conn, x)
	}
	x.clients = append(x.clients, c)
	return c
}

// open connects to the server over UDP, TCP or, where the run is about that, TLS, from a port that the run has not used
// yet: a server may remember for a while what came from there.
func (s *server) open(ctx context.Context, datagrams bool) (*client, error) {
	c := &client{server: s, credentials: s.credentials, stream: !datagrams}
	network := "tcp"
	if datagrams {
		network = "udp"
	}
	dialer := net.Dialer{Timeout: s.timeout}
	for c.conn == nil {
		conn, err := dialer.DialContext(ctx, network, s.address.String())
		if err != nil {
			return nil, err
		}
		if s.fresh(conn) {
			c.conn = conn
		}
	}
	if s.Secure {
		secured := tls.Client(c.conn, s.tls)
		shaking, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		if err := secured.HandshakeContext(shaking); err != nil {
			c.conn.Close()
			return nil, err
		}
		c.conn = secured
	}
	return c, nil
}

// fresh says whether a socket's port is new to the run; one that isn't is parked until the end, so that the kernel
// chooses another.
func (s *server) fresh(conn net.Conn) bool {
	a, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[a.Port()] && len(s.parked) < maxParked {
		s.parked = append(s.parked, conn)
		return false
	}
	s.ports[a.Port()] = true
	return true
}

// unpark closes the parked sockets.
func (s *server) unpark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.parked {
		conn.Close()
	}
	s.parked = nil
}

// maxParked keeps the run below the usual limit of 1,024 descriptors.
const maxParked = 400

// allocated is a new client with an allocation of the server's usual family.
func (x *exam) allocated(attributes ...attr) *client {
	c := x.dial()
	x.allocate(c, attributes...)
	return c
}

// allocate makes an allocation for a client. That it can be made is what the row takes for granted: a server that has no
// room for one more says nothing about the row.
func (x *exam) allocate(c *client, attributes ...attr) *message {
	m := c.request(allocate, append(x.usual(), attributes...)...)
	switch {
	case m == nil:
		x.fail("the Allocate request was not answered %s", c.gone())
	case m.code() == 486 || m.code() == 508:
		x.skip("the server makes no further allocation: %v", m)
	case m.code() != 0:
		x.fail("the Allocate request was answered with %v", m)
	case !c.relayed.IsValid():
		x.fail("the Allocate success response has no readable XOR-RELAYED-ADDRESS")
	}
	return m
}

// usual are the attributes of an Allocate request that this server grants.
func (s *server) usual() []attr {
	if s.onlyIPv6 {
		return []attr{transport(protocolUDP), family(attrRequestedFamily, familyIPv6)}
	}
	return []attr{transport(protocolUDP)}
}

// challenged is a new client with a nonce; it skips rows about credentials on a server that asks for none.
func (x *exam) challenged() *client {
	c := x.dial()
	if !x.authenticates {
		x.skip("the server asks for no credentials")
	}
	if c.challenge() == nil {
		x.fail("an Allocate request without credentials was not answered %s", c.gone())
	}
	if c.nonce == "" {
		x.fail("an Allocate request without credentials brought no NONCE")
	}
	return c
}

// answered fails the row when there is no response.
func (x *exam) answered(m *message, what string) *message {
	if m == nil {
		x.fail("%s was not answered within %v", what, x.timeout)
	}
	return m
}

// wants fails the row unless the response bears one of the codes; 0 is success.
func (x *exam) wants(m *message, codes ...int) *message {
	if m == nil {
		gone := ""
		for _, c := range x.clients {
			gone = c.gone()
		}
		if gone != "" {
			x.fail("no answer: %s", gone)
		}
		x.fail("no answer within %v", x.timeout)
	}
	for _, code := range codes {
		if m.code() == code {
			x.saw("answered with %v", m)
			return m
		}
	}
	x.fail("answered with %v, not %s", m, spellCodes(codes))
	return nil
}

// given is for rows about what stands in a response: it skips the row unless there is one with the code that the row is
// about, which is another row's matter.
func (x *exam) given(m *message, code int) *message {
	if m == nil || m.code() != code {
		x.skip("there is no %d to look at: %s", code, orSilence(m))
	}
	x.saw("%v", m)
	return m
}

func spellCodes(codes []int) string {
	words := make([]string, len(codes))
	for i, code := range codes {
		if words[i] = fmt.Sprint(code); code == 0 {
			words[i] = "success"
		}
	}
	return strings.Join(words, " or ")
}

// has fails the row unless the message has every attribute.
func (x *exam) has(m *message, kinds ...uint16) {
	for _, kind := range kinds {
		if !m.has(kind) {
			x.fail("%v without %s", m, nameOf(kind))
		}
	}
}

// lacks fails the row if the message has one of the attributes.
func (x *exam) lacks(m *message, kinds ...uint16) {
	for _, kind := range kinds {
		if m.has(kind) {
			x.fail("%v with %s", m, nameOf(kind))
		}
	}
}

// binding sends a Binding request and returns the success; a server that gives none can't be asked about Binding.
func (x *exam) binding(c *client, attributes ...attr) *message {
	x.bindings()
	m := c.exchange(build(binding, attributes...))
	return x.wants(m, 0)
}

// bindings skips the row on a server that serves no Binding requests.
func (x *exam) bindings() {
	if !x.binds {
		x.skip("the server answers no Binding request without credentials")
	}
}

// discarded fails the row when anything comes back for what has just been sent. A request behind it shows that the
// server is alive and has read it; on a stream the connection may be closed instead where framing is at stake.
func (x *exam) discarded(c *client, sent []byte) {
	id := identity(sent)
	ours := func(b []byte) bool { return len(b) >= headerSize && b[0]&0xC0 == 0 && identity(b) == id }
	c.write(sent)
	alive := c.exchange(build(allocate)) // without REQUESTED-TRANSPORT it succeeds nowhere, and every TURN server answers
	if b := c.await(time.Now().Add(x.quiet), ours); b != nil {
		if m, err := parse(b); err == nil {
			x.fail("answered with %v", m)
		}
		x.fail("answered with %d bytes", len(b))
	}
	switch {
	case c.broken != nil:
		x.saw("%s", c.gone())
	case alive == nil && !c.stream:
		x.fail("afterwards no request is answered")
	case alive == nil:
		x.saw("no answer; the connection stays open without a further answer")
	default:
		x.saw("no answer, while the next request is answered")
	}
}

// onThisHost says whether server and checker see the same addresses: no NAT can be between them.
func (x *exam) onThisHost(c *client) bool {
	return x.address.Addr().IsLoopback() || x.address.Addr() == c.local().Addr()
}

// isClient fails the row unless a mapped address is the client's, as far as that can be known from here.
func (x *exam) isClient(c *client, mapped netip.AddrPort, name string) {
	switch {
	case !mapped.IsValid():
		x.fail("%s is missing or can't be read", name)
	case mapped == c.local():
		x.saw("%s is %v, this socket's address", name, mapped)
	case x.onThisHost(c):
		x.fail("%s is %v, this socket's address is %v", name, mapped, c.local())
	case mapped.Addr().Is4() != x.address.Addr().Is4():
		x.fail("%s is %v, of another family than the server's address", name, mapped)
	default:
		x.saw("%s is %v behind a NAT", name, mapped)
	}
}

// silent fails the row when anything comes without having been asked for, or when the server is dead afterwards.
func (x *exam) silent(c *client) {
	if frame := c.await(time.Now().Add(x.quiet), func([]byte) bool { return true }); frame != nil {
		x.fail("answered with %d bytes", len(frame))
	}
	x.answered(c.exchange(build(allocate)), "the next request")
	x.saw("no answer, while the next request is answered")
}

// somebody is an address that can be named as a peer where nothing will be sent.
func (s *server) somebody() netip.AddrPort {
	if s.anchors[0].IsValid() {
		return s.anchors[0]
	}
	return netip.MustParseAddrPort("198.51.100.1:9") // RFC 5737's documentation prefix
}

// wait lets an RFC's timer run.
func (x *exam) wait(seconds int) {
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
	case <-x.ctx.Done():
		x.skip("interrupted")
	}
}
