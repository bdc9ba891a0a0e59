package main

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// udpBalancer is a load balancer for datagrams, with one server: each client gets a socket of its own there, whose first
// datagram, or each one, begins with a PROXY header.
type udpBalancer struct {
	*net.UDPConn
	server *net.UDPAddr
	each   bool // else the first one alone

	running sync.WaitGroup
	ways    map[netip.AddrPort]*net.UDPConn // owned by serve
}

func balance(t *testing.T, server string, each bool) *udpBalancer {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	must(t, err)
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: to.IP})
	must(t, err)
	must(t, front.SetReadBuffer(4<<20))
	b := &udpBalancer{UDPConn: front, server: to, each: each, ways: make(map[netip.AddrPort]*net.UDPConn)}
	b.running.Go(func() { b.serve(t) })
	t.Cleanup(func() {
		front.Close()
		b.running.Wait()
	})
	return b
}

// serve passes on until the front is closed.
func (b *udpBalancer) serve(t *testing.T) {
	own := b.LocalAddr().(*net.UDPAddr).AddrPort()
	defer func() {
		for _, way := range b.ways {
			way.Close()
		}
	}()
	datagram := make([]byte, 1<<16)
	for {
		n, client, err := b.ReadFromUDPAddrPort(datagram)
		if err != nil {
			return
		}
		client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
		way, known := b.ways[client]
		if !known {
			if way, err = net.DialUDP("udp", nil, b.server); err != nil {
				t.Error(err)
				return
			}
			_ = way.SetReadBuffer(1 << 20)
			b.ways[client] = way
			b.running.Go(func() { b.back(way, client) })
		}
		message := datagram[:n]
		if b.each || !known {
			message = slices.Concat(proxyHeader(client, own), message)
		}
		_, _ = way.Write(message)
	}
}

// back passes answers on as they are.
func (b *udpBalancer) back(way *net.UDPConn, client netip.AddrPort) {
	datagram := make([]byte, 1<<16)
	for {
		n, err := way.Read(datagram)
		if err != nil {
			return
		}
		_, _ = b.WriteToUDPAddrPort(datagram[:n], client)
	}
}

func proxyHeader(client, server netip.AddrPort) []byte {
	family := byte(0x12)
	if client.Addr().Is6() {
		family = 0x22
	}
	rest := slices.Concat(client.Addr().AsSlice(), server.Addr().Unmap().AsSlice())
	rest = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(rest, client.Port()), server.Port())
	head := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family)
	return append(binary.BigEndian.AppendUint16(head, uint16(len(rest))), rest...)
}

// Behind a load balancer for datagrams clients see their own addresses, and nothing is lost; who goes around it is not served.
func TestUDPBalancer(t *testing.T) {
	ports := freePorts(t, 2)
	admin := "127.0.0.1:" + ports[1]
	servers := []string{"127.0.0.1:" + ports[0], "[::1]:" + ports[0]}
	startProcess(t, "hairpin", "serve", "--admin", admin, "--user", "alice:wonder", "--proxy-trusted", "127.0.0.1", "--proxy-trusted", "::1",
		"--listen", "udp://"+servers[0]+"?proxy=v2", "--listen", "udp://"+servers[1]+"?proxy=v2", "--relay-address", "198.51.100.0/24")
	waitForTCP(t, admin)
	credentials := []string{"--user", "alice", "--password", "wonder", "--json"}
	for _, server := range servers {
		for _, each := range []bool{true, false} {
			b := balance(t, server, each)
			url := "turn:" + b.LocalAddr().String()
			var probed struct {
				Allocations []struct{ Local, Mapped string }
				Lost        int
			}
			got := hairpin(t, append(append([]string{"probe"}, credentials...), "--count", "200", "--interval", "1ms", url)...)
			if err := json.Unmarshal([]byte(got.stdout), &probed); err != nil || got.code != exitGood || len(probed.Allocations) != 2 || probed.Lost != 0 {
				t.Fatalf("%v: %+v, %+v", err, probed, got)
			}
			for _, a := range probed.Allocations {
				if a.Local == "" || a.Mapped != a.Local {
					t.Errorf("%s is told that it is %s", a.Local, a.Mapped)
				}
			}
			var benched struct {
				Packets struct{ Sent, Delivered, Lost, Damaged int }
			}
			got = hairpin(t, append(append([]string{"bench"}, credentials...), "--pairs", "10", "--rate", "1000", "--warmup", "0s", "--duration", "2s", url)...)
			if err := json.Unmarshal([]byte(got.stdout), &benched); err != nil || got.code != exitGood {
				t.Fatalf("%v: %+v", err, got)
			}
			if p := benched.Packets; p.Lost+p.Damaged != 0 || p.Sent != p.Delivered || p.Sent < 1000 {
				t.Errorf("%s, a header on each %v: %+v", server, each, p)
			}
		}
	}
	if _, body := get(t, "http://"+admin+"/metrics"); strings.Contains(body, `hairpin_handshakes_total{outcome="completed",protocol="proxy"} 0`) {
		t.Error("no client has come through a balancer")
	}
	direct, err := net.Dial("udp", servers[0])
	must(t, err)
	defer direct.Close()
	_, err = direct.Write([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"))
	must(t, err)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		_, body := get(t, "http://"+admin+"/metrics")
		if strings.Contains(body, `hairpin_dropped_packets_total{reason="proxy_no_header"} 1`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(strconv.Quote(body))
		}
	}
}
