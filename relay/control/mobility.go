package control

import (
	"errors"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// readMobility says whether an Allocate asks for a ticket (RFC 8016 §3.1.2). Of TCP
// allocations there is none: the connections to peers belong to the control connection
// (RFC 6062 §5.5).
func (w *Worker) readMobility(tcp bool) (bool, *protocolError) {
	ticket, ok := w.message.Get(wire.AttrMobilityTicket)
	switch {
	case !ok:
		return false, nil
	case len(ticket) > 0:
		return false, errTicketAtAllocate
	case w.h.tickets == nil || tcp:
		return false, errMobilityForbidden
	}
	return true, nil
}

// move refreshes the allocation of a ticket and takes it to the five-tuple that the
// request came on (RFC 8016 §3.2.2). The sender is authenticated already, so tickets are
// opened for users only, and who has one but is not its allocation's user gets 441.
func (w *Worker) move(r *request, ticket []byte) *protocolError {
	if w.h.tickets == nil {
		return errMobilityForbidden
	}
	wanted := allocation.Move{FiveTuple: r.from.FiveTuple, Client: r.from.Client, User: r.identity.User}
	var ok bool
	if wanted.ID, wanted.Generation, ok = w.h.tickets.open(ticket); !ok {
		return errTicket
	}
	// What the request says besides is checked ahead, so that one that fails moves nothing.
	if _, e := w.desiredLifetime(r); e != nil {
		return e
	}
	family, _, err := w.message.RequestedAddressFamily()
	if err != nil {
		return errBadFamily
	}
	wanted.Family = allocation.Family(family)
	// A listener that is removed keeps its clients, and gets no more of them.
	if g := r.from.Gate; g != nil {
		if g.enter() {
			defer g.leave()
		} else {
			wanted.Stay = true
		}
	}
	a, issued, err := w.h.table.Move(&wanted, r.now)
	switch {
	case err == nil:
	case errors.Is(err, allocation.ErrGone):
		return errTicketGone
	case errors.Is(err, allocation.ErrTicket):
		return errTicketUsed
	case errors.Is(err, allocation.ErrSamePlace):
		return errSamePlace
	case errors.Is(err, allocation.ErrOwner):
		return errWrongUser
	case errors.Is(err, allocation.ErrFamily):
		return errRefreshedFamily
	case errors.Is(err, allocation.ErrElsewhere):
		return errMobilityForbidden
	case errors.Is(err, allocation.ErrMismatch):
		return errInUse
	default:
		return unexpected(err)
	}
	r.allocation = a
	if e := w.refresh(r); e != nil {
		return e
	}
	w.addTicket(a.ID, issued)
	return nil
}

func (w *Worker) addTicket(id uint64, generation uint32) {
	w.ticket = w.h.tickets.append(w.ticket[:0], id, generation)
	w.reply.AddBytes(wire.AttrMobilityTicket, w.ticket)
}
