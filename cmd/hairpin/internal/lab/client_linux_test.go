package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"
	"github.com/pion/turn/v3"
)

// client is an allocation on a relay, made by pion's client on one of the hosts.
type client struct {
	turn    *turn.Client
	conn    net.PacketConn // to the relay
	relayed net.PacketConn
	at      netip.AddrPort // its relayed transport address

	icmp      atomic.Int32 // Data indications that tell of the network (RFC 8656 §11.5)
	alternate atomic.Pointer[netip.AddrPort]

	mu    sync.Mutex
	calls map[uint32]*call // guarded by mu
}

const attrICMP stun.AttrType = 0x8004 // RFC 8656 §18.13

var quiet = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}

// client allocates on the relay at server, from h, over transport: "udp" or "tcp". It ends with the test, or by close.
func (h *host) client(t *testing.T, server netip.AddrPort, transport string) (*client, error) {
	c := &client{calls: make(map[uint32]*call)}
	var err error
	h.in(func() {
		if transport == "udp" {
			c.conn, err = net.ListenPacket("udp", ":0")
			return
		}
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", server.String(), patience); err == nil {
			c.conn = turn.NewSTUNConn(conn)
		}
	})
	if err != nil {
		return nil, err
	}
	c.turn, err = turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.String(), Username: user, Password: password, Conn: tap{c.conn, c}, LoggerFactory: quiet,
	})
	if err != nil {
		return nil, err
	}
	if err := c.turn.Listen(); err != nil { // ends when conn is closed
		return nil, err
	}
	t.Cleanup(func() {
		c.close()
		c.conn.Close()
		c.turn.Close()
	})
	if c.relayed, err = c.turn.Allocate(); err != nil {
		return c, err
	}
	c.at = netip.MustParseAddrPort(c.relayed.LocalAddr().String())
	go c.answer() // ends when relayed is closed
	return c, nil
}

// mustClient demands that the relay takes the client.
func (h *host) mustClient(t *testing.T, r *relay, transport string) *client {
	t.Helper()
	c, err := h.client(t, r.at, transport)
	if err != nil {
		t.Fatalf("%s on %v over %s: %v\n%s", h.name, r.at, transport, err, r.log)
	}
	return c
}

// close gives the allocation back.
func (c *client) close() {
	if c.relayed != nil {
		_ = c.relayed.Close()
	}
}

// tap is the way to the relay, with a look at what pion's client doesn't tell of.
type tap struct {
	net.PacketConn
	client *client
}

func (p tap) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(b)
	m := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
	if err != nil || !stun.IsMessage(b[:n]) || m.Decode() != nil {
		return n, from, err
	}
	var other stun.AlternateServer
	if other.GetFrom(m) == nil {
		ip, _ := netip.AddrFromSlice(other.IP)
		at := netip.AddrPortFrom(ip.Unmap(), uint16(other.Port))
		p.client.alternate.Store(&at)
	}
	if m.Contains(attrICMP) {
		p.client.icmp.Add(1)
	}
	return n, from, nil
}

// permit lets a peer's packets through.
func (c *client) permit(peer netip.AddrPort) error {
	return c.turn.CreatePermission(net.UDPAddrFromAddrPort(peer))
}

// Payloads: kind, call, number.
const (
	question = 'q'
	answer   = 'a'
	payload  = 172 // 20 ms of G.711 and its RTP header
)

// call is two clients, one of whom asks the other, who answers: no question leaves before the last answer is there.
type call struct {
	id       uint32
	from, to *client

	answers         chan uint32
	asked, returned uint32        // of whoever exchanges
	heard           atomic.Uint32 // questions that arrived
	wrong           atomic.Pointer[string]
}

var calls atomic.Uint32

// dial makes a call between two clients who permit each other.
func dial(from, to *client) (*call, error) {
	c := &call{id: calls.Add(1), from: from, to: to, answers: make(chan uint32, 16)}
	for _, side := range []*client{from, to} {
		side.mu.Lock()
		side.calls[c.id] = c
		side.mu.Unlock()
	}
	return c, errors.Join(from.permit(to.at), to.permit(from.at))
}

// exchange asks n questions and waits for each answer: both ways nothing is lost, repeated or out of order.
func (c *call) exchange(n int) error {
	for range n {
		c.asked++
		if err := c.from.send(question, c.id, c.asked, c.to.at); err != nil {
			return err
		}
		select {
		case number := <-c.answers:
			if number != c.asked {
				return fmt.Errorf("question %d got answer %d", c.asked, number)
			}
			c.returned++
		case <-time.After(patience / 3):
			return fmt.Errorf("%v → %v: question %d: no answer; %d were heard", c.from.at, c.to.at, c.asked, c.heard.Load())
		}
	}
	if w := c.wrong.Load(); w != nil {
		return errors.New(*w)
	}
	if heard := c.heard.Load(); heard != c.asked || c.returned != c.asked {
		return fmt.Errorf("%d asked, %d heard, %d returned", c.asked, heard, c.returned)
	}
	return nil
}

func (c *client) send(kind byte, call, number uint32, to netip.AddrPort) error {
	var b [payload]byte
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], call)
	binary.BigEndian.PutUint32(b[5:], number)
	_, err := c.relayed.WriteTo(b[:], net.UDPAddrFromAddrPort(to))
	return err
}

// answer reads what peers send. A stranger's question is sent back as it is.
func (c *client) answer() {
	b := make([]byte, 1<<16)
	for {
		n, source, err := c.relayed.ReadFrom(b)
		if err != nil {
			return
		}
		if n == 0 {
			continue // what comes with an ICMP attribute
		}
		from := netip.MustParseAddrPort(source.String())
		var call *call
		var number uint32
		if n == payload {
			c.mu.Lock()
			call = c.calls[binary.BigEndian.Uint32(b[1:])]
			c.mu.Unlock()
			number = binary.BigEndian.Uint32(b[5:])
		}
		switch {
		case call == nil:
			_, _ = c.relayed.WriteTo(b[:n], source)
		case b[0] == question && from == call.from.at:
			if heard := call.heard.Add(1); heard != number {
				w := fmt.Sprintf("question %d is the %d. that was heard", number, heard)
				call.wrong.Store(&w)
			}
			_ = c.send(answer, call.id, number, from) // a loss shows where it is waited for
		case b[0] == answer && from == call.to.at:
			call.answers <- number
		default:
			w := fmt.Sprintf("%q from %v", b[0], from)
			call.wrong.Store(&w)
		}
	}
}

// live is a call that goes on until it is told to end.
type live struct {
	*call
	stop  chan struct{}
	ended chan error
}

// keepUp has a call go on, a question each 5 ms.
func (c *call) keepUp() *live {
	l := &live{c, make(chan struct{}), make(chan error, 1)}
	go func() { // ends when told to, or when something is lost
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := c.exchange(1); err != nil {
				l.ended <- err
				return
			}
			select {
			case <-l.stop:
				l.ended <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return l
}

// hangUp ends the call and its allocations, and tells what went wrong.
func (l *live) hangUp() error {
	close(l.stop)
	err := <-l.ended
	l.from.close()
	l.to.close()
	return err
}
