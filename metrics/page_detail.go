package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// writeDetail writes the page of one allocation.
func (p *pager) writeDetail(m *markup, id uint64, d Detail) {
	m.put(`<header>
<p><a href="./">all allocations</a></p>
<h1>Allocation <span id="id">%v</span></h1>
<p><span id="state" role="status"></span></p>
`, id)
	a := d.Allocation
	if a == nil {
		m.put(`<p class="notice" id="ended">%v</p>`+"\n", map[bool]string{true: "It has ended.", false: "Nothing is known of it (any more)."}[len(d.History) > 0])
		m.put("</header>\n<main id=\"main\">\n")
		writeHistory(m, d.History)
		return
	}
	if p.actions() {
		m.put(`<form method="post" action="end?id=%v" id="end"><button>End this allocation…</button></form>`+"\n", id)
	}
	m.put(`<p class="notice" id="ended" hidden></p>
</header>
<main id="main">
<dl id="facts">
<dt>user</dt><dd class="user"><bdi>%v</bdi></dd>
<dt>client</dt><dd id="client">%v</dd>
<dt>over</dt><dd id="over">%v to %v (%v)</dd>
<dt>relayed address</dt><dd id="relayed">%v</dd>
<dt>since</dt><dd>%v</dd>
<dt>expires in</dt><dd id="expires">%v</dd>
</dl>
<section id="plots" aria-label="Plots since this page was opened" hidden></section>
`, a.User, a.whereabouts(), a.Transport, a.Server, a.Listener, a.Relays(), a.Created.Format(time.RFC3339), spellDuration(time.Until(a.Expires)))
	m.put(`<section aria-labelledby="traffic-title"><h2 id="traffic-title">Traffic</h2>
<table><thead><tr><th scope="col">side</th><th scope="col" class="n">packets</th><th scope="col" class="n">bytes</th><th scope="col" class="n">dropped</th></tr></thead><tbody id="traffic">
`)
	for _, side := range [...]struct {
		name    string
		traffic Traffic
		dropped string
	}{
		{"from client", a.Counters.ClientIn, spellCount(a.Dropped.ClientIn)}, {"to peers", a.Counters.PeerOut, ""},
		{"from peers", a.Counters.PeerIn, spellCount(a.Dropped.PeerIn)}, {"to client", a.Counters.ClientOut, ""},
	} {
		m.put(`<tr><th scope="row">%v</th><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td></tr>`+"\n",
			side.name, spellCount(side.traffic.Packets), spellBytes(side.traffic.Bytes), side.dropped)
	}
	m.put(`</tbody></table></section>
<section aria-labelledby="streams-title"><h2 id="streams-title">RTP streams, as they reach the relay</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of streams"><table><thead><tr><th scope="col">from</th><th scope="col">SSRC</th><th scope="col" class="n">type</th><th scope="col" class="n" title="inferred from timestamps against time">clock, inferred</th><th scope="col" class="n">bitrate</th><th scope="col" class="n">packets</th><th scope="col" class="n">lost</th><th scope="col" class="n">loss</th><th scope="col" class="n">jitter</th><th scope="col" class="n">reordered</th><th scope="col" class="n">twice</th><th scope="col" class="n">longest gap</th><th scope="col" class="n">stalls</th></tr></thead><tbody id="streams">
`)
	count := writeStreams(m, "", a.Streams)
	for _, peer := range d.Peers {
		count += writeStreams(m, peer.User, peer.Streams)
	}
	if count == 0 {
		m.put(`<tr><td colspan="13">%v</td></tr>`+"\n", noStreams(a.Observed))
	}
	m.put(`</tbody></table></div></section>
<div class="cards">
<table><caption>Packets by kind, since the first of RTP</caption><tbody id="kinds">
`)
	writeKinds(m, "from client", a.Media.ClientIn)
	writeKinds(m, "from peers", a.Media.PeerIn)
	m.put(`</tbody></table>
<table><caption>Peers on this server</caption><tbody id="partners">
`)
	for _, peer := range d.Peers {
		m.put(`<tr><th scope="row"><a href="?id=%v">%v</a></th><td class="user"><bdi>%v</bdi></td><td>%v</td></tr>`+"\n", peer.ID, peer.ID, peer.User, peer.Relay)
	}
	if a.RelayTransport == "tcp" {
		m.put("</tbody></table>\n<table><caption>Connections</caption><tbody id=\"connections\">\n")
		for _, c := range a.Connections {
			m.put(`<tr><th scope="row">%v</th><td>%v</td><td class="n">for %v</td><td class="n">%v from client</td><td class="n">%v to client</td></tr>`+"\n",
				c.Peer, c.State, spellDuration(time.Since(c.Since)), spellBytes(c.BytesIn), spellBytes(c.BytesOut))
		}
	} else {
		m.put("</tbody></table>\n<table><caption>Channels</caption><tbody id=\"channels\">\n")
		for _, c := range a.Channels {
			m.put(`<tr><th scope="row">%v</th><td>%v</td><td class="n">%v left</td></tr>`+"\n", c.Number, c.Peer, spellDuration(time.Until(c.Expires)))
		}
	}
	m.put("</tbody></table>\n<table><caption>Permissions</caption><tbody id=\"permissions\">\n")
	for _, c := range a.Permissions {
		m.put(`<tr><th scope="row">%v</th><td class="n">%v left</td></tr>`+"\n", c.Peer, spellDuration(time.Until(c.Expires)))
	}
	m.put("</tbody></table>\n</div>\n")
	writeHistory(m, d.History)
}

