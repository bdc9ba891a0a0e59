package relay

// The steps that a driver takes, four bytes each: what, who, and two that the step reads as it likes. Any bytes are
// steps, and any step can be left out, so that what fails can be made short.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

type stateStep struct{ what, who, a, b byte }

// The kinds of steps. Their share of all 256 values of what is stateKinds'.
const (
	stepAllocate = iota
	stepAllocateAgain
	stepRefresh
	stepPermit
	stepBind
	stepSend
	stepChannelData
	stepTime
	stepSweep
	stepClose
	stepLateClose
	stepHold
	stepPair // two clients get allocations and permit each other: what else takes long to find
	stepKeep // everybody refreshes, that there be something for time to pass over
)

// stateKinds gives each kind its share.
var stateKinds = [...]byte{
	stepAllocate, stepAllocate, stepAllocate, stepAllocateAgain, stepRefresh, stepKeep,
	stepPermit, stepPermit, stepBind, stepBind, stepBind,
	stepSend, stepSend, stepSend, stepSend, stepChannelData, stepChannelData, stepChannelData, stepChannelData,
	stepTime, stepTime, stepTime, stepTime, stepTime, stepTime, stepSweep,
	stepClose, stepLateClose, stepHold, stepPair, stepPair, stepKeep,
}

func (s stateStep) kind() byte { return stateKinds[int(s.what)%len(stateKinds)] }

// stateSteps reads steps, at most limit of them.
func stateSteps(b []byte, limit int) []stateStep {
	steps := make([]stateStep, 0, min(len(b)/4, limit))
	for ; len(b) >= 4 && len(steps) < limit; b = b[4:] {
		steps = append(steps, stateStep{b[0], b[1], b[2], b[3]})
	}
	return steps
}

func stateBytes(steps []stateStep) (b []byte) {
	for _, s := range steps {
		b = append(b, s.what, s.who, s.a, s.b)
	}
	return b
}

// runState leads a server and a model with these rules through steps, and returns how they first differ.
func runState(rules modelRules, steps []stateStep, trace func(string, ...any)) error {
	d, err := newStateDrive(rules)
	if err != nil {
		return err
	}
	d.trace = trace
	for i, s := range steps {
		if err := d.step(s); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return d.finish()
}

// shorter leaves out of steps what is not needed for them to fail. What a server draws is random, so a step counts as
// needless when one of three runs fails without it.
func shorter(rules modelRules, steps []stateStep) []stateStep {
	fails := func(steps []stateStep) bool {
		for range 3 {
			if runState(rules, steps, nil) != nil {
				return true
			}
		}
		return false
	}
	for size := len(steps) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(steps); {
			if rest := slices.Concat(steps[:at], steps[at+size:]); fails(rest) {
				steps = rest
			} else {
				at += size
			}
		}
	}
	return steps
}

// say traces what a step is, for people.
func (d *stateDrive) say(format string, arguments ...any) {
	if d.trace != nil {
		d.trace(format, arguments...)
	}
}

// step takes one step and compares.
func (d *stateDrive) step(s stateStep) error {
	c := d.clients[int(s.who)%len(d.clients)]
	var err error
	switch s.kind() {
	case stepAllocate:
		err = d.allocate(c, s.a, s.b)
	case stepAllocateAgain:
		err = d.allocateAgain(c, s.a)
	case stepRefresh:
		err = d.refresh(c, s.a, s.b)
	case stepPermit:
		err = d.permit(c, s.who, s.a, s.b)
	case stepBind:
		err = d.bind(c, s.who, s.a, s.b)
	case stepSend:
		d.sendTo(c, d.peer(s.a), int(s.b%16))
	case stepChannelData:
		d.sendOn(c, d.channel(c, s.a), int(s.b%16))
	case stepTime:
		d.pass(s.a, s.b)
	case stepSweep:
		if all := d.m.deadlines(); s.b%2 == 0 && len(all) > 0 {
			d.moveTo(all[int(s.b)%min(len(all), 4)].Add(time.Second)) // as late as it may be
		}
		d.say("sweep")
		err = d.sweep()
	case stepClose:
		d.close(c, s.a%4 == 0)
	case stepLateClose:
		d.lateClose(c)
	case stepHold:
		d.holding = s.a%2 == 0
		d.say("hold %v", d.holding)
	case stepPair:
		err = d.pair(c, d.clients[int(s.a)%len(d.clients)], s.b)
	case stepKeep:
		err = d.keep(s.a)
	}
	if err != nil {
		return err
	}
	if !d.holding {
		d.leave()
	}
	if d.reading == nil {
		if err := d.received(); err != nil {
			return err
		}
	}
	if err := d.ended(); err != nil {
		return err
	}
	return d.sameState()
}

