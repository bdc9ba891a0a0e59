package control

import (
	"net/netip"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// Answered is a request of a client that has an allocation and has proved who it is, and what came of it: the record of
// that allocation. It and what it refers to are the worker's, and good until the callback returns.
type Answered struct {
	Allocation *allocation.Allocation // may have ended by it
	Method     string                 // "allocate", "refresh", …
	Code       int                    // error code of the answer; 0: a success
	Cause      string                 // of an error, in words for logs
	Lifetime   time.Duration          // that a Refresh granted; 0: it ended the allocation, or one half of a dual one
	Peers      []netip.AddrPort       // of CreatePermission, ChannelBind and Connect, as far as they could be read
	Channel    uint16                 // of ChannelBind
}

// refreshed is what a Refresh was about: a half of a dual allocation, if it named its family.
func (w *Worker) refreshed(r *request) *allocation.Allocation {
	if family, ok, _ := w.message.RequestedAddressFamily(); ok {
		if h := r.allocation.Half(allocation.Family(family)); h != nil {
			return h
		}
	}
	return r.allocation
}

// record reports an answered request.
func (w *Worker) record(r *request, refused *protocolError) {
	if w.h.answered == nil || r.allocation == nil || r.key == nil {
		return
	}
	a := &w.answered
	*a = Answered{Allocation: r.allocation, Method: r.method.String()}
	if refused != nil {
		a.Code, a.Cause = refused.code.number(), refused.cause
	}
	switch r.method {
	case methodRefresh:
		if requested, given, _ := w.message.Lifetime(); refused == nil && !(given && requested == 0) {
			a.Lifetime = max(w.refreshed(r).Expires().Sub(r.now), 0)
		}
	case methodChannelBind:
		a.Channel, _, _ = w.message.ChannelNumber()
		fallthrough
	case methodCreatePermission, methodConnect:
		w.peers, _ = w.message.Peers(w.peers[:0])
		a.Peers = w.peers
	}
	w.h.answered(a)
}
