package relay

// The driver leads a server and the reference model through the same steps and compares each answer, each frame that
// anybody receives, and after each step all state that can be seen.
//
// The server is the real one from a received frame on, without sockets: connections are sessions, whose reader the
// driver is; datagrams take the way of udpLoop.packet, whose loop the driver is. What leaves is recorded by a stream per
// client, also for those of UDP, because loopback sockets would cost a hundred times as much as all the rest: what
// differs with a socket (padding, batches, segments) is under test in packages forward and udp. Time is the driver's.

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/stream"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// stateRules are what the server under the driver is set to: so little of everything that it runs out.
var stateRules = modelRules{
	defaultLifetime: 600 * time.Second, maxLifetime: 3600 * time.Second,
	permission: 300 * time.Second, channel: 600 * time.Second, channelRest: 300 * time.Second,
	reservation: 30 * time.Second, relayRest: 30 * time.Second, nonce: 900 * time.Second,
	userQuota: 4, totalQuota: 6,
	relays: []netip.Addr{netip.MustParseAddr("198.51.100.4"), netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("2001:db8:77::4")},
	ports:  allocation.PortRange{Min: 50001, Max: 50005},
}

var statePrefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.4/31"), netip.MustParsePrefix("2001:db8:77::4/128")}

// stateUsers are those who may allocate.
var stateUsers = [2]auth.User{{Name: "alice", Password: "wonder"}, {Name: "bob", Password: "builder"}}

var (
	stateBase = time.UnixMilli(1_700_000_000_000)
)

// stateClients are the five-tuples of the clients. Some differ from another in one of the five alone.
var stateClients = []struct {
	name  string
	tuple allocation.FiveTuple
}{
	{"udp", tupleOf("203.0.113.1:4000", "192.0.2.1:3478", allocation.UDP)},
	{"udp, next port", tupleOf("203.0.113.1:4001", "192.0.2.1:3478", allocation.UDP)},
	{"udp, other server", tupleOf("203.0.113.1:4000", "192.0.2.2:3478", allocation.UDP)},
	{"udp, IPv6", tupleOf("[2001:db8::1]:4000", "[2001:db8::2]:3478", allocation.UDP)},
	{"udp, far away", tupleOf("203.0.113.200:4000", "192.0.2.1:3478", allocation.UDP)},
	{"tcp", tupleOf("203.0.113.1:4000", "192.0.2.1:3478", allocation.TCP)},
	{"tcp, next port", tupleOf("203.0.113.1:4001", "192.0.2.1:3478", allocation.TCP)},
	{"tls", tupleOf("203.0.113.1:4000", "192.0.2.1:5349", allocation.TLS)},
}

func tupleOf(client, server string, transport allocation.Transport) allocation.FiveTuple {
	return allocation.FiveTuple{Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort(server), Transport: transport}
}

// modelConn records what is sent to a client.
type modelConn struct {
	tuple  *allocation.FiveTuple
	frames [][]byte
	wanted []*modelDelivery
}

func (c *modelConn) Send(head, body []byte, pad int) bool {
	frame := make([]byte, 0, len(head)+len(body)+pad)
	c.frames = append(c.frames, append(append(append(frame, head...), body...), make([]byte, pad)...))
	return true
}
func (c *modelConn) Flush()                     {}
func (c *modelConn) RemoteAddr() netip.AddrPort { return c.tuple.Client }
func (c *modelConn) LocalAddr() netip.AddrPort  { return c.tuple.Server }

// modelStream is one that TCP allocations can be made on.
type modelStream struct{ *modelConn }

var _ tcp.Connection = modelStream{}

func (modelStream) TakeOver(stream.Pipe) {}
func (modelStream) Close()               {}

// stateClient is one five-tuple with what its client knows.
type stateClient struct {
	name    string
	tuple   allocation.FiveTuple
	conn    *modelConn
	session *session       // of a connection, else nil
	origin  control.Origin // of datagrams
	former  []*session     // earlier connections whose end the server hasn't heard of

	user    int // of stateUsers
	nonce   string
	made    allocation.Time  // the nonce
	relayed []netip.AddrPort // last known
	request []byte           // last Allocate, with
	meant   modelRequest
}

