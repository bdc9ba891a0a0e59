package relay_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
)

// serves shows that the server is in full health: two new clients meet in it.
func (s *served) serves(t *testing.T) {
	t.Helper()
	a, b := s.call(t, overUDP), s.call(t, overTCP)
	a.allocate()
	b.allocate()
	a.bind(0x4000, b.relayed)
	b.permit(a.relayed)
	a.send(channelData(0x4000, []byte("there"), true))
	b.wantData(a.relayed, []byte("there"))
	b.sendTo(a.relayed, []byte("back"))
	a.wantChannel(0x4000, []byte("back"))
	a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
}

// bounded holds goroutines and heap against what they were before, at its end.
func bounded(t *testing.T, bytes int64, test func()) {
	t.Helper()
	goroutines, used := runtime.NumGoroutine(), heap()
	test()
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= goroutines })
	if grown := int64(heap() - used); grown > bytes {
		t.Errorf("the heap has grown by %d bytes, want %d at most", grown, bytes)
	}
}

// 50,000 Allocate requests of strangers: without credentials, with those of nobody, with wrong ones. Each gets its
// challenge, none is remembered, and meanwhile a real user is served.
func TestConformanceStrangers(t *testing.T) {
	s := conforming(t, nil)
	const requests, window = 50_000, 50
	callers := make([]*caller, 20)
	for i := range callers {
		callers[i] = s.call(t, ways[i%len(ways)])
		callers[i].challenge()
	}
	s.serves(t)
	bounded(t, 2<<20, func() {
		for sent := 0; sent < requests; sent += window {
			c := callers[sent/window%len(callers)]
			var asked [window][]byte
			for i := range asked {
				switch n := sent + i; n % 5 {
				case 0, 1, 2:
					asked[i] = c.unsigned(stun.MethodAllocate, udpTransport)
				case 3:
					asked[i] = c.with(fmt.Sprintf("nobody-%d", n), "wonder").signed(stun.MethodAllocate, udpTransport)
				case 4:
					asked[i] = c.with("alice", fmt.Sprint(n)).signed(stun.MethodAllocate, udpTransport)
				}
				c.send(asked[i])
			}
			for _, request := range asked {
				c.answerTo(request).want(t, 401)
			}
			if s.Count() != 0 {
				t.Fatalf("%d allocations of strangers", s.Count())
			}
			if sent%(requests/5) == 0 {
				s.serves(t)
			}
		}
		// The callers that served it are still connected, with their goroutines: they are dismissed.
		s.dismiss()
	})
	counted := uint64(0)
	for _, r := range s.Snapshot().Requests {
		if r.Method == "allocate" && r.Code == 401 {
			counted += r.Value
		}
	}
	if want := uint64(requests + len(callers) + 2*6); counted != want {
		t.Errorf("%d times 401, want %d", counted, want)
	}
}

// Clients come, meet and go on all sides at once, and each gets its own: what a data race, or an allocation taken for
// another, would break.
func TestConformanceTogether(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.RelayAddresses = relays16 })
	t.Run("pairs", func(t *testing.T) {
		for i := range 16 {
			from, to := ways[i%4], ways[i/4]
			t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) {
				t.Parallel()
				a, b := s.call(t, from), s.call(t, to)
				for round := range 20 {
					a.allocate()
					b.allocate()
					b.permit(a.relayed)
					a.bind(uint16(0x4000+round), b.relayed)
					for n := range 10 {
						data := fmt.Append(nil, "pair ", i, " round ", round, " packet ", n)
						a.send(channelData(uint16(0x4000+round), data, true))
						b.wantData(a.relayed, data)
						b.sendTo(a.relayed, data)
						a.wantChannel(uint16(0x4000+round), data)
					}
					a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
					b.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
				}
			})
		}
	})
	n := s.Snapshot()
	if s.Count() != 0 || n.Durations.Count != 16*20*2 || n.Hairpin != 16*20*10*2 {
		t.Errorf("%d allocations are left, %d have ended, %d packets were relayed", s.Count(), n.Durations.Count, n.Hairpin)
	}
}

