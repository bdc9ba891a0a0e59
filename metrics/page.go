package metrics

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

const (
	stylePath = "/style.css"
	pageLimit = 200 // allocations; more is for /allocations and Prometheus
)

var (
	//go:embed page.html
	pageSource string
	//go:embed style.css
	style []byte

	// pageTemplate escapes by context: user names are chosen by others.
	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"bytes": spellBytes,
		"since": func(t time.Time) string { return spellDuration(time.Since(t)) },
		"until": func(t time.Time) string { return spellDuration(time.Until(t)) },
	}).Parse(pageSource))
)

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Write(style)
}

// page is what page.html shows.
type page struct {
	Status
	Hairpin   uint64
	Traffic   []listenerTraffic
	Incidents []incidents
}

type listenerTraffic struct {
	Name                                 string
	Live                                 int
	Created                              uint64
	ClientIn, ClientOut, PeerIn, PeerOut Traffic
}

// incidents are the counts of one kind that are not zero.
type incidents struct {
	What   string
	Counts []relay.Count
}

func (s *statusReader) servePage(w http.ResponseWriter, _ *http.Request) {
	n := s.source.Snapshot()
	p := page{Status: s.read(query{limit: pageLimit}, n), Hairpin: n.Hairpin}
	for _, l := range n.Listeners {
		p.Traffic = append(p.Traffic, listenerTraffic{
			Name: l.Name, Live: l.Allocations, Created: l.Created,
			ClientIn: traffic(l.Traffic[forward.ClientIn]), ClientOut: traffic(l.Traffic[forward.ClientOut]),
			PeerIn: traffic(l.Traffic[forward.PeerIn]), PeerOut: traffic(l.Traffic[forward.PeerOut]),
		})
	}
	for _, kind := range []incidents{
		{"Dropped packets", n.Dropped}, {"Refused credentials", n.AuthFailures}, {"Discarded messages", n.Discarded},
	} {
		if kind.Counts = nonzero(kind.Counts); len(kind.Counts) > 0 {
			p.Incidents = append(p.Incidents, kind)
		}
	}
	var html bytes.Buffer
	if err := pageTemplate.Execute(&html, p); err != nil {
		answer(w, http.StatusInternalServerError, "the page failed: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(html.Bytes())
}

func nonzero(counts []relay.Count) (some []relay.Count) {
	for _, c := range counts {
		if c.Value > 0 {
			some = append(some, c)
		}
	}
	return some
}

// Age of the process, for the head of the page.
func (p page) Age() string { return spellDuration(time.Duration(p.Uptime * float64(time.Second))) }

// Hidden is how many allocations the page leaves out.
func (p page) Hidden() int { return max(p.Total-len(p.Allocations), 0) }

// spellBytes writes a size with three or four digits and a binary unit.
func spellBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// spellDuration writes the two largest units.
func spellDuration(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %02d h", s/(24*3600), s%(24*3600)/3600)
}
