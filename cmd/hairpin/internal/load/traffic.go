package load

import (
	"slices"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// traffic is the packets of the pairs, in both directions. A packet's way through this file, and back to its beginning:
//
//	work ── whose turn is it? ──► send ──► network … server … network ──► arrive ── judged ──► its flow may send again
//
// With a rate, turns come by the clock. Without one, they come by what has arrived: InFlight packets are under way, at
// most Window of a flow. So the server has always something to do and never more than its sockets' buffers can hold,
// packets that are lost are lost by it and not by the generator's haste, and the clients take turns fairly.
type traffic struct {
	// immutable
	g       *generator
	pattern *pattern
	burst   int
	segment bool // a burst is one message

	flows    []flow  // by the client that sends
	line     []int32 // flows that may send, in turn
	head     int     // of line
	sent     []departure
	first    int // of sent
	inFlight int
	latency  latency
	measured bool // latency is recorded

	sentBefore uint64 // packets sent before measuring began

	// rate
	clients []int32 // that send
	turn    int
	begun   int64   // when the rate began
	offered float64 // packets since then

	// stalls
	patience int64 // how long a packet is waited for
	slowest  int64 // latency since patience was set
	judged   int64 // when patience was set
}

// departure remembers that a flow has sent, in the order of time.
type departure struct {
	flow int32
	next uint64 // the flow's next sequence after that
	at   int64
}

// Limits of how long a lost packet keeps its place among those in flight: a few times what the slow ones take.
const (
	minPatience = 50 * time.Millisecond
	maxPatience = 2 * time.Second
)

// maxLag is how far behind its rate the generator may be and still catch up. What is older is skipped and reported: a
// burst of it would measure something else.
const maxLag = 10 * time.Millisecond

func (g *generator) newTraffic(seed uint64) *traffic {
	o := g.options
	t := &traffic{
		g: g, pattern: newPattern(seed, o.Size, o.RTP), burst: o.Burst, segment: o.GSO && o.Burst > 1,
		flows: make([]flow, len(g.clients)), latency: newLatency(), patience: int64(maxPatience), judged: g.now, begun: g.now,
	}
	for i := range g.clients {
		if p := g.partner(int32(i)); g.clients[i].ready && g.clients[p].ready {
			t.clients = append(t.clients, int32(i))
		}
	}
	t.line = slices.Clone(t.clients)
	for i := range t.flows {
		t.flows[i].waiting = true
	}
	return t
}

// work sends what may be sent now, a batch at most.
func (t *traffic) work() (made int, next int64) {
	o, g := &t.g.options, t.g
	if o.Rate > 0 {
		return t.keepRate()
	}
	t.forgive()
	for t.head < len(t.line) && made < batchSize && t.inFlight+t.burst <= o.InFlight {
		i := t.line[t.head]
		t.head++
		f := &t.flows[i]
		if f.waiting = false; !g.clients[i].ready {
			continue
		}
		t.send(i)
		made++
		t.sent = append(t.sent, departure{i, f.next, g.now})
		t.inFlight += t.burst
		t.wait(i)
	}
	t.line, t.head = dropped(t.line, t.head)
	return made, g.later()
}

// wait puts a flow at the end of the line unless it has all in flight that it may.
func (t *traffic) wait(i int32) {
	if f := &t.flows[i]; !f.waiting && f.inFlight()+t.burst <= t.g.options.Window {
		f.waiting = true
		t.line = append(t.line, i)
	}
}

// keepRate sends what is due by the clock.
func (t *traffic) keepRate() (made int, next int64) {
	o, g := &t.g.options, t.g
	due := o.Rate*float64(g.now-t.begun)/1e9 - t.offered
	if lag := max(o.Rate*maxLag.Seconds(), float64(t.burst)); due > lag {
		g.tally.skipped += uint64(due - lag)
		t.offered += due - lag
		due = lag
	}
	for ; due >= float64(t.burst) && made < batchSize; made++ {
		i := t.clients[t.turn]
		if t.turn++; t.turn == len(t.clients) {
			t.turn = 0
		}
		due -= float64(t.burst)
		t.offered += float64(t.burst)
		if g.clients[i].ready {
			t.send(i)
		}
	}
	return made, min(g.later(), t.begun+int64((t.offered+float64(t.burst))/o.Rate*1e9))
}

// send writes a burst of a client.
func (t *traffic) send(i int32) {
	g := t.g
	c, f := &g.clients[i], &t.flows[i]
	size := len(c.head) + t.pattern.size
	if c.channel == 0 || g.options.transport(i) == TCP {
		size += wire.Padding(t.pattern.size) // an attribute's always; ChannelData's over TCP (RFC 8656 §12.5)
	}
	messages, each, segment := t.burst, 1, 0
	if t.segment && g.options.transport(i) == UDP {
		messages, each, segment = 1, t.burst, size
	}
	for range messages {
		b := g.net.room(i, each*size, segment)
		for at := 0; at < len(b); at += size {
			frame := b[at : at+size]
			n := copy(frame, c.head)
			t.pattern.put(frame[n:], uint32(i), f.next, g.now)
			clear(frame[n+t.pattern.size:])
			f.next++
		}
		if b == nil {
			f.next += uint64(each) // not sent, and counted as that by the network
		}
		g.tally.bursts++
	}
	g.tally.sent += uint64(t.burst)
}

// arrive judges what a client was sent, ChannelData or a Data indication.
func (t *traffic) arrive(i int32, b []byte) {
	g := t.g
	c, from := &g.clients[i], g.partner(i)
	var payload []byte
	mine := true
	if isData(b) {
		peer, data, ok := parseData(b)
		if !ok {
			g.tally.damaged++
			return
		}
		mine = peer == g.peer(i)
		payload = data
	} else {
		number, data, ok := wire.ParseChannelData(b)
		if !ok {
			g.tally.damaged++
			return
		}
		mine = number == c.channel
		payload = data
	}
	sender, sequence, at, ok := t.pattern.parse(payload)
	switch {
	case !ok:
		g.tally.damaged++
		return
	case !mine || sender != uint32(from):
		g.tally.foreign++
		return
	}
	f := &t.flows[from]
	released := f.released
	switch f.arrive(sequence) {
	case unsent:
		g.tally.damaged++
		return
	case duplicate:
		g.tally.duplicates++
		return
	case reordered:
		g.tally.reordered++
	}
	g.tally.received++
	if sequence >= f.begin {
		g.tally.fresh++
	}
	took := g.now - at
	t.slowest = max(t.slowest, took)
	if t.measured {
		t.latency.record(took)
	}
	t.inFlight -= int(f.released - released)
	t.wait(from)
}

// forgive gives up packets that should have arrived long ago, so that others can be sent in their place.
func (t *traffic) forgive() {
	now := t.g.now
	if now-t.judged > int64(100*time.Millisecond) {
		if t.slowest > 0 {
			t.patience = min(max(8*t.slowest, t.patience/2, int64(minPatience)), int64(maxPatience))
		}
		t.slowest, t.judged = 0, now
	}
	for ; t.first < len(t.sent); t.first++ {
		d := &t.sent[t.first]
		f := &t.flows[d.flow]
		if f.released < d.next {
			if now-d.at < t.patience {
				break
			}
			t.g.tally.stalls++
			t.inFlight -= int(d.next - f.released)
			f.released = d.next
			t.wait(d.flow)
		}
	}
	t.sent, t.first = dropped(t.sent, t.first)
}

// dropped takes the first n away from a queue, where that costs less than there was.
func dropped[T any](queue []T, n int) ([]T, int) {
	if n <= len(queue)/2 && n < len(queue) {
		return queue, n
	}
	return queue[:copy(queue, queue[n:])], 0
}

// mark begins the part that counts.
func (t *traffic) mark() {
	for i := range t.flows {
		t.flows[i].begin = t.flows[i].next
	}
	t.sentBefore, t.g.tally.fresh = t.g.tally.sent, 0
	t.measured = true
}
