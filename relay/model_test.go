package relay

// The reference model: allocations, permissions, channels, reservations and time as RFC 8656 has them, in plain maps,
// written to be read beside the RFC and not beside the server. It is told what clients ask and says what has to be
// answered and who has to receive what. Nothing of the server's takes part in that.
//
// What the RFC leaves to a server is said by modelRules: quotas, how long a relayed transport address rests. What a
// server draws at random, it is told, and judges.

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// modelRules are the numbers of the RFC and those that are the server's to choose.
type modelRules struct {
	defaultLifetime time.Duration // RFC 8656 §3.2
	maxLifetime     time.Duration // RFC 8656 §7.2
	permission      time.Duration // RFC 8656 §9
	channel         time.Duration // RFC 8656 §12
	channelRest     time.Duration // RFC 8656 §12: number and peer stay together
	reservation     time.Duration // RFC 8656 §7.2, at least 30 s
	relayRest       time.Duration // of a relayed transport address, before somebody else has it
	nonce           time.Duration
	userQuota       int
	totalQuota      int
	relays          []netip.Addr // whose ports are relayed transport addresses
	ports           allocation.PortRange

	fault modelFault
}

// modelFault is one rule that the model gets wrong, to show that this comes out.
type modelFault uint8

const (
	noFault modelFault = iota
	permitsByPort
	sendsWithoutPermission
	receivesWithoutPermission
	channelPermitsNobody
	channelNeedsPermission
	channelOfAnyNumber
	conflictOfNumberForgotten
	conflictOfPeerForgotten
	permitsSomeOfMany
	permitsForbidden
	permitsMapped
	bindsAnyPort
	tokenWorksTwice
	tokenBesideEvenPort
	evenPortIsAny
	noRoomAboveEvenPort
	transactionForgotten
	retransmissionMakesAnother
	otherUserMayRefresh
	otherUserMaySendAgain
	zeroIsDefault
	refreshKeepsLifetime
	refreshOfOtherFamily
	closeEndsSuccessor
	closeEndsNobody
	tupleWithoutTransport
	tupleWithoutServer
	nonceForEverybody
	nonceBeforePassword
	unknownAttributeIgnored
	quotaOfAll
	quotaNeverGivenBack
	dataOnChannel
	dataFromPeersClient
	deliversToExpired
	tcpOverUDP
	tcpHasChannels
	tcpSends
	tcpReceives
	bothOrNone
	refreshOfBoth
	numberPerFamily
)

// modelAllocation is one allocation.
type modelAllocation struct {
	tuple       allocation.FiveTuple
	conn        *modelConn // that leads to its client
	user        string
	transaction [12]byte
	tcp         bool // a TCP allocation, which no datagram leads to
	granted     time.Duration
	token       []byte
	relayed     []netip.AddrPort        // as first answered, IPv4 first
	halves      map[uint8]*modelHalf    // by family: what is not given back
	byPort      map[netip.AddrPort]bool // of permitsByPort alone
}

// modelHalf is what an allocation has of one family (RFC 8656 §8.1).
type modelHalf struct {
	of          *modelAllocation
	relayed     netip.AddrPort
	expires     allocation.Time
	permissions map[netip.Addr]allocation.Time // until when
	channels    map[uint16]modelChannel
}

func familyNumber(ip netip.Addr) uint8 { return uint8(allocation.FamilyOf(ip)) }

type modelChannel struct {
	peer    netip.AddrPort
	expires allocation.Time
}

type modelReservation struct {
	at  netip.AddrPort
	due allocation.Time
}

// model is all that a server has to remember.
type model struct {
	modelRules
	now      allocation.Time
	byTuple  map[allocation.FiveTuple]*modelAllocation
	held     map[netip.AddrPort]*modelHalf // by relayed transport address: those that are not given back, expired or not
	reserved map[string]modelReservation   // by RESERVATION-TOKEN
	resting  map[netip.AddrPort]allocation.Time
	over     []netip.AddrPort // relayed addresses that the last step gave back
	spent    map[string]int   // of quotaNeverGivenBack alone
}

