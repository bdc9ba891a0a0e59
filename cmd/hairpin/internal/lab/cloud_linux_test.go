package lab

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// A virtual machine of a cloud: its addresses are private, the router translates public ones one to one.
const (
	cloud4, outside4 = "10.0.0.2", "198.51.100.10"
	own4, relay4     = "10.0.0.3", "198.51.100.11" // a second address, for the peers alone
	cloud6, outside6 = "fd00:10::2", "2001:db8:65::2"
	own6, relay6     = "fd00:10::3", "2001:db8:65::3" // by the prefix
	peer4, peer6     = "198.51.100.23", "2001:db8:64::23"
)

// cloud is that machine, with a client's host and a peer outside.
type cloud struct {
	*network
	nat, relay, client, peer *host
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	n := newNetwork(t)
	c := &cloud{n, n.host("nat"), n.host("relay"), n.host("client"), n.host("peer")}
	c.nat.segment("outside", "198.51.100.1/24", outside4+"/32", relay4+"/32", "2001:db8:64::1/64")
	c.nat.segment("inside", "10.0.0.1/24", "fd00:10::1/64")
	// Linux lists the IPv4 address that came first ahead, but the IPv6 address that came last.
	c.relay.plug(c.nat, "inside", "eth0", []string{cloud4 + "/24", own4 + "/24", own6 + "/64", cloud6 + "/64"}, []string{"10.0.0.1", "fd00:10::1"})
	gateways := []string{"198.51.100.1", "2001:db8:64::1"}
	c.client.plug(c.nat, "outside", "eth0", []string{"198.51.100.21/24", "2001:db8:64::21/64"}, gateways)
	c.peer.plug(c.nat, "outside", "eth0", []string{peer4 + "/24", peer6 + "/64"}, gateways)
	// As clouds do it: what the machine sends to its own public address is not turned around but lost. It is counted.
	c.nat.nft(`
		table ip nat {
			chain in { type nat hook prerouting priority dstnat; iifname "outside" dnat ip to ip daddr map { ` + outside4 + ` : ` + cloud4 + `, ` + relay4 + ` : ` + own4 + ` }; }
			chain out { type nat hook postrouting priority srcnat; oifname "outside" snat ip to ip saddr map { ` + cloud4 + ` : ` + outside4 + `, ` + own4 + ` : ` + relay4 + ` }; }
		}
		table ip6 nat {
			chain in { type nat hook prerouting priority dstnat; iifname "outside" ip6 daddr 2001:db8:65::/64 dnat ip6 prefix to fd00:10::/64; }
			chain out { type nat hook postrouting priority srcnat; oifname "outside" ip6 saddr fd00:10::/64 snat ip6 prefix to 2001:db8:65::/64; }
		}
		table inet watch {
			counter hairpin { }
			chain in {
				type filter hook prerouting priority raw;
				iifname "inside" ip daddr { ` + outside4 + `, ` + relay4 + ` } counter name hairpin drop
				iifname "inside" ip6 daddr 2001:db8:65::/64 counter name hairpin drop
			}
		}
	`)
	return c
}

// turned counts packets that left the machine for its own public addresses.
func (c *cloud) turned() int {
	c.t.Helper()
	var listing struct {
		Nftables []struct {
			Counter *struct{ Packets int }
		}
	}
	out := c.command("ip", "netns", "exec", c.nat.name, "nft", "-j", "list", "counters")
	if err := json.Unmarshal([]byte(out), &listing); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	for _, item := range listing.Nftables {
		if item.Counter != nil {
			return item.Counter.Packets
		}
	}
	c.t.Fatalf("no counter in %s", out)
	return 0
}

