package udp_test

import (
	"errors"
	"net"
	"os"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Whether or not somebody waits, a Poller that is closed leaves no file descriptor behind.
func TestPollerGivesBack(t *testing.T) {
	const pollers = 50
	open := func() int {
		t.Helper()
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	for _, test := range []struct {
		name string
		end  func(p *udp.Poller)
	}{
		{"nobody waits", func(p *udp.Poller) { p.Close() }},
		{"closed twice", func(p *udp.Poller) { p.Close(); p.Close() }},
		{"somebody is late", func(p *udp.Poller) {
			p.Close()
			if _, err := p.Wait(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}},
		{"somebody waits", func(p *udp.Poller) {
			ended := make(chan error)
			go func() {
				for {
					if _, err := p.Wait(); err != nil { // the event that wakes it up may come first
						ended <- err
						return
					}
				}
			}()
			p.Close()
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := open()
			for range pollers {
				p, err := udp.NewPoller()
				if err != nil {
					t.Fatal(err)
				}
				test.end(p)
			}
			if more := open() - before; more > pollers/5 {
				t.Errorf("%d file descriptors are left", more)
			}
		})
	}
}