// 100,000 datagrams that are nearly right: messages of real clients and of this test's own, changed at random, a part
// of them with a length, an integrity and a fingerprint that are right again, so that they get further in. Whatever
// they are, the server goes on and grows by nothing.
func TestConformanceMutatedDatagrams(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.UserQuota = 100 })
	const datagrams, window = 100_000, 100
	callers := make([]*caller, 8)
	mutators := make([]mutator, len(callers))
	for i := range callers {
		callers[i] = s.call(t, []way{overUDP, overUDP6}[i%2])
		callers[i].conn.(*net.UDPConn).SetReadBuffer(1 << 20)
		callers[i].allocate(familyOf(i/2%2 == 1))
	}
	for i, c := range callers {
		mutators[i] = newMutator(c, callers[(i+2)%len(callers)].relayed, uint64(i))
	}
	s.serves(t)
	codes := map[int]int{}
	bounded(t, 4<<20, func() {
		for sent := 0; sent < datagrams; sent += window {
			c := callers[sent/window%len(callers)]
			m := &mutators[sent/window%len(callers)]
			for range window {
				if b := m.next(); len(b) <= 60_000 {
					c.send(b)
				}
			}
			c.catchUp(codes)
			if sent%(datagrams/5) == 0 {
				s.serves(t)
			}
		}
		s.dismiss()
	})
	s.serves(t)
	for _, code := range []int{0, 400, 401, 403, 420, 437, 438, 442, 443, 508} {
		if codes[code] == 0 {
			t.Errorf("no answer with %s: the mutations do not reach far enough", outcome(code))
		}
	}
	if codes[500] > 0 {
		t.Errorf("%d times 500 (Server Error)", codes[500])
	}
}

// catchUp reads whatever comes, up to the answer to a Binding request, and counts the codes of answers.
func (c *caller) catchUp(codes map[int]int) {
	c.t.Helper()
	ask := c.unsigned(stun.MethodBinding)
	c.send(ask)
	for {
		b := c.receive()
		if b[0]>>6 == 1 || methodOf(b) == stun.MethodData {
			continue
		}
		a, err := readAnswer(b)
		if err != nil {
			c.t.Fatalf("%v in\n%x", err, b)
		}
		if bytes.Equal(a.id(), ask[8:20]) {
			return
		}
		codes[a.code()]++
	}
}

// The same over streams, cut at random: every connection comes to an end and takes with it what it had.
func TestConformanceMutatedStreams(t *testing.T) {
	s := conforming(t, nil)
	s.serves(t)
	random := rand.New(rand.NewPCG(7, 7))
	bounded(t, 4<<20, func() {
		for i := range 400 {
			c := s.call(t, []way{overTCP, overTCP6}[i%2])
			c.allocate()
			m := newMutator(c, c.relayed, uint64(i))
			var b []byte
			for range 10 {
				next := m.seeds[random.IntN(len(m.seeds))]
				if random.IntN(4) == 0 {
					next = m.next()
				}
				b = append(b, next...)
				for len(b)%4 != 0 && random.IntN(8) > 0 {
					b = append(b, 0)
				}
			}
			c.endsAfter(b, random)
			if i%100 == 0 {
				s.serves(t)
			}
		}
		s.dismiss()
		eventually(t, "all allocations have ended", func() bool { return s.Count() == 0 })
	})
	s.serves(t)
}

// endsAfter writes b in pieces, closes its side, and waits for the server to close the other one.
func (c *caller) endsAfter(b []byte, random *rand.Rand) {
	c.t.Helper()
	gone := make(chan error, 1)
	c.conn.SetDeadline(time.Now().Add(patience))
	go func() { // ends with the connection or its deadline
		_, err := io.Copy(io.Discard, c.conn)
		gone <- err
	}()
	for len(b) > 0 {
		n := min(1+random.IntN(200), len(b))
		if _, err := c.conn.Write(b[:n]); err != nil {
			break // the server has had enough
		}
		b = b[n:]
	}
	c.conn.(*net.TCPConn).CloseWrite()
	if err := <-gone; errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the server leaves the connection open")
	}
	c.conn.Close()
}

// mutator makes messages that are nearly right. What it makes depends on its seed and on the messages that it began
// with, of which only nonces, ports and transaction IDs differ from run to run.
type mutator struct {
	seeds  [][]byte
	random *rand.Rand
	key    []byte
}

func newMutator(c *caller, other netip.AddrPort, seed uint64) mutator {
	m := mutator{random: rand.New(rand.NewPCG(seed, 8656)), key: c.key()}
	for _, name := range []string{"chrome-binding.hex", "chrome-allocate.hex", "chrome-channeldata.hex"} {
		m.seeds = append(m.seeds, captured(c.t, name)...)
	}
	m.seeds = append(m.seeds,
		c.unsigned(stun.MethodBinding, stun.NewSoftware("client"), stun.Fingerprint),
		c.signed(stun.MethodAllocate, udpTransport, lifetime(900), raw(stun.AttrDontFragment)),
		c.signed(stun.MethodAllocate, udpTransport, wantIPv6),
		c.signed(stun.MethodAllocate, udpTransport, evenPair),
		c.signed(stun.MethodAllocate, udpTransport, raw(stun.AttrReservationToken, []byte("12345678")...)),
		c.signed(stun.MethodRefresh, lifetime(1200)),
		c.signed(stun.MethodRefresh, lifetime(0)),
		c.signed(stun.MethodCreatePermission, peer(other), peer(c.relayed)),
		c.signed(stun.MethodChannelBind, channel(0x4000), peer(other)),
		c.signed(stun.MethodChannelBind, channel(0x4001), peer(netip.AddrPortFrom(other.Addr(), 50000))),
		c.indication(other, []byte("payload of an indication")),
		c.indication(other, []byte("and another"), raw(stun.AttrDontFragment), stun.Fingerprint),
		channelData(0x4000, []byte("payload on a channel"), true),
		channelData(0x4001, []byte("cut"), false),
	)
	return m
}

