package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// requests are the methods that need credentials, each with what it needs to succeed
// on an allocation of newServer.
var requests = []struct {
	method  stun.Method
	setters []stun.Setter
}{
	{stun.MethodAllocate, []stun.Setter{udpTransport}},
	{stun.MethodRefresh, nil},
	{stun.MethodCreatePermission, []stun.Setter{peerAt("203.0.113.5:50000")}},
	{stun.MethodChannelBind, []stun.Setter{channel(0x4000), peerAt("203.0.113.5:50000")}},
}

func TestBinding(t *testing.T) {
	s := newServer(t)
	v4 := s.clientAt(clientV4, serverV4, alice, "wrong password")
	v6 := s.clientAt(clientV6, serverV6, alice, "wrong password")
	plain := []stun.Setter{stun.TransactionID, stun.BindingRequest}
	for _, test := range []struct {
		name    string
		client  *client
		setters []stun.Setter
		code    int
		unknown []byte
	}{
		{name: "IPv4", client: v4},
		{name: "IPv6", client: v6},
		{name: "FINGERPRINT", client: v4, setters: []stun.Setter{stun.Fingerprint}},
		{name: "credentials are not looked at", client: v4, setters: v4.sign()},
		{name: "attributes of other methods are ignored", client: v4, setters: []stun.Setter{lifetime(0), udpTransport}},
		{name: "comprehension-optional attribute", client: v4, setters: []stun.Setter{raw(0xC001, 1)}},
		{name: "comprehension-required attribute", client: v4, setters: []stun.Setter{unknownAttr}, code: 420, unknown: []byte{0x7A, 0xBC}},
		{name: "several, one twice", client: v6, code: 420, unknown: []byte{0x7A, 0xBC, 0x00, 0x03},
			setters: []stun.Setter{unknownAttr, raw(0x0003, 0, 0, 0, 0), unknownAttr, raw(0xC001, 1)}},
		{name: "after MESSAGE-INTEGRITY it does not count", client: v4, setters: append(v4.sign(), unknownAttr)},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := test.client.send(build(t, append(slices.Clone(plain), test.setters...)...))
			wantCode(t, answer, test.code)
			wantSigned(t, answer, false)
			if test.code == 420 {
				if got := value(t, answer, stun.AttrUnknownAttributes); !bytes.Equal(got, test.unknown) {
					t.Errorf("UNKNOWN-ATTRIBUTES %x, want %x (RFC 8489 §14.13)", got, test.unknown)
				}
				return
			}
			wantAttributes(t, answer, stun.AttrXORMappedAddress, stun.AttrFingerprint)
			if got, want := xorAddress(t, answer, stun.AttrXORMappedAddress), test.client.from.FiveTuple.Client; got != want {
				t.Errorf("XOR-MAPPED-ADDRESS %v, want %v", got, want)
			}
		})
	}
	if s.table.Count() != 0 {
		t.Error("Binding made an allocation")
	}
}

