package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/load"
	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
	"github.com/hairpin-turn/hairpin/relay"
)

// Exit codes of hairpin bench; the help text names them.
const (
	benchGood    = 0
	benchNothing = 1 // nothing was relayed
	benchWrong   = 3 // something was relayed wrongly
)

const benchDescription = `Loads a TURN server that is yours with pairs of clients that send to each
other through it, both ways, and prints what it relays: packets per second,
loss, latency, and with --pid the server's processor time per packet. Every
packet is verified where it arrives: the peer or channel it comes from, its
number and time, and its content to the last byte.

   hairpin bench turn:127.0.0.1:3478 --user alice --password … --pid $(pidof hairpin) --cpu 1
   hairpin bench turn:127.0.0.1:3478 --secret … --rate 20000 --pairs 1000 --duration 30s
   hairpin bench turn:127.0.0.1:3478 --secret … --burst 8 --size 1200
   hairpin bench turn:127.0.0.1:3478 --secret … --allocations
   hairpin bench turn:127.0.0.1:3478 --secret … --hold 10000 --pid $(pidof hairpin)

Without --rate it saturates the server: --in-flight packets are under way, and
each that arrives lets another one leave. What is in flight is all that a queue
can hold, so the server is never idle and nothing is lost by haste; latency is
then mostly the time in that queue. To learn latency, choose a rate.

The generator is one thread. Give it a processor of its own (--cpu), and the
server another (taskset); it says when it, and not the server, was the limit.
The server's processor time on loopback includes the kernel's work for what
it sends, up to the socket of the generator, which does the same for it.

--allocations measures Allocate (with its 401), ChannelBind and Refresh to zero,
each time from a fresh address. --hold makes allocations, each with a permission
and a channel, and reads the memory of --pid before, after and at the end.

Exit code: 0 something was relayed; 1 nothing was, or the server refuses; 2
wrong usage; 3 packets were damaged or reached the wrong client.`

