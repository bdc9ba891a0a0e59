package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay/control"
)

const (
	alternateInterval = 10 * time.Second // between two look-ups of a name
	alternateTimeout  = 5 * time.Second  // of one look-up
	// maxAlternates bounds Config.Alternates, and maxAddresses what a name may stand for: clients are spread over that
	// many servers well enough.
	maxAlternates = 64
	maxAddresses  = 256
)

// Alternate is another server, to which clients are sent when this one takes no new allocation. It has an address or
// a name, whose addresses are looked up again and again.
type Alternate struct {
	Address netip.Addr
	Name    string
	Port    uint16
}

// String spells it as --alternate-server has it.
func (a Alternate) String() string {
	if a.Name != "" {
		return fmt.Sprintf("dns:%s:%d", a.Name, a.Port)
	}
	return netip.AddrPortFrom(a.Address, a.Port).String()
}

// checkAlternates finds what is wrong with Config.Alternates.
func (c *Config) checkAlternates() error {
	if len(c.Alternates) > maxAlternates {
		return fmt.Errorf("%d alternate servers: give %d at most, or a name that stands for more", len(c.Alternates), maxAlternates)
	}
	for _, a := range c.Alternates {
		switch {
		case (a.Name == "") == !a.Address.IsValid():
			return fmt.Errorf("alternate server %v: give an address or a name", a)
		case a.Port == 0:
			return fmt.Errorf("alternate server %v: give a port", a)
		}
	}
	return nil
}

// alternates keeps the gate's list of other servers up to date. It belongs to the goroutine of run, and everything
// else of the server reads what it leaves in the gate, so nothing ever waits for DNS.
type alternates struct {
	gate     *control.Gate
	log      logging.LeveledLogger
	own      func() []netip.AddrPort // what leads back to this server
	lookup   func(ctx context.Context, network, host string) ([]netip.Addr, error)
	replaced chan []Alternate // the newest list that run has not taken yet; holds one

	// Owned by newAlternates, afterwards by run.
	configured []Alternate
	found      map[string][]netip.Addr // by name: the last good answer
	failing    map[string]bool         // by name: logged already
}

// newAlternates takes in the addresses that need no look-up.
func (s *Server) newAlternates() *alternates {
	a := &alternates{
		configured: s.config.Alternates, gate: &s.drain.gate, log: s.log, own: s.ownAddresses, replaced: make(chan []Alternate, 1),
		lookup: net.DefaultResolver.LookupNetIP,
		found:  make(map[string][]netip.Addr), failing: make(map[string]bool),
	}
	a.publish()
	return a
}

// run looks the names up until ctx ends. Addresses of this host may change as well, so that what is ours is judged anew
// each time.
func (a *alternates) run(ctx context.Context) {
	again := time.NewTicker(alternateInterval)
	defer again.Stop()
	for {
		select {
		case a.configured = <-a.replaced:
			a.publish() // what needs no look-up
		default:
		}
		a.resolve(ctx)
		if ctx.Err() != nil {
			return
		}
		a.publish()
		select {
		case <-ctx.Done():
			return
		case a.configured = <-a.replaced:
			a.publish()
		case <-again.C:
		}
	}
}

// replace has run go on with another list. Callers come one after the other.
func (a *alternates) replace(list []Alternate) {
	select {
	case <-a.replaced: // not taken yet, and out of date
	default:
	}
	a.replaced <- list
}

// resolve asks for all names at once. A name that can't be had keeps its last answer.
func (a *alternates) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, alternateTimeout)
	defer cancel()
	type answer struct {
		addresses []netip.Addr
		err       error
	}
	answers := make(map[string]*answer)
	var asking sync.WaitGroup
	for _, c := range a.configured {
		if c.Name == "" || answers[c.Name] != nil {
			continue
		}
		got := new(answer)
		answers[c.Name] = got
		asking.Go(func() { got.addresses, got.err = a.lookup(ctx, "ip", c.Name) })
	}
	asking.Wait()
	for name, got := range answers {
		a.take(name, got.addresses, got.err)
	}
}

// take remembers an answer, and logs when a name begins or ends to fail.
func (a *alternates) take(name string, addresses []netip.Addr, err error) {
	addresses = usable(addresses)
	if err == nil && len(addresses) == 0 {
		err = errors.New("it has no address that clients could connect to")
	}
	switch {
	case errors.Is(err, context.Canceled): // the server ends
	case err != nil && !a.failing[name]:
		a.failing[name] = true
		a.log.Warnf("alternate server %s cannot be looked up: %v; going on with the %d addresses known", name, err, len(a.found[name]))
	case err == nil:
		if a.failing[name] {
			a.log.Infof("alternate server %s is looked up again: %d addresses", name, len(addresses))
		}
		a.failing[name] = false
		a.found[name] = addresses
	}
}

// usable keeps what one can connect to, each once, and of very many a part by chance.
func usable(addresses []netip.Addr) (some []netip.Addr) {
	for _, ip := range addresses {
		ip = ip.Unmap()
		if ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip.Zone() == "" {
			some = append(some, ip)
		}
	}
	sort.Slice(some, func(i, j int) bool { return some[i].Less(some[j]) })
	some = slices.Compact(some)
	if len(some) > maxAddresses {
		rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		some = some[:maxAddresses]
	}
	return some
}

// publish hands the gate what is known, without ourselves: all relays of a fleet may have the same list.
func (a *alternates) publish() {
	var servers []netip.AddrPort
	for _, c := range a.configured {
		if c.Name == "" {
			servers = append(servers, netip.AddrPortFrom(c.Address.Unmap(), c.Port))
		}
		for _, ip := range a.found[c.Name] {
			servers = append(servers, netip.AddrPortFrom(ip, c.Port))
		}
	}
	sort.Slice(servers, func(i, j int) bool { return servers[i].Compare(servers[j]) < 0 })
	own := a.own()
	servers = slices.DeleteFunc(slices.Compact(servers), func(at netip.AddrPort) bool { return slices.Contains(own, at) })
	a.gate.SetAlternates(servers)
}