// What RFC 8489 §6.3 has discarded silently gets no answer, and is counted.
func TestSilence(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	good := c.request(stun.MethodAllocate, udpTransport).Raw
	alter := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	typed := func(method stun.Method, class stun.MessageClass) []byte {
		return build(t, append([]stun.Setter{stun.TransactionID, stun.NewType(method, class), udpTransport}, c.sign()...)...).Raw
	}
	type test struct {
		name   string
		msg    []byte
		reason string // "" is no fault
	}
	tests := []test{
		{"nothing", nil, "malformed"},
		{"first bits", alter(func(b []byte) []byte { b[0] |= 0x80; return b }), "malformed"},
		{"cookie", alter(func(b []byte) []byte { b[4]++; return b }), "malformed"},
		{"length too small", alter(func(b []byte) []byte { b[3] -= 4; return b }), "malformed"},
		{"length too large", alter(func(b []byte) []byte { b[3] += 4; return b }), "malformed"},
		{"length not a multiple of four", alter(func(b []byte) []byte { b[3]--; return b[:len(b)-1] }), "malformed"},
		{"one byte more", alter(func(b []byte) []byte { return append(b, 0) }), "malformed"},
		{"attribute beyond the end", alter(func(b []byte) []byte { b[22] = 0xFF; return b }), "malformed"},
		{"FINGERPRINT wrong", alter(func(b []byte) []byte { b[len(b)-1]++; return b }), "fingerprint"},
		{"content changed under FINGERPRINT", alter(func(b []byte) []byte { b[10]++; return b }), "fingerprint"},
		{"FINGERPRINT not last", build(t, stun.TransactionID, stun.BindingRequest, stun.Fingerprint, lifetime(1)).Raw, "fingerprint"},
		{"ConnectionAttempt request", typed(stun.MethodConnectionAttempt, stun.ClassRequest), "method"},
		{"method of nobody", typed(0xABC, stun.ClassRequest), "method"},
		{"Send request", typed(stun.MethodSend, stun.ClassRequest), "method"},
		{"Data request", typed(stun.MethodData, stun.ClassRequest), "method"},
		{"Binding indication", typed(stun.MethodBinding, stun.ClassIndication), ""},
		{"Send indication", typed(stun.MethodSend, stun.ClassIndication), ""},
		{"Data indication", typed(stun.MethodData, stun.ClassIndication), "class"},
		{"Allocate indication", typed(stun.MethodAllocate, stun.ClassIndication), "class"},
		{"Allocate success", typed(stun.MethodAllocate, stun.ClassSuccessResponse), "class"},
		{"Binding error", typed(stun.MethodBinding, stun.ClassErrorResponse), "class"},
	}
	for n := range good {
		tests = append(tests, test{"truncated", good[:n], "malformed"})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := discardCounts(s.stats)
			if answer := s.handle(test.msg, &c.from); answer != nil {
				t.Errorf("answered with %x", answer)
			}
			if test.reason != "" {
				before[test.reason]++
			}
			after := discardCounts(s.stats)
			for reason, want := range before {
				if after[reason] != want {
					t.Errorf("discarded as %s: %d, want %d", reason, after[reason], want)
				}
			}
		})
	}
	if s.table.Count() != 0 {
		t.Error("one of them made an allocation")
	}
	if got := c.do(stun.MethodAllocate, udpTransport); codeOf(got) != 0 {
		t.Errorf("after all that the good request is answered %s", describe(got))
	}
}

func discardCounts(s *Stats) map[string]uint64 {
	counts := map[string]uint64{}
	s.EachDiscard(func(reason string, n uint64) { counts[reason] = n })
	return counts
}

// 420 comes after authentication, and is signed then (RFC 8489 §6.3, §6.3.1).
func TestUnknownAttribute(t *testing.T) {
	for _, r := range requests {
		t.Run(r.method.String(), func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)

			bare := append([]stun.Setter{stun.TransactionID, stun.NewType(r.method, stun.ClassRequest), unknownAttr}, r.setters...)
			wantCode(t, c.send(build(t, bare...)), 401)

			answer := c.do(r.method, append([]stun.Setter{unknownAttr, raw(0x0026, 1)}, r.setters...)...)
			wantCode(t, answer, 420)
			wantSigned(t, answer, true)
			if got := value(t, answer, stun.AttrUnknownAttributes); !bytes.Equal(got, []byte{0x7A, 0xBC, 0x00, 0x26}) {
				t.Errorf("UNKNOWN-ATTRIBUTES %x", got)
			}
			if s.table.Count() != 0 {
				t.Error("the refused request made an allocation")
			}

			// Behind MESSAGE-INTEGRITY nothing counts (RFC 8489 §14.5).
			if r.method != stun.MethodAllocate {
				c.allocate()
			}
			after := append(append(bare[:2:2], r.setters...), c.sign()...)
			wantCode(t, c.send(build(t, append(after, unknownAttr)...)), 0)
		})
	}
}