// noStreams says why there are none.
func noStreams(observed bool) string {
	if observed {
		return "None was seen."
	}
	return "Nobody looks: see --quality."
}

// writeKinds writes what came in, the types of RTCP packets behind their sum.
func writeKinds(m *markup, side string, media *events.Media) {
	if media == nil {
		return
	}
	for _, kind := range slices.Sorted(maps.Keys(media.Packets)) {
		types := ""
		if kind == quality.KindRTCP.String() {
			for _, name := range slices.Sorted(maps.Keys(media.RTCP)) {
				types += " " + name + " " + spellCount(media.RTCP[name])
			}
		}
		m.put(`<tr><th scope="row">%v</th><td>%v</td><td class="n">%v</td><td>%v</td></tr>`+"\n", side, kind, spellCount(media.Packets[kind]), types)
	}
}

// whereabouts spells where the client is and, if it has moved, where it was.
func (a *Allocation) whereabouts() string {
	if a.Moves == 0 {
		return a.Client.String()
	}
	var before strings.Builder
	for i, p := range a.Earlier {
		if i > 0 {
			before.WriteString(", ")
		}
		fmt.Fprintf(&before, "%s %s", p.Transport, p.Client)
	}
	return fmt.Sprintf("%s (moved %s×, before at %s)", a.Client, spellCount(a.Moves), before.String())
}

// writeStreams writes what comes in of an allocation, or what a peer of it sends.
func writeStreams(m *markup, peer string, streams []Stream) (count int) {
	for _, s := range streams {
		if peer != "" && s.Direction != clientIn {
			continue
		}
		count++
		m.put("<tr><td>")
		switch {
		case peer != "":
			m.put(`<div class="user"><bdi>%v</bdi></div>`, peer)
		case s.Direction == clientIn:
			m.put("client")
		default:
			m.put("peer")
		}
		clock := ""
		if s.ClockRate > 0 {
			clock = spellCount(uint64(s.ClockRate)) + " Hz"
		}
		ssrc := fmt.Sprint(s.SSRC)
		if s.RepairOf != 0 {
			ssrc += fmt.Sprint(" for ", s.RepairOf)
		}
		m.put(`</td><td>%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td><td class="n">%v</td>`,
			ssrc, s.PayloadType, clock, spellBits(float64(s.Bitrate)), spellCount(s.Packets), spellCount(s.Lost), spellLoss(&s.Loss), spellJitter(s.MeanJitter),
			spellCount(s.Reordered), spellCount(s.Duplicates))
		m.put(`<td class="n">%v</td><td class="n">%v</td></tr>`+"\n", spellJitter(&s.LongestGap), s.Stalls)
	}
	return count
}

func writeHistory(m *markup, history []Moment) {
	m.put(`<section aria-labelledby="history-title"><h2 id="history-title">What happened</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of what happened"><table><tbody id="history">
`)
	for _, h := range history {
		times := ""
		if h.Times > 1 {
			times = "×" + spellCount(uint64(h.Times)) + ", last " + h.Last
		}
		m.put(`<tr><td>%v</td><th scope="row">%v</th><td>%v</td><td>%v</td></tr>`+"\n", h.First, h.What, h.Detail, times)
	}
	m.put("</tbody></table></div></section>\n")
}
