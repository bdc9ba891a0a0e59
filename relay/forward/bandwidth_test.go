package forward_test

import (
	"testing"

	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// Packets beyond the sender's bandwidth end at the sender, those beyond the receiver's at the receiver; both are counted
// there and in the process.
func TestBandwidth(t *testing.T) {
	const packets, bytes = 1000, 1000
	const passes = 1_000_000/4/8/bytes + 1 // what the burst of 1 Mbit/s holds, and the packet that uses it up
	limited := func(o *allocation.Options) { o.MaxBandwidth = 1e6 }
	r := newObservedRig(t, quality.Off, true, true, limited)
	r.permit(t)
	r.a.bind(t, r, 0x4001, r.b)
	send := func() {
		for range packets {
			r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, make([]byte, bytes)))
		}
		r.forwarder.Flush()
	}
	check := func(what string, c *allocation.Counter, want uint64) {
		t.Helper()
		if got := c.Read(); got != (allocation.Count{Packets: want, Bytes: want * bytes}) {
			t.Errorf("%s: %+v, want %d packets", what, got, want)
		}
	}

	send()
	a, b := r.a.allocation, r.b.allocation
	check("relayed from the sender", &a.Up, passes)
	check("dropped at the sender", &a.UpDropped, packets-passes)
	if up, _, _ := a.BandwidthDropped(); up.Packets != packets-passes {
		t.Errorf("%d packets counted at the sender, want %d", up.Packets, packets-passes)
	}
	check("relayed to the receiver", &b.Down, passes)
	check("dropped at the receiver", &b.DownDropped, 0)
	if n := r.plane.Totals().Dropped[forward.DropBandwidth]; n != packets-passes {
		t.Errorf("counted %d, want %d", n, packets-passes)
	}

	// A second sender has bandwidth of its own, and the receiver none left.
	r.a = r.endpoint(t, listen(t), true)
	r.permit(t)
	r.a.bind(t, r, 0x4001, r.b)
	send()
	check("relayed from another sender", &r.a.allocation.Up, passes)
	check("relayed to a receiver without bandwidth", &b.Down, passes)
	check("dropped at the receiver", &b.DownDropped, passes)
	if _, down, _ := b.BandwidthDropped(); down.Packets != passes {
		t.Errorf("%d packets counted at the receiver, want %d", down.Packets, uint64(passes))
	}
	if n := r.plane.Totals().Hairpin; n != passes {
		t.Errorf("%d hairpins, want %d", n, uint64(passes))
	}
}
