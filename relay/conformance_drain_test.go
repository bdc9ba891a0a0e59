package relay_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// memory is a log that can be read while it is written.
type memory struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (m *memory) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(b)
}

func (m *memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// draining is a server under test whose Run may end by itself.
type draining struct {
	*served
	done <-chan error
	log  *memory
}

// drainable starts a server on every way, with siblings elsewhere.
func drainable(t *testing.T, alternates ...relay.Alternate) *draining {
	t.Helper()
	d := &draining{served: new(served), log: new(memory)}
	config := relay.Config{
		RelayAddresses: []netip.Prefix{relays4, relays6}, Workers: 2, Alternates: alternates,
		Auth: auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		Log:  &logging.DefaultLoggerFactory{Writer: io.MultiWriter(d.log, t.Output()), DefaultLogLevel: logging.LogLevelInfo},
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, scheme := range []string{"udp", "tcp"} {
			config.Listeners = append(config.Listeners, relay.Listener{Scheme: scheme, Address: address})
		}
	}
	addSecure(t, &config)
	var err error
	if d.Server, err = relay.New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, over := make(chan error, 1), make(chan struct{})
	go func() {
		done <- d.Run(ctx)
		close(over)
	}()
	d.done = done
	t.Cleanup(func() {
		d.dismiss()
		cancel()
		<-over
	})
	return d
}

// ended waits for Run to return, without a fault.
func (d *draining) ended(t *testing.T) {
	t.Helper()
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on")
	}
}

func (d *draining) goesOn(t *testing.T) {
	t.Helper()
	select {
	case err := <-d.done:
		t.Fatalf("Run has ended: %v", err)
	default:
	}
}

// alternates reads every ALTERNATE-SERVER (RFC 8489 §14.15).
func (a answer) alternates(t *testing.T) (servers []netip.AddrPort) {
	t.Helper()
	for _, one := range a.attributes {
		if one.kind != stun.AttrAlternateServer {
			continue
		}
		v := one.value
		if len(v) != 8 && len(v) != 20 || v[0] != 0 || int(v[1]) != len(v)/8 {
			t.Fatalf("ALTERNATE-SERVER is %x", v)
		}
		ip, _ := netip.AddrFromSlice(v[4:])
		servers = append(servers, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[2:])))
	}
	return servers
}

// A call goes on in everything it does while its relay drains; a new one is sent elsewhere (RFC 8489 §10); the relay
// ends with the last call.
func TestConformanceDrain(t *testing.T) {
	sibling4, sibling6 := netip.MustParseAddrPort("192.0.2.11:3478"), netip.MustParseAddrPort("[2001:db8::11]:3479")
	fleet := []relay.Alternate{
		{Address: sibling4.Addr(), Port: sibling4.Port()}, {Address: sibling6.Addr(), Port: sibling6.Port()},
	}
	eachWay(t, func(t *testing.T, w way) {
		d := drainable(t, fleet...)
		a, b := d.call(t, w), d.call(t, w)
		request := a.signed(stun.MethodAllocate, udpTransport)
		made := a.signedAnswer(request)
		made.want(t, 0)
		a.relayed = made.address(t, stun.AttrXORRelayedAddress)
		b.allocate()
		a.bind(0x4000, b.relayed)
		b.bind(0x4001, a.relayed)

		if !d.Drain(time.Hour) || d.Drain(0) {
			t.Error("of two calls of Drain the first one counts")
		}
		if state := d.Draining(); !state.Draining || state.Deadline.Sub(state.Since) != time.Hour {
			t.Errorf("%+v", state)
		}
		for i := range 100 {
			there, back := []byte(fmt.Sprintf("%d there", i)), []byte(fmt.Sprintf("%d back", i))
			a.send(channelData(0x4000, there, true))
			b.wantChannel(0x4001, there)
			b.send(channelData(0x4001, back, true))
			a.wantChannel(0x4000, back)
		}
		a.request(stun.MethodRefresh).want(t, 0)
		a.permit(netip.AddrPortFrom(b.relayed.Addr().Next(), 1))
		a.bind(0x4002, netip.AddrPortFrom(b.relayed.Addr().Next(), 50000))
		if again := a.signedAnswer(request); !bytes.Equal(again.raw, made.raw) {
			t.Errorf("a retransmitted Allocate is answered with\n%x\nat first it was\n%x", again.raw, made.raw)
		}
		a.request(stun.MethodAllocate, udpTransport).want(t, 437)

		c := d.call(t, w)
		c.binding()
		refused := c.request(stun.MethodAllocate, udpTransport) // which checks the signature
		refused.want(t, 300)
		want := []netip.AddrPort{sibling4, sibling6}
		if w.v6 {
			want = []netip.AddrPort{sibling6, sibling4}
		}
		if got := refused.alternates(t); !slices.Equal(got, want) {
			t.Errorf("ALTERNATE-SERVER %v, want %v", got, want)
		}
		if !refused.signedBy(c.key()) {
			t.Error("the answer is not signed")
		}
		d.call(t, w).as("alice", "wrong").request(stun.MethodAllocate, udpTransport).want(t, 401)
		c.request(stun.MethodRefresh).want(t, 437)

		a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		b.binding()
		d.goesOn(t)
		b.request(stun.MethodRefresh, lifetime(0)).want(t, 0) // its answer leaves before the server does
		d.ended(t)
		if log := d.log.String(); !strings.Contains(log, "2 left") || !strings.Contains(log, "drained: the last allocation ended") {
			t.Errorf("the log says\n%s", log)
		}
	})
}

