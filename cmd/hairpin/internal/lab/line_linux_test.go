package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// line is a client's way to its relay. It does to packets what it is told, and knows of each RTP stream what it did: the
// truth that others' figures are held against, which no queueing discipline of the kernel tells by stream. To clients it
// is the relay.
//
//	browser ──► near ──► up: drop, twice, delay ──► far, a socket for each client ──► relay
//	        ◄── near ◄── down: likewise         ◄── far                           ◄──
type line struct {
	host  *host
	near  *net.UDPConn
	relay netip.AddrPort

	mu    sync.Mutex
	dice  *rand.Rand
	plans [2]plan             // by way
	done  [2]map[uint32]tally // by way and SSRC
	seen  [2]map[uint32]map[uint16]bool
}

// way is a direction of a line.
type way int

const (
	up way = iota
	down
)

// plan is what is done to the packets of a way; its zero value is nothing.
type plan struct {
	drop, twice int           // of 1,000
	spread      time.Duration // delays are equally likely from 0 to this, so packets overtake each other
}

// tally is what was done to a stream.
type tally struct {
	carried, bytes uint64 // delivered, as often as they were
	dropped        uint64
	twice          uint64 // delivered before
	overtaken      uint64 // delivered for the first time, behind a higher number
	highest        uint16
}

// since subtracts an earlier tally.
func (t tally) since(earlier tally) tally {
	t.carried -= earlier.carried
	t.bytes -= earlier.bytes
	t.dropped -= earlier.dropped
	t.twice -= earlier.twice
	t.overtaken -= earlier.overtaken
	return t
}

// line makes a line at an address of the host. Its dice fall alike in every run.
func (h *host) line(t *testing.T, address string, relay netip.AddrPort) *line {
	t.Helper()
	l := &line{host: h, near: h.listen(t, address), relay: relay, dice: rand.New(rand.NewPCG(3550, uint64(relay.Port())))}
	for w := range l.done {
		l.done[w], l.seen[w] = make(map[uint32]tally), make(map[uint32]map[uint16]bool)
	}
	ended := make(chan struct{})
	go func() { // ends when near is closed
		l.carry(t)
		close(ended)
	}()
	t.Cleanup(func() {
		l.near.Close()
		<-ended
	})
	return l
}

// carry takes what clients send, and has their answers taken.
func (l *line) carry(t *testing.T) {
	far := make(map[netip.AddrPort]*net.UDPConn)
	var answers sync.WaitGroup
	defer answers.Wait()
	b := make([]byte, 1<<16)
	for {
		n, client, err := l.near.ReadFromUDPAddrPort(b)
		if err != nil {
			for _, conn := range far {
				conn.Close()
			}
			return
		}
		conn := far[client]
		if conn == nil {
			l.host.in(func() { conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.relay)) })
			if err != nil {
				t.Error(err)
				continue
			}
			far[client] = conn
			answers.Go(func() { // ends when conn is closed
				b := make([]byte, 1<<16)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					l.pass(down, b[:n], func(b []byte) { _, _ = l.near.WriteToUDPAddrPort(b, client) })
				}
			})
		}
		l.pass(up, b[:n], func(b []byte) { _, _ = conn.Write(b) })
	}
}

// pass does to a packet what is planned for its way.
func (l *line) pass(w way, b []byte, send func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[w]
	if l.dice.IntN(1000) < p.drop {
		if ssrc, _, _ := rtpIn(b); ssrc != 0 {
			sum := l.done[w][ssrc]
			sum.dropped++
			l.done[w][ssrc] = sum
		}
		return
	}
	times := 1
	if l.dice.IntN(1000) < p.twice {
		times = 2
	}
	for range times {
		if p.spread == 0 {
			l.deliverLocked(w, b, send)
			continue
		}
		kept := append([]byte(nil), b...)
		time.AfterFunc(time.Duration(l.dice.Int64N(int64(p.spread))), func() { // when the sockets are closed, for nothing
			l.mu.Lock()
			defer l.mu.Unlock()
			l.deliverLocked(w, kept, send)
		})
	}
}

// deliverLocked sends under the lock, so that packets leave in the order in which they are counted.
func (l *line) deliverLocked(w way, b []byte, send func([]byte)) {
	if ssrc, number, size := rtpIn(b); ssrc != 0 {
		sum, seen := l.done[w][ssrc], l.seen[w][ssrc]
		if seen == nil {
			seen = make(map[uint16]bool) // fewer than 2¹⁶ packets of a stream come here
			l.seen[w][ssrc], sum.highest = seen, number
		}
		sum.carried++
		sum.bytes += uint64(size)
		switch behind := int16(number-sum.highest) < 0; {
		case seen[number]:
			sum.twice++
		case behind:
			sum.overtaken++
		default:
			sum.highest = number
		}
		seen[number] = true
		l.done[w][ssrc] = sum
	}
	send(b)
}

// does changes the plan of a way.
func (l *line) does(w way, p plan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plans[w] = p
}

// did tells what was done to a stream.
func (l *line) did(w way, ssrc uint32) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[w][ssrc]
}

// rtpIn finds an RTP packet in ChannelData (RFC 8656 §12.4): its SSRC, its number, and its size in bytes. An SSRC of 0:
// there is none. What browsers send before they have a channel is no RTP.
func rtpIn(b []byte) (ssrc uint32, number uint16, size int) {
	const channelHeader, rtpHeader = 4, 12
	if len(b) < channelHeader+rtpHeader || b[0]>>6 != 1 {
		return 0, 0, 0
	}
	size = int(binary.BigEndian.Uint16(b[2:]))
	b = b[channelHeader:]
	if size > len(b) || b[0]>>6 != 2 || b[1] >= 192 && b[1] <= 223 { // RFC 5761 §4
		return 0, 0, 0
	}
	return binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:]), size
}
