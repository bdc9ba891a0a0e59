package control

import (
	"errors"
	"net/netip"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// createPermission installs or refreshes the permissions for all peers of a request
// or, if any of them may not be, for none (RFC 8656 §10.2).
func (w *Worker) createPermission(r *request) *protocolError {
	if e := w.readPeers(); e != nil {
		return e
	}
	w.addresses = w.addresses[:0]
	for _, peer := range w.peers {
		if !sameFamily(r, peer.Addr()) {
			return errPeerFamily
		}
		w.addresses = append(w.addresses, peer.Addr())
	}
	// RFC 8656 §9: a permission is for an IP address, the port is ignored.
	for _, address := range w.addresses {
		if !w.h.allowsAddress(address) {
			return errPeerForbidden
		}
	}
	err := r.allocation.Permit(w.addresses, r.now)
	switch {
	case err == nil:
	case errors.Is(err, allocation.ErrTooMany):
		return errTooManyPeers
	default:
		return unexpected(err)
	}
	w.reply.Success(&w.message)
	return nil
}

// allowsAddress says whether clients may have a permission for an IP address: one that
// relayed transport addresses are drawn from, or of some peer outside.
func (h *Handler) allowsAddress(ip netip.Addr) bool {
	rules := h.peers.Set()
	return rules.Loop() && h.table.Relays(ip) || rules.AllowsAddress(ip)
}

// allows says the same of a transport address and a channel.
func (h *Handler) allows(peer netip.AddrPort) bool {
	rules := h.peers.Set()
	return rules.Loop() && h.table.RelaysPort(peer) || rules.Allows(peer)
}

// readPeers reads every XOR-PEER-ADDRESS into w.peers: at least one, none malformed
// (RFC 8656 §10.2, §12.2). How many there can be is bounded by the message's size,
// and how many an allocation can hold by the allocation.
func (w *Worker) readPeers() *protocolError {
	peers, err := w.message.Peers(w.peers[:0])
	if err != nil {
		return errBadPeer
	}
	w.peers = peers
	if len(peers) == 0 {
		return errNoPeer
	}
	return nil
}

// sameFamily says whether peer is of the family of the allocation's relayed transport
// address, or of one of the two. An IPv4-mapped address is IPv6.
func sameFamily(r *request, peer netip.Addr) bool {
	return r.allocation.Serves(allocation.FamilyOf(peer), r.now)
}
