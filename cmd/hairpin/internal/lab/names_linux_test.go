package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
)

// names is a name server (RFC 1035) that answers for siblings, on UDP and TCP.
type names struct {
	mu      sync.Mutex
	four    []netip.Addr // guarded by mu, as what follows
	six     []netip.Addr
	code    byte // of the response: 0, 2 SERVFAIL, 3 NXDOMAIN
	answers int  // of this code and these addresses
}

const (
	servfail = 2
	nxdomain = 3
)

// nameServer has the router answer with these addresses.
func (i *internet) nameServer(ips ...string) *names {
	i.t.Helper()
	n := &names{}
	for _, ip := range ips {
		n.four = append(n.four, netip.MustParseAddr(ip))
	}
	conn := i.router.listen(i.t, nameServer+":53")
	var listener net.Listener
	var err error
	i.router.in(func() { listener, err = net.Listen("tcp", nameServer+":53") })
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { listener.Close() })
	go func() { // ends when conn is closed
		b := make([]byte, 1500)
		for {
			k, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			answer := n.answer(b[:k])
			if len(answer) > 512 { // cut: ask by TCP
				answer = answer[:questionEnd(answer)]
				answer[2] |= 2
				answer[6], answer[7] = 0, 0
			}
			_, _ = conn.WriteToUDPAddrPort(answer, from)
		}
	}()
	go func() { // ends when listener is closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the one question that a connection is for
				defer conn.Close()
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				b := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(conn, b); err != nil {
					return
				}
				answer := n.answer(b)
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}()
		}
	}()
	return n
}

// resolver has the host ask that name server; before serve.
func (h *host) resolver() {
	h.network.t.Helper()
	err := os.MkdirAll("/etc/netns/"+h.name, 0o755)
	if err == nil {
		err = os.WriteFile("/etc/netns/"+h.name+"/resolv.conf", []byte("nameserver "+nameServer+"\n"), 0o644)
	}
	if err != nil {
		h.network.t.Fatal(err)
	}
}

// questionEnd finds where the one question of a message ends.
func questionEnd(b []byte) int {
	at := 12
	for at < len(b) && b[at] != 0 {
		at += int(b[at]) + 1
	}
	return min(at+5, len(b))
}

func (n *names) answer(b []byte) []byte {
	end := questionEnd(b)
	if end < 17 {
		return nil
	}
	answer := append([]byte(nil), b[:end]...)
	answer[2], answer[3] = 0x84|b[2]&1, 0 // response, authoritative
	binary.BigEndian.PutUint64(answer[4:], 1<<48)
	var name strings.Builder
	for at := 12; b[at] != 0; at += int(b[at]) + 1 {
		fmt.Fprintf(&name, "%s.", b[at+1:at+1+int(b[at])])
	}
	if name.String() != siblings+"." {
		answer[3] = nxdomain
		return answer
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers++
	answer[3] = n.code
	addresses, kind := n.four, binary.BigEndian.Uint16(b[end-4:])
	if kind == 28 { // AAAA
		addresses = n.six
	}
	if n.code != 0 {
		return answer
	}
	binary.BigEndian.PutUint16(answer[6:], uint16(len(addresses)))
	for _, a := range addresses {
		answer = append(answer, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 1) // the question's name, kind, class, TTL 1 s
		answer = binary.BigEndian.AppendUint16(answer, uint16(a.BitLen()/8))
		answer = append(answer, a.AsSlice()...)
	}
	return answer
}

// say changes what is answered from now on.
func (n *names) say(code byte, four, six []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.code, n.four, n.six, n.answers = code, four, six, 0
}

// asked waits until so many answers have left since say.
func (n *names) asked(t *testing.T, answers int) {
	t.Helper()
	eventually(t, "the name server is asked", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.answers >= answers
	})
}

// Whatever the name server does, calls go on; its troubles are told once when they begin and once when they end.
func TestNameServerFails(t *testing.T) {
	t.Parallel()
	i := newInternet(t, 2)
	relays := func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr(i.ips[0]), netip.MustParseAddr(i.ips[1])}
	}
	names := i.nameServer()
	names.say(servfail, nil, nil) // from the start
	for _, h := range i.relays {
		h.resolver()
	}
	first := i.relays[0].serve(i.ips[0], "--peers", "loop", "--peers", "dns:"+siblings)
	second := i.relays[1].serve(i.ips[1], "--peers", relaySegment)
	h := i.client("port-restricted")
	a, b := h.mustClient(t, first, "udp"), h.mustClient(t, second, "udp")
	told := func(starts, ends int) {
		t.Helper()
		eventually(t, "the log tells", func() bool {
			return len(first.log.lines("dns:"+siblings, "level=WARN")) >= starts && len(first.log.lines("is answered again")) >= ends
		})
		if s, e := len(first.log.lines("dns:"+siblings, "level=WARN")), len(first.log.lines("is answered again")); s != starts || e != ends {
			t.Fatalf("%d troubles and %d ends are told, want %d and %d:\n%s", s, e, starts, ends, first.log)
		}
	}
	told(1, 0)
	if _, err := dial(a, b); err == nil {
		t.Error("a name without an answer allows its addresses")
	}

	names.say(0, relays(), nil)
	told(1, 1)
	c, err := dial(a, b)
	if err != nil {
		t.Fatal(err)
	}
	call := c.keepUp()

	for _, code := range []byte{nxdomain, servfail, 0} { // three rounds of one trouble; the last has no address
		names.say(code, nil, nil)
		names.asked(t, 2)
		told(2, 1)
	}
	thousands := relays()
	var six []netip.Addr
	for k := range 3000 {
		thousands = append(thousands, netip.AddrFrom4([4]byte{10, 0, byte(k >> 8), byte(k)}))
		six = append(six, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(k >> 8), 15: byte(k)})) // 64 KiB hold no more than 2,339
	}
	names.say(0, thousands, six[:2000])
	told(3, 2) // that some of them are left out
	names.say(0, relays(), nil)
	names.asked(t, 2)
	if err := call.hangUp(); err != nil {
		t.Errorf("the call: %v", err)
	}
	if lines := first.log.lines("5002 addresses; the first 4096"); len(lines) != 1 {
		t.Errorf("%d lines tell of too many addresses:\n%s", len(lines), first.log)
	}
	t.Logf("%d packets each way meanwhile, none lost", c.returned)
}
