package check

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
	"github.com/hairpin-turn/hairpin/relay"
)

// A liar stands between a row's sockets and an honest server and breaks one rule. It is what shows that a row can fail.
type liar struct {
	net.Conn
	lie   *lie
	room  *room
	queue [][]byte // what is read before anything of the server's
}

// room is the liars of one row, which can betray to each other what they relay.
type room struct {
	mu    sync.Mutex
	liars []*liar // guarded by mu
}

// lie is one way of being a bad server.
type lie struct {
	name    string
	respond func(m *message) []byte                        // changes a message from the server; nil: it never came
	write   func(l *liar, b []byte) (instead, told []byte) // sees what a row sends; told is answered at once
	betrays bool                                           // passes on what is sent to any peer to everybody
}

func (l *liar) Write(b []byte) (int, error) {
	if l.lie.betrays {
		l.room.betray(l, b)
	}
	out := b
	if l.lie.write != nil {
		instead, told := l.lie.write(l, b)
		if out = instead; told != nil {
			l.queue = append(l.queue, told)
		}
	}
	if out != nil {
		if _, err := l.Conn.Write(out); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (l *liar) Read(b []byte) (int, error) {
	for {
		if frame := l.told(); frame != nil {
			return copy(b, frame), nil
		}
		n, err := l.Conn.Read(b)
		if err != nil {
			if frame := l.told(); frame != nil {
				return copy(b, frame), nil
			}
			return n, err
		}
		frame := bytes.Clone(b[:n])
		if l.lie.respond == nil {
			return n, nil
		}
		m, err := parse(frame)
		if err != nil { // ChannelData
			m = &message{raw: frame}
		}
		if lied := l.lie.respond(m); lied != nil {
			return copy(b, lied), nil
		}
	}
}

func (l *liar) told() []byte {
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	frame := l.queue[0]
	l.queue = l.queue[1:]
	return frame
}

// betray gives what one socket sends to a peer to all others of the row.
func (r *room) betray(from *liar, b []byte) {
	var payload []byte
	if len(b) >= 4 && b[0]>>6 == 1 {
		payload = b[4:min(len(b), 4+int(binary.BigEndian.Uint16(b[2:])))]
	} else if m, err := parse(b); err == nil && m.kind == send|classIndication {
		payload = m.get(attrData)
	} else {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.liars {
		if l != from {
			source := from.Conn.LocalAddr().(*net.UDPAddr).AddrPort()
			l.queue = append(l.queue, build(data|classIndication, peer(source), raw(attrData, payload...)))
		}
	}
}

// rebuild writes a message anew after a change of its attributes, signed where it was and with a FINGERPRINT of its own.
func rebuild(m *message, kind uint16, change func(a attr) []attr, more ...attr) []byte {
	b := build(kind)
	copy(b[8:headerSize], m.id[:])
	sign := false
	for _, a := range m.attributes {
		switch a.kind {
		case attrIntegrity:
			sign = true
		case attrFingerprint:
		default:
			one := attr{kind: a.kind, value: a.value}
			if change == nil {
				b = add(b, one)
			} else {
				b = add(b, change(one)...)
			}
		}
	}
	b = add(b, more...)
	if sign {
		b = withIntegrity(b, credentials{"alice", "wonder", "hairpin"}.key())
	}
	return withFingerprint(b)
}

// responses is a lie about responses of some method; 0: all.
func responses(name string, change func(m *message) []byte) lie {
	return lie{name: name, respond: func(m *message) []byte {
		if m.kind&classSuccess == 0 || len(m.raw) == 0 || m.raw[0]>>6 != 0 {
			return m.raw
		}
		return change(m)
	}}
}

// without takes attributes away from every response.
func without(kinds ...uint16) lie {
	return responses("without "+nameOf(kinds[0]), func(m *message) []byte {
		return rebuild(m, m.kind, func(a attr) []attr {
			for _, kind := range kinds {
				if a.kind == kind {
					return nil
				}
			}
			return []attr{a}
		})
	})
}

// altered changes the value of an attribute in every message.
func altered(name string, kind uint16, change func(v []byte) []byte) lie {
	return lie{name: name, respond: func(m *message) []byte {
		if !m.has(kind) {
			return m.raw
		}
		return rebuild(m, m.kind, func(a attr) []attr {
			if a.kind == kind {
				return []attr{raw(kind, change(bytes.Clone(a.value))...)}
			}
			return []attr{a}
		})
	}}
}

// code turns errors into a certain one, and success into it for the methods that are named.
func code(name string, class byte, n byte, methods ...uint16) lie {
	return responses(name, func(m *message) []byte {
		wanted := m.class() == classError && len(methods) == 0
		for _, method := range methods {
			wanted = wanted || m.method() == method && m.class() == classSuccess
		}
		if !wanted {
			return m.raw
		}
		return rebuild(m, m.method()|classError, func(a attr) []attr {
			if a.kind == attrErrorCode {
				return nil
			}
			return []attr{a}
		}, raw(attrErrorCode, 0, 0, class, n, 'N', 'o'))
	})
}

var lies = []lie{
	{name: "mute", respond: func(m *message) []byte { return nil }},
	responses("grants everything", func(m *message) []byte {
		if m.code() == 401 && m.get(attrErrorCode) != nil {
			return m.raw // else no row gets a nonce
		}
		return rebuild(m, m.method()|classSuccess, func(a attr) []attr {
			if a.kind == attrErrorCode {
				return nil
			}
			return []attr{a}
		})
	}),
	code("every error is 499", 4, 99),
	responses("every error but a challenge is 499", func(m *message) []byte {
		if m.class() != classError || m.code() == 401 {
			return m.raw
		}
		return rebuild(m, m.kind, func(a attr) []attr {
			if a.kind == attrErrorCode {
				return []attr{raw(attrErrorCode, 0, 0, 4, 99)}
			}
			return []attr{a}
		})
	}),
	code("refuses Allocate", 5, 0, allocate),
	code("refuses Binding", 4, 0, binding),
	code("refuses Refresh", 5, 0, refresh),
	code("refuses CreatePermission", 5, 0, createPermission),
	code("refuses ChannelBind", 5, 0, channelBind),
	without(attrMapped), without(attrRelayed), without(attrLifetime), without(attrRealm), without(attrNonce), without(attrErrorCode),
	without(attrUnknownAttributes), without(attrToken),
	responses("unsigned", func(m *message) []byte {
		m.attributes = append([]received{}, m.attributes...)
		for i, a := range m.attributes {
			if a.kind == attrIntegrity {
				m.attributes[i].kind = attrFingerprint // rebuild leaves it away
			}
		}
		return rebuild(m, m.kind, nil)
	}),
	responses("says too much", func(m *message) []byte {
		return rebuild(m, m.kind, nil, text(attrUsername, "alice"), raw(attrUserhash, make([]byte, 32)...), text(attrRealm, "r"), text(attrNonce, "n"),
			raw(attrIntegrity, make([]byte, 20)...), raw(attrIntegrity256, make([]byte, 32)...), raw(attrToken, make([]byte, 8)...))
	}),
	responses("pads with ones", func(m *message) []byte {
		b := bytes.Clone(m.raw)
		for _, a := range m.attributes {
			copy(b[a.offset+4+len(a.value):], bytes.Repeat([]byte{0xFF}, len(a.pad)))
		}
		return b
	}),
	lie{name: "pads Data indications with ones", respond: func(m *message) []byte {
		for _, a := range m.attributes {
			copy(m.raw[a.offset+4+len(a.value):], bytes.Repeat([]byte{0xFF}, len(a.pad)))
		}
		return m.raw
	}},
	{name: "adds four bytes to each message", respond: func(m *message) []byte { return append(bytes.Clone(m.raw), 0, 0, 0, 0) }},
	{name: "answers with another method", respond: func(m *message) []byte {
		if len(m.raw) < headerSize {
			return m.raw
		}
		return rebuild(m, m.kind|0x200, nil)
	}},
	responses("puts FINGERPRINT first", func(m *message) []byte {
		return add(withFingerprint(rebuild(m, m.kind, nil)[:len(m.raw)-8]), text(attrSoftware, "last"))
	}),
	responses("FINGERPRINT is wrong", func(m *message) []byte {
		b := bytes.Clone(m.raw)
		b[len(b)-1] ^= 1
		return b
	}),
	altered("XOR-MAPPED-ADDRESS is another one", attrMapped, func(v []byte) []byte { v[5] ^= 1; return v }),
	altered("XOR-MAPPED-ADDRESS begins with one", attrMapped, func(v []byte) []byte { v[0] = 1; return v }),
	altered("XOR-MAPPED-ADDRESS is cut", attrMapped, func(v []byte) []byte { return v[:7] }),
	altered("XOR-RELAYED-ADDRESS is always the same", attrRelayed, func(v []byte) []byte { return []byte{0, 1, 0x21, 0x17, 1, 2, 3, 4} }),
	altered("XOR-RELAYED-ADDRESS is of family IPv6", attrRelayed, func(v []byte) []byte { return append([]byte{0, 2, 0x21, 0x17}, make([]byte, 16)...) }),
	altered("LIFETIME is a day", attrLifetime, func([]byte) []byte { return binary.BigEndian.AppendUint32(nil, 86400) }),
	altered("the token is too long", attrToken, func(v []byte) []byte { return append(v, 1) }),
	altered("ERROR-CODE has a class of 7", attrErrorCode, func(v []byte) []byte { v[2] = 7; return v }),
	altered("ERROR-CODE without a reason", attrErrorCode, func(v []byte) []byte { return v[:4] }),
	altered("the reason is long", attrErrorCode, func(v []byte) []byte { return append(v[:4], bytes.Repeat([]byte("x"), 128)...) }),
	altered("UNKNOWN-ATTRIBUTES lists another one", attrUnknownAttributes, func(v []byte) []byte { return []byte{0x7F, 0xF9} }),
	altered("REALM is in quotes", attrRealm, func(v []byte) []byte { return []byte(`"hairpin"`) }),
	altered("NONCE is long", attrNonce, func(v []byte) []byte { return bytes.Repeat([]byte("n"), 128) }),
	altered("NONCE is the same for all", attrNonce, func(v []byte) []byte { return []byte("of all\x01") }),
	altered("ADDRESS-ERROR-CODE is of IPv4", attrAddressError, func(v []byte) []byte { v[0] = 1; return v }),
	altered("DATA is changed", attrData, func(v []byte) []byte { return append(v, '!') }),
	altered("XOR-PEER-ADDRESS is changed", attrPeer, func(v []byte) []byte { v[3] ^= 1; return v }),
	{name: "signs indications", respond: func(m *message) []byte {
		if m.kind != data|classIndication {
			return m.raw
		}
		return withIntegrity(rebuild(m, m.kind, nil)[:len(m.raw)], []byte("key"))
	}},
	{name: "ChannelData becomes a Data indication, and the other way round", respond: func(m *message) []byte {
		if len(m.raw) >= 4 && m.raw[0]>>6 == 1 {
			return build(data|classIndication, peer(probeAddress), raw(attrData, m.raw[4:]...))
		}
		if m.kind == data|classIndication {
			v := m.get(attrData)
			return append([]byte{0x4F, 0xFF, byte(len(v) >> 8), byte(len(v))}, v...)
		}
		return m.raw
	}},
	{name: "ChannelData is longer than it says", respond: func(m *message) []byte {
		if len(m.raw) >= 4 && m.raw[0]>>6 == 1 {
			return append(m.raw, 0, 0, 0, 0, 0)
		}
		return m.raw
	}},
	{name: "counts padding in ChannelData", respond: func(m *message) []byte {
		if len(m.raw) >= 4 && m.raw[0]>>6 == 1 {
			n := len(m.raw) - 4
			b := append(m.raw, make([]byte, padding(n))...)
			b[3] = byte(n + padding(n))
			return b
		}
		return m.raw
	}},
	{name: "answers whatever comes", write: func(_ *liar, b []byte) ([]byte, []byte) {
		told := build(binding | classError)
		if len(b) >= headerSize {
			copy(told[8:], b[8:headerSize])
		}
		if len(b) >= headerSize-4 && len(b) < headerSize {
			copy(told[8:16], b[8:])
			copy(told[16:], b[12:16])
		}
		return b, told
	}},
	{name: "relays to everybody", betrays: true},
	{name: "relays nothing", write: func(_ *liar, b []byte) ([]byte, []byte) {
		if b[0]>>6 == 1 || len(b) >= 2 && kindOf(b) == send|classIndication {
			return nil, nil
		}
		return b, nil
	}},
}

var probeAddress = netip.MustParseAddrPort("192.0.2.1:9")

// Rows whose sockets are their own fail elsewhere: TestAnswerFromElsewhere, TestOneTransportOnly.
var elsewhere = []string{"sends the response from where", "supports UDP", "supports TCP"}

// Every row that an honest server passes fails under some lie.
func TestEveryRowCanFail(t *testing.T) {
	at := serve(t, nil)
	honest := options(at[probe.UDP], probe.UDP)
	honest.Timeout, honest.Quiet, honest.Parallel = 300*time.Millisecond, 60*time.Millisecond, 16
	truth := run(t, honest).Outcomes // ahead of the lies, which leave allocations behind
	failed := map[string]string{}
	for i := range lies {
		o := honest
		rooms := sync.Map{}
		o.wrap = func(conn net.Conn, x *exam) net.Conn {
			if _, datagrams := conn.(*net.UDPConn); !datagrams {
				return conn
			}
			r, _ := rooms.LoadOrStore(x, new(room))
			l := &liar{Conn: conn, lie: &lies[i], room: r.(*room)}
			l.room.mu.Lock()
			defer l.room.mu.Unlock()
			l.room.liars = append(l.room.liars, l)
			return l
		}
		for _, outcome := range run(t, o).Outcomes {
			if outcome.Verdict == Fail && failed[outcome.ID] == "" {
				failed[outcome.ID] = lies[i].name
			}
		}
	}
	for _, o := range truth {
		apart := slices.ContainsFunc(elsewhere, func(begins string) bool { return strings.HasPrefix(o.Requirement, begins) })
		if o.Verdict == Pass && failed[o.ID] == "" && !apart {
			t.Errorf("no lie makes this row fail: %s %s", o.ID, o.Requirement)
		}
	}
}

// A response from another port than the request was sent to is no response.
func TestAnswerFromElsewhere(t *testing.T) {
	listen := func() net.PacketConn {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		return socket
	}
	asked, other := listen(), listen()
	done := make(chan struct{})
	go func() { // until asked is closed
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := asked.ReadFrom(b)
			if err != nil {
				return
			}
			m, err := parse(bytes.Clone(b[:n]))
			if err != nil {
				continue
			}
			_, _ = other.WriteTo(rebuild(m, m.method()|classSuccess, nil), from)
		}
	}()
	t.Cleanup(func() { asked.Close(); <-done })
	for _, row := range Rows() {
		if !strings.HasPrefix(row.Requirement, elsewhere[0]) {
			continue
		}
		s := &server{
			Server: probe.URI{Transport: probe.UDP}, address: socketAddress(asked), timeout: time.Second, quiet: time.Second,
			binds: true, ports: map[uint16]bool{},
		}
		if j := (&exam{server: s, ctx: t.Context(), row: &row}).try(); j.verdict != Fail || !strings.Contains(j.seen, socketAddress(other).String()) {
			t.Errorf("%s: %s: %s", row.Requirement, j.verdict, j.seen)
		}
	}
}

// A server that has one of the two transports fails for the other.
func TestOneTransportOnly(t *testing.T) {
	for _, c := range []struct{ has, lacks probe.Transport }{{probe.UDP, probe.TCP}, {probe.TCP, probe.UDP}} {
		at := serve(t, func(c *relay.Config) { c.Workers = 1 }, c.has)
		o := options(at[c.has], c.has)
		o.Only, o.Timeout = "RFC 8656 §5", 300*time.Millisecond
		for _, outcome := range run(t, o).Outcomes {
			if strings.HasPrefix(outcome.Requirement, "supports "+strings.ToUpper(string(c.lacks))) && outcome.Verdict != Fail {
				t.Errorf("only %s: %s: %s", c.has, outcome.Requirement, outcome.Verdict)
			}
		}
	}
}