// The values that attributes take.
var (
	stateLifetimes = [...]uint32{0, 1, 599, 600, 601, 3599, 3600, 1<<32 - 1}
	stateChannels  = [...]uint16{0x4000, 0x4001, 0x4002, 0x4FFF, 0x5000, 0x7FFF, 0x3FFF, 0}
	stateFoes      = [...]netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:50001"), netip.MustParseAddrPort("0.0.0.0:50001"),
		netip.MustParseAddrPort("[::1]:50001"), netip.MustParseAddrPort("[::]:50001"),
		netip.MustParseAddrPort("[::ffff:198.51.100.4]:50001"), netip.MustParseAddrPort("[::198.51.100.4]:50001"),
		netip.MustParseAddrPort("198.51.100.4:80"), netip.MustParseAddrPort("192.0.2.1:3478"),
	}
)

// peer is one of the addresses that steps name: the relayed one of a client, another port of its IP address, or one
// that nobody may reach.
func (d *stateDrive) peer(i byte) netip.AddrPort {
	of := netip.AddrPortFrom(stateRules.relays[int(i)%len(stateRules.relays)], stateRules.ports.Min)
	if known := d.clients[int(i)%len(d.clients)].relayed; len(known) > 0 {
		of = known[i/8%2%byte(len(known))]
	}
	switch i / 8 % 8 {
	case 6:
		return netip.AddrPortFrom(of.Addr(), stateRules.ports.Min+(of.Port()-stateRules.ports.Min+1)%5)
	case 7:
		return stateFoes[int(i)%len(stateFoes)]
	}
	return of
}

// The ways to sign a request; those that are good come most often.
const (
	signWrongPassword = 20 + iota
	signUnknown
	signNot
	signOld // with the nonce at hand, however old
	signForeign
	signIncomplete
	signWrongRealm
	signCorrupt
	signOlderLibrary
	signWays = 32
)

// ask sends a request, made by add beside what all have, and returns its answer's code; d.message is the answer.
func (d *stateDrive) ask(c *stateClient, method wire.Method, way byte, r *modelRequest, add func(*wire.Reply)) (int, []byte, error) {
	if r.transaction == [12]byte{} {
		d.serial++
		binary.BigEndian.PutUint64(r.transaction[4:], d.serial)
	}
	r.tuple, r.conn = c.tuple, c.conn
	user := c.user
	if way >= signWays {
		user = 1 - user
	}
	way %= signWays
	if c.nonce == "" || way != signOld && d.m.now.Sub(c.made) >= stateRules.nonce {
		d.nonce(c)
	}
	nonce, made := c.nonce, c.made
	name, realm, key := stateUsers[user].Name, "hairpin", d.keys[user]
	r.credentials = modelCredentials{user: name, made: made}
	d.reply.Request(method, r.transaction)
	add(&d.reply)
	switch way {
	case signWrongPassword:
		key, r.credentials.user = d.keys[1-user], ""
	case signUnknown:
		name, r.credentials.user = "mallory", ""
	case signNot:
		r.credentials.absent = true
	case signForeign:
		other := d.clients[(int(d.serial)+1)%len(d.clients)]
		nonce, made = other.nonce, other.made
		r.credentials.foreign = other.tuple.Client != c.tuple.Client || nonce == ""
		r.credentials.made = made
	case signIncomplete:
		r.credentials.incomplete = true
	case signWrongRealm:
		realm, r.credentials.user = "other", ""
	case signCorrupt:
		r.credentials.user = ""
	case signOlderLibrary:
		r.olderNumber = true
	}
	if way == signNot {
		d.bytes = d.reply.Finish(d.bytes[:0], nil)
	} else {
		if way == signOlderLibrary {
			d.reply.AddString(wire.AttrNonce, nonce)
		}
		d.reply.AddString(wire.AttrUsername, name)
		d.reply.AddString(wire.AttrRealm, realm)
		if way != signOlderLibrary && way != signIncomplete {
			d.reply.AddString(wire.AttrNonce, nonce)
		}
		d.bytes = d.reply.Finish(d.bytes[:0], key)
	}
	if way == signCorrupt { // of the integrity, FINGERPRINT being gone: it would tell
		d.bytes = d.bytes[:len(d.bytes)-8]
		binary.BigEndian.PutUint16(d.bytes[2:], uint16(len(d.bytes)-20))
		d.bytes[len(d.bytes)-1] ^= 1
	}
	return d.answered(c, d.bytes, key)
}

