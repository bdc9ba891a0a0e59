package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
)

func TestClose(t *testing.T) {
	each(t, func(t *testing.T, o Options, loopback, _ netip.AddrPort) {
		for range 20 {
			c := listen(t, loopback, o)
			const receivers = 3
			var ready sync.WaitGroup
			ready.Add(receivers)
			failures := make(chan error, receivers)
			for range receivers {
				go func() {
					batch := NewBatch(2, 64)
					ready.Done()
					failures <- c.Receive(batch)
				}()
			}
			ready.Wait()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			for range receivers {
				if err := <-failures; err != net.ErrClosed {
					t.Fatalf("Receive: %v", err)
				}
			}
			to := NewDestination(loopback, netip.Addr{}, 0)
			queue := NewQueue(2)
			queue.Append(&to, nil, []byte("x"), 0)
			if sent, err := c.Flush(queue); sent != 0 || err != net.ErrClosed || queue.Len() != 0 {
				t.Fatalf("Flush after Close: %d, %v, %d left", sent, err, queue.Len())
			}
			if err := c.Receive(NewBatch(1, 1)); err != net.ErrClosed {
				t.Fatalf("Receive after Close: %v", err)
			}
		}
	})
}

func TestV6Only(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			six := listen(t, families[1].wildcard, Options{Portable: path.portable})
			four, err := Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), six.LocalAddr().Port()), Options{})
			if errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal("the IPv6 socket holds the port for IPv4 as well")
			}
			if err != nil {
				t.Fatal(err)
			}
			four.Close()
		})
	}
}

func TestListen(t *testing.T) {
	cases := []struct {
		name, addr, bound string
	}{
		{"v4", "127.0.0.1:0", "127.0.0.1"},
		{"v6", "[::1]:0", "::1"},
		{"mapped", "[::ffff:127.0.0.1]:0", "127.0.0.1"},
		{"wildcard", "0.0.0.0:0", "0.0.0.0"},
		{"v6 wildcard", "[::]:0", "::"},
	}
	for _, c := range cases {
		conn := listen(t, netip.MustParseAddrPort(c.addr), Options{})
		if a := conn.LocalAddr(); a.Addr() != netip.MustParseAddr(c.bound) || a.Port() == 0 {
			t.Errorf("%s: bound to %v", c.name, a)
		}
		if second, err := Listen(conn.LocalAddr(), Options{}); err == nil {
			second.Close()
			t.Errorf("%s: bound twice without ReusePort", c.name)
		}
	}
	if _, err := Listen(netip.AddrPort{}, Options{}); err == nil {
		t.Error("listens on no address")
	}
}