// Without a server of the client's family the answer is 508, and nobody is sent to where he is.
func TestConformanceDrainWithoutAlternate(t *testing.T) {
	for _, row := range []struct {
		name       string
		alternates func(s *relay.Server) []relay.Alternate
		code4      int
		code6      int
	}{
		{"none", func(*relay.Server) []relay.Alternate { return nil }, 508, 508},
		{"IPv6 only", func(*relay.Server) []relay.Alternate {
			return []relay.Alternate{{Address: netip.MustParseAddr("2001:db8::1"), Port: 3478}}
		}, 508, 300},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := drainable(t, row.alternates(nil)...)
			held := d.call(t, overUDP)
			held.allocate()
			d.Drain(time.Hour)
			eachWay(t, func(t *testing.T, w way) {
				code := row.code4
				if w.v6 {
					code = row.code6
				}
				d.call(t, w).request(stun.MethodAllocate, udpTransport).want(t, code)
			})
		})
	}
}

// How draining ends.
func TestDrainEnds(t *testing.T) {
	t.Run("nothing lives", func(t *testing.T) {
		d := drainable(t)
		d.Drain(time.Hour)
		d.ended(t)
	})
	t.Run("no time", func(t *testing.T) {
		d := drainable(t)
		d.call(t, overUDP).allocate()
		d.Drain(0)
		d.ended(t)
		if log := d.log.String(); !strings.Contains(log, "cut after the drain timeout: 1") {
			t.Errorf("the log says\n%s", log)
		}
	})
	t.Run("at the deadline", func(t *testing.T) {
		d := drainable(t)
		a, b := d.call(t, overTCP), d.call(t, overUDP)
		a.allocate()
		b.allocate()
		d.Drain(300 * time.Millisecond)
		b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
		d.ended(t)
		a.closed()
		if log := d.log.String(); !strings.Contains(log, "cut after the drain timeout: 1") {
			t.Errorf("the log says\n%s", log)
		}
	})
	t.Run("a connection ends", func(t *testing.T) {
		d := drainable(t)
		a := d.call(t, overTCP)
		a.allocate()
		d.Drain(time.Hour)
		a.conn.Close()
		d.ended(t)
	})
	t.Run("before it runs", func(t *testing.T) {
		s, err := relay.New(relay.Config{
			Listeners: []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}},
			Auth:      auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Drain(time.Hour)
		if err := s.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWrongAlternates(t *testing.T) {
	here := netip.MustParseAddr("127.0.0.1")
	for want, alternates := range map[string][]relay.Alternate{
		"give an address or a name": {{Port: 1}},
		"dns:x:1":                   {{Name: "x", Address: here, Port: 1}},
		"give a port":               {{Address: here}},
		"give 64 at most":           make([]relay.Alternate, 65),
	} {
		_, err := relay.New(relay.Config{Alternates: alternates})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", alternates, err, want)
		}
	}
}
