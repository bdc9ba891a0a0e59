package control

import (
	"errors"
	"slices"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/tcp"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// TCP allocations (RFC 6062): what their Allocate must not have, Connect, ConnectionBind.

// checkTCP refuses an Allocate for a TCP allocation that RFC 6062 §5.1 has refused.
func (w *Worker) checkTCP(r *request) *protocolError {
	if connectionOf(r) == nil {
		return errNotOverTCP
	}
	m := &w.message
	if m.Has(wire.AttrDontFragment) || m.Has(wire.AttrEvenPort) || m.Has(wire.AttrReservationToken) {
		return errDatagramOptions
	}
	return nil
}

// connectionOf is the TCP or TLS connection that a request came by; nil: it didn't.
func connectionOf(r *request) tcp.Connection {
	c, _ := r.from.Client.Stream.(tcp.Connection)
	return c
}

// connect opens a connection to a peer (RFC 6062 §5.2).
func (w *Worker) connect(r *request) *protocolError {
	a := r.allocation
	if a.TCP() == nil {
		return errIsUDP
	}
	if e := w.readPeers(); e != nil {
		return e
	}
	if len(w.peers) > 1 {
		return errManyPeers
	}
	peer := w.peers[0]
	switch {
	case w.h.tcp.Connected(a, peer):
		return errConnected
	case !sameFamily(r, peer.Addr()):
		return errPeerFamily
	case !w.h.allows(peer):
		return errPeerForbidden
	}
	id, err := w.h.tcp.Connect(a, peer, w.h.peers.Set().Allows(peer), w.answerConnect(r))
	switch {
	case errors.Is(err, tcp.ErrDialing):
		r.later = true
		return nil
	case err != nil:
		return connectError(err)
	}
	w.reply.Success(&w.message)
	w.reply.AddUint32(wire.AttrConnectionID, id)
	return nil
}

func connectError(err error) *protocolError {
	switch {
	case errors.Is(err, tcp.ErrExists):
		return errConnected
	case errors.Is(err, tcp.ErrFailed):
		return errNotConnected
	case errors.Is(err, tcp.ErrTooMany):
		return errManyConnections
	}
	return unexpected(err)
}

// answerConnect returns what makes the answer to a Connect request whose outcome is known
// later, when Worker and request are long gone. It counts and tells it, too.
func (w *Worker) answerConnect(r *request) func(id uint32, err error) []byte {
	h, key, sha256, transaction := w.h, slices.Clone(r.key), r.sha256, w.message.TransactionID()
	a, peers, tell := r.allocation, slices.Clone(w.peers), w.tellLater(r)
	return func(id uint32, err error) []byte {
		var reply wire.Reply
		if err != nil {
			e := connectError(err)
			h.stats.count(methodConnect, e.code)
			tell(e)
			if h.answered != nil {
				h.answered(&Answered{Allocation: a, Method: methodConnect.String(), Code: e.code.number(), Cause: e.cause, Peers: peers})
			}
			reply.ErrorTo(wire.MethodConnect, transaction, e.code.number(), e.code.reason())
		} else {
			h.stats.count(methodConnect, success)
			reply.SuccessTo(wire.MethodConnect, transaction)
			reply.AddUint32(wire.AttrConnectionID, id)
		}
		if sha256 {
			return reply.FinishSHA256(nil, key)
		}
		return reply.Finish(nil, key)
	}
}

// connectionBind makes the connection that a request came by a client data connection
// (RFC 6062 §5.4).
func (w *Worker) connectionBind(r *request) *protocolError {
	connection := connectionOf(r)
	if connection == nil {
		return errNotOverTCP
	}
	id, ok, err := w.message.ConnectionID()
	switch {
	case err != nil || !ok:
		return errNoConnectionID
	case r.allocation == nil:
		return errNoConnection
	case r.allocation.User != r.identity.User:
		return errWrongUser
	case w.h.table.Find(&r.from.FiveTuple, r.now) != nil:
		return errIsControl
	}
	if w.h.tcp.Bind(r.allocation, id, connection) != nil {
		return errNoConnection
	}
	w.reply.Success(&w.message)
	return nil
}

// holder finds the allocation that a request is about: that of its five-tuple, but for
// ConnectionBind that of the connection that it wants, as "the same method and credentials
// as for the control connection" count (RFC 6062 §4.3). nil: there is none.
func (w *Worker) holder(r *request) *allocation.Allocation {
	if r.method != methodConnectionBind {
		return w.h.table.Find(&r.from.FiveTuple, r.now)
	}
	id, ok, _ := w.message.ConnectionID()
	if !ok {
		return nil
	}
	a := w.h.tcp.Owner(id)
	if a == nil || a.Expires() <= r.now {
		return nil
	}
	return a
}

// readNonce reads a request's NONCE. A client data connection may come with that of its
// control connection: pion's client sends nothing else, and takes 438 for the end.
func (w *Worker) readNonce(r *request, nonce []byte) (auth.Nonce, error) {
	said, stale := w.h.auth.ReadNonce(nonce, r.from.FiveTuple.Client)
	if stale == nil || r.method != methodConnectionBind {
		return said, stale
	}
	if a := w.holder(r); a != nil {
		return w.h.auth.ReadNonce(nonce, a.FiveTuple.Client)
	}
	return said, stale
}
