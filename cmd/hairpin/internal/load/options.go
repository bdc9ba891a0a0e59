package load

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Transport is the transport between a client and the server.
type Transport string

// The transports of clients.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
)

// Mode is what is measured.
type Mode string

// The modes.
const (
	Relay       Mode = "relay"       // pairs of clients send to each other through the server
	Allocations Mode = "allocations" // allocations are made and given back, one after the other
	Hold        Mode = "hold"        // allocations are made and held while the server's memory is read
)

// Limits of what can be asked, so that a slip of the finger fills neither the machine nor the day.
const (
	maxClients  = 4_000_000 // the addresses of 127.64.0.0/10
	maxSize     = 60_000    // bytes of payload; a Send indication around it still fits a UDP datagram
	maxBurst    = 64        // segments of one UDP_SEGMENT message in every kernel that has it (UDP_MAX_SEGMENTS)
	maxMessage  = 65_000    // bytes of a burst as one message, below what an IPv4 datagram may have
	maxRate     = 100_000_000
	maxInFlight = 1 << 20
	maxDuration = 24 * time.Hour
	maxTimeout  = time.Minute
)

// What is in flight unless the user says otherwise. It is what a server must be able to keep in one socket's buffer while
// it does something else; Linux' default of 208 KiB has room for about 270 datagrams of 200 bytes.
const (
	defaultInFlight = 128 // packets
	defaultRequests = 64  // requests during set-up and in Allocations
)

// Options say what to measure and how. The command's flags bear the same names.
type Options struct {
	Server netip.AddrPort
	Mode   Mode

	// User and Password are long-term credentials; with Secret instead of Password they are ephemeral, <unix expiry> or
	// <unix expiry>:User. None at all is tried too.
	User, Password, Secret string
	Realm                  string // empty: the one that the server names
	Family                 int    // of the relayed addresses: 4, 6, or 0: the server's default

	Transport     Transport // of the clients; empty: UDP
	PeerTransport Transport // of the second client of each pair; empty: Transport
	Pairs         int       // of clients that send to each other, both ways
	Count         int       // Hold: allocations

	// Echo is a peer outside the server that sends every datagram back to where it came from: each client of the pairs then
	// talks to it and hears itself. The zero value is none: the two of a pair talk to each other.
	Echo netip.AddrPort

	Size        int     // bytes of a packet's payload, at least MinSize, with RTP 12 more
	RTP         bool    // payloads begin with an RTP header, a stream for each client
	Indications bool    // Send and Data indications instead of channels
	Burst       int     // packets that a client sends at once
	GSO         bool    // a burst leaves as one UDP_SEGMENT message; else as so many datagrams
	GRO         bool    // datagrams that the kernel holds as one (UDP_SEGMENT of the server) are received as one
	Rate        float64 // packets per second of all clients together; 0: as many as InFlight allows

	Window   int // packets in flight per direction of a pair; 0: InFlight's fair share
	InFlight int // packets (requests in Allocations and set-up) in flight altogether; 0: a default, Window × directions if that is set

	Duration time.Duration // that is measured; Hold: how long the allocations are held
	Warmup   time.Duration // before it
	Timeout  time.Duration // longest wait for the answer to a request

	// ClientsFrom is where the clients' addresses are taken from, one address for each. With an IPv4 prefix UDP clients
	// share a socket on Linux, so that one system call serves many of them, unless OwnSockets is set. The zero value is
	// a part of 127.0.0.0/8 where that helps, that is on Linux and for a server on loopback, and else the system's
	// choice: one address, and a port for each client.
	ClientsFrom netip.Prefix
	OwnSockets  bool
	Portable    bool // no epoll, recvmmsg, sendmmsg even where there are; for tests and comparison

	PID int // the server's process, for its processor time and memory; 0: unknown
	CPU int // that the generator is pinned to; negative: any

	// Progress is called about twice a second on a goroutine of its own; nil is allowed. It is done when Run returns.
	Progress func(Progress)

	retransmit time.Duration // 0: the RFC's; for tests
}

// Progress is a look at a run that is under way.
type Progress struct {
	Phase   string        // "set-up", "warm-up", "measuring", "draining", "holding", "releasing"
	Elapsed time.Duration // of the phase
	Of      time.Duration // the phase's length, 0 when it isn't known
	Count   int           // set-up, releasing: clients that are done; holding: that are held
	Total   int           // of so many
	Rate    float64       // packets relayed, or allocations made, per second since the last Progress
	Lost    uint64        // packets that are missing by now, those in flight included
}

// A Fault is one thing that is wrong in what was asked.
type Fault struct {
	Key    string // the option, named as the command's flag
	What   string
	Remedy string
}

func (f *Fault) Error() string { return f.Key + ": " + f.What + "; " + f.Remedy }