// nonce gives a client a fresh nonce, as a request without credentials would.
func (d *stateDrive) nonce(c *stateClient) {
	c.nonce = string(d.server.auth.AppendNonce(nil, c.tuple.Client))
	c.made = allocation.Time(time.Duration(d.m.now).Truncate(time.Millisecond)) // as much as a nonce knows
}

// answered sends a request and reads the code of its answer.
func (d *stateDrive) answered(c *stateClient, request, key []byte) (int, []byte, error) {
	answer := d.frame(c, request)
	m := &d.message
	if err := m.Decode(answer); err != nil {
		return 0, nil, fmt.Errorf("%s: the answer %x is %w", c.name, answer, err)
	}
	code, _, _, err := m.ErrorCode()
	switch id := m.TransactionID(); {
	case err != nil || (code == 0) != (m.Class() == wire.ClassSuccess) || !bytes.Equal(id[:], request[8:20]):
		return 0, nil, fmt.Errorf("%s: %x is no answer", c.name, answer)
	case code == 401 || code == 438:
		nonce, ok := m.Get(wire.AttrNonce)
		if !ok || m.HasIntegrity() {
			return 0, nil, fmt.Errorf("%s: %d without a nonce, or signed", c.name, code)
		}
		c.nonce, c.made = string(nonce), allocation.Time(time.Duration(d.m.now).Truncate(time.Millisecond))
	case m.HasIntegrity() && !m.CheckIntegrity(key):
		return 0, nil, fmt.Errorf("%s: the answer %d is signed by somebody else", c.name, code)
	case code == 0 && !m.HasIntegrity():
		return 0, nil, fmt.Errorf("%s: success is not signed", c.name)
	}
	return code, answer, nil
}

func differ(c *stateClient, what string, code, want int) error {
	if code == want {
		return nil
	}
	return fmt.Errorf("%s: %s is answered %d, want %d", c.name, what, code, want)
}

// allocate: a says family, EVEN-PORT, token and transport, b lifetime and how it is signed.
func (d *stateDrive) allocate(c *stateClient, a, b byte) error {
	r := modelRequest{transport: 17}
	switch a & 15 { // most often something that can succeed
	case 0:
		r.family = 1
	case 1, 2, 3:
		r.family = 2
	case 4:
		r.family = 3
	case 5:
		r.even = true
	case 6, 7:
		r.even, r.pair = true, true
	case 8:
		r.family, r.even, r.pair = 2, true, true
	case 9, 10:
		r.token = d.token
	case 11:
		r.token = make([]byte, 8)
		r.token[0] = a
	case 12:
		switch a >> 4 % 4 {
		case 0:
			r.transport = 0
		case 1:
			r.transport = 132
		case 2:
			r.unknown = true
		case 3:
			r.token, r.even = make([]byte, 8), true
		}
	case 14:
		r.transport = 6
		switch a >> 4 % 8 {
		case 0:
			r.even = true
		case 1:
			r.token = make([]byte, 8)
		case 2:
			r.family = 2
		}
	case 13: // most often both families
		r.additional = 2
		switch a >> 4 {
		case 0:
			r.additional = 1
		case 1:
			r.family = 1
		case 2:
			r.even, r.pair = true, true
		case 3, 4:
			r.even = true
		}
	}
	if b&7 != 7 {
		r.lifetime = &stateLifetimes[(b&7)%byte(len(stateLifetimes))]
	}
	way := b >> 3 // of 32; the upper ones are bad
	if a>>4 == 15 {
		way += signWays // the other user
	}
	return d.askAllocate(c, way, &r)
}

