package secure

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/hairpin-turn/hairpin/relay/stream"
)

const patience = 10 * time.Second

// echo is a Session that returns what it gets.
type echo struct{ a *Association }

func (e echo) Frame(b []byte) { e.a.Send(nil, b, 0) }
func (e echo) Flush()         { e.a.Flush() }
func (e echo) Busy() bool     { return false }
func (e echo) Closed()        {}

type echoes struct{}

func (echoes) Opened(a *Association) stream.Session { return echo{a} }

func listenDTLS(t *testing.T) *Associations {
	t.Helper()
	m, files := issue(t, "one.test", 1, time.Now().Add(time.Hour)), pairOf(t)
	write(t, files.Certificate, m.certificate)
	write(t, files.Key, m.key)
	var log logged
	certificates, err := Load([]Pair{files}, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenDTLS(netip.MustParseAddrPort("127.0.0.1:0"), echoes{}, NewShared(certificates))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(l.Serve)
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l
}

// socket is a connected socket that pion takes for an unconnected one; drop may lose what it sends.
type socket struct {
	*net.UDPConn
	drop func(sent []byte) bool
}

func (s socket) WriteTo(b []byte, _ net.Addr) (int, error) {
	if s.drop != nil && s.drop(b) {
		return len(b), nil
	}
	return s.Write(b)
}

func dialUDP(t *testing.T, l *Associations) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dialDTLS(t *testing.T, s socket) *dtls.Conn {
	t.Helper()
	c, err := dtls.ClientWithOptions(s, s.RemoteAddr(), dtls.WithInsecureSkipVerify(true), dtls.WithFlightInterval(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// returns shows that a message comes back.
func returns(t *testing.T, c *dtls.Conn) {
	t.Helper()
	message := []byte("\x00\x01 looks like STUN")
	if _, err := c.Write(message); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || !bytes.Equal(b[:n], message) {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

// pion takes the cookie that was sealed here: if a release keeps it elsewhere, this is what fails.
func TestCookie(t *testing.T) {
	l := listenDTLS(t)
	returns(t, dialDTLS(t, socket{UDPConn: dialUDP(t, l)}))
	stats := l.shared.Stats
	if stats.Count(DTLSChallenged) != 1 || stats.Count(DTLSCompleted) != 1 || stats.Count(DTLSFailed) != 0 || l.Openings().Len() != 0 {
		t.Errorf("challenged %d, completed %d, failed %d", stats.Count(DTLSChallenged), stats.Count(DTLSCompleted), stats.Count(DTLSFailed))
	}
}

// capture is the first flight of a client: a ClientHello without a cookie.
func capture(t testing.TB) []byte {
	t.Helper()
	var hello []byte
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
	raw, err := net.DialUDP("udp", nil, at)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := dtls.ClientWithOptions(socket{raw, func(b []byte) bool {
		if hello == nil {
			hello = bytes.Clone(b)
		}
		cancel()
		return true
	}}, at, dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	c.HandshakeContext(ctx)
	c.Close()
	return hello
}

// However many say hello, from however many ports, and whatever cookie they make up, nothing is kept for them; and each
// gets fewer bytes than it sent.
func TestClientHelloFlood(t *testing.T) {
	l := listenDTLS(t)
	hello := capture(t)
	h, ok := parseClientHello(hello)
	if !ok {
		t.Fatalf("%x is no ClientHello", hello)
	}
	forged := withCookie(t, &h, make([]byte, cookieSize))
	const rounds = 500
	before := runtime.NumGoroutine()
	b := make([]byte, 2048)
	for i := range rounds {
		c := dialUDP(t, l)
		sent := hello
		if i%2 == 1 {
			sent = forged
		}
		c.Write(sent)
		c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(b)
		if err != nil || !isHelloVerifyRequest(b[:n]) || n >= len(sent) {
			t.Fatalf("%x, %v", b[:n], err)
		}
		c.Close()
	}
	if n := l.shared.Stats.Count(DTLSChallenged); n != rounds {
		t.Errorf("challenged %d of %d", n, rounds)
	}
	if l.Len() != 0 || l.Openings().Len() != 0 || runtime.NumGoroutine() > before+2 {
		t.Errorf("%d associations, %d openings, %d goroutines more", l.Len(), l.Openings().Len(), runtime.NumGoroutine()-before)
	}
}

// withCookie is a ClientHello that repeats another one with a cookie.
func withCookie(t testing.TB, h *clientHello, cookie []byte) []byte {
	t.Helper()
	body := append(bytes.Clone(h.before), byte(len(cookie)))
	body = append(append(body, cookie...), h.rest...)
	b := []byte{contentHandshake, h.version[0], h.version[1]}
	b = binary.BigEndian.AppendUint64(b, h.sequence+1)
	b = binary.BigEndian.AppendUint16(b, uint16(handshakeHead+len(body)))
	b = appendHandshakeHead(b, typeClientHello, len(body))
	b[recordHead+5] = 1 // message sequence
	return append(b, body...)
}

// A client whose first datagrams are lost, whichever, gets through by repeating them.
func TestLostFlights(t *testing.T) {
	l := listenDTLS(t)
	for lost := range 3 {
		sent := 0
		c := dialDTLS(t, socket{dialUDP(t, l), func([]byte) bool {
			sent++
			return sent == lost+1
		}})
		returns(t, c)
	}
}

// A client that has lost its association, but not its port, gets another one; a stranger's junk and alerts harm nothing.
func TestSecondAssociation(t *testing.T) {
	l := listenDTLS(t)
	raw := dialUDP(t, l)
	own := raw.LocalAddr().(*net.UDPAddr)
	returns(t, dialDTLS(t, socket{UDPConn: raw}))
	raw.Close() // without a word
	raw, err := net.DialUDP("udp", own, net.UDPAddrFromAddrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	second := dialDTLS(t, socket{UDPConn: raw})
	returns(t, second)
	if l.Len() != 1 {
		t.Errorf("%d associations", l.Len())
	}
	for _, junk := range [][]byte{
		{}, {22}, {contentAlert, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40}, // fatal, in the clear
		{0xFF, 1, 2}, bytes.Repeat([]byte{0x17}, 64), capture(t),
	} {
		raw.Write(junk)
	}
	// The answer to the capture may come first: pion skips it.
	returns(t, second)
}

// Bounds hold for messages that no record takes.
func TestSendBounds(t *testing.T) {
	a := &Association{}
	for _, test := range []struct {
		name       string
		head, body []byte
		pad        int
		ok         bool
		queued     int
	}{
		{"channel data needs no padding", nil, []byte{0x40, 0, 0, 1, 'x'}, 3, true, 2 + 5},
		{"an indication's attribute does", []byte{0, 0x17}, []byte{'x'}, 3, true, 2 + 6},
		{"the longest", nil, make([]byte, maxPlaintext), 0, true, 2 + maxPlaintext},
		{"one more", nil, make([]byte, maxPlaintext+1), 0, false, 0},
	} {
		a.queue = nil
		if ok := a.Send(test.head, test.body, test.pad); ok != test.ok || len(a.queue) != test.queued {
			t.Errorf("%s: %v, %d bytes queued", test.name, ok, len(a.queue))
		}
	}
	for a.queue = nil; a.Send(nil, make([]byte, 1000), 0); {
	}
	if len(a.queue) > queueBytes || len(a.queue) < queueBytes-1002 {
		t.Errorf("%d bytes queued", len(a.queue))
	}
}

func TestCookieLife(t *testing.T) {
	c := newCookies()
	client, server := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	hello := [32]byte{1}
	now := time.Unix(1_000_000_000, 0)
	cookie := c.seal(client, server, hello, period(now))
	for _, test := range []struct {
		name           string
		client, server netip.AddrPort
		hello          [32]byte
		at             time.Time
		want           bool
	}{
		{"at once", client, server, hello, now, true},
		{"in time", client, server, hello, now.Add(cookieLife), true},
		{"late", client, server, hello, now.Add(2 * cookieLife), false},
		{"another port", netip.AddrPortFrom(client.Addr(), 2), server, hello, now, false},
		{"another server", client, client, hello, now, false},
		{"another hello", client, server, [32]byte{2}, now, false},
	} {
		if got := c.valid(cookie, test.client, test.server, test.hello, test.at); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if newCookies().valid(cookie, client, server, hello, now) {
		t.Error("another process' cookie is good")
	}
}

// FuzzClientHello: what is taken is put together again from its parts, and nothing else is touched.
func FuzzClientHello(f *testing.F) {
	hello := capture(f)
	f.Add(hello)
	if h, ok := parseClientHello(hello); ok {
		f.Add(withCookie(f, &h, make([]byte, cookieSize)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		hasPlainAlert(b)
		shifted := bytes.Clone(b)
		shiftSequence(shifted, 1)
		h, ok := parseClientHello(b)
		if !ok || h.sequence == 0 {
			return
		}
		again, ok := parseClientHello(h.without())
		if !ok || len(again.cookie) != 0 || again.message != 0 || again.sequence != h.sequence-1 || again.digest() != h.digest() {
			t.Fatalf("%x became %x", b, h.without())
		}
		if c := newCookies().challenge(nil, &h, netip.AddrPort{}, netip.AddrPort{}, time.Time{}); len(c) >= len(b) {
			t.Fatalf("%d bytes are answered with %d", len(b), len(c))
		}
	})
}
