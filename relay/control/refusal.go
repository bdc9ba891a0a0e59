package control

import (
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Refusal is a request that was answered with an error, as Options.Refused is told.
type Refusal struct {
	Method string // as the metrics spell it
	Code   int    // RFC 8489 §14.8, RFC 8656 §19
	Reason string // which credential was at fault, as the metrics spell it, else in words
	User   string // as the client wrote it, whether it is true or not; empty: it didn't
	From   allocation.FiveTuple
	// Allocation is that of a client that has proved who it is; nil: it has none, or has not. It may be over.
	Allocation *allocation.Allocation
	// Listener is the index of the listener that the request came through.
	Listener int
}

// tell reports a refusal. The first request of every client is refused, for it has no nonce yet, and so is one with a
// nonce that has grown old: nobody needs to hear of those.
func (w *Worker) tell(r *request, e *protocolError) {
	if e == errNoCredentials || e.code == staleNonce {
		return
	}
	refusal := &Refusal{
		Method: r.method.String(), Code: e.code.number(), Reason: e.cause,
		From: r.from.FiveTuple, Listener: int(r.from.Client.Listener),
	}
	if e.failure != notAFailure {
		refusal.Reason = e.failure.String()
	}
	if r.key != nil {
		refusal.User, refusal.Allocation = r.identity.User, r.allocation
	} else if user, ok := w.message.Get(wire.AttrUsername); ok {
		refusal.User = string(user)
	}
	w.h.refused(refusal)
}

// tellLater returns what reports a refusal when Worker and request are long gone, of a client that has proved who it is.
func (w *Worker) tellLater(r *request) func(e *protocolError) {
	h := w.h
	if h.refused == nil {
		return func(*protocolError) {}
	}
	refusal := Refusal{
		Method: r.method.String(), User: r.identity.User, Allocation: r.allocation,
		From: r.from.FiveTuple, Listener: int(r.from.Client.Listener),
	}
	return func(e *protocolError) {
		refusal.Code, refusal.Reason = e.code.number(), e.cause
		h.refused(&refusal)
	}
}