func (d *stateDrive) askAllocate(c *stateClient, way byte, r *modelRequest) error {
	code, answer, err := d.ask(c, wire.MethodAllocate, way, r, func(m *wire.Reply) {
		if r.transport != 0 {
			m.AddUint32(wire.AttrRequestedTransport, uint32(r.transport)<<24)
		}
		addFamily(m, wire.AttrRequestedAddressFamily, r.family)
		addFamily(m, wire.AttrAdditionalAddressFamily, r.additional)
		if r.even {
			value := []byte{0}
			if r.pair {
				value[0] = 0x80
			}
			m.AddBytes(wire.AttrEvenPort, value)
		}
		if r.token != nil {
			m.AddBytes(wire.AttrReservationToken, r.token)
		}
		addLifetime(m, r)
		addUnknown(m, r)
	})
	if err != nil {
		return err
	}
	c.request, c.meant = bytes.Clone(d.bytes), *r
	return d.judgeAllocate(c, code, answer)
}

func addFamily(m *wire.Reply, kind wire.Attr, family uint8) {
	if family != 0 {
		m.AddUint32(kind, uint32(family)<<24)
	}
}

func addLifetime(m *wire.Reply, r *modelRequest) {
	if r.lifetime != nil {
		m.AddUint32(wire.AttrLifetime, *r.lifetime)
	}
}

func addUnknown(m *wire.Reply, r *modelRequest) {
	if r.unknown {
		m.AddUint32(0x7ABC, 0)
	}
}

// allocateAgain sends the last Allocate once more: as it was, or signed anew, or as the other user.
func (d *stateDrive) allocateAgain(c *stateClient, a byte) error {
	if c.request == nil {
		return nil
	}
	switch a % 8 {
	case 0, 1:
		r := c.meant
		return d.askAllocate(c, a%8*signWays, &r)
	}
	c.meant.conn = c.conn
	key := d.keys[0]
	if c.meant.credentials.user == stateUsers[1].Name {
		key = d.keys[1]
	}
	code, answer, err := d.answered(c, c.request, key)
	if err != nil {
		return err
	}
	return d.judgeAllocate(c, code, answer)
}

// judgeAllocate holds the answer to c.meant against the model.
func (d *stateDrive) judgeAllocate(c *stateClient, code int, answer []byte) error {
	r, m := &c.meant, &d.message
	again, want := d.m.allocate(r)
	d.say("%s: Allocate %v → %d", c.name, r, code)
	if err := differ(c, fmt.Sprint("Allocate ", r), code, want); err != nil || code != 0 {
		return err
	}
	relayed, err := relayedOf(answer)
	if err != nil {
		return err
	}
	mapped, _, err := m.Address(wire.AttrXORMappedAddress)
	if err != nil {
		return err
	}
	lifetime, _, _ := m.Lifetime()
	var token []byte
	if t, ok, _ := m.ReservationToken(); ok {
		token = t[:]
	}
	if m.Has(wire.AttrAddressErrorCode) != (r.additional != 0 && len(relayed) < 2) {
		return fmt.Errorf("%s: of two families %v, and ADDRESS-ERROR-CODE is there: %v", c.name, relayed, m.Has(wire.AttrAddressErrorCode))
	}
	if again == nil {
		if again, err = d.m.granted(r, relayed, token); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		c.relayed = relayed
		if token != nil {
			d.token = token
		}
		d.say("%s has %v, token %x", c.name, relayed, token)
	}
	if !slices.Equal(relayed, again.relayed) || mapped != c.tuple.Client || time.Duration(lifetime)*time.Second != again.granted || !bytes.Equal(token, again.token) {
		return fmt.Errorf("%s: the answer %x tells %v, %v, %d s, %x; want %v, %v, %v, %x", c.name, answer,
			relayed, mapped, lifetime, token, again.relayed, c.tuple.Client, again.granted, again.token)
	}
	return nil
}

// relayedOf reads every XOR-RELAYED-ADDRESS, in their order (RFC 8489 §14.2).
func relayedOf(answer []byte) (all []netip.AddrPort, err error) {
	for at := wire.HeaderSize; at < len(answer); {
		length := int(binary.BigEndian.Uint16(answer[at+2:]))
		if v := bytes.Clone(answer[at+4 : at+4+length]); binary.BigEndian.Uint16(answer[at:]) == uint16(wire.AttrXORRelayedAddress) {
			for i := range v[4:] {
				v[4+i] ^= answer[4+i]
			}
			ip, ok := netip.AddrFromSlice(v[4:])
			if !ok {
				return nil, fmt.Errorf("XOR-RELAYED-ADDRESS %x", v)
			}
			all = append(all, netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[2:])^binary.BigEndian.Uint16(answer[4:])))
		}
		at += 4 + (length+3)&^3
	}
	return all, nil
}