// Validate reports every fault of o; it changes nothing.
func (o Options) Validate() []*Fault {
	var faults []*Fault
	fault := func(key, what, remedy string) { faults = append(faults, &Fault{key, what, remedy}) }
	within := func(key string, value, low, high int) {
		if value < low || value > high {
			fault(key, fmt.Sprintf("%d is out of range", value), fmt.Sprintf("choose from %d to %d", low, high))
		}
	}
	lasting := func(key string, value, low, high time.Duration) {
		if value < low || value > high {
			fault(key, fmt.Sprintf("%v is out of range", value), fmt.Sprintf("choose from %v to %v", low, high))
		}
	}

	switch {
	case o.Password != "" && o.Secret != "":
		fault("secret", "excludes --password", "leave one of them out, also in the environment")
	case o.User != "" && o.Password == "" && o.Secret == "":
		fault("user", "has no password", "give --password or --secret, or HAIRPIN_BENCH_PASSWORD or HAIRPIN_BENCH_SECRET in the environment")
	case o.User == "" && o.Password != "":
		fault("password", "has no user", "give --user, or HAIRPIN_BENCH_USER in the environment")
	}
	if o.Family != 0 && o.Family != 4 && o.Family != 6 {
		fault("family", fmt.Sprintf("%d is no IP version", o.Family), "write 4 or 6")
	}
	for _, t := range []struct {
		key   string
		value Transport
	}{{"transport", o.Transport}, {"peer-transport", o.PeerTransport}} {
		if t.value != "" && t.value != UDP && t.value != TCP {
			fault(t.key, fmt.Sprintf("%q is not known", t.value), "write udp or tcp")
		}
	}
	switch o.Mode {
	case Relay:
		within("pairs", o.Pairs, 1, maxClients/2)
	case Hold:
		within("hold", o.Count, 2, maxClients)
		if o.PID == 0 {
			fault("hold", "reads the memory of a process", "say with --pid which one is the server")
		}
	}
	smallest := MinSize
	if o.RTP {
		smallest += rtpHeader
	}
	within("size", o.Size, smallest, maxSize)
	within("burst", o.Burst, 1, maxBurst)
	if message := o.Burst * (o.Size + 4); o.GSO && o.Burst > 1 && o.Burst <= maxBurst && message > maxMessage {
		fault("burst", fmt.Sprintf("%d packets of %d bytes are too much for one UDP_SEGMENT message", o.Burst, o.Size), "choose fewer, smaller, or --gso=false")
	}
	if !(o.Rate >= 0 && o.Rate <= maxRate) { // NaN too
		fault("rate", fmt.Sprintf("%v is out of range", o.Rate), fmt.Sprintf("choose from 1 to %d packets per second, or leave it out", maxRate))
	}
	within("window", o.Window, 0, maxInFlight)
	within("in-flight", o.InFlight, 0, maxInFlight)
	if o.Window > 0 && o.Window < o.Burst {
		fault("window", fmt.Sprintf("%d has no room for a burst of %d", o.Window, o.Burst), "choose a multiple of --burst")
	}
	if o.InFlight > 0 && o.InFlight < o.Burst {
		fault("in-flight", fmt.Sprintf("%d has no room for a burst of %d", o.InFlight, o.Burst), "choose a multiple of --burst")
	}
	lasting("duration", o.Duration, 10*time.Millisecond, maxDuration)
	lasting("warmup", o.Warmup, 0, maxDuration)
	lasting("timeout", o.Timeout, 50*time.Millisecond, maxTimeout)
	if p := o.ClientsFrom; p.IsValid() && o.Server.IsValid() && p.Addr().Is4() != o.Server.Addr().Is4() {
		fault("clients-from", p.String()+" and the server are of different IP versions", "choose a prefix of the server's")
	}
	if o.PID < 0 {
		fault("pid", fmt.Sprintf("%d is no process", o.PID), "give the server's process id")
	}
	return faults
}

// loopback is where clients of a server on loopback come from: four million addresses that nobody else is likely to use.
var loopback = netip.MustParsePrefix("127.64.0.0/10")

// settled fills in what o leaves open.
func (o Options) settled() Options {
	if ip := o.Server.Addr(); !o.ClientsFrom.IsValid() && ip.Is4() && ip.IsLoopback() && hasFastNetwork && !o.OwnSockets && !o.Portable {
		o.ClientsFrom = loopback
	}
	if o.Transport == "" {
		o.Transport = UDP
	}
	if o.PeerTransport == "" {
		o.PeerTransport = o.Transport
	}
	if o.Mode != Relay {
		if o.InFlight == 0 {
			o.InFlight = defaultRequests
		}
		return o
	}
	directions := 2 * o.Pairs
	switch {
	case o.InFlight == 0 && o.Window == 0:
		o.InFlight = max(defaultInFlight, o.Burst)
	case o.InFlight == 0:
		o.InFlight = o.Window * directions
	}
	if o.Window == 0 {
		o.Window = max(o.InFlight/directions, o.Burst)
	}
	return o
}

// clients is how many there are at a time.
func (o Options) clients() int {
	switch o.Mode {
	case Relay:
		return 2 * o.Pairs
	case Hold:
		return o.Count
	}
	return o.InFlight
}

// transport of a client: the second one of each pair may have another.
func (o Options) transport(client int32) Transport {
	if client&1 == 1 {
		return o.PeerTransport
	}
	return o.Transport
}

// frameSize is the size in bytes of a packet as a client sends it over UDP.
func (o Options) frameSize() int {
	if !o.Indications {
		return wire.ChannelHeaderSize + o.Size
	}
	return maxSendHead + o.Size + wire.Padding(o.Size)
}
