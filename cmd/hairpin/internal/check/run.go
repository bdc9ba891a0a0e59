package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// server is the server under test and what the survey found out about it. It is complete before the first row runs and
// does not change any more, but for the features, each of which is looked for once.
type server struct {
	options Options
	Server  probe.URI
	Secure  bool
	tls     *tls.Config
	address netip.AddrPort
	timeout time.Duration
	quiet   time.Duration

	credentials   credentials
	other         *credentials // a second user; nil: none is known
	authenticates bool         // asks for credentials
	binds         bool         // answers Binding requests without credentials
	onlyIPv6      bool         // relays no IPv4
	software      string
	noPeers       string            // why no peer can be reached; empty: it can
	anchors       [2]netip.AddrPort // transport addresses that a client may have permissions for

	tcpAllocations feature

	mu     sync.Mutex
	ports  map[uint16]bool // guarded by mu: local ports that this run has used
	parked []net.Conn      // guarded by mu: sockets that keep such a port from being given out again
}

// feature is something optional that a server offers or not.
type feature struct {
	once    sync.Once
	missing string // why it counts as not offered; empty: it is offered
}

// look says why the feature counts as not offered; empty: it is. find finds that out, once.
func (f *feature) look(find func() (missing string)) string {
	f.once.Do(func() { f.missing = find() })
	return f.missing
}

// Outcome is what became of one row.
type Outcome struct {
	Row
	Verdict Verdict
	Seen    string        // what the server did, or why the row is not applicable
	Took    time.Duration // of the probe
}

// Result is a finished check.
type Result struct {
	URI      string
	Server   netip.AddrPort
	Realm    string
	Software string
	Outcomes []Outcome // in the order of Rows
	Took     time.Duration
}

// Count counts the outcomes of a verdict whose level is one of levels.
func (r *Result) Count(v Verdict, levels ...Level) (n int) {
	for _, o := range r.Outcomes {
		for _, l := range levels {
			if o.Verdict == v && o.Level == l {
				n++
			}
		}
	}
	return n
}

// Run checks a server. Besides ctx's, its errors are *probe.Unreachable and *probe.Refusal, as those of a probe.
func Run(ctx context.Context, o Options) (*Result, error) {
	start := time.Now()
	s, done, err := survey(ctx, o)
	if err != nil {
		return nil, err
	}
	defer done()
	r := &Result{URI: s.uri(), Server: s.address, Realm: s.credentials.realm, Software: s.software}
	for _, row := range o.chosen() {
		r.Outcomes = append(r.Outcomes, Outcome{Row: row})
	}

	var wg sync.WaitGroup
	places := make(chan struct{}, o.Parallel)
	for i := range r.Outcomes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			r.Outcomes[i].judge(ctx, s)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.Took = time.Since(start)
	return r, nil
}

// notOfRun begins what is said of a row that the transport of the run leaves out.
const notOfRun = "is about "

// judge tries one row.
func (o *Outcome) judge(ctx context.Context, s *server) {
	start := time.Now()
	o.Verdict = NotApplicable
	switch stream := s.Server.Transport == probe.TCP; {
	case o.slow && !s.options.Slow:
		o.Seen = "takes minutes: left out without --slow"
	case o.reach == overDatagrams && stream:
		o.Seen = notOfRun + "UDP"
	case o.reach == overStreams && !stream:
		o.Seen = notOfRun + "TCP and TLS"
	case o.reach == overTLS && !s.Secure:
		o.Seen = notOfRun + "TLS"
	case ctx.Err() != nil:
		o.Seen = "interrupted"
	default:
		j := (&exam{server: s, ctx: ctx, row: &o.Row}).try()
		o.Verdict, o.Seen = j.verdict, strings.TrimSpace(j.seen)
	}
	o.Took = time.Since(start)
}

func (s *server) uri() string {
	if uri := s.Server.String(); !s.Secure {
		return uri
	} else {
		return "turns" + strings.TrimPrefix(uri, "turn")
	}
}