func newModel(r modelRules) *model {
	return &model{
		modelRules: r,
		byTuple:    make(map[allocation.FiveTuple]*modelAllocation), held: make(map[netip.AddrPort]*modelHalf),
		reserved: make(map[string]modelReservation), resting: make(map[netip.AddrPort]allocation.Time),
		spent: make(map[string]int),
	}
}

// modelRequest is a request as its sender meant it.
type modelRequest struct {
	tuple       allocation.FiveTuple
	conn        *modelConn
	transaction [12]byte
	credentials modelCredentials
	unknown     bool // an attribute is not known to anybody

	lifetime    *uint32
	family      uint8 // REQUESTED-ADDRESS-FAMILY; 0: none
	transport   uint8 // REQUESTED-TRANSPORT; 0: none
	additional  uint8 // ADDITIONAL-ADDRESS-FAMILY; 0: none
	even, pair  bool  // EVEN-PORT, with R
	token       []byte
	peers       []netip.AddrPort
	number      uint16 // CHANNEL-NUMBER; 0: none
	olderNumber bool   // the client is of the library that binds channels of the older range
}

func (r *modelRequest) String() string {
	lifetime := "default"
	if r.lifetime != nil {
		lifetime = fmt.Sprintf("%d s", *r.lifetime)
	}
	return fmt.Sprintf("(%+v, transaction %x, lifetime %s, transport %d, family %d, additional %d, even %v, pair %v, token %x, unknown %v)",
		r.credentials, r.transaction[8:], lifetime, r.transport, r.family, r.additional, r.even, r.pair, r.token, r.unknown)
}

// modelCredentials is what a request proves.
type modelCredentials struct {
	absent, incomplete bool
	user               string // empty: not one of ours, or with another password
	made               allocation.Time
	foreign            bool // the nonce was made for another client
}

// authenticate is RFC 8489 §9.2.4: 0, or the code of the refusal.
func (m *model) authenticate(c *modelCredentials) int {
	stale := c.foreign && m.fault != nonceForEverybody || m.now.Sub(c.made) >= m.nonce
	switch {
	case c.absent:
		return 401
	case c.incomplete:
		return 400
	case m.fault == nonceBeforePassword && stale:
		return 438
	case c.user == "":
		return 401
	case stale:
		return 438
	}
	return 0
}

// begin is what all requests but Binding have in common (RFC 8489 §6.3.1, §9.2.4).
func (m *model) begin(r *modelRequest) int {
	if code := m.authenticate(&r.credentials); code != 0 {
		return code
	}
	if r.unknown && m.fault != unknownAttributeIgnored {
		return 420
	}
	return 0
}

// key is the five-tuple as the model tells them apart.
func (m *model) key(t allocation.FiveTuple) allocation.FiveTuple {
	switch m.fault {
	case tupleWithoutTransport:
		t.Transport = 0
	case tupleWithoutServer:
		t.Server = netip.AddrPort{}
	}
	return t
}

// live is the allocation of a five-tuple.
func (m *model) live(t allocation.FiveTuple) *modelAllocation {
	a := m.byTuple[m.key(t)]
	if a == nil || m.half(a, 1) == nil && m.half(a, 2) == nil {
		return nil
	}
	return a
}

// half is what of an allocation serves a family now.
func (m *model) half(a *modelAllocation, family uint8) *modelHalf {
	if h := a.halves[family]; h != nil && h.expires > m.now {
		return h
	}
	return nil
}

// count is how many allocations there are, of a user or of all.
func (m *model) count(user string) int {
	all := make(map[*modelAllocation]bool)
	for _, h := range m.held {
		if user == "" || h.of.user == user {
			all[h.of] = true
		}
	}
	return len(all)
}

// mine is the allocation that a request other than Allocate is about (RFC 8656 §5).
func (m *model) mine(r *modelRequest) (*modelAllocation, int) {
	if code := m.begin(r); code != 0 {
		return nil, code
	}
	a := m.live(r.tuple)
	switch {
	case a == nil:
		return nil, 437
	case a.user != r.credentials.user && m.fault != otherUserMayRefresh:
		return nil, 441
	}
	return a, 0
}