// stateDrive is one server, its model and its clients.
type stateDrive struct {
	m       *model
	elapsed time.Duration
	closed  []netip.AddrPort // relayed addresses that the server gave back in this step

	server    *Server
	forwarder *forward.Forwarder // of the datagrams
	worker    *control.Worker
	clients   []*stateClient
	conns     []*modelConn // every one, former ones included

	holding bool         // a read is not over at the end of a step
	reading *stateClient // whose, nil: nobody's
	serial  uint64       // of transaction IDs and payloads
	token   []byte       // that was given last

	reply   wire.Reply
	message wire.Message
	bytes   []byte
	answer  []byte
	keys    [len(stateUsers)][]byte
	trace   func(string, ...any) // nil: nobody reads it
}

func newStateDrive(rules modelRules) (*stateDrive, error) {
	d := &stateDrive{m: newModel(rules), server: new(Server)}
	now := func() time.Time { return stateBase.Add(d.elapsed) }
	var err error
	s := d.server
	s.table, err = allocation.NewTable(allocation.Options{
		Relay: statePrefixes, Ports: stateRules.ports, Now: now,
		UserQuota: stateRules.userQuota, TotalQuota: stateRules.totalQuota,
		Closed: func(a *allocation.Allocation) { d.closed = append(d.closed, a.Relayed) },
	})
	if err != nil {
		return nil, err
	}
	s.auth, err = auth.New(auth.Options{Realm: "hairpin", Users: stateUsers[:], Now: now, NonceLifetime: stateRules.nonce, NonceSecret: "any"})
	if err != nil {
		return nil, err
	}
	s.control = control.New(control.Options{Table: s.table, Auth: s.auth, Now: now})
	s.plane = forward.New(forward.Options{Table: s.table, Sockets: forward.Sockets{nil}})
	s.toolbox = toolbox{keep: 1, retire: func(*tools) {}, make: func() *tools {
		return &tools{forwarder: s.plane.NewForwarder(0), control: s.control.NewWorker()}
	}}
	d.forwarder, d.worker = s.plane.NewForwarder(0), s.control.NewWorker()
	for i, u := range stateUsers {
		sum := md5.Sum([]byte(u.Name + ":hairpin:" + u.Password)) // RFC 8489 §9.2.2
		d.keys[i] = sum[:]
	}
	for i, known := range stateClients {
		c := &stateClient{name: known.name, tuple: known.tuple, user: i % len(stateUsers)}
		d.clients = append(d.clients, c)
		d.connect(c)
	}
	return d, nil
}

// connect gives a client a new connection, or the only one that a client of UDP has.
func (d *stateDrive) connect(c *stateClient) {
	c.conn = &modelConn{tuple: &c.tuple}
	d.conns = append(d.conns, c.conn)
	if t := c.tuple.Transport; t == allocation.UDP {
		c.origin = control.Origin{FiveTuple: c.tuple, Client: allocation.Client{Stream: c.conn}}
	} else {
		c.session = sessions{d.server, nowhere}.session(modelStream{c.conn}, t)
	}
}

// enter makes c the one whose read goes on: other goroutines than the one in hand have their turn after its flush.
func (d *stateDrive) enter(c *stateClient) {
	if r := d.reading; r != nil && r != c && (r.session != nil || c.session != nil) {
		d.leave()
	}
	if d.reading == nil && c.session == nil {
		d.forwarder.Begin(d.server.table.Now())
	}
	d.reading = c
}

// leave ends the read in hand.
func (d *stateDrive) leave() {
	switch r := d.reading; {
	case r == nil:
	case r.session != nil:
		r.session.Flush()
	default:
		d.forwarder.Flush()
	}
	d.reading = nil
}

// frame hands over one datagram or frame, and returns the answer to a request.
func (d *stateDrive) frame(c *stateClient, b []byte) []byte {
	d.enter(c)
	b = bytes.Clone(b) // the data plane writes into it, before Flush
	data := wire.Classify(b) == wire.KindChannelData || wire.IsSend(b)
	if c.session != nil {
		before := len(c.conn.frames)
		c.session.Frame(b)
		if !data && len(c.conn.frames) > before {
			answer := c.conn.frames[before]
			c.conn.frames = c.conn.frames[:before]
			return answer
		}
		return nil
	}
	switch { // as udpLoop.packet does
	case wire.Classify(b) == wire.KindChannelData:
		d.forwarder.ChannelData(&c.tuple, b)
	case wire.IsSend(b):
		d.forwarder.Send(&c.tuple, b)
	default:
		d.answer = d.worker.Handle(b, &c.origin, d.answer[:0])
		d.forwarder.Forget()
		return d.answer
	}
	return nil
}

