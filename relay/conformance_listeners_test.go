package relay_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// changing is a server under test whose listeners change.
type changing struct {
	*served
	relay.Config // in force
}

// changeable starts one that listens for each way, and lets modify have the last word.
func changeable(t *testing.T, starter func(*testing.T, func(*relay.Config)) *served, modify func(*relay.Config)) *changing {
	t.Helper()
	s := new(changing)
	s.served = starter(t, func(c *relay.Config) {
		if modify != nil {
			modify(c)
		}
		s.Config = *c
		s.Config.Listeners = slices.Clone(c.Listeners)
	})
	return s
}

// listenTo has a server listen to these.
func (s *changing) listenTo(t *testing.T, listeners ...relay.Listener) {
	t.Helper()
	s.Config.Listeners = listeners
	if err := s.Reload(s.Config); err != nil {
		t.Fatal(err)
	}
}

// named is where a listener is, and whether it was removed.
func (s *changing) named(name string) (at netip.AddrPort, removed, there bool) {
	for _, l := range s.ListenerInfos() {
		if l.Name == name {
			return l.Address, l.Removed, true
		}
	}
	return at, false, false
}

// serving is where new clients of a listener go.
func (s *changing) serving(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	at, removed, there := s.named(name)
	if !there || removed {
		t.Fatalf("%s: there=%v removed=%v", name, there, removed)
	}
	return at
}

// gone waits for a listener to be closed.
func (s *changing) gone(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" is closed", func() bool { _, _, there := s.named(name); return !there })
}

// joined are two clients with channels to each other.
func joined(a, b *caller) {
	a.t.Helper()
	a.allocate()
	b.allocate()
	a.bind(0x4001, b.relayed)
	b.bind(0x4002, a.relayed)
}

// talk sends a packet there and one back.
func talk(a, b *caller) {
	a.t.Helper()
	a.send(channelData(0x4001, []byte("there"), true))
	b.wantChannel(0x4002, []byte("there"))
	b.send(channelData(0x4002, []byte("and back"), true))
	a.wantChannel(0x4001, []byte("and back"))
}

func (c *caller) hangUp() {
	c.t.Helper()
	c.request(stun.MethodRefresh, lifetime(0)).want(c.t, 0)
}

// dismissAllBut closes the sockets of all callers but these.
func (s *served) dismissAllBut(kept ...*caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = slices.DeleteFunc(s.conns, func(conn net.Conn) bool {
		if slices.ContainsFunc(kept, func(c *caller) bool { return c.conn == conn }) {
			return false
		}
		conn.Close()
		return true
	})
}

func onlyUDP(c *relay.Config) {
	c.Listeners = []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}}
}

