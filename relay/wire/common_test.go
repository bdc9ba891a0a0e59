package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

var (
	tid   = [12]byte{0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE}
	key   = []byte("0123456789abcdef")
	peer4 = netip.MustParseAddrPort("192.0.2.1:32853")
	peer6 = netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853")
)

// load reads the messages of a file in testdata: all of it as one message, or one a line.
func load(tb testing.TB, name string, lines bool) [][]byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	var messages [][]byte
	var whole []byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		messages = append(messages, b)
		whole = append(whole, b...)
	}
	if lines {
		return messages
	}
	return [][]byte{whole}
}

// attr is one attribute of a message put together by hand.
type attr struct {
	kind  Attr
	value string
}

// raw puts a message together without any codec: whatever the attributes are, only the header is made to fit.
func raw(messageType uint16, attrs ...attr) []byte {
	b := []byte{byte(messageType >> 8), byte(messageType), 0, 0, 0x21, 0x12, 0xA4, 0x42}
	b = append(b, tid[:]...)
	for _, a := range attrs {
		b = append(b, byte(a.kind>>8), byte(a.kind), byte(len(a.value)>>8), byte(len(a.value)))
		b = append(b, a.value...)
		b = append(b, "\x00\x00\x00"[:Padding(len(a.value))]...)
	}
	return setLength(b)
}

// setLength makes the header's length fit what follows it.
func setLength(b []byte) []byte {
	b[2], b[3] = byte((len(b)-20)>>8), byte(len(b)-20)
	return b
}

// fingerprinted appends a right FINGERPRINT.
func fingerprinted(b []byte) []byte {
	b = append(bytes.Clone(b), 0x80, 0x28, 0, 4)
	b[2], b[3] = byte((len(b)-16)>>8), byte(len(b)-16)
	v := stun.FingerprintValue(b[:len(b)-4])
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// xor is the value of a XOR-…-ADDRESS, made by pion/stun.
func xor(tb testing.TB, addr netip.AddrPort) string {
	tb.Helper()
	m := &stun.Message{TransactionID: tid}
	a := stun.XORMappedAddress{IP: addr.Addr().AsSlice(), Port: int(addr.Port())}
	if err := a.AddTo(m); err != nil {
		tb.Fatal(err)
	}
	return string(m.Attributes[0].Value)
}

// clientMessages are what clients in the field send first and often: captures, and messages with the attributes, in the
// order, of libwebrtc, coturn's turnutils_uclient and pion/turn.
func clientMessages(tb testing.TB) [][]byte {
	tb.Helper()
	var all [][]byte
	for _, name := range []string{"request", "response-ipv4", "response-ipv6", "request-long-term"} {
		all = append(all, load(tb, "rfc5769/"+name+".hex", false)...)
	}
	for _, name := range []string{"allocate", "binding", "channeldata"} {
		all = append(all, load(tb, "clients/chrome-"+name+".hex", true)...)
	}
	var r Reply
	credentials := func() {
		r.AddString(AttrUsername, "1893456000:alice")
		r.AddString(AttrRealm, "hairpin")
		r.AddString(AttrNonce, "bm9uY2Utbm9uY2Utbm9uY2U")
	}
	finish := func(key []byte) { all = append(all, r.Finish(nil, key)) }

	r.Request(MethodBinding, tid)
	r.AddString(AttrSoftware, "Coturn-4.6.1 'Gorst'")
	finish(nil)
	r.Request(MethodAllocate, tid)
	r.AddString(AttrSoftware, "Coturn-4.6.1 'Gorst'")
	r.AddUint32(AttrLifetime, 800)
	r.AddUint32(AttrRequestedTransport, 17<<24)
	r.AddBytes(AttrEvenPort, []byte{0x80})
	r.AddUint32(AttrRequestedAddressFamily, 2<<24)
	r.AddBytes(AttrDontFragment, nil)
	finish(nil)
	r.Request(MethodAllocate, tid)
	r.AddUint32(AttrRequestedTransport, 17<<24)
	r.AddBytes(AttrReservationToken, []byte("12345678"))
	credentials()
	finish(key)
	r.Request(MethodRefresh, tid)
	r.AddUint32(AttrLifetime, 0)
	credentials()
	finish(key)
	r.Request(MethodCreatePermission, tid)
	r.AddAddress(AttrXORPeerAddress, peer4)
	r.AddAddress(AttrXORPeerAddress, peer6)
	credentials()
	finish(key)
	r.Request(MethodChannelBind, tid)
	r.AddAddress(AttrXORPeerAddress, peer6)
	r.AddUint32(AttrChannelNumber, 0x4000<<16)
	credentials()
	finish(key)
	for _, peer := range []netip.AddrPort{peer4, peer6} {
		for _, payload := range []string{"", "a", "ab", "abc", "abcd", "\x16\xfe\xff\x00\x00\x00"} {
			r.Indication(MethodSend, tid)
			r.AddAddress(AttrXORPeerAddress, peer)
			r.AddString(AttrData, payload)
			finish(nil)
			all = append(all, raw(typeSend, attr{AttrXORPeerAddress, xor(tb, peer)},
				attr{AttrDontFragment, ""}, attr{AttrData, payload}))
		}
	}
	return all
}