// lifetimeOf is RFC 8656 §7.2: at least the default, at most the maximum.
func (m *model) lifetimeOf(r *modelRequest) time.Duration {
	if r.lifetime == nil {
		return m.defaultLifetime
	}
	return min(max(time.Duration(*r.lifetime)*time.Second, m.defaultLifetime), m.maxLifetime)
}

// allocate is RFC 8656 §7.2. again is the allocation that the request made when it was sent before. On code 0 without
// again, granted has to be told what was drawn.
func (m *model) allocate(r *modelRequest) (again *modelAllocation, code int) {
	if code := m.begin(r); code != 0 {
		return nil, code
	}
	if a := m.live(r.tuple); a != nil {
		if a.transaction == r.transaction && (a.user == r.credentials.user || m.fault == otherUserMaySendAgain) && m.fault != transactionForgotten {
			return a, 0
		}
		if m.fault != retransmissionMakesAnother {
			return nil, 437
		}
	}
	switch { // items 3 and 5 to 9
	case r.transport == 0:
		return nil, 400
	case r.transport == 6: // RFC 6062 §5.1
		if r.tuple.Transport == allocation.UDP && m.fault != tcpOverUDP || r.even || r.token != nil {
			return nil, 400
		}
	case r.transport != 17:
		return nil, 442
	}
	switch {
	case r.token != nil && (r.even || r.family != 0 || r.additional != 0) && m.fault != tokenBesideEvenPort:
		return nil, 400
	case r.family != 0 && r.additional != 0:
		return nil, 400
	case r.family > 2:
		return nil, 440
	case r.pair && r.additional != 0:
		return nil, 400
	case r.additional != 0 && r.additional != 2:
		return nil, 400
	}
	if stale := m.byTuple[m.key(r.tuple)]; stale != nil {
		m.endAll(stale)
	}
	mine := m.count(r.credentials.user)
	switch m.fault {
	case quotaOfAll:
		mine = m.count("")
	case quotaNeverGivenBack:
		mine = m.spent[r.credentials.user]
	}
	if m.count("") >= m.totalQuota {
		return nil, 508
	}
	if mine >= m.userQuota {
		return nil, 486
	}
	if r.token != nil {
		if res, ok := m.reserved[string(r.token)]; !ok || res.due <= m.now {
			return nil, 508
		}
		return nil, 0
	}
	// Item 9: of two families one will do.
	if !slices.ContainsFunc(r.families(), func(f uint8) bool { return m.room(f, r) }) {
		return nil, 508
	}
	return nil, 0
}

// families are those that an Allocate without token asks for. A TCP allocation has one.
func (r *modelRequest) families() []uint8 {
	if r.additional != 0 && r.transport == 17 {
		return []uint8{1, 2}
	}
	return []uint8{max(r.family, 1)}
}

// room says whether there is a relayed transport address of the wanted kind.
func (m *model) room(family uint8, r *modelRequest) bool {
	for _, ip := range m.relays {
		for port := int(m.ports.Min); familyNumber(ip) == family && port <= int(m.ports.Max); port++ {
			if m.fits(netip.AddrPortFrom(ip, uint16(port)), r) == nil {
				return true
			}
		}
	}
	return false
}

// fits says why a transport address may not be what an Allocate without token is given; nil: it may.
func (m *model) fits(at netip.AddrPort, r *modelRequest) error {
	above := netip.AddrPortFrom(at.Addr(), at.Port()+1)
	switch {
	case !slices.Contains(m.relays, at.Addr()) || !m.ports.Contains(at.Port()):
		return errors.New("it is none of this server's")
	case !slices.Contains(r.families(), familyNumber(at.Addr())):
		return errors.New("it is of the other family")
	case m.taken(at):
		return errors.New("it is somebody's, reserved or at rest")
	case r.even && at.Port()%2 == 1 && m.fault != evenPortIsAny:
		return errors.New("its port is odd")
	case r.pair && (!m.ports.Contains(above.Port()) || m.taken(above)) && m.fault != noRoomAboveEvenPort:
		return errors.New("the port above it is not free")
	}
	return nil
}

