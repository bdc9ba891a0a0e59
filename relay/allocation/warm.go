package allocation

// warmFrom is the number of allocations from which on what a packet needs is
// rarely in the processor's cache: about as many as its second level holds.
const warmFrom = 4096

// Cold says whether Warm is worth its caller's while.
func (t *Table) Cold() bool { return t.Count() >= warmFrom }

// Warm reads what relaying packets from these five-tuples is going to read, and
// does nothing else. One packet's look-ups depend on one another, each waiting for
// memory; those of a batch don't, so that done step by step for all of them they
// wait together. scratch needs room for as many; its content is lost. The result
// means nothing: it keeps the reads from being optimised away.
func (t *Table) Warm(tuples []FiveTuple, scratch []*Allocation) (touched int64) {
	scratch = scratch[:len(tuples)]
	for i := range tuples {
		p := t.byTuple.probe(t.key.tuple(&tuples[i]))
		scratch[i] = p.slots[p.at&uint64(len(p.slots)-1)].allocation.Load()
	}
	for i, a := range scratch { // a guess: after a collision it is somebody else's
		if a != nil && a.channels.Load() == nil {
			scratch[i] = nil
		}
	}
	for i, a := range scratch {
		if a == nil {
			continue
		}
		if set := a.channels.Load(); set != nil && len(set.list) > 0 {
			scratch[i] = set.list[0].target.Load()
		}
	}
	for _, b := range scratch {
		if b != nil {
			touched += b.expires.Load() + int64(b.Down.Packets.Load()) + int64(b.Client.Listener)
		}
	}
	for i, b := range scratch {
		if b == nil {
			continue
		}
		if set := b.permissions.Load(); set != nil {
			touched += int64(len(set.list))
		}
		if set := b.channels.Load(); set != nil {
			touched += int64(len(set.list))
		}
		scratch[i] = nil
	}
	return touched
}
