package tcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// acceptPause keeps a listener that goes on failing, in practice for want of file
// descriptors, from spinning.
const acceptPause = 100 * time.Millisecond

// Listen binds a relayed transport address, to be listened on (RFC 6062 §5.1). It
// implements allocation.Options.Listen.
func (c *Connections) Listen(at netip.AddrPort) (net.Listener, error) {
	config := net.ListenConfig{}
	config.SetMultipathTCP(false)
	own := c.options.Own(at)
	l, err := config.Listen(context.Background(), network(own), own.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, allocation.ErrBusy
	}
	if err != nil {
		return nil, err
	}
	// Connections to peers leave from the same address and port. The option comes after the
	// port was taken alone, so that no other process can have it already.
	if err := shareLater(l.(*net.TCPListener)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// network is Go's name for TCP over an address's family alone.
func network(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

// dial connects to a peer outside, and has the outcome answered.
func (c *Connections) dial(l *link, peer netip.AddrPort, answer func(uint32, error) []byte) {
	e, to := &l.ends[0], &l.ends[1]
	own := c.options.Own(e.group.allocation.Relayed)
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(own), Timeout: dialTimeout, ControlContext: share}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(e.group.ctx, network(own), peer.String())

	c.mu.Lock()
	if err == nil && l.state == over {
		conn.Close()
		err = errOver
	}
	if err == nil {
		to.conn, to.stop = conn, func() { conn.Close() }
		c.identifyLocked(e)
		l.awaitLocked()
	}
	id := e.id
	c.mu.Unlock()

	if err != nil {
		c.debugf("allocation %d gets no connection to %s: %v", e.group.allocation.ID, peer, err)
		l.close() // first: the client may try again as soon as it knows
		e.group.send(answer(0, ErrFailed))
	} else if !e.group.send(answer(id, nil)) {
		l.close()
	}
}

// accept takes the connections of peers outside to a relayed transport address, until the
// allocation ends.
func (c *Connections) accept(g *group) {
	for g.ctx.Err() == nil {
		conn, err := g.allocation.TCP().Listener.Accept()
		switch {
		case err == nil:
			c.accepted(g, conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			c.debugf("allocation %d cannot accept connections: %v", g.allocation.ID, err)
			select {
			case <-g.ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

// accepted tells the client of a peer's connection, or closes it: who has no permission
// is not heard (RFC 6062 §5.3).
func (c *Connections) accepted(g *group, conn net.Conn) {
	peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	peer = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
	if !c.options.Allows(peer) || !c.permits(g, peer.Addr()) {
		conn.Close()
		return
	}
	c.mu.Lock()
	if !g.hasRoom() || g.ends[peer] != nil {
		c.mu.Unlock()
		conn.Close()
		return
	}
	l := c.newLinkLocked(g, peer, nil)
	l.ends[1].conn, l.ends[1].stop = conn, func() { conn.Close() }
	c.identifyLocked(&l.ends[0])
	l.awaitLocked()
	c.mu.Unlock()
	c.attempt(&l.ends[0])
}

func (c *Connections) debugf(format string, args ...any) {
	if c.options.Log != nil {
		c.options.Log.Debugf(format, args...)
	}
}