// survey finds out what every row has to know: whether the server can be reached, whether it wants credentials and takes
// ours, and which peers there are. done gives back what it holds.
func survey(ctx context.Context, o Options) (s *server, done func(), err error) {
	s = &server{
		options: o, Server: o.Server, Secure: o.Secure, timeout: o.Timeout, quiet: o.Quiet,
		ports: map[uint16]bool{},
		tls:   &tls.Config{ServerName: o.Server.Host, InsecureSkipVerify: o.Insecure}, // #nosec: only where the user says so
	}
	user, password, err := o.probing().Credentials(time.Now())
	if err != nil {
		return nil, nil, err
	}
	s.credentials = credentials{user, password, o.Realm}
	if o.OtherUser != "" {
		s.other = &credentials{o.OtherUser, o.OtherPassword, o.Realm}
	} else if o.Secret != "" {
		mint := o.probing()
		mint.User += "-other"
		if user, password, err = mint.Credentials(time.Now()); err != nil {
			return nil, nil, err
		}
		s.other = &credentials{user, password, o.Realm}
	}

	resolving, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(resolving, "ip", o.Server.Host)
	if err != nil || len(addresses) == 0 {
		return nil, nil, &probe.Unreachable{Address: o.Server.Host, Reason: "the host name does not resolve", Err: err}
	}
	s.address = netip.AddrPortFrom(addresses[0].Unmap(), o.Server.Port)

	x := &exam{server: s, ctx: ctx, row: &Row{probe: func(*exam) {}}}
	for range addressesToTry {
		if err = s.meet(x); err == nil || !mismatch(err) {
			break
		}
	}
	if err != nil {
		x.try()
		return nil, nil, err
	}
	// A probe that does nothing: what is left of it is its cleaning up.
	return s, func() { x.try(); s.unpark() }, nil
}

// addressesToTry is how many client transport addresses are tried where the server sees an old allocation (RFC 8656 §7.4).
const addressesToTry = 3

func mismatch(err error) bool {
	var refusal *probe.Refusal
	return errors.As(err, &refusal) && refusal.Code == 437
}

// meet speaks to the server for the first time. Sockets that it opens belong to x.
func (s *server) meet(x *exam) error {
	c, err := s.open(x.ctx, s.Server.Transport == probe.UDP)
	if err != nil {
		return &probe.Unreachable{Address: s.address.String(), Reason: "no connection: " + err.Error(), Err: err}
	}
	x.clients = append(x.clients, c)

	first := c.challenge()
	bound := c.exchange(build(binding))
	if first == nil && bound == nil {
		return &probe.Unreachable{Address: s.address.String(), Reason: "no answer to an Allocate nor to a Binding request", Err: c.broken}
	}
	if first == nil {
		return &probe.Unreachable{Address: s.address.String(), Reason: "no answer to an Allocate request: no TURN server"}
	}
	s.binds = bound != nil && bound.code() == 0
	s.authenticates = first.code() == 401 && c.nonce != ""
	s.credentials.realm = c.realm
	if s.other != nil {
		s.other.realm = c.realm
	}

	m := c.request(allocate, s.usual()...)
	if m != nil && m.code() == 440 {
		s.onlyIPv6 = true
		m = c.request(allocate, s.usual()...)
	}
	switch {
	case m == nil:
		return &probe.Unreachable{Address: s.address.String(), Reason: "no answer to an Allocate request with credentials", Err: c.broken}
	case m.code() != 0:
		_, reason, _ := strings.Cut(m.String(), " ")
		return &probe.Refusal{
			Side: "A", Request: "Allocate", Code: max(m.code(), 0), Reason: strings.Trim(reason, "()"), Realm: c.realm,
			Credentials: s.authenticates && c.user != "", Ephemeral: s.options.Secret != "",
		}
	case !c.relayed.IsValid():
		return errors.New("the Allocate success response has no readable XOR-RELAYED-ADDRESS: nothing more can be checked")
	}
	s.software = strings.ToValidUTF8(strings.Map(printable, string(m.get(attrSoftware))), "?")
	s.noPeers = s.anchor(x, c)
	return nil
}

// anchor finds two peers that the first client may have permissions for, and keeps them.
func (s *server) anchor(x *exam, c *client) (missing string) {
	for i := range s.anchors {
		if s.options.Peer.IsValid() {
			socket, err := net.ListenPacket("udp", netip.AddrPortFrom(s.options.Peer, 0).String())
			if err != nil {
				return fmt.Sprintf("there is no socket on --peer %v: %v", s.options.Peer, err)
			}
			x.others = append(x.others, socket)
			s.anchors[i] = socketAddress(socket)
		} else {
			other, err := s.open(x.ctx, s.Server.Transport == probe.UDP)
			if err != nil {
				return "no second connection: " + err.Error()
			}
			x.clients = append(x.clients, other)
			if m := other.request(allocate, s.usual()...); m == nil || m.code() != 0 {
				return fmt.Sprintf("a second allocation is answered with %v", orSilence(m))
			}
			s.anchors[i] = other.relayed
		}
		if m := c.request(createPermission, peer(s.anchors[i])); m == nil || m.code() != 0 {
			return fmt.Sprintf("the server does not let its clients reach %v: %v (another peer can be named with --peer)", s.anchors[i].Addr(), orSilence(m))
		}
	}
	return ""
}
