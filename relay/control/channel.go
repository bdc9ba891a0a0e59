package control

import (
	"errors"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/wire"
)

// channelBind binds a channel to a peer, or refreshes the binding, and the
// permission for the peer with it (RFC 8656 §12.2).
func (w *Worker) channelBind(r *request) *protocolError {
	if r.allocation.TCP() != nil {
		return errIsTCP
	}
	number, ok, err := w.message.ChannelNumber()
	switch {
	case err != nil:
		return errBadChannelNumber
	case !ok:
		return errNoChannelNumber
	case number < wire.MinChannel || number > w.maxChannel():
		return errBadChannelNumber
	}
	if e := w.readPeers(); e != nil {
		return e
	}
	// RFC 8656 §12.2 speaks of one XOR-PEER-ADDRESS. RFC 8489 §14 lets us ignore any
	// further one; a client that sends it means something that we would not do.
	if len(w.peers) > 1 {
		return errManyPeers
	}
	peer := w.peers[0]
	// RFC 8656 §12.2 has what is bound otherwise checked ahead of the peer's family
	// and of whether it is allowed.
	if r.allocation.Conflicts(number, peer, r.now) {
		return errChannelConflict
	}
	if !sameFamily(r, peer.Addr()) {
		return errPeerFamily
	}
	if !w.h.allows(peer) {
		return errPeerForbidden
	}
	err = r.allocation.Bind(number, peer, r.now)
	switch {
	case err == nil:
	case errors.Is(err, allocation.ErrConflict):
		return errChannelConflict
	case errors.Is(err, allocation.ErrTooMany):
		return errTooManyPeers
	default:
		return unexpected(err)
	}
	w.reply.Success(&w.message)
	return nil
}

// maxChannel is the highest channel number that the client may bind: 0x4FFF
// (RFC 8656 §12), but 0x7FFF, the end of the older range (RFC 5766 §11), for clients
// made of coturn's library as it was up to 2026. That one draws its numbers at random
// from the older range and gives up at the first 400, so three of four binds would
// end it. It is known by its attributes: no other library writes NONCE ahead of REALM
// and signs off with FINGERPRINT.
func (w *Worker) maxChannel() uint16 {
	if w.message.Before(wire.AttrNonce, wire.AttrRealm) && w.message.Has(wire.AttrFingerprint) {
		return wire.MaxLegacyChannel
	}
	return wire.MaxChannel
}
