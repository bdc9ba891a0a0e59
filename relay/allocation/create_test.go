package allocation

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// A port that somebody else has rests for the cool-down; where the host refuses every socket, such as for want of
// descriptors, none does, and all are there when it gives sockets again.
func TestSocketsRefused(t *testing.T) {
	const ports = 10
	for _, test := range []struct {
		name   string
		refuse error
		want   error // of each request meanwhile
		rests  bool
	}{
		{"busy", ErrBusy, ErrCapacity, true},
		{"no descriptors", syscall.EMFILE, ErrSocket, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h hand
			refuse := test.refuse
			table := newTable(t, &h, func(o *Options) {
				o.Ports = PortRange{50000, 50000 + ports - 1}
				o.Open = func(netip.AddrPort) (*udp.Conn, error) { return nil, refuse }
			})
			for n := range 3 * ports {
				r := request(n)
				r.EvenPort, r.Reserve = n%2 == 0, n%2 == 0
				if _, err := table.Create(r, table.Now()); !errors.Is(err, test.want) {
					t.Fatalf("request %d: %v", n, err)
				}
			}
			refuse = nil
			if test.rests {
				if _, err := table.Create(request(0), table.Now()); !errors.Is(err, ErrCapacity) {
					t.Errorf("while all rest: %v", err)
				}
				h.move(DefaultCooldown + time.Second)
			}
			for n := range ports {
				create(t, table, request(n))
			}
			if n := table.Count(); n != ports {
				t.Errorf("%d allocations count", n)
			}
		})
	}
}
