package relay

import (
	"net/netip"
	"testing"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// However many connections once wanted tools at a time, few are kept; and what was counted with the others stays counted.
func TestToolboxKeepsFew(t *testing.T) {
	s, err := New(Config{
		Listeners:      []Listener{{Scheme: "tcp", Address: "127.0.0.1:0"}},
		RelayAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
		Auth:           auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "user", Password: "password"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	busy := make([]*tools, 3*s.toolbox.keep)
	for i := range busy {
		busy[i] = s.toolbox.borrow()
		busy[i].forwarder.Drop(forward.DropNotTURN, 1)
	}
	for _, b := range busy {
		b.forwarder.Flush()
		s.toolbox.giveBack(b)
	}
	if n := len(s.toolbox.free); n != s.toolbox.keep {
		t.Errorf("%d tools are kept, want %d", n, s.toolbox.keep)
	}
	if n := s.plane.Totals().Dropped[forward.DropNotTURN]; n != uint64(len(busy)) {
		t.Errorf("%d drops are counted of %d", n, len(busy))
	}
	again := s.toolbox.borrow()
	again.forwarder.Drop(forward.DropNotTURN, 1)
	again.forwarder.Flush()
	s.toolbox.giveBack(again)
	if n := s.plane.Totals().Dropped[forward.DropNotTURN]; n != uint64(len(busy)+1) {
		t.Errorf("%d drops are counted of %d", n, len(busy)+1)
	}
}