func benchCommand() *cli.Command {
	env := func(flag string) []string { return variable("bench", flag) }
	text := func(name, usage, initial string) cli.Flag {
		return &cli.StringFlag{Name: name, EnvVars: env(name), Usage: usage, DefaultText: initial}
	}
	number := func(name, usage string, value int, initial string) cli.Flag {
		return &cli.IntFlag{Name: name, EnvVars: env(name), Usage: usage, Value: value, DefaultText: initial}
	}
	choice := func(name, usage string, value bool) cli.Flag {
		return &cli.BoolFlag{Name: name, EnvVars: env(name), Usage: usage, Value: value}
	}
	lasting := func(name, usage string, value time.Duration) cli.Flag {
		return &cli.DurationFlag{Name: name, EnvVars: env(name), Usage: usage, Value: value}
	}
	return &cli.Command{
		Name:        "bench",
		Usage:       "load a TURN server and measure what it relays, loses, takes and holds",
		ArgsUsage:   "turn:HOST[:PORT][?transport=udp|tcp]",
		Description: benchDescription,
		Action:      benchAction,
		Flags: []cli.Flag{
			text("user", "`NAME` of a long-term credential; with --secret the id in the ephemeral one", ""),
			text("password", "`PASSWORD` of the user", ""),
			text("secret", "shared `SECRET` to make ephemeral credentials from", ""),
			text("realm", "`REALM` of the credentials", "the one that the server names"),
			choice("remote", "load a server even though it is not on this host: it is yours, and so is the network on the way", false),
			number("pairs", "`NUMBER` of pairs of clients", 10, ""),
			text("echo", "`IP:PORT` of an echo server that all clients talk to in place of each other; each packet passes the server twice, and its processor time is told for one passage", ""),
			number("size", "payload of a packet in `BYTES`", 200, ""),
			choice("rtp", "begin payloads with an RTP header, a stream for each client, so that the server sees media", false),
			&cli.Float64Flag{Name: "rate", EnvVars: env("rate"), Usage: "`PACKETS` per second, all clients together", DefaultText: "as many as --in-flight allows"},
			choice("saturate", "as many packets as --in-flight allows, which is the default; excludes --rate", false),
			number("burst", "`PACKETS` that a client sends at once, as the packets of a video frame", 1, ""),
			choice("gso", "send a burst as one UDP_SEGMENT message, which on loopback and veth arrives whole, as a network card's GRO delivers it. It is on; --gso=false sends so many datagrams (Linux)", true),
			choice("gro", "receive whole what the server sends as one UDP_SEGMENT message. It is on; with --gro=false the kernel takes it apart, on loopback in the server's time (Linux)", true),
			choice("indications", "use Send and Data indications instead of channels", false),
			text("transport", "transport, `udp|tcp`, of the clients", "the URI's"),
			text("peer-transport", "transport, `udp|tcp`, of the second client of each pair", "the first one's"),
			number("family", "IP version, `4|6`, of the relayed addresses to ask for", 0, "the server's default"),
			number("in-flight", "`NUMBER` of packets under way at once, with --allocations and --hold of requests", 0, "128 packets, or --window for each direction; 64 requests"),
			number("window", "`NUMBER` of packets under way at once in each direction of a pair", 0, "its share of --in-flight"),
			lasting("duration", "`TIME` to measure; with --hold, to hold", 10*time.Second),
			lasting("warmup", "`TIME` of load before that", time.Second),
			lasting("timeout", "longest `TIME` to wait for the answer to a request", 5*time.Second),
			choice("allocations", "measure allocations per second instead of packets", false),
			number("hold", "make this `NUMBER` of allocations and measure the memory of --pid", 0, "measure packets"),
			text("clients-from", "`PREFIX` of this host's addresses, one for each client; more than 28,000 clients need one", "127.64.0.0/10 for a server on loopback (Linux), else the system's choice"),
			choice("own-sockets", "a socket for each client, even where clients with addresses of their own can share one (Linux)", false),
			number("pid", "`PID` of the server, to read its processor time and memory (Linux)", 0, "unknown"),
			number("cpu", "`NUMBER` of the processor that the generator is kept on (Linux)", -1, "any"),
			choice("json", "print one JSON object, failures included; no progress", false),
			choice("quiet", "no progress", false),
		},
	}
}

func benchAction(c *cli.Context) error {
	o, uri, err := benchOptions(c)
	if err != nil {
		return err
	}
	ctx, restore := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // a second Ctrl-C ends the process

	var result *load.Result
	if o.Server, err = benchServer(ctx, uri, o.Timeout); err == nil {
		if !c.Bool("remote") && !isLocal(o.Server.Addr()) {
			return faults{{uri.String(), o.Server.Addr().String() + " is not on this host", "give --remote if the server and the network are yours to load"}}
		}
		if p := o.ClientsFrom; p.IsValid() && p.Addr().Is4() != o.Server.Addr().Is4() {
			return faults{{"--clients-from", fmt.Sprintf("%v and the server's %v are of different IP versions", p, o.Server.Addr()), "choose a prefix of the server's"}}
		}
		line := newProgressLine(c)
		o.Progress = line.show
		result, err = load.Run(ctx, o)
		line.clear()
	}
	report := newBenchReport(uri, o, result, err)
	switch {
	case c.Bool("json"):
		err = report.writeJSON(c.App.Writer)
	case result == nil:
		err = report.writeFailure(c.App.ErrWriter)
	default:
		err = report.writeText(c.App.Writer)
	}
	if err != nil {
		return fmt.Errorf("hairpin bench: writing the report: %w", err)
	}
	if report.code != benchGood {
		return cli.Exit("", report.code)
	}
	return nil
}

