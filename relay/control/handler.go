// Package control is the control plane: it answers the STUN and TURN requests of
// clients. It owns the order of the checks, the authentication of a request, and
// what each answer says.
//
// It refuses to do I/O, to touch application data (that is the data plane's), and
// to keep state of its own: everything that outlives a request is an allocation in
// [allocation.Table], so a request that is not authenticated leaves nothing behind
// but a count.
//
// # The way of a request
//
//	Decode ─► accept ─┬─► Binding: unknown attributes? ─► binding ───────────────────────┐
//	   │         │      │    420                                                          ▼
//	   ▼         ▼      └─► authenticate ─► unknown attributes? ─┬─► allocate ─────────► answer
//	   discarded            400 401 438     420                  └─► allocation? ─► … ─────▲
//	                                                                 437 441
//
// A Refresh with a ticket finds its allocation by that, not by the five-tuple.
//
// One file holds one stage: handler.go the entry and the order, authenticate.go the
// long-term credential mechanism, token.go access tokens in its place, then one file for each method, mobility.go and ticket.go allocations that move, errors.go what an
// answer can be, stats.go what is counted.
//
// A datagram from an address that proved nothing yet is answered with no more than
// the protocol demands: a short SOFTWARE without a version, short reasons.
package control

import (
	"errors"
	"net/netip"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Options says what a Handler works on.
type Options struct {
	// RedirectAt is from how many allocations on newcomers are sent to another server where one is known (300); 0: only
	// when there is no room for them here, or while the gate is closed.
	RedirectAt int
	Table      *allocation.Table
	Gate       *Gate // nil: one that is always open
	Auth       *auth.Authenticator
	Peers      *peers.Policy         // with whom clients may exchange packets; nil: with each other
	Limits     Limits                // of those who have proved nothing; zero: none
	TCP        *tcp.Connections      // of TCP allocations; nil: some of its own
	NoMoves    bool                  // allocations may not go to another five-tuple (RFC 8016)
	Software   string                // SOFTWARE of every answer; empty: none
	Log        logging.LeveledLogger // nil: silent
	Stats      *Stats                // nil: nobody wants to know
	Refused    func(*Refusal)        // told of every refusal but those that every client meets first; nil: nobody. It must not wait
	Now        func() time.Time      // wall clock that the expiry of credentials is judged by; nil: time.Now
	Answered   func(*Answered)       // told of every request of a client that has an allocation; nil: nobody. It must not wait
}

// Handler is what all workers share. It is immutable, and safe for any number of
// goroutines.
type Handler struct {
	table      *allocation.Table
	gate       *Gate
	tickets    *tickets // nil: allocations may not move
	auth       *auth.Authenticator
	peers      *peers.Policy
	tcp        *tcp.Connections
	limits     *limits // nil: none
	software   string
	log        logging.LeveledLogger // may be nil
	stats      *Stats
	refused    func(*Refusal)
	now        func() time.Time
	answered   func(*Answered)
	redirectAt int
}

// New makes a Handler.
func New(o Options) *Handler {
	h := &Handler{
		table: o.Table, gate: o.Gate, auth: o.Auth, peers: o.Peers, tcp: o.TCP, software: o.Software, log: o.Log, stats: o.Stats,
		refused: o.Refused, answered: o.Answered, now: o.Now,
	}
	h.limits, h.redirectAt = newLimits(o.Limits), o.RedirectAt
	if !o.NoMoves {
		h.tickets = newTickets()
	}
	if h.gate == nil {
		h.gate = new(Gate)
	}
	if h.stats == nil {
		h.stats = new(Stats)
	}
	if h.peers == nil {
		h.peers = peers.LoopOnly()
	}
	if h.tcp == nil {
		h.tcp = tcp.New(tcp.Options{Now: h.table.Now})
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Origin says on what five-tuple a message came, and how its sender is reached.
type Origin struct {
	FiveTuple allocation.FiveTuple
	Client    allocation.Client

	Gate      *Gate      // of the listener; nil: it has none
	Discovery *Discovery // nil: none. Then no answer goes elsewhere than where its request came from
	Place     uint8      // which of Discovery.Sockets the message came to; all but the first take Binding requests alone
}

// isShown tells whether the transport itself has shown that the client is at its address. A datagram may have any source
// address, also where a load balancer passes it on.
func (o *Origin) isShown() bool { return o.FiveTuple.Transport != allocation.UDP }

// Worker is the scratch memory of one goroutine. It is not safe for two.
type Worker struct {
	h         *Handler
	message   wire.Message
	reply     wire.Reply
	integrity func(key []byte) bool // message.CheckIntegrity, bound once
	unknown   []wire.Attr
	nonce     []byte
	peers     []netip.AddrPort
	addresses []netip.Addr
	elsewhere []netip.AddrPort // servers that the client is sent to
	token     [8]byte
	ticket    []byte
	route     route // of the last answer, if Discovery
	claim     auth.Claim
	key       auth.Key // what request.key refers to
	// PASSWORD-ALGORITHMS of the request
	algorithms []uint16
	answered   Answered
}

// NewWorker makes a Worker.
func (h *Handler) NewWorker() *Worker {
	w := &Worker{h: h}
	w.integrity = w.message.CheckIntegrity
	return w
}

// request is one request on its way through the stages. Each stage fills in what
// the next ones rely on.
type request struct {
	from   *Origin
	method method
	now    allocation.Time

	holds   bool // the five-tuple has an allocation; known where there are limits
	suspect bool // from a source with too many failed logins
	proven  bool // the sender receives what is sent to its address

	// From authenticate on.
	identity   auth.Identity
	wall       time.Time              // that identity's expiry is measured by
	key        []byte                 // identity's key; nil while the sender has proved nothing
	session    *allocation.Credential // of an access token; nil: there is none
	sha256     bool                   // the answer has MESSAGE-INTEGRITY-SHA256, not MESSAGE-INTEGRITY
	allocation *allocation.Allocation // of the five-tuple, or of ConnectionBind's connection; nil when there is none

	later bool // the answer is going to follow
}

// Handle appends the answer to msg to dst, and appends nothing when msg is not to
// be answered: when it is malformed, an indication, a response, or of a method that
// this server does not know, or when its answer is going to follow. msg is only read, and not used after Handle has returned.
func (w *Worker) Handle(msg []byte, from *Origin, dst []byte) []byte {
	m := &w.message
	if err := m.Decode(msg); err != nil {
		w.h.stats.discard(discardReason(err))
		return dst
	}
	method, ok := w.accept()
	if !ok {
		return dst
	}
	w.route = route{}
	if from.Place != 0 && method != methodBinding {
		w.h.stats.discard(discardMethod)
		return dst
	}
	r := request{from: from, method: method, now: w.h.table.Now()}
	if w.h.limits != nil {
		if why, ok := w.admit(&r); !ok {
			w.h.stats.discard(why)
			return dst
		}
	}
	refused := w.process(&r)
	if refused != nil {
		w.refuse(&r, refused)
	} else if r.later {
		return dst
	} else {
		w.h.stats.count(method, success)
		w.keepSession(&r)
	}
	w.record(&r, refused)
	// RFC 8489 §6.3.1.1 wants SOFTWARE in every answer, RFC 8656 §5 in those to
	// Allocate and Refresh.
	if w.h.software != "" {
		w.reply.AddString(wire.AttrSoftware, w.h.software)
	}
	start := len(dst)
	dst = w.finish(&r, dst)
	if w.h.limits != nil {
		if why, ok := w.admitAnswer(&r, refused, len(msg), len(dst)-start); !ok {
			w.h.stats.discard(why)
			return dst[:start]
		}
	}
	return dst
}

// finish appends the answer to dst. RFC 8489 §9.2.4: once a request is authenticated,
// every answer is protected under the same key.
func (w *Worker) finish(r *request, dst []byte) []byte {
	if r.sha256 {
		return w.reply.FinishSHA256(dst, r.key)
	}
	return w.reply.Finish(dst, r.key)
}

// accept decides from method and class whether the message is answered at all.
// RFC 8489 §6.3: a message whose method is not supported, or whose class is not
// allowed for its method, is silently discarded. So a request of an unknown method
// gets no 400, and neither does a Send or Data request.
func (w *Worker) accept() (method, bool) {
	switch w.message.Class() {
	case wire.ClassRequest:
		if method, ok := methodOf(w.message.Method()); ok {
			return method, true
		}
		w.h.stats.discard(discardMethod)
	case wire.ClassIndication:
		// RFC 8489 §6.3.2: nothing answers an indication. Binding's is a keep-alive
		// and Send's is the data plane's; neither is a fault.
		if m := w.message.Method(); m != wire.MethodBinding && m != wire.MethodSend {
			w.h.stats.discard(discardClass)
		}
	default:
		// RFC 8489 §6.3: a response is for a transaction in progress, and a server
		// starts none.
		w.h.stats.discard(discardClass)
	}
	return 0, false
}

// process takes a request through the stages, and leaves the success in w.reply or
// returns why there is none.
func (w *Worker) process(r *request) *protocolError {
	if r.method == methodBinding {
		// RFC 8489 §12: the Binding method of a basic server uses no credentials.
		if e := w.checkBinding(r); e != nil {
			return e
		}
		return w.binding(r)
	}
	if e := w.authenticate(r); e != nil {
		return e
	}
	// RFC 8489 §6.3: attributes are looked at once authentication is done.
	if e := w.checkUnknown(); e != nil {
		return e
	}
	if r.method == methodAllocate {
		return w.allocate(r)
	}
	if r.method == methodConnectionBind {
		return w.connectionBind(r)
	}
	if ticket, ok := w.message.Get(wire.AttrMobilityTicket); ok && r.method == methodRefresh {
		return w.move(r, ticket)
	}
	if e := r.checkAllocation(); e != nil {
		return e
	}
	switch r.method {
	case methodRefresh:
		return w.refresh(r)
	case methodCreatePermission:
		return w.createPermission(r)
	case methodConnect:
		return w.connect(r)
	default:
		return w.channelBind(r)
	}
}

// checkUnknown refuses attributes that the sender requires to be understood and
// that are not (RFC 8489 §6.3.1).
func (w *Worker) checkUnknown() *protocolError {
	w.unknown = w.message.Unknown(w.unknown[:0])
	if len(w.unknown) > 0 {
		return errUnknownAttribute
	}
	return nil
}

// checkAllocation refuses a request that needs an allocation and has none, or
// somebody else's (RFC 8656 §5).
func (r *request) checkAllocation() *protocolError {
	switch {
	case r.allocation == nil:
		return errNoAllocation
	case r.allocation.User != r.identity.User:
		return errWrongUser
	}
	return nil
}

// refuse turns e into the answer, and counts it.
func (w *Worker) refuse(r *request, e *protocolError) {
	h := w.h
	h.stats.count(r.method, e.code)
	h.stats.fail(e.failure)
	if h.refused != nil {
		w.tell(r, e)
	}

	w.reply.Error(&w.message, e.code.number(), e.code.reason())
	switch e.code {
	case unauthenticated, staleNonce:
		// RFC 8489 §9.2.4: with 401 and 438 go REALM and a nonce that is valid,
		// and with a nonce of which the bit is set PASSWORD-ALGORITHMS.
		var offered []uint16
		w.nonce, offered = h.auth.Challenge(w.nonce[:0], r.from.FiveTuple.Client)
		w.reply.AddString(wire.AttrRealm, h.auth.Realm())
		w.reply.AddBytes(wire.AttrNonce, w.nonce)
		if offered != nil {
			w.reply.AddPasswordAlgorithms(offered)
		}
		if name, ok := h.auth.ThirdParty(); ok {
			w.reply.AddString(wire.AttrThirdPartyAuthorization, name)
		}
	case unknownAttribute:
		w.reply.AddUnknown(w.unknown)
	case tryAlternate:
		w.addAlternates()
	}

	// Strangers never reach the log: whoever floods the server is a number in the
	// metrics, not a line each.
	if h.log == nil || r.key == nil {
		return
	}
	if e.code == serverError {
		h.log.Errorf("%s from %s: %v", r.method, r.from.FiveTuple.Client, e)
		return
	}
	h.log.Debugf("%s from %s, user %q: %v", r.method, r.from.FiveTuple.Client, r.identity.User, e)
}

func discardReason(err error) discarded {
	if errors.Is(err, wire.ErrFingerprint) {
		return discardFingerprint
	}
	return discardMalformed
}
