package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

func limited(l Limits) func(*allocation.Options, *authOptions, *Options) {
	return func(_ *allocation.Options, _ *authOptions, o *Options) { o.Limits = l }
}

// discards returns how many messages were discarded for a reason.
func (s *server) discards(why discarded) uint64 { return s.stats.discarded[why].Load() }

// bare is a request without credentials, as small as can be.
func bare(t testing.TB, method stun.Method) *stun.Message {
	return build(t, stun.TransactionID, stun.NewType(method, stun.ClassRequest))
}

// fromPort is a stranger at another port of an address.
func (s *server) fromPort(ip string, port int) *client {
	return s.clientAt(netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)), serverV4, alice, alicePassword)
}

// A source over its rate gets silence; other sources, and clients behind the same address that hold an allocation,
// notice nothing.
func TestLimitOfRate(t *testing.T) {
	const perSecond, burst = 5, 50
	s := newServer(t, limited(Limits{Rate: perSecond}))
	holder := s.fromPort("198.51.100.7", 1)
	holder.do(stun.MethodAllocate, udpTransport)

	answered := 0
	for port := range 1000 {
		if s.fromPort("198.51.100.7", 2000+port).send(bare(t, stun.MethodBinding)) != nil {
			answered++
		}
	}
	if answered != burst-1 {
		t.Errorf("%d of 1000 were answered, want %d", answered, burst-1)
	}
	if n := s.discards(discardRate); n != uint64(1000-answered) {
		t.Errorf("%d discards counted, want %d", n, 1000-answered)
	}
	late := s.fromPort("198.51.100.7", 2)
	if late.send(late.request(stun.MethodAllocate, udpTransport)) != nil {
		t.Error("an Allocate from the exhausted source was answered")
	}
	for _, m := range []*stun.Message{
		holder.request(stun.MethodRefresh), holder.request(stun.MethodAllocate, udpTransport),
		holder.request(stun.MethodCreatePermission),
		bare(t, stun.MethodBinding), bare(t, stun.MethodAllocate),
	} {
		for range 100 {
			if holder.send(m) == nil {
				t.Fatalf("%v of a client with an allocation was not answered", m.Type)
			}
		}
	}
	if other := s.fromPort("198.51.100.8", 2); other.send(bare(t, stun.MethodBinding)) == nil {
		t.Error("another source was not answered")
	}
	overTCP := s.fromPort("198.51.100.7", 3)
	overTCP.from.FiveTuple.Transport, overTCP.from.Client.Stream = allocation.TCP, quiet{}
	if overTCP.send(bare(t, stun.MethodAllocate)) == nil {
		t.Error("a connection suffers for datagrams whose address may be forged")
	}
	s.clock.advance(time.Second / perSecond)
	if late.send(late.request(stun.MethodAllocate, udpTransport)) == nil {
		t.Error("the source does not recover")
	}
}

// quiet is a connection.
type quiet struct{}

func (quiet) Send(_, _ []byte, _ int) bool { return true }
func (quiet) Flush()                       {}

// Answers to a network are no more bytes than it sent, and the allowance.
func TestLimitOfBytes(t *testing.T) {
	const perSecond = 1000
	for _, method := range []stun.Method{stun.MethodBinding, stun.MethodAllocate, stun.MethodRefresh} {
		s := newServer(t, limited(Limits{Bytes: perSecond}))
		const requests = 10_000
		in, out := 0, 0
		for i := range requests {
			c := s.fromPort(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String(), 1000+i)
			m := bare(t, method)
			in += len(m.Raw)
			if c.send(m) != nil {
				out += len(c.lastBytes)
			}
		}
		if out > in+10*perSecond {
			t.Errorf("%v: %d bytes for %d", method, out, in)
		}
		if s.discards(discardBytes) == 0 {
			t.Errorf("%v: nothing was discarded, %d bytes for %d", method, out, in)
		}
		other := s.fromPort("198.51.101.1", 1)
		if other.send(bare(t, method)) == nil {
			t.Errorf("%v: another network was not answered", method)
		}
		// Who asks with as much as is answered is.
		large := s.fromPort("198.51.100.1", 1)
		if large.send(build(t, stun.TransactionID, stun.NewType(method, stun.ClassRequest), raw(stun.AttrSoftware, make([]byte, 300)...))) == nil {
			t.Errorf("%v: a request as long as its answer was not answered", method)
		}
	}
}

