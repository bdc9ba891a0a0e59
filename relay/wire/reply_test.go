package wire

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pion/stun/v2"
)

// What is built is, byte for byte, what pion/stun builds from the same parts.
func TestReplyAgainstPion(t *testing.T) {
	ip := func(a netip.AddrPort) stun.XORMappedAddress {
		return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}
	}
	var req Message
	if err := req.Decode(raw(0x0003, attr{AttrLifetime, "\x00\x00\x00\x00"})); err != nil {
		t.Fatal(err)
	}
	id := stun.NewTransactionIDSetter(tid)
	integrity := stun.MessageIntegrity(key)
	for _, c := range []struct {
		name  string
		build func(r *Reply)
		key   []byte
		want  []stun.Setter
	}{
		{"empty success", func(r *Reply) { r.Success(&req) }, nil,
			[]stun.Setter{id, stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse)}},
		{"success, addresses and integrity", func(r *Reply) {
			r.Success(&req)
			r.AddAddress(AttrXORMappedAddress, peer6)
			r.AddAddress(AttrXORMappedAddress, peer4)
			r.AddUint32(AttrLifetime, 0x01020304)
			r.AddString(AttrSoftware, "hairpin")
		}, key, []stun.Setter{id, stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse), ip(peer6), ip(peer4),
			stun.RawAttribute{Type: stun.AttrLifetime, Value: []byte{1, 2, 3, 4}}, stun.NewSoftware("hairpin"), integrity}},
		{"401", func(r *Reply) {
			r.Error(&req, 401, "Unauthorized")
			r.AddString(AttrRealm, "hairpin")
			r.AddBytes(AttrNonce, []byte("nonce"))
		}, nil, []stun.Setter{id, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse),
			stun.ErrorCodeAttribute{Code: 401, Reason: []byte("Unauthorized")}, stun.NewRealm("hairpin"), stun.NewNonce("nonce")}},
		{"420", func(r *Reply) {
			r.Error(&req, 420, "")
			r.AddUnknown([]Attr{0x7FFF, AttrUserhash, AttrPriority})
		}, key, []stun.Setter{id, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse),
			// stun.UnknownAttributes spends four bytes on each type, where RFC 8489 §14.13 has two.
			stun.ErrorCodeAttribute{Code: 420}, stun.RawAttribute{Type: stun.AttrUnknownAttributes, Value: []byte{0x7F, 0xFF, 0x00, 0x1E, 0x00, 0x24}}, integrity}},
		{"300", func(r *Reply) {
			r.Error(&req, 300, "Try Alternate")
			r.AddPlainAddress(AttrAlternateServer, peer4)
			r.AddPlainAddress(AttrAlternateServer, peer6)
		}, key, []stun.Setter{id, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse),
			stun.ErrorCodeAttribute{Code: 300, Reason: []byte("Try Alternate")},
			&stun.AlternateServer{IP: peer4.Addr().AsSlice(), Port: int(peer4.Port())},
			&stun.AlternateServer{IP: peer6.Addr().AsSlice(), Port: int(peer6.Port())}, integrity}},
		{"request", func(r *Reply) { r.Request(MethodChannelBind, tid); r.AddString(AttrUsername, "alice") }, key,
			[]stun.Setter{id, stun.NewType(stun.MethodChannelBind, stun.ClassRequest), stun.NewUsername("alice"), integrity}},
		{"indication", func(r *Reply) { r.Indication(MethodSend, tid); r.AddBytes(AttrData, []byte{1}) }, nil,
			[]stun.Setter{id, stun.NewType(stun.MethodSend, stun.ClassIndication), stun.RawAttribute{Type: stun.AttrData, Value: []byte{1}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := stun.Build(append(c.want, stun.Fingerprint)...)
			if err != nil {
				t.Fatal(err)
			}
			var r Reply
			r.Error(&req, 500, strings.Repeat("left over from another message ", 20))
			c.build(&r)
			got := r.Finish([]byte("before"), c.key)
			if string(got[:6]) != "before" || !bytes.Equal(got[6:], want.Raw) {
				t.Errorf("got  %x\nwant %x", got[6:], want.Raw)
			}
			var m Message
			if err := m.Decode(got[6:]); err != nil {
				t.Fatal(err)
			}
			if m.HasIntegrity() != (c.key != nil) || m.CheckIntegrity(key) != (c.key != nil) || !m.Has(AttrFingerprint) {
				t.Errorf("integrity %v, right %v, FINGERPRINT %v", m.HasIntegrity(), m.CheckIntegrity(key), m.Has(AttrFingerprint))
			}
		})
	}
}

func TestReplyReadBack(t *testing.T) {
	var r Reply
	var req, m Message
	if err := req.Decode(raw(0x0004)); err != nil {
		t.Fatal(err)
	}
	r.Error(&req, 438, "Stale Nonce")
	if err := m.Decode(r.Finish(nil, nil)); err != nil {
		t.Fatal(err)
	}
	code, reason, ok, err := m.ErrorCode()
	if code != 438 || string(reason) != "Stale Nonce" || !ok || err != nil || m.Method() != MethodRefresh || m.Class() != ClassError || m.TransactionID() != tid {
		t.Errorf("got %v %v %x: %d %q, %v, %v", m.Method(), m.Class(), m.TransactionID(), code, reason, ok, err)
	}
	peers := []netip.AddrPort{peer4, peer6, netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), netip.MustParseAddrPort("255.255.255.255:65535"), netip.MustParseAddrPort("[::]:0")}
	r.Request(MethodCreatePermission, tid)
	for _, p := range peers {
		r.AddAddress(AttrXORPeerAddress, p)
	}
	if err := m.Decode(r.Finish(nil, key)); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Peers(nil); err != nil || !slices.Equal(got, peers) {
		t.Errorf("got %v, %v; want %v", got, err, peers)
	}
}