// Listeners of each kind are added to a server and taken away again; what their clients have goes on until they end it, be
// its relayed transport addresses sockets or not.
func TestListenersComeAndGo(t *testing.T) {
	starters := map[string]func(*testing.T, func(*relay.Config)) *served{
		"loop":   conforming,
		"polled": outgoing,
		"each read by itself": func(t *testing.T, change func(*relay.Config)) *served {
			return outgoing(t, func(c *relay.Config) { c.PortableUDP = true; change(c) })
		},
		"no datagrams at start": func(t *testing.T, change func(*relay.Config)) *served {
			return outgoing(t, func(c *relay.Config) {
				change(c)
				c.Listeners[0].Scheme = "tcp"
			})
		},
	}
	for name, starter := range starters {
		t.Run(name, func(t *testing.T) {
			s := changeable(t, starter, onlyUDP)
			first := s.Config.Listeners[0]
			if name == "no datagrams at start" {
				first.Scheme = "tcp"
			}
			s.Config.Listeners = []relay.Listener{first}
			old := way{first.Scheme, false}
			firstAt := s.at(t, old)
			var added []relay.Listener
			for _, l := range []relay.Listener{
				{Scheme: "udp", Address: "127.0.0.1:0"}, {Scheme: "udp", Address: "[::1]:0"}, {Scheme: "tcp", Address: "127.0.0.1:0"},
				{Scheme: "tls", Address: "127.0.0.1:0"}, {Scheme: "dtls", Address: "[::1]:0"}, {Scheme: "tcp+tls", Address: "127.0.0.1:0"},
				{Scheme: "udp", Address: ":0"},
			} {
				l.Name = "added " + l.Scheme + l.Address
				added = append(added, l)
			}
			s.listenTo(t, append([]relay.Listener{first}, added...)...)
			if at := s.at(t, old); at != firstAt {
				t.Fatalf("the first listener went from %v to %v", firstAt, at)
			}

			type pair struct {
				a, b *caller
				host *host
			}
			pairs := map[string]*pair{}
			for _, l := range added {
				scheme := strings.TrimPrefix(l.Scheme, "tcp+")
				at := s.serving(t, l.Name)
				if at.Addr().IsUnspecified() {
					at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
				}
				p := &pair{a: s.call(t, old), b: s.callAt(t, scheme, at, netip.AddrPort{})}
				joined(p.a, p.b)
				talk(p.a, p.b)
				if name != "loop" {
					p.host = newHost(t, false)
					p.b.permit(p.host.address())
				}
				pairs[l.Name] = p
			}
			inside := s.call(t, old)
			inside.allocate()

			s.listenTo(t, first)
			for _, l := range added {
				p := pairs[l.Name]
				at, removed, there := s.named(l.Name)
				if !there || !removed {
					t.Errorf("%s: there=%v, removed=%v", l.Name, there, removed)
				}
				talk(p.a, p.b)
				p.b.request(stun.MethodRefresh).want(t, 0)
				p.b.permit(inside.relayed)
				if p.host != nil {
					p.b.sendTo(p.host.address(), []byte("out"))
					p.host.want(p.b.relayed, []byte("out"))
					p.host.send(p.b.relayed, []byte("in"))
					p.b.wantData(p.host.address(), []byte("in"))
				}
				switch {
				case l.Scheme == "udp" && at.Addr().Is4():
					c := s.callAt(t, "udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port()), netip.AddrPort{})
					a := c.request(stun.MethodAllocate, udpTransport)
					if first.Scheme != "udp" {
						a.want(t, 508)
						break
					}
					a.want(t, 300)
					if to := a.alternates(t); len(to) != 1 || to[0] != firstAt {
						t.Errorf("%s: sent to %v, want %v", l.Name, to, firstAt)
					}
				case l.Scheme == "udp" || l.Scheme == "dtls":
					s.callAt(t, l.Scheme, at, netip.AddrPort{}).request(stun.MethodAllocate, udpTransport).want(t, 508)
				default:
					if conn, err := net.Dial("tcp", at.String()); err == nil {
						conn.Close()
						t.Errorf("%s takes connections", l.Name)
					}
				}
			}
			for _, l := range added {
				p := pairs[l.Name]
				at, _, _ := s.named(l.Name)
				talk(p.a, p.b)
				p.b.hangUp()
				p.a.hangUp()
				p.b.conn.Close()
				s.gone(t, l.Name)
				eventually(t, "the port is free", func() bool {
					if l.Scheme != "udp" && l.Scheme != "dtls" {
						conn, err := net.Listen("tcp", at.String())
						if err == nil {
							conn.Close()
						}
						return err == nil
					}
					conn, err := net.ListenPacket("udp", at.String())
					if err == nil {
						conn.Close()
					}
					return err == nil
				})
			}
			a, b := s.call(t, old), s.call(t, old)
			joined(a, b)
			talk(a, b)
			for _, l := range s.Snapshot().Listeners {
				if l.Name != first.Scheme+"://"+first.Address {
					t.Errorf("%s is counted", l.Name)
				}
			}
		})
	}
}

// What comes back while its last clients are there serves again, at the same socket; of connections at another one.
func TestListenerComesBack(t *testing.T) {
	for _, scheme := range []string{"udp", "dtls", "tcp", "tls"} {
		t.Run(scheme, func(t *testing.T) {
			s := changeable(t, conforming, onlyUDP)
			first := s.Config.Listeners[0]
			held, err := net.Listen("tcp", "127.0.0.2:0") // where no client's socket can take the port meanwhile
			if err != nil {
				t.Fatal(err)
			}
			held.Close()
			again := relay.Listener{Scheme: scheme, Address: held.Addr().String(), Name: "again"}
			at := netip.MustParseAddrPort(again.Address)
			s.listenTo(t, first, again)
			a, b := s.callAt(t, scheme, at, netip.AddrPort{}), s.call(t, overUDP)
			joined(a, b)
			for range 5 {
				s.listenTo(t, first)
				talk(a, b)
				s.listenTo(t, again, first)
				talk(a, b)
				if got := s.serving(t, "again"); got != at {
					t.Fatalf("it is at %v now", got)
				}
				c := s.callAt(t, scheme, at, netip.AddrPort{})
				c.allocate()
				c.hangUp()
				c.conn.Close()
			}
			n := s.Snapshot()
			counted := 0
			for _, l := range n.Listeners {
				if l.Name == "again" {
					counted += int(l.Allocations)
				}
			}
			if counted != 1 || n.Allocations != 2 {
				t.Errorf("%d allocations there, %d in all", counted, n.Allocations)
			}
			s.listenTo(t, first)
			talk(a, b)
			if scheme == "tcp" || scheme == "tls" { // the port is free for any kind
				both := relay.Listener{Scheme: "tcp+tls", Address: again.Address}
				s.listenTo(t, first, both)
				for _, plain := range []string{"tcp", "tls"} {
					s.callAt(t, plain, at, netip.AddrPort{}).allocate()
				}
				talk(a, b)
				s.dismissAllBut(a, b)
				s.listenTo(t, first)
				s.gone(t, "tcp+tls://"+again.Address)
				talk(a, b)
			}
			a.hangUp()
			a.conn.Close()
			s.gone(t, "again")
			s.listenTo(t, first, again)
			a = s.callAt(t, scheme, at, netip.AddrPort{})
			a.allocate()
		})
	}
}

// One listener that can't be bound refuses all of a reload; which one is told, and nobody is there who was not before.
func TestListenerRefused(t *testing.T) {
	busy, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	s := changeable(t, conforming, func(c *relay.Config) {
		c.Listeners = []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}, {Scheme: "tcp", Address: "127.0.0.1:0"}}
	})
	tcpAt, udpAt := s.at(t, overTCP).String(), s.at(t, overUDP).String()
	a, b := s.call(t, overUDP), s.call(t, overTCP)
	joined(a, b)
	free := []net.Listener{}
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		free = append(free, l)
	}
	for _, l := range free {
		l.Close()
	}
	before := s.ListenerInfos()
	first, second := s.Config.Listeners[0], s.Config.Listeners[1]
	for _, test := range []struct {
		name      string
		listeners []relay.Listener
		index     int
		want      string
	}{
		{"in use", []relay.Listener{{Scheme: "tls", Address: free[0].Addr().String()}, {Scheme: "dtls", Address: free[1].Addr().String()}, {Scheme: "udp", Address: busy.LocalAddr().String()}}, 2, "is in use"},
		{"another kind at the port of one that would go", []relay.Listener{first, {Scheme: "tls", Address: tcpAt}}, 1, "is that of tcp://127.0.0.1:0, which this server serves until its last client has gone"},
		{"every address at the port of one", []relay.Listener{{Scheme: "udp", Address: udpAt[strings.LastIndexByte(udpAt, ':'):]}, second}, 0, "is that of udp://127.0.0.1:0"},
		{"not of this host", []relay.Listener{first, second, {Scheme: "udp", Address: "192.0.2.1:9"}}, 2, "192.0.2.1 is no address of this host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			next := s.Config
			next.Listeners, next.UserQuota = test.listeners, 1
			err := s.Reload(next)
			var unbound *relay.ListenerError
			if !errors.As(err, &unbound) || unbound.Index != test.index || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q of listener %d", err, test.want, test.index)
			}
			if now := s.ListenerInfos(); !slices.Equal(now, before) {
				t.Errorf("it listens on %v", now)
			}
			for _, l := range free {
				if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
					conn.Close()
					t.Errorf("somebody is at %v", l.Addr())
				}
			}
			talk(a, b)
			for _, w := range []way{overUDP, overTCP} { // without a quota
				c := s.call(t, w)
				c.allocate()
				c.hangUp()
			}
		})
	}
	t.Run("rules that need a restart", func(t *testing.T) {
		next := s.Config
		next.Listeners = append(slices.Clone(next.Listeners), relay.Listener{Scheme: "udp", Address: free[0].Addr().String()})
		next.Peers.Rules = peerRules(t, "loop", "10.0.0.0/8")
		if err := s.Reload(next); !errors.Is(err, relay.ErrNeedsSockets) {
			t.Error(err)
		}
		conn, err := net.ListenPacket("udp", free[0].Addr().String())
		if err != nil {
			t.Fatal("the port is taken")
		}
		conn.Close()
	})
}

