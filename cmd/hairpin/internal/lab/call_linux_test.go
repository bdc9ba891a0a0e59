package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/metrics"
)

// watched is a call between two ends of a browser, each of which reaches the relay by a line of its own.
type watched struct {
	t       *testing.T // of the part of the test that is at work
	router  *host
	relay   *relay
	browser *browser
	lines   map[string]*line  // by user
	ids     map[string]uint64 // of their allocations, by user
	legs    []leg
}

// leg is a stream, who sends it and who gets it.
type leg struct {
	from, to  string // users
	kind      string // audio or video
	ssrc, rtx uint32 // rtx: of its retransmissions (RTX); 0: there are none
}

func (l leg) String() string { return l.from + "'s " + l.kind }

// side is what getStats says of an end.
type side struct {
	Cipher                string
	Types                 map[uint8]string // payload types of its session description
	Sends, Receives, Told []rtpStats
}

// rtpStats is what it says of a stream that is sent or received, or of what a receiver reports to its sender (RTCP).
type rtpStats struct {
	SSRC, RTX      uint32
	Kind, Codec    string
	ClockRate      uint32
	Packets, Bytes uint64 // with retransmissions and RTP's header, without SRTP's authentication tag
	Lost           int64
	Jitter         float64 // in milliseconds
	Fraction       float64 // of the last report's interval (RFC 3550 §6.4.1)
}

func find(list []rtpStats, ssrc uint32) rtpStats {
	for _, s := range list {
		if s.SSRC == ssrc {
			return s
		}
	}
	return rtpStats{}
}

const callee, calleePassword = "bob", "builder"

// settled is how many packets of a stream have come before it is held against anything: until then both sides remember a
// busy beginning.
const settled = 80

// newWatched begins a call and waits until the relay knows of its four streams.
func newWatched(t *testing.T) *watched {
	t.Helper()
	needBrowser(t)
	i := newInternet(t, 1)
	w := &watched{t: t, router: i.router, lines: make(map[string]*line), ids: make(map[string]uint64)}
	w.relay = i.relays[0].serve(i.ips[0], "--quality", "full", "--user", callee+":"+calleePassword)
	w.lines[user] = i.router.line(t, "198.51.100.1:3478", w.relay.at)
	w.lines[callee] = i.router.line(t, "198.51.100.1:3479", w.relay.at)
	home := i.client("no NAT")
	w.browser = home.browse(t)
	w.browser.open(home.page(t))
	servers := map[string]map[string]string{}
	for name, password := range map[string]string{user: password, callee: calleePassword} {
		at := w.lines[name].near.LocalAddr().String()
		servers[name] = map[string]string{"urls": "turn:" + at + "?transport=udp", "username": name, "credential": password}
	}
	text, err := json.Marshal(servers)
	if err != nil {
		t.Fatal(err)
	}
	w.browser.eval(fmt.Sprintf("connect(%s)", text), nil)
	eventually(t, "the relay knows the clocks of four streams", func() bool {
		ends, streams := w.stats(), w.streams()
		w.legs = nil
		for _, d := range [][2]string{{user, callee}, {callee, user}} {
			for _, s := range ends[d[0]].Sends {
				if streams[d[0]][s.SSRC].ClockRate != 0 && find(ends[d[1]].Receives, s.SSRC).Packets > settled {
					w.legs = append(w.legs, leg{d[0], d[1], s.Kind, s.SSRC, s.RTX})
				}
			}
		}
		return len(w.legs) == 4
	})
	return w
}

// part has faults reported by a part of the test, until what it returns is called.
func (w *watched) part(t *testing.T) (end func()) {
	outer := w.t
	w.t, w.browser.t = t, t
	return func() { w.t, w.browser.t = outer, outer }
}

// stats asks the browser, by user.
func (w *watched) stats() (ends map[string]side) {
	w.t.Helper()
	w.browser.eval("stats()", &ends)
	return ends
}

// streams asks the relay, by user and SSRC.
func (w *watched) streams() map[string]map[uint32]metrics.Stream {
	w.t.Helper()
	var said metrics.Status
	code, body := w.relay.get("/allocations")
	if err := json.Unmarshal(body, &said); code != http.StatusOK || err != nil {
		w.t.Fatalf("/allocations: %d, %v", code, err)
	}
	streams := map[string]map[uint32]metrics.Stream{}
	for _, a := range said.Allocations {
		w.ids[a.User] = a.ID
		if streams[a.User] == nil {
			streams[a.User] = map[uint32]metrics.Stream{}
		}
		for _, s := range a.Streams {
			streams[a.User][s.SSRC] = s
		}
	}
	return streams
}

// moment is what the line, the relay and the browser say at about the same time.
type moment struct {
	at      time.Time
	ends    map[string]side
	streams map[string]map[uint32]metrics.Stream
	up      map[uint32]tally // by SSRC, of the senders' lines
	down    map[uint32]tally // of the receivers'
}

func (w *watched) read() moment {
	w.t.Helper()
	m := moment{at: time.Now(), streams: w.streams(), up: map[uint32]tally{}, down: map[uint32]tally{}}
	for _, l := range w.legs {
		for _, ssrc := range []uint32{l.ssrc, l.rtx} {
			m.up[ssrc], m.down[ssrc] = w.lines[l.from].did(up, ssrc), w.lines[l.to].did(down, ssrc)
		}
	}
	m.ends = w.stats()
	return m
}

