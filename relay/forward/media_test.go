package forward_test

import (
	"encoding/binary"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/quality"
)

// rtp makes an RTP packet without extensions (RFC 3550 §5.1).
func rtp(sequence uint16, ssrc uint32, payload int) []byte {
	b := make([]byte, 12+payload)
	b[0], b[1] = 0x80, 96
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], uint32(sequence)*3000)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

// Media that one client sends to another is looked at once, on the leg from its sender, by channel and by indication; and
// not at all when that is off.
func TestMediaIsLookedAt(t *testing.T) {
	for _, mode := range []quality.Mode{quality.Off, quality.Full} {
		r := newObservedRig(t, mode, false, true)
		r.permit(t)
		r.a.bind(t, r, 0x4001, r.b)
		for i := range uint16(100) {
			switch b := rtp(i, 7, 100); {
			case i%10 == 3: // lost on its way to the relay
			case i%2 == 0:
				r.forwarder.ChannelData(&r.a.allocation.FiveTuple, channelData(0x4001, b))
			default:
				r.forwarder.Send(&r.a.allocation.FiveTuple, sendIndication(r.b.allocation.Relayed, b))
			}
		}
		tracker := r.a.allocation.UpMedia.Tracker()
		if mode == quality.Off {
			if tracker != nil {
				t.Error("media are looked at though that is off")
			}
			continue
		}
		if tracker == nil {
			t.Fatal("nothing was looked at")
		}
		streams := tracker.Snapshot(int64(r.table.Now()), nil).Streams
		if len(streams) != 1 || streams[0].SSRC != 7 || streams[0].Packets != 90 || streams[0].Lost != 10 {
			t.Errorf("seen %+v, want one stream of 90 packets, 10 lost", streams)
		}
		if r.b.allocation.DownMedia.Tracker() != nil {
			t.Error("the receiver's leg repeats what the sender's says")
		}
	}
}