// RFC 8656 §5: without an allocation 437, with another user's 441; both signed.
func TestAllocationOfFiveTuple(t *testing.T) {
	for _, r := range requests[1:] {
		t.Run(r.method.String(), func(t *testing.T) {
			s := newServer(t)
			c := s.client(alice, alicePassword)
			answer := c.do(r.method, r.setters...)
			wantCode(t, answer, 437)
			wantSigned(t, answer, true)
			wantAttributes(t, answer, stun.AttrErrorCode, stun.AttrMessageIntegrity, stun.AttrFingerprint)

			a := c.allocate()
			expires := a.Expires()
			other := c.as(bob, bobPassword)
			answer = other.do(r.method, append([]stun.Setter{lifetime(0)}, r.setters...)...)
			wantCode(t, answer, 441)
			wantSigned(t, answer, true)
			if c.allocation() != a || a.Expires() != expires || len(a.Permissions(s.table.Now())) > 0 || len(a.Channels(s.table.Now())) > 0 {
				t.Error("another user changed the allocation")
			}
			wantCode(t, c.nth(1).do(r.method, r.setters...), 437) // another port is another five-tuple
			wantCode(t, c.do(r.method, r.setters...), 0)

			// The transport and the server's address belong to the five-tuple, too.
			tcp := c.nth(0)
			tcp.from.FiveTuple.Transport = allocation.TCP
			wantCode(t, tcp.do(r.method, r.setters...), 437)
			elsewhere := c.nth(0)
			elsewhere.from.FiveTuple.Server = serverV6
			wantCode(t, elsewhere.do(r.method, r.setters...), 437)

			s.clock.advance(allocation.MaxLifetime / 2) // beyond 600 s, within the nonce's life
			wantCode(t, c.do(r.method, r.setters...), 437)
		})
	}
}

// SOFTWARE is in every answer (RFC 8489 §6.3.1.1, RFC 8656 §5), if there shall be one.
func TestSoftware(t *testing.T) {
	s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Software = "hairpin" })
	c := s.client(alice, alicePassword)
	for _, test := range []struct {
		name   string
		answer *stun.Message
		code   int
		want   bool
	}{
		{"Binding", c.send(build(t, stun.TransactionID, stun.BindingRequest)), 0, true},
		{"challenge", c.send(build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))), 401, true},
		{"wrong password", c.as(alice, "no").do(stun.MethodAllocate, udpTransport), 401, true},
		{"Allocate refused", c.do(stun.MethodAllocate), 400, true},
		{"Allocate", c.do(stun.MethodAllocate, udpTransport), 0, true},
		{"Refresh", c.do(stun.MethodRefresh), 0, true},
		{"CreatePermission", c.do(stun.MethodCreatePermission, peerAt("203.0.113.5:1")), 0, true},
		{"ChannelBind", c.do(stun.MethodChannelBind), 400, true},
	} {
		wantCode(t, test.answer, test.code)
		if got := test.answer.Contains(stun.AttrSoftware); got != test.want {
			t.Errorf("%s: SOFTWARE %v, want %v", test.name, got, test.want)
		}
	}
}

// Whoever writes a false source address must not find an amplifier, and must not make
// the server remember anything.
func TestStrangers(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	allocate := build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport)
	binding := build(t, stun.TransactionID, stun.BindingRequest)
	many := []stun.Setter{stun.TransactionID, stun.BindingRequest}
	for n := range 500 {
		many = append(many, raw(stun.AttrType(0x1000+n)))
	}
	unknown := build(t, many...)
	if len(unknown.Raw) > wire.MaxMessage {
		t.Fatalf("the test's message of %d bytes is too long to be read", len(unknown.Raw))
	}
	for _, test := range []struct {
		name  string
		msg   *stun.Message
		limit int
	}{
		{"challenge", allocate, 136}, // 20 + ERROR-CODE 24 + REALM 12 + NONCE 52 + PASSWORD-ALGORITHMS 12 + FINGERPRINT 8, and room for 8 more
		{"Binding", binding, 40},
		{"unknown attributes", unknown, len(unknown.Raw)},
	} {
		if got := len(c.send(test.msg).Raw); got > test.limit {
			t.Errorf("%s: %d bytes answered with %d, want at most %d", test.name, len(test.msg.Raw), got, test.limit)
		}
	}

	const flood = 50_000
	dst := make([]byte, 0, 256)
	from := c.from
	msg := bytes.Clone(allocate.Raw)
	n := uint32(0)
	one := func() {
		n++
		binary.BigEndian.PutUint32(msg[8:], n)
		ip := from.FiveTuple.Client.Addr().As4()
		binary.BigEndian.PutUint16(ip[2:], uint16(n>>8))
		from.FiveTuple.Client = addrPort(ip, uint16(1024+n%60000))
		if len(s.worker.Handle(msg, &from, dst)) == 0 {
			t.Fatal("no answer")
		}
	}
	if garbage := testing.AllocsPerRun(flood, one); garbage != 0 {
		t.Errorf("an unauthenticated Allocate makes %v heap allocations, want 0", garbage)
	}
	if got := s.table.Count(); got != 0 {
		t.Errorf("%d allocations after a flood of strangers, want 0", got)
	}
	c.allocate()
}

