package control

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

const (
	attrAccessToken = stun.AttrType(0x001B)
	attrThirdParty  = stun.AttrType(0x802E)
	tokenKey        = "01234567890123456789012345678901"
	tokenServer     = "turn.example.org"
)

// issue makes an access token as an authorization server does (RFC 7635 §6.2).
func issue(t testing.TB, mac string, made time.Time, life time.Duration) stun.Setter {
	t.Helper()
	block, err := aes.NewCipher([]byte(tokenKey))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plain := append(binary.BigEndian.AppendUint16(nil, uint16(len(mac))), mac...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(made.Unix())<<16)
	plain = binary.BigEndian.AppendUint32(plain, uint32(life/time.Second))
	token := append([]byte{0, 12}, "only used on"...)
	return raw(attrAccessToken, aead.Seal(token, token[2:], plain, []byte(tokenServer))...)
}

func thirdParty(t testing.TB) func(*allocation.Options, *authOptions, *Options) {
	path := filepath.Join(t.TempDir(), "keys.json")
	key := base64.StdEncoding.EncodeToString([]byte(tokenKey))
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"keys": [{"kid": "north", "key": %q}, {"kid": "south", "key": %[1]q}]}`, key), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(_ *allocation.Options, o *authOptions, _ *Options) {
		o.TokenKeysFile, o.ServerName = path, tokenServer
	}
}

// by is a request's end: the kid, and integrity by a session's key.
func (c *client) by(kid string, integrity stun.Setter) []stun.Setter {
	return []stun.Setter{stun.NewUsername(kid), stun.NewRealm(realm), stun.NewNonce(c.nonce), integrity, stun.Fingerprint}
}

func (c *client) ask(method stun.Method, what ...[]stun.Setter) *stun.Message {
	c.s.t.Helper()
	head := []stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}
	m := build(c.s.t, append(head, slices.Concat(what...)...)...)
	answer := &stun.Message{Raw: c.s.handle(m.Raw, &c.from)} // send would expect the user's own key
	if err := answer.Decode(); err != nil {
		c.s.t.Fatalf("answer is malformed: %v", err)
	}
	return answer
}

// RFC 7635 §9: a token with Allocate and Refresh, its key with everything, and no
// lifetime beyond it.
func TestThirdParty(t *testing.T) {
	const mac, other = "first key of the day", "next key of this day"
	s := newServer(t, thirdParty(t))
	c := s.client("", "")
	start := s.clock.now()
	first, transport := issue(t, mac, start, 20*time.Minute), []stun.Setter{udpTransport}
	signed := func(k string) []stun.Setter { return c.by("north", sha1By([]byte(k))) }
	want := func(answer *stun.Message, code int, key string) {
		t.Helper()
		wantCode(t, answer, code)
		if key == "" {
			wantMAC(t, answer, 0, nil)
		} else {
			wantMAC(t, answer, stun.AttrMessageIntegrity, []byte(key))
		}
	}

	// The challenge tells the server's name, and that no USERHASH is wanted.
	challenge := c.send(c.credentials())
	want(challenge, 401, "")
	if got := string(value(t, challenge, attrThirdParty)); got != tokenServer {
		t.Errorf("THIRD-PARTY-AUTHORIZATION %q", got)
	}
	if nonce := string(value(t, challenge, stun.AttrNonce)); !strings.HasPrefix(nonce, "obMatJos2gAAA") {
		t.Errorf("NONCE %q", nonce)
	}

	// Without a token the key is nobody's, and so is a token with another key, or another nonce.
	want(c.ask(stun.MethodAllocate, transport, signed(mac)), 401, "")
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{first}, signed(other)), 401, "")
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{first}, c.by("east", sha1By([]byte(mac)))), 401, "")
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{issue(t, mac, start.Add(-time.Hour), time.Minute)}, signed(mac)), 401, "")
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{raw(attrAccessToken, 1, 2, 3)}, signed(mac)), 401, "")
	fresh := c.nonce
	c.nonce = "obMatJos2gAAAnobody's"
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{first}, signed(mac)), 438, "")
	c.nonce = fresh

	answer := c.ask(stun.MethodAllocate, transport, []stun.Setter{first, lifetime(3600)}, signed(mac))
	want(answer, 0, mac)
	if got := lifetimeOf(t, answer); got != 20*time.Minute {
		t.Errorf("LIFETIME %v, want the token's", got)
	}
	a := c.allocation()
	if !strings.HasPrefix(a.User, "north/") || len(a.User) != len("north/")+16 || strings.Contains(a.User, mac) {
		t.Errorf("the allocation is of %q", a.User)
	}
	// A retransmission, or a second client with the same token, is its own matter.
	want(c.ask(stun.MethodAllocate, transport, []stun.Setter{first}, signed(mac)), 437, mac)
	d := c.nth(1)
	want(d.ask(stun.MethodAllocate, transport, []stun.Setter{first}, d.by("north", sha1By([]byte(mac)))), 0, mac)

	// The session's key alone is enough for the other methods, on its five-tuple.
	permission := []stun.Setter{peerAt("203.0.113.5:50000")}
	want(c.ask(stun.MethodCreatePermission, permission, signed(mac)), 0, mac)
	want(c.ask(stun.MethodCreatePermission, permission, signed(other)), 401, "")
	want(c.ask(stun.MethodCreatePermission, permission, c.by("south", sha1By([]byte(mac)))), 401, "")
	want(c.nth(2).ask(stun.MethodCreatePermission, permission, c.nth(2).by("north", sha1By([]byte(mac)))), 401, "")
	wantMAC(t, c.ask(stun.MethodCreatePermission, permission, c.by("north", sha256By([]byte(mac)))), attrIntegritySHA256, []byte(mac))
	// Those with passwords are served beside them, and are others.
	wantCode(t, c.as(alice, alicePassword).do(stun.MethodRefresh), 441)
	s.client(alice, alicePassword).nth(3).allocate()
	e := c.nth(3)
	want(e.ask(stun.MethodRefresh, []stun.Setter{first}, e.by("north", sha1By([]byte(mac)))), 441, mac)

	// A token that ends before the default lifetime ends the allocation before it.
	s.clock.advance(15 * time.Minute)
	answer = c.ask(stun.MethodRefresh, []stun.Setter{first}, signed(mac))
	want(answer, 0, mac)
	if got := lifetimeOf(t, answer); got != 5*time.Minute+5*time.Second {
		t.Errorf("LIFETIME %v, want what is left of the token and 5 s", got)
	}
	// The next one goes on with it, also under another kid; then the old key is worth nothing.
	second := issue(t, other, s.clock.now(), time.Hour)
	answer = c.ask(stun.MethodRefresh, []stun.Setter{second}, c.by("south", sha1By([]byte(other))))
	want(answer, 0, other)
	if got := lifetimeOf(t, answer); got != 10*time.Minute {
		t.Errorf("LIFETIME %v", got)
	}
	want(c.ask(stun.MethodCreatePermission, permission, c.by("south", sha1By([]byte(other)))), 0, other)
	want(c.ask(stun.MethodCreatePermission, permission, signed(mac)), 401, "")
	if c.allocation() != a {
		t.Error("another allocation")
	}
	// A refresh without a token can't outlive the last one.
	s.clock.advance(9 * time.Minute)
	want(c.ask(stun.MethodRefresh, []stun.Setter{lifetime(3600)}, c.by("south", sha1By([]byte(other)))), 0, other)
	if left := a.Expires().Sub(s.table.Now()); left != 51*time.Minute+5*time.Second {
		t.Errorf("%v are left", left)
	}
	want(c.ask(stun.MethodRefresh, []stun.Setter{lifetime(0)}, c.by("south", sha1By([]byte(other)))), 0, other)
	if c.allocation() != nil {
		t.Error("released, and still there")
	}

	var failures []string
	s.stats.EachAuthFailure(func(reason string, n uint64) {
		if n > 0 {
			failures = append(failures, fmt.Sprint(reason, " ", n))
		}
	})
	if want := []string{"unknown_user 5", "wrong_password 2", "stale_nonce 1", "wrong_user 2", "token 1", "token_expired 1"}; !slices.Equal(failures, want) {
		t.Errorf("failures %q, want %q", failures, want)
	}
}

// Where no keys are configured a token is nothing.
func TestTokenWithoutThirdParty(t *testing.T) {
	s := newServer(t)
	c := s.client(alice, alicePassword)
	if answer := c.send(c.credentials()); answer.Contains(attrThirdParty) {
		t.Error("THIRD-PARTY-AUTHORIZATION in the challenge")
	}
	token := issue(t, "some key of a session", s.clock.now(), time.Hour)
	wantCode(t, c.ask(stun.MethodAllocate, []stun.Setter{udpTransport, token}, c.by("north", sha1By([]byte("some key of a session")))), 401)
	// To a user of ours it does no harm.
	wantCode(t, c.ask(stun.MethodAllocate, []stun.Setter{udpTransport, token}, c.by(alice, sha1By(keyMD5(alice, alicePassword)))), 0)
}