// received holds what everybody got against what they had to get.
func (d *stateDrive) received() error {
	for _, c := range d.conns {
		for i, want := range c.wanted {
			if i == len(c.frames) {
				return fmt.Errorf("%v %v gets %d frames, and not %q from %v", c.tuple.Transport, c.tuple.Client, i, want.payload, want.from)
			}
			if err := want.is(c.frames[i], &d.message); err != nil {
				return fmt.Errorf("%v %v: %w", c.tuple.Transport, c.tuple.Client, err)
			}
		}
		if n := len(c.wanted); len(c.frames) > n {
			return fmt.Errorf("%v %v gets %x, which is not for it", c.tuple.Transport, c.tuple.Client, c.frames[n])
		}
		c.frames, c.wanted = c.frames[:0], c.wanted[:0]
	}
	return nil
}

// is says whether a frame is the delivery (RFC 8656 §11.3, §12.5, §12.7).
func (w *modelDelivery) is(frame []byte, m *wire.Message) error {
	if w.number != 0 {
		want := binary.BigEndian.AppendUint16(nil, w.number)
		want = append(binary.BigEndian.AppendUint16(want, uint16(len(w.payload))), w.payload...)
		want = append(want, make([]byte, -len(w.payload)&3)...)
		if !bytes.Equal(frame, want) {
			return fmt.Errorf("want ChannelData %x, got %x", want, frame)
		}
		return nil
	}
	if err := m.Decode(frame); err != nil || m.Method() != wire.MethodData || m.Class() != wire.ClassIndication {
		return fmt.Errorf("want a Data indication of %q, got %x", w.payload, frame)
	}
	data, ok := m.Get(wire.AttrData)
	if !ok || !bytes.Equal(data, w.payload) {
		return fmt.Errorf("want data %q, got %q", w.payload, data)
	}
	if from, _, err := m.Address(wire.AttrXORPeerAddress); err != nil || from != w.from {
		return fmt.Errorf("want data from %v, got it from %v (%v)", w.from, from, err)
	}
	return nil
}