// The listener that NAT behavior discovery goes by stays; others change beside it.
func TestListenerOfDiscovery(t *testing.T) {
	s := changeable(t, conforming, func(c *relay.Config) {
		c.Listeners = []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}}
		c.NATDiscovery = netip.MustParseAddrPort("127.0.0.2:61999")
		c.Limits.Bytes = 1 << 20
	})
	other := relay.Listener{Scheme: "udp", Address: "127.0.0.3:0"}
	first := s.Config.Listeners[0]
	s.listenTo(t, first, other)
	next := s.Config
	next.Listeners = []relay.Listener{other}
	if err := s.Reload(next); !errors.Is(err, relay.ErrDiscovery) {
		t.Fatal(err)
	}
	s.listenTo(t, first)
	s.gone(t, "udp://127.0.0.3:0")
	if a := s.call(t, overUDP).binding(); !a.has(attrOtherAddress) {
		t.Error("no OTHER-ADDRESS")
	}
}

// A client may take its allocation from one address to another at a listener that was removed, and to one that serves, but
// not to one that was removed (RFC 8016); it keeps open where it is expected.
func TestListenerRemovedFromUnderMoves(t *testing.T) {
	s := changeable(t, conforming, onlyUDP)
	first := s.Config.Listeners[0]
	one, two := relay.Listener{Scheme: "udp", Address: "127.0.0.1:0", Name: "one"}, relay.Listener{Scheme: "udp", Address: "127.0.0.1:0", Name: "two"}
	s.listenTo(t, first, one, two)
	oneAt, twoAt := s.serving(t, "one"), s.serving(t, "two")
	at := func(server netip.AddrPort) *caller { return s.callAt(t, "udp", server, netip.AddrPort{}) }

	a, p := at(oneAt), s.call(t, overUDP)
	p.allocate()
	ticket := a.mobile()
	p.bind(0x4000, a.relayed)
	a.bind(0x4000, p.relayed)
	here := func(c *caller) {
		t.Helper()
		c.send(channelData(0x4000, []byte("here"), true))
		p.wantChannel(0x4000, []byte("here"))
	}
	waits := at(twoAt)
	waits.allocate()
	s.listenTo(t, first, two)
	b := at(oneAt)
	ticket = b.move(ticket) // within what was removed
	here(b)
	b = at(twoAt)
	ticket = b.move(ticket) // expected there, and not yet there
	s.listenTo(t, first, one)
	waits.hangUp()
	c := at(oneAt)
	c.request(stun.MethodRefresh, raw(attrTicket, ticket...)).want(t, 0)
	ticket = nil
	here(c)
	s.gone(t, "two")

	d := at(oneAt)
	ticket = d.mobile()
	d.bind(0x4000, p.relayed)
	p.bind(0x4001, d.relayed)
	s.listenTo(t, first)
	e := s.call(t, overUDP)
	ticket = e.move(ticket)
	e.send(channelData(0x4000, []byte("away"), true))
	p.wantChannel(0x4001, []byte("away"))
	at(oneAt).request(stun.MethodRefresh, raw(attrTicket, ticket...)).want(t, 405)
	here(c)
	c.hangUp()
	s.gone(t, "one")
}