func TestStats(t *testing.T) {
	s := newServer(t)
	series := func() (requests map[string]uint64, n int) {
		requests = map[string]uint64{}
		s.stats.EachRequest(func(method, class string, code int, count uint64) {
			n++
			if (class == "success") != (code == 0) {
				t.Errorf("class %q beside code %d", class, code)
			}
			if count > 0 {
				requests[label(method, code)] = count
			}
		})
		return requests, n
	}
	if got, n := series(); len(got) != 0 || n != int(methods)*int(codes) {
		t.Errorf("%d series, %d of them above zero before the first request; want %d, 0", n, len(got), int(methods)*int(codes))
	}

	c := s.client(alice, alicePassword)
	c.send(build(t, stun.TransactionID, stun.BindingRequest))
	c.send(build(t, stun.TransactionID, stun.BindingRequest, unknownAttr))
	c.send(build(t, stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport))
	c.as("nobody", "x").do(stun.MethodAllocate, udpTransport)
	c.as(bob, "x").do(stun.MethodAllocate, udpTransport)
	c.do(stun.MethodRefresh)
	c.allocate()
	c.as(bob, bobPassword).do(stun.MethodRefresh)
	c.do(stun.MethodCreatePermission)
	c.do(stun.MethodCreatePermission, peerAt("192.0.2.99:1"))
	c.do(stun.MethodChannelBind, channel(0x4000), peerAt("203.0.113.5:50000"))
	foreign := c.nth(0)
	foreign.nonce = c.nth(1).nonce
	foreign.do(stun.MethodRefresh)

	got, _ := series()
	want := map[string]uint64{
		"binding 0": 1, "binding 420": 1,
		"allocate 401": 3, "allocate 0": 1,
		"refresh 437": 1, "refresh 441": 1, "refresh 438": 1,
		"create_permission 400": 1, "create_permission 403": 1,
		"channel_bind 0": 1,
	}
	if !equalCounts(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	failures := map[string]uint64{}
	s.stats.EachAuthFailure(func(reason string, n uint64) { failures[reason] = n })
	if want := map[string]uint64{
		"incomplete": 0, "wrong_realm": 0, "unknown_user": 1, "wrong_password": 1, "expired": 0, "stale_nonce": 1, "wrong_user": 1,
		"algorithms": 0, "algorithm": 0, "token": 0, "token_expired": 0,
	}; !equalCounts(failures, want) {
		t.Errorf("failures %v, want %v", failures, want)
	}
}

// An error that nobody foresaw is the server's fault, and only the log hears of it.
func TestUnexpected(t *testing.T) {
	var lines []string
	s := newServer(t, func(_ *allocation.Options, _ *authOptions, o *Options) { o.Log = memoryLog{lines: &lines} })
	c := s.client(alice, alicePassword)
	m := c.request(stun.MethodAllocate, udpTransport)
	r := &request{from: &c.from, method: methodAllocate}
	if err := s.worker.message.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	if e := s.worker.authenticate(r); e != nil {
		t.Fatal(e)
	}
	s.worker.refuse(r, unexpected(errors.New("the cause")))
	answer := &stun.Message{Raw: s.worker.reply.Finish(nil, r.key)}
	if err := answer.Decode(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, answer, 500)
	wantSigned(t, answer, true)
	if bytes.Contains(answer.Raw, []byte("cause")) {
		t.Error("the cause is in the answer")
	}
	want := []string{"ERROR allocate from 198.51.100.7:40000: 500 Server Error: unexpected: the cause"}
	if !slices.Equal(lines, want) {
		t.Errorf("log %q, want %q", lines, want)
	}
}

// Statistics, a log and a clock of one's own are optional.
func TestDefaults(t *testing.T) {
	s := newServer(t)
	s.worker = New(Options{Table: s.table, Auth: s.auth}).NewWorker()
	c := s.client(alice, alicePassword)
	wantCode(t, c.do(stun.MethodAllocate), 400)
	user, password, err := s.auth.Issue("carol", 100*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.client(user, password).allocate()
}
