package load

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

var (
	peer4 = netip.MustParseAddrPort("192.0.2.7:50000")
	peer6 = netip.MustParseAddrPort("[2001:db8::7]:50001")
)

func TestSendHead(t *testing.T) {
	payload := []byte("five!")
	for _, peer := range []netip.AddrPort{peer4, peer6} {
		message := append(sendHead(nil, 0, peer, [12]byte{1, 2, 3}, len(payload)), payload...)
		message = append(message, 0, 0, 0)
		var s wire.Send
		if !wire.ParseSend(message, &s) || s.Peer != peer || !bytes.Equal(message[s.Offset:s.Offset+s.Length], payload) {
			t.Errorf("Send indication to %v is read as %+v", peer, s)
		}
		if len(message)-len(payload)-3 > maxSendHead {
			t.Errorf("the head for %v is longer than the longest", peer)
		}
	}
	message := append(sendHead(nil, 0x4001, peer4, [12]byte{}, len(payload)), payload...)
	if number, data, ok := wire.ParseChannelData(message); !ok || number != 0x4001 || !bytes.Equal(data, payload) {
		t.Errorf("ChannelData is read as %x, %q, %v", number, data, ok)
	}
}

func TestParseData(t *testing.T) {
	build := func(add func(r *wire.Reply)) []byte {
		var r wire.Reply
		r.Indication(wire.MethodData, [12]byte{9, 8, 7})
		add(&r)
		return r.Finish(nil, nil)
	}
	peer := func(a netip.AddrPort) func(*wire.Reply) {
		return func(r *wire.Reply) { r.AddAddress(wire.AttrXORPeerAddress, a) }
	}
	data := func(s string) func(*wire.Reply) {
		return func(r *wire.Reply) { r.AddBytes(wire.AttrData, []byte(s)) }
	}
	software := func(r *wire.Reply) { r.AddString(wire.AttrSoftware, "server") }
	all := func(adds ...func(*wire.Reply)) []byte {
		return build(func(r *wire.Reply) {
			for _, add := range adds {
				add(r)
			}
		})
	}
	good := all(peer(peer4), data("hello"))
	short := bytes.Clone(good)
	short[23] = 4 // the address's length
	family := bytes.Clone(good)
	family[25] = wire.FamilyIPv6
	success := bytes.Clone(good)
	success[0], success[1] = 0x01, 0x03
	for _, test := range []struct {
		name    string
		message []byte
		peer    netip.AddrPort
		payload string
		ok      bool
	}{
		{"plain", good, peer4, "hello", true},
		{"IPv6", all(peer(peer6), data("hello!")), peer6, "hello!", true},
		{"data first", all(data("abc"), peer(peer4)), peer4, "abc", true},
		{"others beside them", all(software, data("abc"), software, peer(peer4), software), peer4, "abc", true},
		{"the first counts", all(peer(peer4), data("one"), data("two"), peer(peer6)), peer4, "one", true},
		{"empty data", all(peer(peer4), data("")), peer4, "", true},
		{"no data", all(peer(peer4)), peer4, "", false},
		{"no peer", all(data("hello")), netip.AddrPort{}, "", false},
		{"address cut", short, netip.AddrPort{}, "", false},
		{"address of the wrong family", family, netip.AddrPort{}, "", false},
		{"length field too small", good[:len(good)-4], netip.AddrPort{}, "", false},
		{"another type", success, netip.AddrPort{}, "", false},
		{"nothing", nil, netip.AddrPort{}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			peer, payload, ok := parseData(test.message)
			if ok != test.ok || ok && (peer != test.peer || string(payload) != test.payload) {
				t.Errorf("%v, %q, %v", peer, payload, ok)
			}
		})
	}
}

func FuzzParseData(f *testing.F) {
	head := make([]byte, wire.DataHeaderSize(peer6.Addr()))
	wire.PutDataHeader(head, &[12]byte{1}, peer6, 4)
	f.Add(append(head, "data"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, payload, ok := parseData(b)
		if ok && (!peer.IsValid() || len(payload) > len(b)) {
			t.Errorf("%v, %d of %d bytes", peer, len(payload), len(b))
		}
	})
}

func TestWithoutFingerprint(t *testing.T) {
	var r wire.Reply
	var m wire.Message
	key := []byte("0123456789abcdef")
	r.Request(wire.MethodAllocate, [12]byte{1})
	r.AddUint32(wire.AttrRequestedTransport, 17<<24)
	b := withoutFingerprint(r.Finish(nil, key))
	if err := m.Decode(b); err != nil || m.Has(wire.AttrFingerprint) || !m.CheckIntegrity(key) {
		t.Errorf("%v, fingerprint %v, integrity %v", err, m.Has(wire.AttrFingerprint), m.CheckIntegrity(key))
	}
}