func (m *model) taken(at netip.AddrPort) bool {
	if m.held[at] != nil || m.resting[at] > m.now {
		return true
	}
	for _, r := range m.reserved {
		if r.at == at && r.due > m.now {
			return true
		}
	}
	return false
}

// untouched says whether no port of an address is taken.
func (m *model) untouched(ip netip.Addr) bool {
	for port := int(m.ports.Min); port <= int(m.ports.Max); port++ {
		if m.taken(netip.AddrPortFrom(ip, uint16(port))) {
			return false
		}
	}
	return true
}

// granted judges what the server drew for a request that allocate let through, and makes the allocation.
func (m *model) granted(r *modelRequest, relayed []netip.AddrPort, token []byte) (*modelAllocation, error) {
	if (token != nil) != (r.pair && r.token == nil) {
		return nil, fmt.Errorf("RESERVATION-TOKEN: %x", token)
	}
	if r.token != nil {
		if want := m.reserved[string(r.token)].at; len(relayed) != 1 || relayed[0] != want {
			return nil, fmt.Errorf("the token was for %v, got %v", want, relayed)
		}
		if m.fault != tokenWorksTwice {
			delete(m.reserved, string(r.token))
		}
	} else if err := m.judgeDrawn(r, relayed); err != nil {
		return nil, err
	}
	if token != nil {
		if _, ok := m.reserved[string(token)]; ok {
			return nil, fmt.Errorf("RESERVATION-TOKEN %x twice", token)
		}
		m.reserved[string(token)] = modelReservation{netip.AddrPortFrom(relayed[0].Addr(), relayed[0].Port()+1), m.now.Add(m.reservation)}
	}
	a := &modelAllocation{
		tuple: r.tuple, conn: r.conn, user: r.credentials.user, transaction: r.transaction, tcp: r.transport == 6,
		granted: m.lifetimeOf(r), token: token, relayed: relayed,
		halves: make(map[uint8]*modelHalf), byPort: make(map[netip.AddrPort]bool),
	}
	for _, at := range relayed {
		h := &modelHalf{
			of: a, relayed: at, expires: m.now.Add(a.granted),
			permissions: make(map[netip.Addr]allocation.Time), channels: make(map[uint16]modelChannel),
		}
		a.halves[familyNumber(at.Addr())], m.held[at] = h, h
	}
	m.byTuple[m.key(r.tuple)] = a
	m.spent[a.user]++
	return a, nil
}

// judgeDrawn says what is wrong with relayed transport addresses that the server drew.
func (m *model) judgeDrawn(r *modelRequest, relayed []netip.AddrPort) error {
	drawn := make(map[uint8]bool)
	for _, at := range relayed {
		f := familyNumber(at.Addr())
		if err := m.fits(at, r); err != nil || drawn[f] {
			return fmt.Errorf("relayed transport address %v: %w", at, err)
		}
		drawn[f] = true
		// A permission is per IP address, so clients share one only where they must.
		lonely := func(ip netip.Addr) bool { return familyNumber(ip) == f && m.untouched(ip) }
		if slices.ContainsFunc(m.relays, lonely) && !lonely(at.Addr()) {
			return fmt.Errorf("%v shares its address, while another has nobody", at)
		}
	}
	for _, f := range r.families() {
		if !drawn[f] && (m.room(f, r) || m.fault == bothOrNone) {
			return fmt.Errorf("%v: nothing of family %d, of which there is some", relayed, f)
		}
	}
	return nil
}

// end gives one half back: its relayed transport address rests from now on.
func (m *model) end(h *modelHalf) {
	a := h.of
	delete(m.held, h.relayed)
	delete(a.halves, familyNumber(h.relayed.Addr()))
	if len(a.halves) == 0 && m.byTuple[m.key(a.tuple)] == a {
		delete(m.byTuple, m.key(a.tuple))
	}
	m.resting[h.relayed] = m.now.Add(m.relayRest)
	m.over = append(m.over, h.relayed)
}