// benchOptions reads flags and argument; every fault of them comes at once.
func benchOptions(c *cli.Context) (load.Options, probe.URI, error) {
	var found faults
	var uri probe.URI
	if c.NArg() != 1 {
		found = append(found, fault{"hairpin bench", fmt.Sprintf("takes one server, not %d", c.NArg()), "write hairpin bench turn:HOST:PORT"})
	} else {
		parsed, wrong := probe.ParseURI(c.Args().First())
		if uri = parsed; wrong != nil {
			found = append(found, fault{wrong.Key, wrong.What, wrong.Remedy})
		} else if parsed.Transport == probe.TLS || parsed.Transport == probe.DTLS {
			found = append(found, fault{c.Args().First(), "bench loads servers over UDP and TCP only", "give the server's turn: address; \"hairpin probe\" takes turns:"})
		}
	}
	o := load.Options{
		Mode: load.Relay, User: c.String("user"), Password: c.String("password"), Secret: c.String("secret"), Realm: c.String("realm"),
		Family: c.Int("family"), Transport: load.Transport(c.String("transport")), PeerTransport: load.Transport(c.String("peer-transport")),
		Pairs: c.Int("pairs"), Count: c.Int("hold"), Size: c.Int("size"), RTP: c.Bool("rtp"), Indications: c.Bool("indications"),
		Burst: c.Int("burst"), GSO: c.Bool("gso"), GRO: c.Bool("gro"), Rate: c.Float64("rate"), Window: c.Int("window"), InFlight: c.Int("in-flight"),
		Duration: c.Duration("duration"), Warmup: c.Duration("warmup"), Timeout: c.Duration("timeout"),
		OwnSockets: c.Bool("own-sockets"), PID: c.Int("pid"), CPU: c.Int("cpu"),
	}
	if o.Transport == "" {
		o.Transport = load.Transport(uri.Transport)
	}
	exclude := func(a, b string) {
		if c.IsSet(a) && c.IsSet(b) {
			found = append(found, fault{"--" + b, "excludes --" + a, "leave one of them out"})
		}
	}
	exclude("hold", "allocations")
	for _, mode := range []string{"allocations", "hold"} {
		for _, meaningless := range []string{"pairs", "size", "rtp", "burst", "window"} {
			if c.IsSet(mode) && c.IsSet(meaningless) {
				found = append(found, fault{"--" + meaningless, "has no meaning with --" + mode + ", which sends no packets", "leave one of them out"})
			}
		}
		exclude(mode, "rate")
		exclude(mode, "saturate")
	}
	exclude("rate", "saturate")
	exclude("rate", "window")
	exclude("rate", "in-flight")
	exclude("json", "quiet")
	switch {
	case c.Bool("allocations"):
		o.Mode = load.Allocations
	case c.IsSet("hold"):
		o.Mode = load.Hold
	}
	if c.IsSet("rate") && o.Rate == 0 {
		found = append(found, fault{"--rate", "0 packets per second measure nothing", "leave it out to saturate the server"})
	}
	if s := c.String("clients-from"); s != "" {
		prefix, err := netip.ParsePrefix(s)
		if o.ClientsFrom = prefix.Masked(); err != nil {
			found = append(found, fault{"--clients-from", fmt.Sprintf("%q is no prefix", s), "write for example 127.64.0.0/10"})
		}
	}
	if s := c.String("echo"); s != "" {
		echo, err := netip.ParseAddrPort(s)
		if o.Echo = echo; err != nil {
			found = append(found, fault{"--echo", fmt.Sprintf("%q is not IP:PORT", s), "write for example 127.0.0.1:7"})
		}
		if o.Mode != load.Relay {
			found = append(found, fault{"--echo", "has no meaning where no packets are sent", "leave it out"})
		}
	}
	for _, wrong := range o.Validate() {
		found = append(found, fault{"--" + wrong.Key, wrong.What, wrong.Remedy})
	}
	return o, uri, found.err()
}

// benchServer resolves the server's name, to its IPv4 address if it has one.
func benchServer(ctx context.Context, uri probe.URI, timeout time.Duration) (netip.AddrPort, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(limited, "ip", uri.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	best := max(0, slices.IndexFunc(found, netip.Addr.Is4))
	return netip.AddrPortFrom(found[best], uri.Port), nil
}

// isLocal tells whether a server's address is this host's.
func isLocal(ip netip.Addr) bool {
	return ip.IsLoopback() || slices.Contains(relay.HostAddresses(), ip.WithZone(""))
}
