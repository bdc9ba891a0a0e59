package tcp

import "sync/atomic"

// traffic counts the bytes of one listener's clients.
type traffic struct{ clientIn, clientOut, peerIn, peerOut atomic.Uint64 }

// trafficTable has the traffic of each listener, by allocation.Client.Listener. It grows when a listener is first asked for.
type trafficTable struct{ list atomic.Pointer[[]*traffic] }

func (t *trafficTable) of(listener int32) *traffic {
	for {
		list := t.list.Load()
		if list != nil && int(listener) < len(*list) {
			return (*list)[listener]
		}
		var longer []*traffic
		if list != nil {
			longer = append(longer, *list...)
		}
		for len(longer) <= int(listener) {
			longer = append(longer, new(traffic))
		}
		t.list.CompareAndSwap(list, &longer)
	}
}

// Traffic is how many bytes the clients of one listener have exchanged: from the clients
// to the relay, back to them, and what the relay passed from and to their peers.
type Traffic struct{ ClientIn, ClientOut, PeerIn, PeerOut uint64 }

// Traffic reads the counters of a listener.
func (c *Connections) Traffic(listener int) Traffic {
	t := c.traffic.of(int32(listener))
	return Traffic{t.clientIn.Load(), t.clientOut.Load(), t.peerIn.Load(), t.peerOut.Load()}
}

// count adds bytes that went from one end to the other. A stream has no packets.
func (l *link) count(from, to *end, n int) {
	if n <= 0 {
		return
	}
	from.relayed.Add(uint64(n))
	if from.group != nil {
		a := from.group.allocation
		a.Up.Add(0, n)
		t := l.connections.traffic.of(a.Client.Listener)
		t.clientIn.Add(uint64(n))
		t.peerOut.Add(uint64(n))
	}
	if to.group != nil {
		a := to.group.allocation
		a.Down.Add(0, n)
		t := l.connections.traffic.of(a.Client.Listener)
		t.peerIn.Add(uint64(n))
		t.clientOut.Add(uint64(n))
	}
}