// echo answers on the peer, and counts who asks.
func (c *cloud) echo(ip string, from map[string]*atomic.Int32) netip.AddrPort {
	conn := c.peer.listen(c.t, net.JoinHostPort(ip, "0"))
	go echo(conn, func(source netip.AddrPort) {
		if count := from[source.Addr().String()]; count != nil {
			count.Add(1)
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A relay behind a 1:1 NAT serves clients outside, of each other and of peers, by its public addresses; and no packet
// between its own clients depends on a NAT that turns packets around.
func TestBehindNAT(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		public  [2]string // where clients connect to
		relayed [2]string // where peers see packets come from
		told    string    // in the log
	}{
		{
			"found out", []string{"--public-address", outside4, "--public-address", outside6}, [2]string{outside4, outside6},
			[2]string{outside4, outside6}, "relay address " + outside4 + " is not this host's: packets to peers leave from " + cloud4,
		},
		{
			"the listener's", []string{
				"--listen", "udp://" + own4 + ":3478", "--listen", "tcp://" + own4 + ":3478", "--public-address", relay4,
				"--listen", "udp://[" + own6 + "]:3478", "--listen", "tcp://[" + own6 + "]:3478", "--public-address", relay6,
			}, [2]string{relay4, relay6},
			[2]string{relay4, relay6}, "relay address " + relay6 + " is not this host's: packets to peers leave from " + own6,
		},
		{
			"named", []string{
				"--public-address", outside4, "--public-address", outside6,
				"--relay-address", relay4 + "=" + own4, "--relay-address", relay6 + "=" + own6,
			}, [2]string{outside4, outside6},
			[2]string{relay4, relay6}, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			r := c.relay.serve(test.public[0], append(test.args, "--peers", "loop", "--peers", "198.51.100.0/24", "--peers", "2001:db8:64::/64")...)
			if !strings.Contains(r.log.String(), test.told) {
				t.Errorf("no %q in the log:\n%s", test.told, r.log)
			}
			count := map[string]*atomic.Int32{test.relayed[0]: {}, test.relayed[1]: {}}
			echoes := []netip.AddrPort{c.echo(peer4, count), c.echo(peer6, count)}
			const packets = 30
			server4, server6 := "turn:"+test.public[0], "turn:["+test.public[1]+"]"
			for _, server := range []string{server4, server6, server4 + "?transport=tcp", server6 + "?transport=tcp"} {
				for family, relayed := range test.relayed {
					v := []string{"4", "6"}[family]
					common := []string{"probe", "--user", user, "--password", password, "--count", "30", "--interval", "1ms", "--json", "--family", v}
					c.probe(t, packets, relayed, append(common, server)...)
					c.probe(t, packets, relayed, append(common, "--indications", "--peer-transport", "tcp", server)...)
					if n := c.turned(); n != 0 {
						t.Fatalf("%d packets between clients of %s left for the public address", n, server)
					}
					before := count[relayed].Load()
					c.probe(t, packets, relayed, append(common, "--echo", echoes[family].String(), server)...)
					if n := count[relayed].Load() - before; n != packets {
						t.Errorf("%s: %d of %d packets came to the peer from %s", server, n, packets, relayed)
					}
				}
			}
			if n := c.turned(); n != 0 {
				t.Errorf("%d packets left for the public address", n)
			}

			// A packet that does leave for it is lost, and counted: the zero above means something.
			for n, ip := range test.relayed {
				conn := c.relay.listen(t, []string{"0.0.0.0:0", "[::]:0"}[n])
				if _, err := conn.WriteToUDPAddrPort([]byte("lost"), netip.AddrPortFrom(netip.MustParseAddr(ip), port)); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the NAT counts it", func() bool { return c.turned() == n+1 })
			}
		})
	}
}

// probe demands that every packet returns, through an allocation that has the relay's public address.
func (c *cloud) probe(t *testing.T, packets int, relayed string, args ...string) {
	t.Helper()
	var report struct {
		Allocations []struct{ Relayed netip.AddrPort }
		Packets     struct{ Sent, Received int }
	}
	out, err := c.client.hairpin(t.Context(), args...)
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	if report.Packets.Sent != packets || report.Packets.Received != packets {
		t.Errorf("%v: %s", args, out)
	}
	for _, a := range report.Allocations {
		if a.Relayed.Addr().String() != relayed {
			t.Errorf("%v: relayed at %v, want %s", args, a.Relayed, relayed)
		}
	}
}
