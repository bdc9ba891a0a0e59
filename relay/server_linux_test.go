package relay

import (
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/pion/logging"
	"golang.org/x/sys/unix"

	"github.com/hairpin-turn/hairpin/auth"
)

// A port that is free for IPv4 may be taken for IPv6: then another one is drawn. Here the kernel has few to draw from, of
// which all but one are taken.
func TestPortsAreDrawnAgain(t *testing.T) {
	const first, last, free = 40000, 40015, 40002
	for _, scheme := range []string{"udp", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			emptyHost(t)
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(strconv.Itoa(first)+" "+strconv.Itoa(last)), 0); err != nil {
				t.Fatal(err)
			}
			for port := first; port <= last; port++ {
				if port != free {
					take(t, scheme, netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)))
				}
			}
			bind := func() (*Server, error) {
				return New(Config{
					Listeners: []Listener{{Scheme: scheme, Address: ":0"}},
					Auth:      auth.Options{Realm: "hairpin", Users: []auth.User{{Name: "alice", Password: "wonder"}}},
					Log:       &logging.DefaultLoggerFactory{Writer: t.Output()},
				})
			}
			for range 8 { // the first draw is good in one of sixteen
				s, err := bind()
				if err != nil {
					t.Fatal(err)
				}
				sockets := s.bound.Load().sockets
				if len(sockets) != 2 || sockets[0].local.Port() != free || sockets[1].local.Port() != free {
					t.Errorf("sockets at %v", s.ListenerInfos())
				}
				s.Close()
			}
			take(t, scheme, netip.AddrPortFrom(netip.IPv6Unspecified(), free))
			if s, err := bind(); err == nil {
				s.Close()
				t.Error("a listener without a port of both families")
			}
		})
	}
}

// take occupies an address.
func take(t *testing.T, scheme string, at netip.AddrPort) {
	t.Helper()
	kind := unix.SOCK_DGRAM
	if scheme == "tcp" {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}); err != nil {
		t.Fatal(err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// emptyHost puts the test's goroutine, and nothing else, into a network namespace without interfaces. Its thread ends with
// it.
func emptyHost(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("network namespaces are for root, so no ports were taken: %v", err)
	}
}
