package allocation

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// listening is what is bound for a test, and what is closed of it.
type listening struct {
	net.Listener // nil: only Close is called
	closed       bool
}

func (l *listening) Close() error {
	l.closed = true
	return nil
}

// TCP allocations get listeners in place of datagram sockets, at another address where one is taken, until they end;
// the data plane doesn't find them by their relayed transport address.
func TestTCP(t *testing.T) {
	var h hand
	var bound []*listening
	busy := 3
	table := newTable(t, &h, func(o *Options) {
		o.Listen = func(netip.AddrPort) (net.Listener, error) {
			if busy--; busy >= 0 {
				return nil, ErrBusy
			}
			bound = append(bound, new(listening))
			return bound[len(bound)-1], nil
		}
	})
	r := request(1)
	r.TCP = true
	a := create(t, table, r)
	if a.TCP() == nil || a.TCP().Listener != bound[0] || a.Socket != nil {
		t.Fatalf("%+v, %d bound", a.TCP(), len(bound))
	}
	if table.FindRelayed(a.Relayed, 0) != nil || table.Find(&a.FiveTuple, 0) != a {
		t.Error("it is found by its five-tuple and not by its relayed transport address")
	}
	other := create(t, table, request(2))
	if other.TCP() != nil || len(bound) != 1 || table.FindRelayed(other.Relayed, 0) != other {
		t.Error("an allocation of UDP is as it was")
	}
	if bound[0].closed {
		t.Error("closed too early")
	}
	table.Delete(a, Released)
	if !bound[0].closed {
		t.Error("not closed at its end")
	}

	busy = openTries
	r = request(3)
	r.TCP = true
	if _, err := table.Create(r, 0); !errors.Is(err, ErrCapacity) {
		t.Errorf("where everything is taken: %v, want %v", err, ErrCapacity)
	}
	if table.Count() != 1 {
		t.Errorf("%d allocations count, want 1", table.Count())
	}
}