// tag is the length of SRTP's authentication tag in bytes.
func tag(cipher string) uint64 {
	if cipher == "AEAD_AES_128_GCM" || cipher == "AEAD_AES_256_GCM" {
		return 16
	}
	return 10
}

// figures are a leg's, from one moment to another.
type figures struct {
	leg
	up, down        tally   // truth
	lost            int64   // by the relay
	received        int64   // lost, by the receiver
	twice, reorders uint64  // by the relay
	stalls          uint32  // by the relay
	stalled         float64 // in milliseconds
	jitter, theirs  float64
	bitrate         [3]float64 // the relay's, the truth, the receiver's; with retransmissions, in kbit/s
	last            metrics.Stream
}

// often is how often figures of the moment are taken, whose means are compared. A bitrate is one over the last six of them.
const often, span = 250 * time.Millisecond, 6

// during carries a number of packets of the caller's sound, then waits until what is late has arrived.
func (w *watched) during(packets uint64, begin, end func()) (first moment, all []figures) {
	w.t.Helper()
	sound := w.legs[0]
	passed := func() uint64 {
		did := w.lines[sound.from].did(up, sound.ssrc)
		return did.carried + did.dropped
	}
	moments := []moment{w.read()}
	begin()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for until := passed() + packets; passed() < until; {
		select {
		case <-tick.C:
			moments = append(moments, w.read())
		case <-w.t.Context().Done():
			w.t.FailNow()
		}
		if time.Since(moments[0].at) > patience {
			w.t.Fatalf("%d packets of %v in %v", passed(), sound, patience)
		}
	}
	end()
	after := w.read()
	eventually(w.t, "what is late has arrived", func() bool {
		for _, l := range w.legs {
			if w.lines[l.from].did(up, l.ssrc).carried < after.up[l.ssrc].carried+25 { // half a second of sound
				return false
			}
		}
		return true
	})
	first = moments[0]
	last := w.read()
	w.attributed(last)
	for _, l := range w.legs {
		f := figures{leg: l, last: last.streams[l.from][l.ssrc]}
		before := first.streams[l.from][l.ssrc]
		f.up, f.down = last.up[l.ssrc].since(first.up[l.ssrc]), last.down[l.ssrc].since(first.down[l.ssrc])
		f.lost = int64(f.last.Lost) - int64(before.Lost)
		f.received = find(last.ends[l.to].Receives, l.ssrc).Lost - find(first.ends[l.to].Receives, l.ssrc).Lost
		f.twice, f.reorders = f.last.Duplicates-before.Duplicates, f.last.Reordered-before.Reordered
		f.stalls, f.stalled = f.last.Stalls-before.Stalls, f.last.Stalled-before.Stalled
		f.means(moments)
		all = append(all, f)
	}
	return first, all
}

// attributed: each stream is where its sender is, as what its sender says, and nowhere else.
func (w *watched) attributed(m moment) {
	w.t.Helper()
	for _, l := range w.legs {
		sent, seen := find(m.ends[l.from].Sends, l.ssrc), m.streams[l.from][l.ssrc]
		codec := m.ends[l.from].Types[seen.PayloadType]
		if seen.ClockRate != sent.ClockRate || codec != sent.Codec && codec != "red" { // which is around the codec's
			w.t.Errorf("%v: %s at %d Hz; the relay says payload type %d (%s) at %d Hz", l, sent.Codec, sent.ClockRate, seen.PayloadType, codec, seen.ClockRate)
		}
		if again, is := m.streams[l.from][l.rtx]; seen.RepairOf != 0 || is && again.RepairOf != l.ssrc {
			w.t.Errorf("%v, SSRC %d, is taken for repairs of %d, and its retransmissions for repairs of %d", l, l.ssrc, seen.RepairOf, again.RepairOf)
		}
		if _, other := m.streams[l.to][l.ssrc]; other || seen.Direction != "client_in" {
			w.t.Errorf("%v: is one from %s: %v; its direction is %q", l, l.to, other, seen.Direction)
		}
	}
	if len(m.streams) != 2 {
		w.t.Errorf("%d users have allocations", len(m.streams))
	}
}

// means of what is of the moment.
func (f *figures) means(moments []moment) {
	var jitters, bitrates float64
	for i, m := range moments {
		stream, got := m.streams[f.from][f.ssrc], find(m.ends[f.to].Receives, f.ssrc)
		if stream.Jitter != nil {
			f.jitter += *stream.Jitter
			f.theirs += got.Jitter
			jitters++
		}
		if i < span {
			continue
		}
		then := moments[i-span]
		earlier := find(then.ends[f.to].Receives, f.ssrc)
		kilobits := func(bytes uint64) float64 { return 8e-3 * float64(bytes) / m.at.Sub(then.at).Seconds() }
		f.bitrate[0] += 1e-3 * float64(stream.Bitrate+m.streams[f.from][f.rtx].Bitrate)
		f.bitrate[1] += kilobits(m.up[f.ssrc].bytes - then.up[f.ssrc].bytes + m.up[f.rtx].bytes - then.up[f.rtx].bytes)
		f.bitrate[2] += kilobits(got.Bytes - earlier.Bytes + tag(m.ends[f.to].Cipher)*(got.Packets-earlier.Packets))
		bitrates++
	}
	f.jitter /= max(1, jitters)
	f.theirs /= max(1, jitters)
	for i := range f.bitrate {
		f.bitrate[i] /= max(1, bitrates)
	}
}