// refresh: a says lifetime and family, b how it is signed.
func (d *stateDrive) refresh(c *stateClient, a, b byte) error {
	r := modelRequest{unknown: a>>6 == 3 && b&1 == 1}
	if a&8 == 0 {
		r.lifetime = &stateLifetimes[(a&7)%byte(len(stateLifetimes))]
	}
	if a>>4&3 == 1 {
		r.family = 1 + a>>6&1
	}
	code, _, err := d.ask(c, wire.MethodRefresh, b>>2, &r, func(m *wire.Reply) {
		addLifetime(m, &r)
		addFamily(m, wire.AttrRequestedAddressFamily, r.family)
		addUnknown(m, &r)
	})
	if err != nil {
		return err
	}
	granted, want := d.m.refresh(&r)
	d.say("%s: Refresh %v → %d", c.name, &r, code)
	if err := differ(c, "Refresh", code, want); err != nil || code != 0 {
		return err
	}
	if seconds, ok, _ := d.message.Lifetime(); !ok || time.Duration(seconds)*time.Second != granted {
		return fmt.Errorf("%s: refreshed for %d s, want %v", c.name, seconds, granted)
	}
	return nil
}

// permit: a names the first peer, b how many there are and how it is signed.
func (d *stateDrive) permit(c *stateClient, who, a, b byte) error {
	r := modelRequest{unknown: who == 255}
	for i := range [...]byte{1, 1, 2, 3, 0}[min(who>>5, 4)] {
		r.peers = append(r.peers, d.peer(a+i*37))
	}
	code, _, err := d.ask(c, wire.MethodCreatePermission, b>>2, &r, func(m *wire.Reply) { addPeers(m, &r) })
	if err != nil {
		return err
	}
	d.say("%s: CreatePermission %v → %d", c.name, r.peers, code)
	return differ(c, fmt.Sprintf("CreatePermission %v", r.peers), code, d.m.createPermission(&r))
}

func addPeers(m *wire.Reply, r *modelRequest) {
	for _, p := range r.peers {
		m.AddAddress(wire.AttrXORPeerAddress, p)
	}
	addUnknown(m, r)
}

// bind: who and b name the channel, a the peer, b how it is signed.
func (d *stateDrive) bind(c *stateClient, who, a, b byte) error {
	r := modelRequest{peers: []netip.AddrPort{d.peer(a)}, number: stateChannels[(who>>3|b<<5)%8]}
	if who>>6 != 3 {
		r.number = stateChannels[who>>3%3] // most often one of few
	}
	switch b & 3 {
	case 1:
		if b>>2&3 == 3 {
			r.peers = append(r.peers, d.peer(a+1))
		}
	case 2:
		if b>>2&3 == 3 {
			r.peers = nil
		}
	}
	code, _, err := d.ask(c, wire.MethodChannelBind, b>>2, &r, func(m *wire.Reply) {
		if r.number != 0 {
			m.AddUint32(wire.AttrChannelNumber, uint32(r.number)<<16)
		}
		addPeers(m, &r)
	})
	if err != nil {
		return err
	}
	d.say("%s: ChannelBind %#x %v → %d", c.name, r.number, r.peers, code)
	return differ(c, fmt.Sprintf("ChannelBind %#x %v", r.number, r.peers), code, d.m.bind(&r))
}

// payload is told apart from every other.
func (d *stateDrive) payload(length int) []byte {
	d.serial++
	return append(binary.BigEndian.AppendUint64(nil, d.serial), make([]byte, length)...)
}

func (d *stateDrive) sendTo(c *stateClient, peer netip.AddrPort, length int) {
	payload := d.payload(length)
	var id [12]byte
	d.reply.Indication(wire.MethodSend, id)
	d.reply.AddAddress(wire.AttrXORPeerAddress, peer)
	d.reply.AddBytes(wire.AttrData, payload)
	d.frame(c, d.reply.Finish(nil, nil))
	d.want(c, "Send", peer, d.m.send(c.tuple, peer, payload))
}