// next makes one.
func (m *mutator) next() []byte {
	r := m.random
	b := bytes.Clone(m.seeds[r.IntN(len(m.seeds))])
	for range 1 + r.IntN(4) {
		b = m.change(b)
	}
	if len(b) < 20 || b[0] >= 0x40 {
		return b
	}
	switch r.IntN(4) {
	case 0:
		return b
	case 1:
		return fingerprint(frame(b))
	default:
		return fingerprint(m.sign(frame(b)))
	}
}

// change makes one change.
func (m *mutator) change(b []byte) []byte {
	r := m.random
	if len(b) == 0 {
		return []byte{byte(r.Uint32())}
	}
	at := r.IntN(len(b))
	switch r.IntN(10) {
	case 0: // a bit
		b[at] ^= 1 << r.IntN(8)
	case 1: // a byte, of those that limits are made of
		b[at] = []byte{0, 1, 2, 3, 4, 0x16, 0x40, 0x4F, 0x50, 0x7F, 0x80, 0xFE, 0xFF}[r.IntN(13)]
	case 2: // the type
		if kinds := []uint16{0x0001, 0x0003, 0x0004, 0x0008, 0x0009, 0x0016, 0x0017, 0x0101, 0x0113, 0x0011}; len(b) > 1 {
			binary.BigEndian.PutUint16(b, kinds[r.IntN(len(kinds))])
		}
	case 3: // a length
		if at &^= 3; at+4 <= len(b) {
			binary.BigEndian.PutUint16(b[at+2:], uint16(r.IntN(64)))
		}
	case 4: // the end is missing
		b = b[:at]
	case 5: // there is more
		b = append(b, make([]byte, r.IntN(64))...)
	case 6: // a piece twice
		end := at + r.IntN(min(len(b)-at, 64)+1)
		b = slices.Insert(b, r.IntN(len(b)), bytes.Clone(b[at:end])...)
	case 7: // a piece of another message
		other := m.seeds[r.IntN(len(m.seeds))]
		from := r.IntN(len(other))
		b = append(b[:at], other[from:]...)
	case 8: // an attribute's type
		if at = max(20, at&^3); at+4 <= len(b) {
			binary.BigEndian.PutUint16(b[at:], uint16(r.IntN(0x30)))
		}
	case 9: // an attribute more, in front
		if len(b) >= 20 {
			attribute := binary.BigEndian.AppendUint16(nil, []uint16{0x0006, 0x000C, 0x000D, 0x0012, 0x0017, 0x0018, 0x0019, 0x0022, 0x8000, 0x7FFF, 0x001C}[r.IntN(11)])
			value := make([]byte, r.IntN(24))
			for i := range value {
				value[i] = byte(r.IntN(4))
			}
			attribute = append(binary.BigEndian.AppendUint16(attribute, uint16(len(value))), value...)
			for len(attribute)%4 != 0 {
				attribute = append(attribute, 0)
			}
			b = slices.Insert(b, 20, attribute...)
		}
	}
	return b
}

// frame makes header and length of a message right.
func frame(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	copy(b[4:], "\x21\x12\xA4\x42")
	return b
}

// attributes walks over the attributes of a message as far as they are whole.
func attributes(b []byte) (all []attribute) {
	for at := 20; at+4 <= len(b); {
		end := at + 4 + int(binary.BigEndian.Uint16(b[at+2:]))
		if end > len(b) {
			break
		}
		all = append(all, attribute{stun.AttrType(binary.BigEndian.Uint16(b[at:])), b[at+4 : end], at})
		at = (end + 3) &^ 3
	}
	return all
}

// sign cuts off MESSAGE-INTEGRITY and what follows, and signs what is left.
func (m *mutator) sign(b []byte) []byte {
	for _, one := range attributes(b) {
		if one.kind == stun.AttrMessageIntegrity || one.kind == stun.AttrFingerprint {
			b = b[:one.at]
			break
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+24-20))
	mac := hmac.New(sha1.New, m.key)
	mac.Write(b)
	return append(append(b, 0, 8, 0, 20), mac.Sum(nil)...)
}

// fingerprint replaces FINGERPRINT.
func fingerprint(b []byte) []byte {
	for _, one := range attributes(b) {
		if one.kind == stun.AttrFingerprint {
			b = b[:one.at]
			break
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+8-20))
	sum := crc32.ChecksumIEEE(b) ^ 0x5354554E
	return binary.BigEndian.AppendUint32(append(b, 0x80, 0x28, 0, 4), sum)
}
