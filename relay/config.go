package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/secure"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Config says what a Server shall be. It is validated as a whole by New, and
// nothing in it is corrected.
type Config struct {
	Listeners       []Listener
	PublicAddresses []netip.Addr         // what clients are told to connect to; at most one per family; empty: see Listener
	RelayAddresses  []netip.Prefix       // empty: the public addresses
	RelayPorts      allocation.PortRange // zero: 49152-65535 (RFC 8656 §7.2)
	// RelayBind maps relay addresses to the addresses of this host that stand for them behind a 1:1 NAT. For a relay address
	// that neither the host has nor the map, it is the address of the listener that clients reach there, else the host's first
	// global one. Without peers beyond the process nothing is bound.
	RelayBind  map[netip.Addr]netip.Addr
	Peers      peers.Options // with whom clients may exchange packets; zero: with each other; Own is filled in
	Cooldown   time.Duration // of a relayed transport address; 0: allocation.DefaultCooldown
	UserQuota  int           // allocations per user, all ephemeral credentials of an id being one; 0: no limit
	TotalQuota int           // allocations; 0: no limit
	// Bits of application data per second and direction; 0: no limit, at most allocation.MaxBandwidth.
	MaxBandwidth  int64          // of an allocation
	UserBandwidth int64          // of all allocations of a user together
	Limits        control.Limits // of those who have proved nothing; zero: none

	Quality    quality.Mode // whose media are looked at; zero: nobody's
	Alternates []Alternate  // where clients are sent by a server that drains or has no room; at most 64
	RedirectAt int          // allocations from which on new clients are sent there; 0: when there is no room
	// NATDiscovery is another address of this host, and another port, for NAT behavior discovery (RFC 5780) beside those of the
	// first UDP listener with an address of that family; zero: off. It takes Limits.Bytes.
	NATDiscovery netip.AddrPort
	Events       *events.Writer // is told of births, moves, deaths and refusals; nil: nobody is. Whoever made it runs it
	Auth         auth.Options
	// ForbidMobility answers clients that want to take their allocation to another address with 405 (RFC 8016).
	ForbidMobility bool
	// Certificates are for TLS and DTLS; the first one is for clients that give no name.
	Certificates []secure.Pair
	ProxyTrusted []netip.Prefix        // who may send PROXY headers to listeners with Proxy
	Software     string                // SOFTWARE attribute; empty: none (RFC 8656 §21.1.4: it helps attackers)
	Log          logging.LoggerFactory // nil: pion's default
	Workers      int                   // UDP loops per socket address; 0: one per CPU (GOMAXPROCS)
	Offload      udp.Offload           // the kernel's batching of datagrams, as far as it has it
	PortableUDP  bool                  // don't use the platform's batched system calls
}

// Listener is an address that clients connect to.
type Listener struct {
	Scheme string // one of Schemes
	// Proxy demands a PROXY header, version 2, ahead of each connection, or of the first datagram, if not of all, that a
	// client sends by a way (secure.Flows); not with dtls.
	Proxy bool
	// Address is IP:PORT; an empty IP is every address of the host, IPv4 and IPv6.
	// Clients are told Config.PublicAddresses, else this IP, else, when that is
	// empty or unspecified, the host's first global address.
	Address string
	Name    string // label in metrics and logs; empty: SCHEME://ADDRESS
}

// DefaultPorts are the ports of relayed transport addresses (RFC 8656 §7.2: the
// dynamic range).
var DefaultPorts = allocation.PortRange{Min: 49152, Max: 65535}

// binding is one socket address to bind: a listener has two when it takes both
// families.
type binding struct {
	address  netip.AddrPort
	optional bool // its family may be missing on this host
}

// parse splits Address; an empty host is the zero Addr.
func (l Listener) parse() (host netip.Addr, port uint16, err error) {
	if p, ok := strings.CutPrefix(l.Address, ":"); ok {
		all, err := netip.ParseAddrPort("0.0.0.0:" + p)
		if err != nil {
			return host, 0, fmt.Errorf("listener %s: port %q is not a number from 0 to 65535", l.Name, p)
		}
		return host, all.Port(), nil
	}
	a, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return host, 0, fmt.Errorf("listener %s: %q is not IP:PORT or :PORT", l.Name, l.Address)
	}
	return a.Addr(), a.Port(), nil
}

func (l Listener) bindings() ([]binding, error) {
	host, port, err := l.parse()
	if err != nil {
		return nil, err
	}
	if host.IsValid() {
		return []binding{{address: netip.AddrPortFrom(host.Unmap(), port)}}, nil
	}
	return []binding{
		{address: netip.AddrPortFrom(netip.IPv4Unspecified(), port), optional: true},
		{address: netip.AddrPortFrom(netip.IPv6Unspecified(), port), optional: true},
	}, nil
}

// complete fills in defaults and joins everything that is wrong.
func (c *Config) complete() error {
	var faults []error
	if c.RelayPorts == (allocation.PortRange{}) {
		c.RelayPorts = DefaultPorts
	}
	if c.Log == nil {
		c.Log = logging.NewDefaultLoggerFactory()
	}
	if len(c.Listeners) == 0 {
		faults = append(faults, errors.New("no listener: give at least one"))
	}
	listeners := make([]Listener, len(c.Listeners))
	for i, l := range c.Listeners {
		if l.Name == "" {
			l.Name = l.Scheme + "://" + l.Address
		}
		faults = append(faults, c.checkSecure(l)...)
		if _, _, err := l.parse(); err != nil {
			faults = append(faults, err)
		}
		listeners[i] = l
	}
	c.Listeners = listeners
	if err := c.checkDiscovery(); err != nil {
		faults = append(faults, err)
	}
	if err := c.checkAlternates(); err != nil {
		faults = append(faults, err)
	}
	for _, q := range []struct {
		name  string
		value int
	}{{"user quota", c.UserQuota}, {"total quota", c.TotalQuota}, {"redirect at", c.RedirectAt}, {"limit of requests", c.Limits.Rate}, {"limit of bytes", c.Limits.Bytes}, {"limit of failed logins", c.Limits.FailedLogins}, {"workers", c.Workers}} {
		if q.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %d: give 0 or more", q.name, q.value))
		}
	}
	for _, b := range []struct {
		name  string
		value int64
	}{{"max bandwidth", c.MaxBandwidth}, {"user bandwidth", c.UserBandwidth}} {
		if b.value < 0 || b.value > allocation.MaxBandwidth {
			faults = append(faults, fmt.Errorf("%s is %d bits/s: give 0 to %d", b.name, b.value, int64(allocation.MaxBandwidth)))
		}
	}
	if _, err := peers.New(peers.Options{Rules: c.Peers.Rules, File: c.Peers.File, Interval: c.Peers.Interval}); err != nil {
		faults = append(faults, fmt.Errorf("peers: %w", err))
	}
	return errors.Join(faults...)
}