func (m *model) endAll(a *modelAllocation) {
	for _, h := range a.halves {
		m.end(h)
	}
}

// refresh is RFC 8656 §8.2, and §8.1 where there are two families; lifetime is what is answered.
func (m *model) refresh(r *modelRequest) (lifetime time.Duration, code int) {
	a, code := m.mine(r)
	zero := r.lifetime != nil && *r.lifetime == 0 && m.fault != zeroIsDefault
	switch {
	case code != 0:
		return 0, code
	case r.family != 0 && m.half(a, r.family) == nil && m.fault != refreshOfOtherFamily:
		return 0, 443
	}
	for family, h := range a.halves {
		if r.family != 0 && family != r.family && m.fault != refreshOfBoth && m.fault != refreshOfOtherFamily {
			continue
		}
		switch {
		case zero:
			m.end(h)
		case h.expires > m.now && m.fault != refreshKeepsLifetime:
			h.expires = m.now.Add(m.lifetimeOf(r))
		}
	}
	if zero {
		return 0, 0
	}
	return m.lifetimeOf(r), 0
}

// allows says whether an IP address may be a peer's: one that relayed transport addresses are of, in its own spelling.
func (m *model) allows(ip netip.Addr) bool {
	if m.fault == permitsMapped {
		ip = ip.Unmap()
	}
	return slices.Contains(m.relays, ip) || m.fault == permitsForbidden
}

// createPermission is RFC 8656 §10.2: all of them or none.
func (m *model) createPermission(r *modelRequest) int {
	a, code := m.mine(r)
	if code != 0 {
		return code
	}
	if len(r.peers) == 0 {
		return 400
	}
	code = 0
	for _, p := range r.peers {
		switch {
		case m.half(a, familyNumber(p.Addr())) == nil:
			return 443 // wherever it stands
		case !m.allows(p.Addr()):
			code = 403
		case m.fault == permitsSomeOfMany:
			m.permit(a, p)
		}
	}
	if code == 0 {
		for _, p := range r.peers {
			m.permit(a, p)
		}
	}
	return code
}

func (m *model) permit(a *modelAllocation, p netip.AddrPort) {
	m.half(a, familyNumber(p.Addr())).permissions[p.Addr()] = m.now.Add(m.permission)
	a.byPort[p] = true
}

// permitted is RFC 8656 §9: by IP address, whatever the port.
func (m *model) permitted(h *modelHalf, p netip.AddrPort) bool {
	if m.fault == permitsByPort && !h.of.byPort[p] {
		return false
	}
	return h.permissions[p.Addr()] > m.now
}

// bind is RFC 8656 §12.2, with the cool-down of §12.
func (m *model) bind(r *modelRequest) int {
	a, code := m.mine(r)
	if code != 0 {
		return code
	}
	if a.tcp && m.fault != tcpHasChannels { // it has no channels (RFC 6062 §3)
		return 403
	}
	last := uint16(0x4FFF)
	if r.olderNumber {
		last = 0x7FFF // RFC 5766 §11
	}
	if r.number < 0x4000 || r.number > last || len(r.peers) != 1 {
		return 400
	}
	p := r.peers[0]
	for family, h := range a.halves {
		if h.expires <= m.now {
			continue
		}
		for number, c := range h.channels {
			if c.expires.Add(m.channelRest) <= m.now {
				continue
			}
			if family != familyNumber(p.Addr()) && m.fault == numberPerFamily && len(a.halves) == 2 {
				continue
			}
			if number == r.number && c.peer != p && m.fault != conflictOfNumberForgotten ||
				number != r.number && c.peer == p && m.fault != conflictOfPeerForgotten {
				return 400
			}
		}
	}
	h := m.half(a, familyNumber(p.Addr()))
	switch {
	case h == nil:
		return 443
	case !m.allows(p.Addr()), !m.ports.Contains(p.Port()) && m.fault != bindsAnyPort:
		return 403
	}
	h.channels[r.number] = modelChannel{p, m.now.Add(m.channel)}
	if m.fault != channelPermitsNobody {
		m.permit(a, p)
	}
	return 0
}