// Failed logins of a source end in silence without a look at the password; clients with allocations go on, but can't
// use them to guess either.
func TestLimitOfLogins(t *testing.T) {
	const perMinute = 10
	s := newServer(t, limited(Limits{FailedLogins: perMinute}))
	holder := s.fromPort("198.51.100.7", 1)
	holder.do(stun.MethodAllocate, udpTransport)

	answered := 0
	for i := range 100 {
		guess := s.fromPort("198.51.100.7", 2000+i)
		guess.password = "guess"
		if guess.send(guess.request(stun.MethodAllocate, udpTransport)) != nil {
			answered++
		}
	}
	if answered != perMinute {
		t.Errorf("%d guesses were answered, want %d", answered, perMinute)
	}
	if n := s.discards(discardLogins); n != 100-perMinute {
		t.Errorf("%d discards counted, want %d", n, 100-perMinute)
	}
	late := s.fromPort("198.51.100.7", 2)
	if late.send(late.request(stun.MethodAllocate, udpTransport)) != nil {
		t.Error("an oracle: the right password was answered")
	}
	if late.send(bare(t, stun.MethodAllocate)) == nil {
		t.Error("a request without credentials was not answered")
	}
	if m := holder.do(stun.MethodRefresh); m.Type.Class != stun.ClassSuccessResponse {
		t.Errorf("Refresh of a client with an allocation: %v", m)
	}
	for _, password := range []string{bobPassword, "guess"} {
		asBob := holder.as(bob, password)
		if m := asBob.request(stun.MethodRefresh); asBob.send(m) != nil {
			t.Errorf("an oracle: the five-tuple of an allocation told about %q", password)
		}
	}
	if other := s.fromPort("198.51.100.8", 2); other.do(stun.MethodAllocate, udpTransport).Type.Class != stun.ClassSuccessResponse {
		t.Error("another source can't log in")
	}
	s.clock.advance(time.Minute / perMinute)
	if late.do(stun.MethodAllocate, udpTransport).Type.Class != stun.ClassSuccessResponse {
		t.Error("the source does not recover")
	}
}

// Nobody can lock out a source by forging its address: only who has a nonce for it counts.
func TestLimitOfLoginsNeedsNonce(t *testing.T) {
	s := newServer(t, limited(Limits{FailedLogins: 10}))
	for i := range 100 {
		forger := s.fromPort("198.51.100.7", 2000+i)
		forger.password, forger.nonce = "guess", string(s.auth.AppendNonce(nil, clientV6))
		forger.send(forger.request(stun.MethodAllocate, udpTransport))
	}
	c := s.fromPort("198.51.100.7", 1)
	c.do(stun.MethodAllocate, udpTransport)
}

func TestLimitsDoNotAllocate(t *testing.T) {
	s := newServer(t, limited(Limits{Rate: 1, Bytes: 1, FailedLogins: 1}))
	c := s.client(alice, alicePassword)
	m, dst := bare(t, stun.MethodBinding).Raw, make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(1000, func() { s.worker.Handle(m, &c.from, dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The factors that README.md states.
func TestAmplification(t *testing.T) {
	s := newServer(t)
	for _, test := range []struct {
		method stun.Method
		most   float64
	}{{stun.MethodBinding, 2}, {stun.MethodAllocate, 8}, {stun.MethodRefresh, 8}, {stun.MethodCreatePermission, 8}, {stun.MethodChannelBind, 8}} {
		for _, at := range []netip.AddrPort{clientV4, clientV6} {
			c := s.clientAt(at, serverV4, alice, alicePassword)
			m := bare(t, test.method)
			c.send(m)
			factor := float64(len(c.lastBytes)) / float64(len(m.Raw))
			t.Logf("%v over %v: %d bytes for %d, %.1f", test.method, at.Addr(), len(c.lastBytes), len(m.Raw), factor)
			if at.Addr().Is4() && factor > test.most {
				t.Errorf("%v is answered with %.1f times its bytes", test.method, factor)
			}
		}
	}
}

func BenchmarkFlood(b *testing.B) {
	for name, l := range map[string]Limits{"off": {}, "on": {Rate: 1000, Bytes: 1 << 16, FailedLogins: 120}} {
		for _, method := range []stun.Method{stun.MethodBinding, stun.MethodAllocate} {
			b.Run(name+"/"+method.String(), func(b *testing.B) {
				s := newServer(b, limited(l))
				c := s.client(alice, alicePassword)
				m, dst := bare(b, method).Raw, make([]byte, 0, 2048)
				b.ReportAllocs()
				for b.Loop() {
					s.worker.Handle(m, &c.from, dst)
				}
			})
		}
	}
}
