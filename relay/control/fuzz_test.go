package control

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

// FuzzHandle hands any bytes to a server on which alice has an allocation. Whatever
// comes, the server answers well-formed or not at all, to requests only, and no more
// than a few bytes beyond what it got; and without alice's key nothing changes.
func FuzzHandle(f *testing.F) {
	s := newServer(f)
	c := s.client(alice, alicePassword)
	seeds := []*stun.Message{
		build(f, stun.TransactionID, stun.BindingRequest),
		build(f, stun.TransactionID, stun.BindingRequest, stun.Fingerprint),
		build(f, stun.TransactionID, stun.BindingRequest, unknownAttr),
		build(f, stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAt("203.0.113.5:50000"), raw(stun.AttrData, 1, 2, 3)),
		c.credentials(), c.credentials(c.sign()...), c.credentials(c.sign()[1:]...),
		c.request(stun.MethodAllocate, udpTransport, evenPair, lifetime(700), dontFragment),
		c.request(stun.MethodAllocate, udpTransport, token(make([]byte, 8)), family(ipv6), additional(ipv6)),
		c.request(stun.MethodRefresh, lifetime(0), family(ipv4)),
		c.request(stun.MethodCreatePermission, peerAt("203.0.113.5:50000"), peerAt("[2001:db8:2::5]:1")),
		c.request(stun.MethodChannelBind, channel(0x4000), peerAt("203.0.113.5:50000")),
		c.credentials(c.by(alice, sha256By(keySHA256(alice, alicePassword)))...),
		c.credentials(append([]stun.Setter{algorithms(algSHA256, algMD5), algorithm(algSHA256)}, c.by(alice, sha256By(keySHA256(alice, alicePassword)))...)...),
		c.credentials(hashOf(alice), algorithms(algSHA256, algMD5), algorithm(algSHA256), stun.NewRealm(realm), stun.NewNonce(c.nonce), sha256By(keySHA256(alice, alicePassword))),
		c.credentials(append([]stun.Setter{issue(f, "some key of a session", s.clock.now(), time.Hour)}, c.by("north", sha1By([]byte("some key of a session")))...)...),
		c.request(stun.MethodConnect, peerAt("203.0.113.5:50000")),
		c.request(stun.MethodConnectionBind, raw(stun.AttrConnectionID, 1, 2, 3, 4)),
	}
	for _, m := range seeds {
		f.Add(m.Raw)
	}
	third := thirdParty(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		// The seeds' nonces are of f's server; here every one is stale, so that no
		// request gets through unless the fuzzer finds alice's key and a nonce.
		s := newServer(t, third)
		c := s.client(alice, alicePassword)
		a := c.allocate()
		expires, now := a.Expires(), s.table.Now()

		answer := s.handle(msg, &c.from)
		if s.table.Count() != 1 || c.allocation() != a || a.Expires() != expires ||
			len(a.Permissions(now)) != 0 || len(a.Channels(now)) != 0 {
			t.Fatal("a message that nobody signed changed an allocation")
		}
		if answer == nil {
			return
		}
		const overhead = 144 // REALM, NONCE, PASSWORD-ALGORITHMS and THIRD-PARTY-AUTHORIZATION, which a challenge cannot do without
		if len(answer) > len(msg)+overhead {
			t.Fatalf("%d bytes answered with %d", len(msg), len(answer))
		}
		in, out := &stun.Message{Raw: bytes.Clone(msg)}, &stun.Message{Raw: bytes.Clone(answer)}
		if err := in.Decode(); err != nil || in.Type.Class != stun.ClassRequest {
			t.Fatalf("%v, %v, is answered", in, err)
		}
		if err := out.Decode(); err != nil {
			t.Fatal(err)
		}
		if err := stun.Fingerprint.Check(out); err != nil {
			t.Fatal(err)
		}
		code := codeOf(out)
		if out.TransactionID != in.TransactionID || out.Type.Method != in.Type.Method || code < 0 {
			t.Fatalf("%v is answered with %v", in, out)
		}
		if code == 0 && in.Type.Method != stun.MethodBinding {
			t.Fatalf("%v succeeds", in)
		}
	})
}
