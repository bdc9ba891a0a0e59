package control

import "github.com/hairpin-turn/hairpin/relay/wire"

// binding tells the client its server-reflexive transport address (RFC 8489 §6.3.1).
func (w *Worker) binding(r *request) *protocolError {
	if r.from.Discovery != nil {
		return w.discover(r)
	}
	w.reply.Success(&w.message)
	w.reply.AddAddress(wire.AttrXORMappedAddress, r.from.FiveTuple.Client)
	return nil
}
