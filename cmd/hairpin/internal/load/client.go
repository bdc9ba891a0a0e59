package load

import (
	"net/netip"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// A client has one request under way at most. What it asks for, in the order of a client's life:
//
//	challenge ─401─► allocate ──► bind (or permit) ──► … refresh, bind … ──► release
//	    └─ success: the server wants no credentials ─┘
//
// 438 repeats a request with the new nonce.
type request uint8

const (
	nothing   request = iota
	challenge         // Allocate without credentials
	allocate
	permit  // CreatePermission
	bind    // ChannelBind, which installs the permission too
	refresh // Refresh
	release // Refresh with a lifetime of 0
	requests
)

// String is the request's name in RFC 8656.
func (r request) String() string {
	return [...]string{"", "Allocate", "Allocate", "CreatePermission", "ChannelBind", "Refresh", "Refresh"}[r]
}

func (r request) method() wire.Method {
	return [...]wire.Method{0, wire.MethodAllocate, wire.MethodAllocate, wire.MethodCreatePermission, wire.MethodChannelBind, wire.MethodRefresh, wire.MethodRefresh}[r]
}

// client is one client of the server. It is owned by the generator's goroutine.
type client struct {
	// the request under way
	asked    request
	tid      [12]byte
	slot     int32 // its place in generator.pending
	attempts uint8 // how often it was sent
	renewed  uint8 // how many stale nonces it met
	begun    int64 // ns on the generator's clock; of the first sending
	due      int64 // when it will be sent again, or given up

	// what the server has granted
	allocated bool // has an allocation
	ready     bool // and what it needs to send
	keyed     bool // the server has asked for credentials
	nonce     []byte
	relayed   netip.AddrPort
	lifetime  time.Duration
	renewAt   int64 // when the allocation has to be refreshed
	permitAt  int64 // when permission and channel have to be refreshed

	// what it sends and expects
	channel uint16 // its number for its peer; 0: indications
	head    []byte // ahead of each payload
}

// Permissions last 300 s, and what refreshes a channel refreshes its permission (RFC 8656 §9, §12).
const permissionRenewal = 200 * time.Second

// Retransmission of requests over UDP (RFC 8489 §6.2.1): after 500 ms, then after twice as long each time.
const initialTimeout = 500 * time.Millisecond

// maxRenewals bounds how many stale nonces in a row a request meets before it counts as refused.
const maxRenewals = 3

// ask begins a request of a client.
func (g *generator) ask(i int32, what request) {
	c := &g.clients[i]
	if c.asked != nothing {
		panic("load: a client asks for one thing at a time")
	}
	c.asked, c.attempts, c.renewed, c.begun = what, 0, 0, g.now
	c.slot = int32(len(g.pending))
	g.pending = append(g.pending, i)
	g.send(i)
}

// answered ends the request under way.
func (g *generator) answered(c *client) {
	last := len(g.pending) - 1
	g.pending[c.slot] = g.pending[last]
	g.clients[g.pending[c.slot]].slot = c.slot
	g.pending = g.pending[:last]
	c.asked = nothing
}

// send sends the request under way for the first time, or anew with another transaction ID.
func (g *generator) send(i int32) {
	c := &g.clients[i]
	g.transactions++
	// An ID has to be unique, and here nobody would gain from guessing it (RFC 8489 §5).
	copy(c.tid[:], g.transactionPrefix[:])
	for at, n := 4, g.transactions; at < len(c.tid); at, n = at+1, n>>8 {
		c.tid[at] = byte(n)
	}
	c.attempts = 0
	g.transmit(i)
}

// transmit sends the request under way, be it again; a repetition is the same to the byte.
func (g *generator) transmit(i int32) {
	c := &g.clients[i]
	g.built = g.build(g.built[:0], i)
	if b := g.net.room(i, len(g.built), 0); b != nil {
		copy(b, g.built)
	}
	if c.attempts++; c.attempts > 1 {
		g.tally.retransmissions++
	}
	wait := g.options.Timeout
	if g.options.transport(i) == UDP {
		wait = g.retransmit << (c.attempts - 1)
	}
	c.due = min(g.now+int64(wait), c.begun+int64(g.options.Timeout))
}

// build appends the request under way to dst.
func (g *generator) build(dst []byte, i int32) []byte {
	c := &g.clients[i]
	r := &g.reply
	r.Request(c.asked.method(), c.tid)
	switch c.asked {
	case challenge, allocate:
		r.AddUint32(wire.AttrRequestedTransport, 17<<24)
		if f := map[int]uint32{4: uint32(wire.FamilyIPv4), 6: uint32(wire.FamilyIPv6)}[g.options.Family]; f != 0 {
			r.AddUint32(wire.AttrRequestedAddressFamily, f<<24)
		}
	case permit:
		r.AddAddress(wire.AttrXORPeerAddress, g.peer(i))
	case bind:
		r.AddUint32(wire.AttrChannelNumber, uint32(c.channel)<<16)
		r.AddAddress(wire.AttrXORPeerAddress, g.peer(i))
	case release:
		r.AddUint32(wire.AttrLifetime, 0)
	}
	if c.keyed {
		r.AddString(wire.AttrUsername, g.username)
		r.AddString(wire.AttrRealm, g.realm)
		r.AddBytes(wire.AttrNonce, c.nonce)
	}
	var key []byte
	if c.keyed {
		key = g.key
	}
	return withoutFingerprint(r.Finish(dst, key))
}

// withoutFingerprint takes a message's FINGERPRINT away, its last attribute, which MESSAGE-INTEGRITY does not cover. A
// server may take it for a wish to have it in every message (coturn does) and compute a checksum over each Data
// indication, which those who use TURN clients of browsers never ask for.
func withoutFingerprint(message []byte) []byte {
	const size = 8
	message = message[:len(message)-size]
	length := len(message) - wire.HeaderSize
	message[2], message[3] = byte(length>>8), byte(length)
	return message
}

// response takes an answer to the request under way.
func (g *generator) response(i int32, b []byte) {
	c := &g.clients[i]
	m := &g.decoded
	if err := m.Decode(b); err != nil || c.asked == nothing || m.TransactionID() != c.tid || m.Method() != c.asked.method() {
		g.tally.unexpected++ // late, twice, or not asked for
		return
	}
	what := c.asked
	switch m.Class() {
	case wire.ClassError:
		code, reason, _, _ := m.ErrorCode()
		wanted := code == 401 && what == challenge && g.username != "" || code == 438 && c.renewed < maxRenewals
		if wanted && g.learn(c, m) {
			if what == challenge {
				c.asked = allocate
			} else {
				c.renewed++
			}
			g.send(i)
			return
		}
		g.answered(c)
		g.refused(i, &Refusal{Request: what.String(), Code: code, Reason: printable(reason), Credentials: c.keyed})
	case wire.ClassSuccess:
		if c.keyed && !m.CheckIntegrity(g.key) {
			g.tally.unexpected++ // as if it had not come (RFC 8489 §9.2.5)
			return
		}
		if err := g.grant(c, what, m); err != nil {
			g.answered(c)
			g.refused(i, &Refusal{Request: what.String(), Reason: err.Error(), Credentials: c.keyed})
			return
		}
		g.answered(c)
		g.times[what].record(g.now - c.begun)
		g.mode.granted(i, what)
	default:
		g.tally.unexpected++
	}
}

// learn takes realm and nonce from a 401 or 438 (RFC 8489 §9.2.5).
func (g *generator) learn(c *client, m *wire.Message) bool {
	nonce, ok := m.Get(wire.AttrNonce)
	if !ok {
		return false
	}
	c.nonce = append(c.nonce[:0], nonce...)
	realm := []byte(g.options.Realm)
	if len(realm) == 0 {
		realm, _ = m.Get(wire.AttrRealm)
	}
	if g.key == nil || string(realm) != g.realm {
		if len(realm) == 0 {
			return false
		}
		g.realm = string(realm)
		g.key = longTermKey(g.username, g.realm, g.password)
	}
	c.keyed = true
	return true
}

// grant takes what a success response brings.
func (g *generator) grant(c *client, what request, m *wire.Message) error {
	switch what {
	case challenge, allocate:
		relayed, ok, err := m.Address(wire.AttrXORRelayedAddress)
		if err != nil || !ok {
			return errNoRelayed
		}
		if software, ok := m.Get(wire.AttrSoftware); ok && g.software == "" {
			g.software = printable(software)
		}
		c.relayed, c.allocated = relayed, true
		g.lives(c, m)
	case refresh:
		g.lives(c, m)
	case release:
		c.allocated, c.ready = false, false
	case permit, bind:
		c.permitAt = g.now + int64(permissionRenewal)
	}
	return nil
}

// lives notes when an allocation has to be refreshed: half-way through its lifetime.
func (g *generator) lives(c *client, m *wire.Message) {
	if seconds, ok, err := m.Lifetime(); ok && err == nil {
		c.lifetime = time.Duration(seconds) * time.Second
	}
	c.renewAt = g.now + int64(max(c.lifetime, 10*time.Second)/2)
}

// overdue sends again what was not answered, and gives up what never was. It looks at every pending request.
func (g *generator) overdue() {
	for k := len(g.pending) - 1; k >= 0; k-- {
		i := g.pending[k]
		switch c := &g.clients[i]; {
		case c.due > g.now:
		case g.now-c.begun >= int64(g.options.Timeout):
			what := c.asked
			g.answered(c)
			g.refused(i, &Refusal{Request: what.String(), Unanswered: true, Credentials: c.keyed})
		default:
			g.transmit(i)
		}
	}
}

// renew refreshes what would end soon, as long as no more than a few requests are under way. It looks at some clients each
// time, so that its cost doesn't depend on how many there are.
func (g *generator) renew(few int) (made int) {
	for n := 0; n < min(8*few, len(g.clients)) && len(g.pending) < few; n++ {
		if g.renewal++; g.renewal >= len(g.clients) {
			g.renewal = 0
		}
		what := nothing
		switch c := &g.clients[g.renewal]; {
		case !c.allocated || c.asked != nothing:
		case c.renewAt <= g.now:
			what = refresh
		case c.ready && c.permitAt <= g.now && c.channel == 0:
			what = permit
		case c.ready && c.permitAt <= g.now:
			what = bind
		}
		if what != nothing {
			g.ask(int32(g.renewal), what)
			made++
		}
	}
	return made
}