// The same of one that is behind load balancers for datagrams.
func TestListenerOfFlowsComesAndGoes(t *testing.T) {
	s := changeable(t, conforming, func(c *relay.Config) {
		onlyUDP(c)
		c.ProxyTrusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	first := s.Config.Listeners[0]
	behind := relay.Listener{Scheme: "udp", Address: "127.0.0.2:0", Proxy: true, Name: "behind"}
	for range 2 {
		s.listenTo(t, first, behind)
		a, b := s.through(t, "127.0.0.1", "first", client4, balancer4), s.call(t, overUDP)
		joined(a, b)
		talk(a, b)
		s.listenTo(t, first)
		c := s.through(t, "127.0.0.1", "first", netip.AddrPortFrom(client4.Addr(), 7), balancer4)
		c.request(stun.MethodAllocate, udpTransport).want(t, 508) // it is elsewhere, and the other listener on loopback
		talk(a, b)
		s.listenTo(t, behind, first)
		c.allocate()
		s.listenTo(t, first)
		talk(a, b)
		a.hangUp()
		c.hangUp()
		s.gone(t, "behind")
	}
}

// A number that was a closed listener's goes to another one in time, whose packets are counted from none on.
func TestListenerNumbersAreUsedAgain(t *testing.T) {
	s := changeable(t, outgoing, onlyUDP)
	first := s.Config.Listeners[0]
	a, stays := s.call(t, overUDP), s.call(t, overUDP)
	joined(a, stays)
	numbers := s.Numbers()
	for i := range 6 {
		l := relay.Listener{Scheme: []string{"udp", "tcp", "dtls"}[i%3], Address: "127.0.0.1:0", Name: fmt.Sprint("listener ", i)}
		s.listenTo(t, first, l)
		b, c := s.callAt(t, l.Scheme, s.serving(t, l.Name), netip.AddrPort{}), s.call(t, overUDP)
		joined(b, c)
		for range i + 1 {
			talk(b, c)
		}
		talk(a, stays)
		eventually(t, "each packet is counted once", func() bool {
			n := s.Snapshot().Listeners[1]
			return n.Name == l.Name && n.Created == 1 && n.Allocations == 1 && n.Traffic[0].Packets == uint64(i+1) && n.Traffic[1].Packets == uint64(i+1)
		})
		s.listenTo(t, first)
		b.hangUp()
		c.hangUp()
		b.conn.Close()
		s.gone(t, l.Name)
		s.ForgetRest()
	}
	if n := s.Numbers(); n != numbers+1 {
		t.Errorf("%d numbers where there were %d", n, numbers)
	}
}

// Listeners come and go under traffic of pairs at a listener that stays, at one that was removed and lives on, and across:
// not a packet is lost.
func TestListenersUnderLoad(t *testing.T) {
	const cycles, window = 60, 8
	s := changeable(t, outgoing, func(c *relay.Config) {
		c.Listeners = append([]relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}, {Scheme: "tcp", Address: "127.0.0.1:0"}}, c.Listeners[len(c.Listeners)-2:]...)
	})
	stay := slices.Clone(s.Config.Listeners)
	leaves := relay.Listener{Scheme: "udp", Address: "127.0.0.1:0", Name: "leaves"}
	s.listenTo(t, append(stay, leaves)...)
	leavesAt := s.serving(t, "leaves")
	var pairs [][2]*caller
	for range 2 {
		pairs = append(pairs,
			[2]*caller{s.call(t, overUDP), s.call(t, overUDP)},
			[2]*caller{s.call(t, overUDP), s.callAt(t, "udp", leavesAt, netip.AddrPort{})},
			[2]*caller{s.callAt(t, "udp", leavesAt, netip.AddrPort{}), s.callAt(t, "udp", leavesAt, netip.AddrPort{})},
			[2]*caller{s.call(t, overTCP), s.callAt(t, "udp", leavesAt, netip.AddrPort{})})
	}
	for _, p := range pairs {
		joined(p[0], p[1])
	}
	s.listenTo(t, stay...)

	// Each pair sends a window at a time, no more than a socket's buffer holds, and wants all of it.
	var stop atomic.Bool
	var packets atomic.Uint64
	var talking sync.WaitGroup
	for _, p := range pairs {
		talking.Go(func() {
			for serial := uint32(0); !stop.Load(); {
				for way, from := range p {
					for i := range window {
						data := binary.BigEndian.AppendUint32(nil, serial+uint32(i))
						if _, err := from.conn.Write(channelData(uint16(0x4001+way), data, true)); err != nil {
							t.Error(err)
							return
						}
					}
					for i := range window {
						got, err := p[1-way].read()
						if err != nil || len(got) < 8 || binary.BigEndian.Uint32(got[4:]) != serial+uint32(i) {
							t.Errorf("packet %d of this pair: %x, %v", serial+uint32(i), got, err)
							return
						}
						packets.Add(1)
					}
				}
				serial += window
			}
		})
	}
	defer talking.Wait()
	defer stop.Store(true)

	begun := time.Now()
	schemes := []string{"udp", "tcp", "tls", "dtls", "tcp+tls"}
	for i := range cycles {
		l := relay.Listener{Scheme: schemes[i%len(schemes)], Address: "127.0.0.1:0", Name: fmt.Sprint("cycle ", i)}
		s.listenTo(t, append(slices.Clone(stay), l)...)
		c, other := s.callAt(t, strings.TrimPrefix(l.Scheme, "tcp+"), s.serving(t, l.Name), netip.AddrPort{}), s.call(t, overUDP)
		joined(c, other)
		talk(c, other)
		s.listenTo(t, stay...)
		talk(c, other)
		c.hangUp()
		other.hangUp()
		c.conn.Close()
		s.listenTo(t, append(slices.Clone(stay), relay.Listener{Scheme: "udp", Address: ":0", Name: "all"})...)
	}
	s.listenTo(t, stay...)
	for i := range cycles {
		s.gone(t, fmt.Sprint("cycle ", i))
	}
	s.gone(t, "all")
	if _, removed, there := s.named("leaves"); !removed || !there {
		t.Errorf("the listener with calls: removed=%v, there=%v", removed, there)
	}
	stop.Store(true)
	talking.Wait()
	t.Logf("%d packets, none lost, %d reloads in %v", packets.Load(), 3*cycles+1, time.Since(begun).Round(time.Millisecond))
	n := s.Snapshot()
	for _, d := range n.Dropped {
		if d.Value > 0 {
			t.Errorf("dropped: %+v", d)
		}
	}
	for _, p := range pairs {
		p[0].hangUp()
		p[1].hangUp()
	}
	s.gone(t, "leaves")
}

