package load

// history is how many sequence numbers back from the newest a flow remembers one by one.
const history = 1024

// flow is one direction of a pair: the packets from one client to the other, in the order in which they were sent.
//
//	           forgotten │ history │ in flight
//	0 ─────────────────────────────┼──────────────── next
//	                               newest + 1
//
// It is owned by the generator's goroutine, as both clients are.
type flow struct {
	next     uint64 // sequence of the packet that will be sent next
	newest   uint64 // one more than the highest that has arrived
	released uint64 // everything below is no longer taken to be in flight: newest, or more after a stall
	begin    uint64 // what next was when measuring began; the packets before don't count
	waiting  bool   // stands in the line of flows that may send

	seen [history / 64]uint64 // ring of bits for the sequences below newest
}

// arrival is what is to be said of a packet's place in its flow.
type arrival uint8

const (
	inOrder   arrival = iota
	reordered         // a later one arrived before
	duplicate         // it arrived before, or is so old that nobody knows any more
	unsent            // nobody has sent it: the number is made up
)

// arrive notes that a sequence has arrived.
func (f *flow) arrive(sequence uint64) arrival {
	if sequence >= f.next {
		return unsent
	}
	if sequence >= f.newest {
		if sequence == f.newest { // nearly always
			f.seen[sequence/64%uint64(len(f.seen))] &^= 1 << (sequence % 64)
		} else {
			f.forget(sequence)
		}
		f.newest = sequence + 1
		f.released = max(f.released, f.newest)
		f.mark(sequence)
		return inOrder
	}
	if f.newest-sequence > history || f.marked(sequence) {
		return duplicate
	}
	f.mark(sequence)
	return reordered
}

// forget makes room in the ring for the sequences from newest to last.
func (f *flow) forget(last uint64) {
	if last-f.newest >= history {
		clear(f.seen[:])
		return
	}
	for s := f.newest; s <= last; s++ {
		f.seen[s/64%uint64(len(f.seen))] &^= 1 << (s % 64)
	}
}

func (f *flow) mark(sequence uint64) {
	f.seen[sequence/64%uint64(len(f.seen))] |= 1 << (sequence % 64)
}

func (f *flow) marked(sequence uint64) bool {
	return f.seen[sequence/64%uint64(len(f.seen))]&(1<<(sequence%64)) != 0
}

// inFlight is how many packets may still be on their way. Packets of a flow rarely overtake each other, so whatever was
// sent before one that has arrived is not.
func (f *flow) inFlight() int { return int(f.next - f.released) }