func (d *stateDrive) sendOn(c *stateClient, number uint16, length int) {
	if number < wire.MinChannel {
		return // no frame of a channel
	}
	payload := d.payload(length)
	b := make([]byte, wire.ChannelHeaderSize, wire.ChannelHeaderSize+len(payload)+3)
	wire.PutChannelHeader(b, number, len(payload))
	b = append(append(b, payload...), make([]byte, wire.Padding(len(payload)))...)
	d.frame(c, b)
	d.want(c, fmt.Sprintf("ChannelData %#x", number), netip.AddrPort{}, d.m.channelData(c.tuple, number, payload))
}

func (d *stateDrive) want(c *stateClient, what string, peer netip.AddrPort, w *modelDelivery) {
	if w == nil {
		d.say("%s: %s %v → nobody", c.name, what, peer)
		return
	}
	d.say("%s: %s %v → %v, from %v, channel %#x", c.name, what, peer, w.to.tuple.Client, w.from, w.number)
	w.to.wanted = append(w.to.wanted, w)
}

// channel is a number that a client has bound, or any.
func (d *stateDrive) channel(c *stateClient, i byte) uint16 {
	if a := d.m.live(c.tuple); a != nil && i < 192 {
		var bound []uint16
		for _, h := range a.halves {
			bound = slices.AppendSeq(bound, maps.Keys(h.channels))
		}
		if slices.Sort(bound); len(bound) > 0 {
			return bound[int(i)%len(bound)]
		}
	}
	return stateChannels[int(i)%len(stateChannels)]
}

// stateDurations are what may pass at once.
var stateDurations = [...]time.Duration{
	1, time.Millisecond, time.Second, 10 * time.Second, 29 * time.Second, 30 * time.Second, 31 * time.Second, time.Minute,
	100 * time.Second, 150 * time.Second, 200 * time.Second, 299 * time.Second, 300 * time.Second, 301 * time.Second, 600 * time.Second, time.Hour,
}

// pass lets time pass: some while, or until a deadline, or a nanosecond before or after it.
func (d *stateDrive) pass(a, b byte) {
	at := d.m.now.Add(stateDurations[int(b)%len(stateDurations)])
	if all := d.m.deadlines(); a >= 32 && len(all) > 0 {
		if a >= 64 { // most often one of the next
			all = all[:min(len(all), 4)]
		}
		if at = all[int(b)%len(all)].Add(time.Duration(a%3) - 1); at < d.m.now {
			return
		}
	}
	d.say("%v later", at.Sub(d.m.now))
	d.moveTo(at)
}

// close ends a client's connection, and the next one comes from the same port. With early the server hears of the end
// later than of the next one.
func (d *stateDrive) close(c *stateClient, early bool) {
	if c.session == nil {
		return
	}
	d.leave()
	c.former = append(c.former, c.session)
	c.request = nil
	if !early {
		d.lateClose(c)
	}
	d.say("%s connects anew", c.name)
	d.connect(c)
}

// lateClose lets the server hear of the end of a client's first former connection.
func (d *stateDrive) lateClose(c *stateClient) {
	if len(c.former) == 0 {
		return
	}
	d.leave()
	d.say("%s: a connection has ended", c.name)
	d.m.close(c.tuple, c.former[0].conn.(modelStream).modelConn)
	c.former[0].Closed()
	c.former = c.former[1:]
}

// pair has two clients allocate, unless they have, and permit each other; b says whether over a channel.
func (d *stateDrive) pair(c, other *stateClient, b byte) error {
	for _, x := range []*stateClient{c, other} {
		if d.m.live(x.tuple) == nil {
			kind := byte(15)
			if b >= 192 && x.session != nil {
				kind = 3<<4 | 14 // a TCP allocation
			} else if b >= 128 {
				kind = 5<<4 | 13 // both families
			}
			if err := d.allocate(x, kind, 7); err != nil {
				return err
			}
		}
	}
	for i, x := range []*stateClient{c, other} {
		y := []*stateClient{other, c}[i]
		at := byte(slices.Index(d.clients, y)) + b>>6&1<<3 // and of which of its families
		var err error
		if b>>i&1 == 0 {
			err = d.permit(x, 0, at, 0)
		} else {
			err = d.bind(x, b>>2<<3, at, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keep has those clients refresh their allocations for an hour that a has a bit for.
func (d *stateDrive) keep(a byte) error {
	for i, c := range d.clients {
		if mine := d.m.live(c.tuple); mine == nil || mine.user != stateUsers[c.user].Name || a>>i&1 == 0 {
			continue
		}
		if err := d.refresh(c, 6, 0); err != nil {
			return err
		}
	}
	return nil
}