// A server takes other listeners before it runs, none when it has ended, and drains with some that are removed.
func TestListenersAtBothEnds(t *testing.T) {
	c := relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0"}}, RelayAddresses: []netip.Prefix{relays4},
		Auth: auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
	}
	s, err := relay.New(c)
	if err != nil {
		t.Fatal(err)
	}
	first := c.Listeners[0]
	c.Listeners = []relay.Listener{{Scheme: "udp", Address: "127.0.0.1:0", Name: "second"}, {Scheme: "tcp", Address: "127.0.0.1:0"}}
	if err := s.Reload(c); err != nil {
		t.Fatal(err)
	}
	d := &changing{served: &served{Server: s}, Config: c}
	t.Cleanup(d.dismiss)
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	d.gone(t, first.Scheme+"://"+first.Address)
	a := d.callAt(t, "udp", d.serving(t, "second"), netip.AddrPort{})
	a.allocate()
	d.listenTo(t, c.Listeners[1])
	s.Drain(patience)
	a.request(stun.MethodRefresh).want(t, 0)
	d.listenTo(t, c.Listeners[1], relay.Listener{Scheme: "udp", Address: "127.0.0.1:0", Name: "third"})
	d.callAt(t, "udp", d.serving(t, "third"), netip.AddrPort{}).request(stun.MethodAllocate, udpTransport).want(t, 508)
	a.hangUp()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(c); !errors.Is(err, relay.ErrClosed) {
		t.Errorf("a reload of what has ended: %v", err)
	}
}