// modelDelivery is what somebody has to receive: ChannelData, or with number 0 a Data indication.
type modelDelivery struct {
	to      *modelConn
	number  uint16
	from    netip.AddrPort
	payload []byte
}

// send is RFC 8656 §11.2: a Send indication, which leaves from the half of the peer's family (RFC 8656 §7.2).
func (m *model) send(tuple allocation.FiveTuple, peer netip.AddrPort, payload []byte) *modelDelivery {
	a := m.live(tuple)
	if a == nil {
		return nil
	}
	h := m.half(a, familyNumber(peer.Addr()))
	if h == nil || !m.permitted(h, peer) && m.fault != sendsWithoutPermission {
		return nil
	}
	return m.deliver(h, peer, payload)
}

// channelData is RFC 8656 §12.6.
func (m *model) channelData(tuple allocation.FiveTuple, number uint16, payload []byte) *modelDelivery {
	a := m.live(tuple)
	if a == nil {
		return nil
	}
	for _, h := range a.halves {
		c := h.channels[number]
		if m.fault == channelOfAnyNumber && len(h.channels) > 0 {
			c = h.channels[slices.Min(slices.Collect(maps.Keys(h.channels)))]
		}
		if h.expires <= m.now || c.expires <= m.now || m.fault == channelNeedsPermission && !m.permitted(h, c.peer) {
			continue
		}
		return m.deliver(h, c.peer, payload)
	}
	return nil
}

// deliver is RFC 8656 §11.3 and §12.7: the peer's client gets what its permissions let in, by a channel if there is one.
func (m *model) deliver(from *modelHalf, peer netip.AddrPort, payload []byte) *modelDelivery {
	to := m.held[peer]
	if to == nil || to.expires <= m.now && m.fault != deliversToExpired ||
		from.of.tcp && m.fault != tcpSends || to.of.tcp && m.fault != tcpReceives {
		return nil
	}
	if !m.permitted(to, from.relayed) && m.fault != receivesWithoutPermission {
		return nil
	}
	d := &modelDelivery{to: to.of.conn, from: from.relayed, payload: payload}
	if m.fault == dataFromPeersClient {
		d.from = from.of.tuple.Client
	}
	for number, c := range to.channels {
		if c.peer == from.relayed && c.expires > m.now && m.fault != dataOnChannel {
			d.number = number
		}
	}
	return d
}

// close is the end of a connection, and with it of the allocation that was made on it (RFC 8656 §3.1); one that is over
// already is the sweeper's.
func (m *model) close(tuple allocation.FiveTuple, conn *modelConn) {
	a := m.live(tuple)
	if a == nil || m.fault == closeEndsNobody || a.conn != conn && m.fault != closeEndsSuccessor {
		return
	}
	m.endAll(a)
}

// swept is told what the sweeper gave back.
func (m *model) swept(at netip.AddrPort) error {
	a := m.held[at]
	switch {
	case a == nil:
		return fmt.Errorf("%v was given back, but nobody had it", at)
	case a.expires > m.now:
		return fmt.Errorf("%v was given back %v before its time", at, a.expires.Sub(m.now))
	}
	m.end(a)
	return nil
}

// late is what the sweeper should have given back: a second is all that it may take.
func (m *model) late() (netip.AddrPort, bool) {
	for at, a := range m.held {
		if a.expires.Add(time.Second) <= m.now {
			return at, true
		}
	}
	return netip.AddrPort{}, false
}

// deadlines are all moments from now on at which something changes by itself, in their order.
func (m *model) deadlines() []allocation.Time {
	var all []allocation.Time
	add := func(at allocation.Time) {
		if at >= m.now {
			all = append(all, at)
		}
	}
	for _, a := range m.held {
		add(a.expires)
		for _, until := range a.permissions {
			add(until)
		}
		for _, c := range a.channels {
			add(c.expires)
			add(c.expires.Add(m.channelRest))
		}
	}
	for _, r := range m.reserved {
		add(r.due)
	}
	for _, until := range m.resting {
		add(until)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
