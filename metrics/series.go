package metrics

import (
	"sort"
	"strconv"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// collectAllocations exposes the oldest allocations: an allocation that has series keeps them until it ends.
func (c *collector) collectAllocations(to sink, live int) {
	limit := int(c.series.Load())
	if limit == 0 {
		to.gauge(unexposedDesc, live)
		return
	}
	chosen := oldest{limit: limit}
	c.source.Allocations(-1, chosen.add)
	list := chosen.list()
	to.gauge(unexposedDesc, chosen.seen-len(list))
	for i := range list {
		to.allocation(&list[i])
		to.streams(&list[i])
	}
}

func (s sink) allocation(a *relay.AllocationInfo) {
	labels := [...]string{strconv.FormatUint(a.ID, 10), label(a.User), label(a.Listener), a.Client.String(), a.Relayed.String(), ""}
	direction := &labels[len(labels)-1]
	for d, n := range sides(a.Counts) {
		*direction = forward.Direction(d).String()
		s.counter(allocationPacketsDesc, n.Packets, labels[:]...)
		s.counter(allocationBytesDesc, n.Bytes, labels[:]...)
	}
	*direction = clientIn
	s.counter(allocationDroppedDesc, a.Counts.UpDropped.Packets, labels[:]...)
	*direction = peerIn
	s.counter(allocationDroppedDesc, a.Counts.DownDropped.Packets, labels[:]...)
	if a.BandwidthDropped == nil {
		return
	}
	s.counter(allocationBandwidthDesc, a.BandwidthDropped.Down.Packets, labels[:]...)
	*direction = forward.ClientIn.String()
	s.counter(allocationBandwidthDesc, a.BandwidthDropped.Up.Packets, labels[:]...)
}

// Sides by which packets come in.
var clientIn, peerIn = forward.ClientIn.String(), forward.PeerIn.String()

// sides turns an allocation's counts into what the relay's sides saw of it, by forward.Direction: what came in is what
// was relayed and what was dropped.
func sides(c allocation.Counts) [forward.Directions]allocation.Count {
	return [forward.Directions]allocation.Count{
		forward.ClientIn:  sum(c.Up, c.UpDropped),
		forward.PeerOut:   c.Up,
		forward.PeerIn:    sum(c.Down, c.DownDropped),
		forward.ClientOut: c.Down,
	}
}

func sum(a, b allocation.Count) allocation.Count {
	return allocation.Count{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes}
}

// oldest keeps the allocations with the lowest IDs of all that it is shown, at most limit. It holds up to twice as many
// and throws the younger half away whenever that is full, so a million cost no sorting of a million.
type oldest struct {
	limit int
	seen  int
	kept  []relay.AllocationInfo
	bound uint64 // IDs from here on are too young; 0: all are welcome
}

// add always returns true: it is what relay.Server.Allocations yields to.
func (o *oldest) add(a relay.AllocationInfo) bool {
	o.seen++
	if o.limit == 0 || o.bound != 0 && a.ID >= o.bound {
		return true
	}
	o.kept = append(o.kept, a)
	if len(o.kept)-o.limit >= o.limit {
		o.cut()
	}
	return true
}

func (o *oldest) cut() {
	sort.Slice(o.kept, func(i, j int) bool { return o.kept[i].ID < o.kept[j].ID }) // one for all types, of slices' each would be 20 KB of program
	if len(o.kept) >= o.limit && o.limit > 0 {
		clear(o.kept[o.limit:])
		o.kept = o.kept[:o.limit]
		o.bound = o.kept[o.limit-1].ID
	}
}

// list returns the allocations by ascending ID.
func (o *oldest) list() []relay.AllocationInfo {
	o.cut()
	return o.kept
}
