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
		TransactionID: w.message.TransactionID(),
	}
	if e := w.readAllocate(r, &wanted); e != nil {
		return e
	}
	if !w.h.gate.enter() {
		// It may have been made since authenticate looked, just before the gate was closed.
		if r.allocation = w.h.table.Find(&r.from.FiveTuple, r.now); r.allocation != nil {
			return w.allocated(r)
		}
		return w.turnAway(r, errDraining)
	}
	a, err := w.h.table.Create(&wanted, r.now)
	w.h.gate.leave()
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
		return errNoRelayedAddress
	case errors.Is(err, allocation.ErrSocket): // whoever opens sockets says why
		return errNoSocket
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
	if a == nil || a.User != r.identity.User || a.TransactionID != w.message.TransactionID() {
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
	// Item 9 names IPv4 only, but IPv6 is all that can be additional to IPv4.
	if hasAdditional && allocation.Family(additional) != allocation.IPv6 {
		return errBadAdditional
	}

	wanted.EvenPort = hasEvenPort
	wanted.Reserve = reserve
	if hasToken {
		w.token = token
		wanted.Token = &w.token
	}
	var e *protocolError
	wanted.Lifetime, e = w.desiredLifetime(r)
	return e
}

// grant writes the success of an Allocate (RFC 8656 §7.2). It reads nothing that
// changes during a's life, so that a retransmission gets the same bytes.
func (w *Worker) grant(a *allocation.Allocation) *protocolError {
	w.reply.Success(&w.message)
	w.reply.AddAddress(wire.AttrXORRelayedAddress, a.Relayed)
	w.reply.AddUint32(wire.AttrLifetime, seconds(a.Lifetime))
	if a.HasToken {
		w.reply.AddBytes(wire.AttrReservationToken, a.Token[:])
	}
	w.reply.AddAddress(wire.AttrXORMappedAddress, a.FiveTuple.Client)
	// Item 9: dual allocations are not made here, so a wish for one is met in part,
	// and the client is told which part is missing.
	if w.message.Has(wire.AttrAdditionalAddressFamily) {
		w.reply.AddBytes(wire.AttrAddressErrorCode, noIPv6)
	}
	return nil
}

// noIPv6 is the ADDRESS-ERROR-CODE "440 for IPv6" (RFC 8656 §18.12).
var noIPv6 = append([]byte{byte(allocation.IPv6), 0, 4, 40}, addressFamilyNotSupported.reason()...)
