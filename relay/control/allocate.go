package control

import (
	"errors"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// The values of REQUESTED-TRANSPORT: RFC 8656 §18.8, RFC 6062 §5.1.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// allocate makes an allocation (RFC 8656 §7.2).
func (w *Worker) allocate(r *request) *protocolError {
	if r.allocation != nil {
		return w.allocated(r)
	}
	wanted := allocation.Request{
		FiveTuple:     r.from.FiveTuple,
		Client:        r.from.Client,
		User:          r.identity.User,
		Account:       r.identity.Account,
		TransactionID: w.message.TransactionID(),
	}
	if e := w.readAllocate(r, &wanted); e != nil {
		return e
	}
	if w.crowded(&wanted) {
		if e := w.turnAway(r, nil); e != nil {
			return e
		}
	}
	if e := w.enter(r); e != nil {
		// It may have been made since authenticate looked, just before a gate was closed.
		if r.allocation = w.h.table.Find(&r.from.FiveTuple, r.now); r.allocation != nil {
			return w.allocated(r)
		}
		return e
	}
	a, err := w.h.table.Create(&wanted, r.now)
	w.leave(r)
	switch {
	case err == nil:
		return w.grant(a)
	case errors.Is(err, allocation.ErrMismatch):
		// Another worker took the five-tuple since authenticate looked: most likely
		// for the same request, sent twice.
		r.allocation = w.h.table.Find(&r.from.FiveTuple, r.now)
		return w.allocated(r)
	case errors.Is(err, allocation.ErrUserQuota):
		return errUserQuota
	case errors.Is(err, allocation.ErrToken):
		return errNoReservation
	case errors.Is(err, allocation.ErrCapacity):
		return w.turnAway(r, errNoRelayedAddress)
	case errors.Is(err, allocation.ErrSocket): // whoever opens sockets says why
		return w.turnAway(r, errNoSocket)
	}
	return unexpected(err)
}

// allocated answers an Allocate on a five-tuple that is in use: 437 (RFC 8656 §7.2,
// item 2), also to another user, as 441 is for other methods than Allocate (§5, §19).
//
// But a request that was sent again because its answer got lost must find the same
// answer again (RFC 8489 §6.3.1, RFC 8656 §5). The allocation remembers which
// transaction made it, so that no answer needs to be kept.
func (w *Worker) allocated(r *request) *protocolError {
	a := r.allocation
	if a == nil || a.User != r.identity.User || a.TransactionID != w.message.TransactionID() ||
		a.FiveTuple != r.from.FiveTuple { // one that is expected here was made elsewhere
		return errInUse
	}
	return w.grant(a)
}

// readAllocate takes the attributes of an Allocate request in the order in which
// RFC 8656 §7.2 has the server check them.
func (w *Worker) readAllocate(r *request, wanted *allocation.Request) *protocolError {
	m := &w.message

	// Item 3.
	protocol, ok, err := m.RequestedTransport()
	switch {
	case err != nil:
		return errBadTransport
	case !ok:
		return errNoTransport
	case protocol == protocolTCP:
		if e := w.checkTCP(r); e != nil {
			return e
		}
		wanted.TCP = true
	case protocol != protocolUDP:
		return errTransport
	}

	// Item 4 asks nothing: DONT-FRAGMENT is supported. What goes to another client stays
	// inside the process and is never fragmented; towards peers outside DF is set.

	family, hasFamily, err := m.RequestedAddressFamily()
	if err != nil {
		return errBadFamily
	}
	additional, hasAdditional, err := m.AdditionalAddressFamily()
	if err != nil {
		return errBadAdditional
	}
	reserve, hasEvenPort, err := m.EvenPort()
	if err != nil {
		return errBadEvenPort
	}
	token, hasToken, err := m.ReservationToken()
	if err != nil {
		return errBadToken
	}

	// Item 5; whether the token is valid is for the table to say.
	if hasToken && (hasEvenPort || hasFamily || hasAdditional) {
		return errTokenWithMore
	}
	// Item 6.
	if hasFamily && hasAdditional {
		return errTwoFamilies
	}
	// Item 7: IPv4 unless asked otherwise. A reservation has its family already.
	wanted.Family = allocation.IPv4
	if hasFamily {
		wanted.Family = allocation.Family(family)
	}
	if !hasToken && !w.h.table.HasFamily(wanted.Family) {
		return errFamilyNotSupported
	}
	// Item 8.
	if hasEvenPort && reserve && hasAdditional {
		return errReserveDual
	}
	// Item 9 names IPv4 only, but IPv6 is all that can be additional to IPv4. Whether both
	// can be had is for the table to say; one will do.
	if hasAdditional && allocation.Family(additional) != allocation.IPv6 {
		return errBadAdditional
	}

	wanted.Dual = hasAdditional && !wanted.TCP
	wanted.EvenPort = hasEvenPort
	wanted.Reserve = reserve
	if hasToken {
		w.token = token
		wanted.Token = &w.token
	}
	var e *protocolError
	if wanted.Mobile, e = w.readMobility(wanted.TCP); e != nil {
		return e
	}
	wanted.Lifetime, e = w.desiredLifetime(r)
	return e
}

// grant writes the success of an Allocate (RFC 8656 §7.2). It reads nothing that
// changes during a's life, so that a retransmission gets the same bytes.
func (w *Worker) grant(a *allocation.Allocation) *protocolError {
	w.reply.Success(&w.message)
	missing := allocation.Family(0)
	for f := allocation.IPv4; f <= allocation.IPv6; f++ {
		if h := a.Half(f); h != nil {
			w.reply.AddAddress(wire.AttrXORRelayedAddress, h.Relayed)
		} else {
			missing = f
		}
	}
	w.reply.AddUint32(wire.AttrLifetime, seconds(a.Lifetime))
	if token, ok := a.ReservationToken(); ok {
		w.reply.AddBytes(wire.AttrReservationToken, token[:])
	}
	w.reply.AddAddress(wire.AttrXORMappedAddress, a.FiveTuple.Client)
	if a.Mobile() {
		w.addTicket(a.ID, 0)
	}
	switch {
	case missing == 0:
	case w.message.Has(wire.AttrAdditionalAddressFamily):
		w.addAddressError(wire.AttrAddressErrorCode, missing, a.TCP() != nil)
	case w.message.Has(wire.AttrCoturnAdditionalFamily):
		w.addAddressError(wire.AttrCoturnAddressErrorCode, missing, a.TCP() != nil)
	}
	return nil
}

// addAddressError tells the client of a dual allocation why it has no relayed transport
// address of a family (RFC 8656 §7.2 item 9, §18.12). A TCP allocation has one in any
// case.
func (w *Worker) addAddressError(as wire.Attr, f allocation.Family, tcp bool) {
	why := insufficientCapacity
	if tcp || !w.h.table.HasFamily(f) {
		why = addressFamilyNotSupported
	}
	w.reply.AddBytes(as,
		append([]byte{byte(f), 0, byte(why.number() / 100), byte(why.number() % 100)}, why.reason()...))
}