// sameState holds all that can be seen of the server's state against the model.
func (d *stateDrive) sameState() error {
	t, now := d.server.table, d.m.now
	if got, want := t.Count(), d.m.count(""); got != want {
		return fmt.Errorf("%d allocations, want %d", got, want)
	}
	for _, c := range d.clients {
		a, want := t.Find(&c.tuple, now), d.m.live(c.tuple)
		if (a == nil) != (want == nil) {
			return fmt.Errorf("%s has an allocation: %v, want %v", c.name, a != nil, want != nil)
		}
		if a == nil {
			continue
		}
		if a.User != want.user {
			return fmt.Errorf("%s: the allocation is %q's, want %q's", c.name, a.User, want.user)
		}
		for family := allocation.IPv4; family <= allocation.IPv6; family++ {
			half, want := a.Half(family), d.m.half(want, uint8(family))
			if half != nil && half.Expires() <= now {
				half = nil
			}
			if (half == nil) != (want == nil) {
				return fmt.Errorf("%s has something of family %d: %v, want %v", c.name, family, half != nil, want != nil)
			}
			if half == nil {
				continue
			}
			if err := d.sameHalf(half, want); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// sameHalf compares what there is of one family.
func (d *stateDrive) sameHalf(a *allocation.Allocation, want *modelHalf) error {
	now := d.m.now
	if a.Relayed != want.relayed || a.Expires() != want.expires || (d.server.table.FindRelayed(a.Relayed, now) == a) == want.of.tcp {
		return fmt.Errorf("%v until %v, want %v until %v", a.Relayed, time.Duration(a.Expires()), want.relayed, time.Duration(want.expires))
	}
	permissions := make(map[netip.Addr]allocation.Time)
	for _, p := range a.Permissions(now) {
		permissions[p.Peer] = p.Expires
	}
	maps.DeleteFunc(want.permissions, func(_ netip.Addr, until allocation.Time) bool { return until <= now })
	if !maps.Equal(permissions, want.permissions) {
		return fmt.Errorf("%v permits %v, want %v", a.Relayed, permissions, want.permissions)
	}
	bound := 0
	for number, w := range want.channels {
		if w.expires <= now {
			continue
		}
		bound++
		if channel := a.Channel(number, now); channel == nil || channel.Peer != w.peer || channel.Expires() != w.expires || a.ChannelTo(w.peer, now) != channel {
			return fmt.Errorf("channel %#x is %v, want %v", number, channel, w)
		}
	}
	if n := len(a.Channels(now)); n != bound {
		return fmt.Errorf("%d channels, want %d", n, bound)
	}
	return nil
}

// ended holds the allocations that ended in a step against those that the model ended.
func (d *stateDrive) ended() error {
	slices.SortFunc(d.closed, netip.AddrPort.Compare)
	slices.SortFunc(d.m.over, netip.AddrPort.Compare)
	if !slices.Equal(d.closed, d.m.over) {
		return fmt.Errorf("ended are %v, want %v", d.closed, d.m.over)
	}
	d.closed, d.m.over = d.closed[:0], d.m.over[:0]
	return nil
}

// moveTo lets time pass.
func (d *stateDrive) moveTo(at allocation.Time) {
	d.leave()
	d.elapsed = time.Duration(at)
	d.m.now = at
}

// sweep runs the sweeper, which must give back nothing that is live and leave nothing that is over for a second.
func (d *stateDrive) sweep() error {
	d.leave()
	d.server.table.Sweep(d.m.now)
	for _, at := range d.closed {
		if err := d.m.swept(at); err != nil {
			return err
		}
	}
	if at, late := d.m.late(); late {
		return fmt.Errorf("the sweeper leaves %v, which is over for a second", at)
	}
	return nil
}

// finish lets everything expire, and shows that nothing has leaked: all places and each user's quota can be had again.
func (d *stateDrive) finish() error {
	d.leave()
	if err := d.received(); err != nil {
		return err
	}
	d.moveTo(d.m.now.Add(2 * time.Hour))
	if err := d.sweep(); err != nil {
		return err
	}
	if err := d.sameState(); err != nil {
		return err
	}
	if n := d.server.table.Count(); n != 0 {
		return fmt.Errorf("%d allocations live on", n)
	}
	if frames := d.server.plane.Totals().Dropped[forward.DropMalformed]; frames != 0 {
		return fmt.Errorf("%d frames were malformed", frames)
	}
	for _, family := range []allocation.Family{allocation.IPv4, allocation.IPv6} {
		d.moveTo(d.m.now.Add(time.Hour))
		if err := d.fill(family); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	return nil
}

// fill makes as many allocations as there may be, of the users in turn, and no more, and deletes them.
func (d *stateDrive) fill(family allocation.Family) error {
	t := d.server.table
	port := uint16(0)
	create := func(user int) (*allocation.Allocation, error) {
		port++
		tuple := tupleOf("203.0.113.77:1", "192.0.2.1:3478", allocation.UDP)
		tuple.Client = netip.AddrPortFrom(tuple.Client.Addr(), port)
		return t.Create(&allocation.Request{FiveTuple: tuple, User: stateUsers[user].Name, Family: family, Lifetime: time.Hour}, t.Now())
	}
	places := 0
	for _, ip := range stateRules.relays {
		if allocation.FamilyOf(ip) == family {
			places += int(stateRules.ports.Max-stateRules.ports.Min) + 1
		}
	}
	places = min(places, stateRules.totalQuota)
	for i := range places {
		user := i / stateRules.userQuota
		if user > 0 {
			if _, err := create(0); err == nil {
				return fmt.Errorf("%s has more than a user may", stateUsers[0].Name)
			}
		}
		a, err := create(user)
		if err != nil {
			return fmt.Errorf("allocation %d of %d of family %d: %w", i+1, places, family, err)
		}
		defer t.Delete(a, allocation.Released)
	}
	if _, err := create(1); err == nil {
		return fmt.Errorf("more than %d allocations of family %d", places, family)
	}
	return nil
}
