package relay

import (
	"testing"

	"github.com/hairpin-turn/hairpin/relay/quality"
)

// SSRCs of a few packets are no streams that anybody hears: neither their loss nor their number counts.
func TestShortStreamsAreNotCounted(t *testing.T) {
	s := newStreams()
	s.count([]quality.Stream{{Expected: 2}, {Expected: 49, Lost: 30}, {Expected: 50, Lost: 1}, {Expected: 5000}}, 1)
	if n := s.read().Loss; n.Count != 2 || n.Sum != 0.02 {
		t.Errorf("%d are counted, with a loss of %v in sum", n.Count, n.Sum)
	}
}
