package relay_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// authenticated are the methods that need credentials.
var authenticated = []stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind}

// wantChallenge holds a 401 or 438 against RFC 8489 §9.2.4: REALM and a nonce, no more, and signed by nobody.
func (a answer) wantChallenge(t *testing.T, code int) {
	t.Helper()
	a.want(t, code)
	if got := string(a.get(stun.AttrRealm)); got != "hairpin" {
		t.Errorf("REALM is %q", got)
	}
	if got := a.get(stun.AttrNonce); len(got) == 0 || len(got) > 127 {
		t.Errorf("NONCE is %q, want 1 to 127 characters (RFC 8489 §14.10)", got)
	}
	for _, one := range a.attributes {
		switch one.kind {
		case stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce, attrPasswordAlgorithms, stun.AttrFingerprint:
		default:
			t.Errorf("%v in a challenge", one.kind)
		}
	}
}

// Without MESSAGE-INTEGRITY there is a challenge, for each method and whatever else is there (RFC 8489 §9.2.4).
func TestConformanceChallenge(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		for _, method := range authenticated {
			for _, row := range []struct {
				says    string
				setters setters
			}{
				{"bare", nil},
				{"FINGERPRINT", setters{stun.Fingerprint}},
				{"user without proof", setters{stun.NewUsername("alice"), stun.NewRealm("hairpin"), stun.NewNonce("x")}},
				{"attributes that are not understood", setters{raw(0x7FFF, 1)}},
				{"attributes that are malformed", setters{raw(stun.AttrLifetime, 1), raw(stun.AttrXORPeerAddress)}},
				{"a wrong MESSAGE-INTEGRITY-SHA256 alone", setters{stun.NewUsername("alice"), stun.NewRealm("hairpin"), stun.NewNonce("x"), raw(attrIntegritySHA256, make([]byte, 32)...)}},
			} {
				t.Run(fmt.Sprintf("%v %s", method, row.says), func(t *testing.T) {
					c := s.call(t, w)
					c.ask(c.unsigned(method, row.setters...)).wantChallenge(t, 401)
				})
			}
		}
	})
}

// Each combination of credentials has its code, and each of those that can be mended comes with what mends it.
func TestConformanceCredentials(t *testing.T) {
	s := conforming(t, nil)
	key := func(user, realm, password string) stun.Setter {
		return stun.NewLongTermIntegrity(user, realm, password)
	}
	user, realm := stun.NewUsername("alice"), stun.NewRealm("hairpin")
	good := key("alice", "hairpin", "wonder")
	rows := []struct {
		section, says string
		code          int
		setters       func(nonce stun.Setter) setters
	}{
		{"RFC 8489 §9.2.4", "all is right", 0, func(n stun.Setter) setters { return setters{user, realm, n, good} }},
		{"RFC 8489 §9.2.4", "the order does not matter", 0, func(n stun.Setter) setters { return setters{n, realm, user, good} }},
		{"RFC 8489 §9.2.4", "no USERNAME", 400, func(n stun.Setter) setters { return setters{realm, n, good} }},
		{"RFC 8489 §9.2.4", "no REALM", 400, func(n stun.Setter) setters { return setters{user, n, good} }},
		{"RFC 8489 §9.2.4", "no NONCE", 400, func(stun.Setter) setters { return setters{user, realm, good} }},
		{"RFC 8489 §9.2.4", "MESSAGE-INTEGRITY alone", 400, func(stun.Setter) setters { return setters{good} }},
		{"RFC 8489 §14.5", "USERNAME behind MESSAGE-INTEGRITY", 400, func(n stun.Setter) setters { return setters{realm, n, good, user} }},
		{"RFC 8489 §9.2.4", "wrong password", 401, func(n stun.Setter) setters { return setters{user, realm, n, key("alice", "hairpin", "wrong")} }},
		{"RFC 8489 §9.2.4", "unknown user", 401, func(n stun.Setter) setters {
			return setters{stun.NewUsername("mallo"), realm, n, key("mallo", "hairpin", "wonder")}
		}},
		{"RFC 8489 §9.2.4", "another user's name on top of one's own key", 401, func(n stun.Setter) setters { return setters{stun.NewUsername("bob"), realm, n, good} }},
		{"RFC 8489 §14.3", "user in capitals", 401, func(n stun.Setter) setters {
			return setters{stun.NewUsername("ALICE"), realm, n, key("ALICE", "hairpin", "wonder")}
		}},
		{"RFC 8489 §14.3", "empty user", 401, func(n stun.Setter) setters {
			return setters{raw(stun.AttrUsername), realm, n, key("", "hairpin", "")}
		}},
		{"RFC 8489 §14.3", "user of 763 bytes", 401, func(n stun.Setter) setters {
			return setters{raw(stun.AttrUsername, bytes.Repeat([]byte("a"), 763)...), realm, n, good}
		}},
		{"RFC 8489 §14.3", "user of bytes that are no text", 401, func(n stun.Setter) setters {
			return setters{raw(stun.AttrUsername, 0xFF, 0, '\n', 0xC0), realm, n, good}
		}},
		{"RFC 8489 §14.3", "user with a zero byte behind", 401, func(n stun.Setter) setters {
			return setters{raw(stun.AttrUsername, []byte("alice\x00")...), realm, n, good}
		}},
		{"RFC 8489 §9.2.4", "another realm", 401, func(n stun.Setter) setters {
			return setters{user, stun.NewRealm("example.org"), n, key("alice", "example.org", "wonder")}
		}},
		{"RFC 8489 §9.2.4", "another realm with this one's key", 401, func(n stun.Setter) setters { return setters{user, stun.NewRealm("example.org"), n, good} }},
		{"RFC 8489 §14.5", "empty MESSAGE-INTEGRITY", 401, func(n stun.Setter) setters { return setters{user, realm, n, raw(stun.AttrMessageIntegrity)} }},
		{"RFC 8489 §14.5", "MESSAGE-INTEGRITY of zeros", 401, func(n stun.Setter) setters {
			return setters{user, realm, n, raw(stun.AttrMessageIntegrity, make([]byte, 20)...)}
		}},
		{"RFC 8489 §14.5", "MESSAGE-INTEGRITY cut to four bytes", 401, func(n stun.Setter) setters {
			return setters{user, realm, n, setter(func(m *stun.Message) error {
				whole := &stun.Message{Raw: bytes.Clone(m.Raw)}
				if err := whole.Decode(); err != nil {
					return err
				}
				if err := good.AddTo(whole); err != nil {
					return err
				}
				m.Add(stun.AttrMessageIntegrity, whole.Raw[len(whole.Raw)-20:len(whole.Raw)-16])
				return nil
			})}
		}},
		{"RFC 8489 §9.2.4", "wrong password and a nonce of nobody's", 401, func(stun.Setter) setters {
			return setters{user, realm, stun.NewNonce("nobody's"), key("alice", "hairpin", "wrong")}
		}},
		{"RFC 8489 §9.2.4", "a nonce of nobody's", 438, func(stun.Setter) setters { return setters{user, realm, stun.NewNonce("nobody's"), good} }},
		{"RFC 8489 §9.2.4", "empty nonce", 438, func(stun.Setter) setters { return setters{user, realm, raw(stun.AttrNonce), good} }},
		{"RFC 8489 §9.2.4", "a wrong MESSAGE-INTEGRITY-SHA256 besides, which alone counts", 401, func(n stun.Setter) setters {
			return setters{user, realm, n, good, raw(attrIntegritySHA256, make([]byte, 32)...)}
		}},
	}
	for _, w := range []way{overUDP, overTCP, overUDP6} {
		for _, row := range rows {
			t.Run(fmt.Sprintf("%s %s %s", w, row.section, row.says), func(t *testing.T) {
				c := s.call(t, w)
				c.challenge()
				all := append(setters{udpTransport}, row.setters(stun.NewNonce(c.nonce))...)
				a := c.ask(c.unsigned(stun.MethodAllocate, append(all, stun.Fingerprint)...))
				switch row.code {
				case 0:
					a.want(t, 0)
					if !a.signedBy(c.key()) {
						t.Error("the success is not signed")
					}
					return
				case 401, 438:
					a.wantChallenge(t, row.code)
				default:
					a.want(t, row.code)
					for _, kind := range []stun.AttrType{stun.AttrMessageIntegrity, stun.AttrUsername, stun.AttrRealm, stun.AttrNonce} {
						if a.has(kind) {
							t.Errorf("%v in an answer to a stranger", kind)
						}
					}
					return
				}
				// What the challenge brings is good for the next request.
				c.nonce = string(a.get(stun.AttrNonce))
				c.request(stun.MethodAllocate, udpTransport).want(t, 0)
			})
		}
	}
}

// A wrong password, an unknown user and a wrong realm look alike (RFC 8489 §16.1.2: no oracle of user names).
func TestConformanceIndistinguishable(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		shape := func(user, realm, password string) string {
			c.challenge()
			a := c.ask(c.unsigned(stun.MethodRefresh, stun.NewUsername(user), stun.NewRealm(realm), stun.NewNonce(c.nonce),
				stun.NewLongTermIntegrity(user, realm, password), stun.Fingerprint))
			var b strings.Builder
			for _, one := range a.attributes {
				switch one.kind {
				case stun.AttrNonce, stun.AttrFingerprint:
					fmt.Fprintf(&b, "%v: %d bytes\n", one.kind, len(one.value))
				default:
					fmt.Fprintf(&b, "%v: %q\n", one.kind, one.value)
				}
			}
			return b.String()
		}
		want := shape("alice", "hairpin", "wrong")
		expiry := fmt.Sprint(time.Now().Add(time.Hour).Unix())
		for _, other := range [][3]string{
			{"mallo", "hairpin", "wonder"}, {"alice", "elsewhere", "wonder"}, {expiry + ":x", "hairpin", "wrong"}, {"alice:" + expiry, "hairpin", "wonder"},
		} {
			if got := shape(other[0], other[1], other[2]); got != want {
				t.Errorf("%q is answered with\n%sand alice's wrong password with\n%s", other, got, want)
			}
		}
	})
}

// A nonce is good for one client address, unchanged, as often as that client likes, and not after its time.
func TestConformanceNonce(t *testing.T) {
	var late atomic.Int64
	s := conforming(t, func(c *relay.Config) {
		c.Auth.NonceLifetime = time.Minute
		c.Auth.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	stale := func(t *testing.T, c *caller, nonce string) {
		t.Helper()
		own := c.nonce
		c.nonce = nonce
		a := c.ask(c.signed(stun.MethodRefresh))
		c.nonce = own
		a.wantChallenge(t, 438)
	}
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		c.allocate()
		for range 3 {
			c.request(stun.MethodRefresh).want(t, 0)
		}
		t.Run("another port's", func(t *testing.T) {
			other := s.call(t, w)
			other.challenge()
			stale(t, c, other.nonce)
			stale(t, other, c.nonce)
		})
		t.Run("another address's", func(t *testing.T) {
			if w != overUDP {
				t.Skip("there is one loopback address in IPv6, and the kernel chooses a stream's port")
			}
			other := s.callAt(t, "udp", netip.MustParseAddrPort(c.conn.RemoteAddr().String()), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), c.local().Port()))
			stale(t, other, c.nonce)
		})
		t.Run("tampered with", func(t *testing.T) {
			for i := range c.nonce {
				changed := []byte(c.nonce)
				changed[i] ^= 1 // 'A' becomes '@', which may not even be in the alphabet; 'B' becomes 'C', which is
				stale(t, c, string(changed))
				changed[i] ^= 1 ^ 3
				stale(t, c, string(changed))
			}
			stale(t, c, c.nonce[:len(c.nonce)-1])
			stale(t, c, c.nonce[1:])
			stale(t, c, c.nonce+"A")
			stale(t, c, c.nonce+"\n")
			stale(t, c, "obMatJos2AAAA"+c.nonce)
			stale(t, c, strings.Repeat("A", 763))
		})
		t.Run("expired", func(t *testing.T) {
			old := c.nonce
			late.Add(int64(time.Minute))
			stale(t, c, old)
			c.challenge()
			if c.nonce == old {
				t.Error("the new nonce is the old one")
			}
			c.request(stun.MethodRefresh).want(t, 0)
			late.Add(-int64(2 * time.Hour)) // made in the future
			stale(t, c, c.nonce)
			late.Add(int64(2 * time.Hour))
		})
	})
}

// The nonces of a fleet that shares --nonce-secret are good at all of its servers; others are not.
func TestConformanceNonceSecret(t *testing.T) {
	secretly := func(secret string) *served {
		return conforming(t, func(c *relay.Config) { c.Auth.NonceSecret = secret })
	}
	a, b, stranger := secretly("fleet"), secretly("fleet"), secretly("")
	c := a.call(t, overUDP)
	c.challenge()
	at := func(s *served) answer {
		c.conn.Close() // the port is free for the next socket
		nonce := c.nonce
		c = s.callAt(t, "udp", s.at(t, overUDP), c.local())
		c.nonce = nonce
		return c.ask(c.signed(stun.MethodAllocate, udpTransport))
	}
	at(a).want(t, 0)
	at(b).want(t, 0)
	at(stranger).wantChallenge(t, 438)
}

// Another user does not touch an allocation: 441, signed with the other's key, and 437 for Allocate (RFC 8656 §5, §7.2).
func TestConformanceOtherUser(t *testing.T) {
	s := conforming(t, nil)
	eachWay(t, func(t *testing.T, w way) {
		alice := s.call(t, w)
		made := [12]byte(alice.allocate(familyOf(w.v6)).id())
		bob := alice.with("bob", "builder")
		for _, row := range []struct {
			says    string
			method  stun.Method
			setters setters
			code    int
		}{
			{"Refresh", stun.MethodRefresh, nil, 441},
			{"Refresh to zero", stun.MethodRefresh, setters{lifetime(0)}, 441},
			{"CreatePermission", stun.MethodCreatePermission, setters{peer(alice.relayed)}, 441},
			{"CreatePermission without a peer", stun.MethodCreatePermission, nil, 441},
			{"ChannelBind", stun.MethodChannelBind, setters{channel(0x4000), peer(alice.relayed)}, 441},
			{"Allocate", stun.MethodAllocate, setters{udpTransport}, 437},
		} {
			t.Run(row.says, func(t *testing.T) {
				bob.t = t
				bob.request(row.method, row.setters...).want(t, row.code)
			})
		}
		bob.t = t
		// The transaction that made the allocation is no password.
		bob.signedAnswer(bob.signed(stun.MethodAllocate, transaction(made), udpTransport)).want(t, 437)
		alice.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	})
}

// Attributes behind MESSAGE-INTEGRITY, which anybody on the way could have added, are ignored (RFC 8489 §14.5).
func TestConformanceBehindIntegrity(t *testing.T) {
	s := conforming(t, nil)
	rows := []struct {
		says   string
		method stun.Method
		before setters
		behind setters
		code   int
	}{
		{"an attribute that is not understood", stun.MethodRefresh, nil, setters{raw(0x7FFF, 1)}, 0},
		{"LIFETIME of zero", stun.MethodRefresh, nil, setters{lifetime(0)}, 0},
		{"malformed LIFETIME", stun.MethodRefresh, nil, setters{raw(stun.AttrLifetime, 1)}, 0},
		{"REQUESTED-ADDRESS-FAMILY", stun.MethodRefresh, nil, setters{wantIPv6, wantIPv4}, 0},
		{"a second USERNAME", stun.MethodRefresh, nil, setters{stun.NewUsername("bob")}, 0},
		{"the only peer", stun.MethodCreatePermission, nil, setters{peer(netip.MustParseAddrPort("198.51.100.1:50000"))}, 400},
		{"the only channel", stun.MethodChannelBind, setters{peer(netip.MustParseAddrPort("198.51.100.1:50000"))}, setters{channel(0x4000)}, 400},
		{"a forbidden peer", stun.MethodCreatePermission, setters{peer(netip.MustParseAddrPort("198.51.100.1:50000"))}, setters{peer(netip.MustParseAddrPort("127.0.0.1:50000"))}, 0},
	}
	for _, w := range []way{overUDP, overTCP} {
		c := s.call(t, w)
		c.allocate()
		for _, row := range rows {
			t.Run(w.String()+" "+row.says, func(t *testing.T) {
				c.t = t
				all := slices.Concat(row.before, setters{c.credentials()}, row.behind, setters{stun.Fingerprint})
				c.signedAnswer(c.unsigned(row.method, all...)).want(t, row.code)
			})
		}
		c.t = t
		if a := c.request(stun.MethodRefresh); a.code() != 0 {
			t.Errorf("%s: the allocation is gone", w)
		}
		c2 := s.call(t, w)
		c2.challenge()
		c2.signedAnswer(c2.unsigned(stun.MethodAllocate, c2.credentials(), udpTransport, stun.Fingerprint)).want(t, 400)
	}
}

// Static users, keys instead of passwords, names beyond ASCII, and ephemeral credentials of each form live side by side.
func TestConformanceUsers(t *testing.T) {
	ha1 := md5.Sum([]byte("carol:hairpin:by key"))
	s := conforming(t, func(c *relay.Config) {
		c.Auth.Users = append(c.Auth.Users, auth.User{Name: "carol", Key: ha1[:]}, auth.User{Name: "Zoë", Password: "pass\u00A0wörd"})
		c.Auth.Secrets = []string{"first", "second"}
	})
	ephemeral := func(secret, name string) [2]string {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(name))
		return [2]string{name, base64.StdEncoding.EncodeToString(mac.Sum(nil))}
	}
	soon := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	past := fmt.Sprint(time.Now().Add(-time.Second).Unix())
	issued := func() [2]string {
		name, password, err := s.Auth().Issue("dave", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{name, password}
	}
	for _, row := range []struct {
		says string
		user [2]string
		code int
	}{
		{"static", [2]string{"bob", "builder"}, 0},
		{"by key", [2]string{"carol", "by key"}, 0},
		{"by key, wrong", [2]string{"carol", "by door"}, 401},
		{"OpaqueString maps spaces", [2]string{"Zoë", "pass wörd"}, 0},
		{"expiry:id", ephemeral("first", soon+":dave"), 0},
		{"expiry:id with colons", ephemeral("first", soon+":dave:home:1"), 0},
		{"expiry alone", ephemeral("first", soon), 0},
		{"id:expiry", ephemeral("first", "dave:"+soon), 0},
		{"the second secret", ephemeral("second", soon+":dave"), 0},
		{"as issued", issued(), 0},
		{"a secret that is not ours", ephemeral("third", soon+":dave"), 401},
		{"another expiry than signed", [2]string{soon + "0:dave", ephemeral("first", soon+":dave")[1]}, 401},
		{"expired", ephemeral("first", past+":dave"), 401},
		{"expired, id first", ephemeral("first", "dave:"+past), 401},
		{"no expiry", ephemeral("first", "dave"), 401},
		{"the secret itself", [2]string{soon + ":dave", "first"}, 401},
	} {
		for _, w := range []way{overUDP, overTCP} {
			t.Run(w.String()+" "+row.says, func(t *testing.T) {
				c := s.call(t, w).as(row.user[0], row.user[1])
				a := c.request(stun.MethodAllocate, udpTransport)
				if row.code != 0 {
					a.wantChallenge(t, row.code)
					return
				}
				a.want(t, 0)
				c.request(stun.MethodRefresh).want(t, 0)
			})
		}
	}
}

// Where expiry is enforced, no allocation is granted longer than its credential lives; else the credential counts when
// the allocation is made.
func TestConformanceEnforceExpiry(t *testing.T) {
	for _, enforced := range []bool{false, true} {
		s := conforming(t, func(c *relay.Config) { c.Auth.EnforceExpiry = enforced })
		for ttl, wanted := range map[time.Duration]uint32{100 * time.Second: 600, 2000 * time.Second: 3600, 2 * time.Hour: 3600} {
			name, password, err := s.Auth().Issue("dave", ttl)
			if err != nil {
				t.Fatal(err)
			}
			most := wanted
			if enforced {
				most = min(most, uint32(ttl/time.Second))
			}
			c := s.call(t, overUDP).as(name, password)
			for _, a := range []answer{c.allocate(lifetime(wanted)), c.request(stun.MethodRefresh, lifetime(wanted))} {
				if got := a.seconds(t); got > most || got+uint32(patience/time.Second) < most {
					t.Errorf("enforced %v, %v to live: %v grants %d s, want %d", enforced, ttl, a.method, got, most)
				}
			}
		}
	}
}

// SOFTWARE, where there shall be one, is in every answer (RFC 8489 §6.3.1.1, RFC 8656 §5).
func TestConformanceSoftware(t *testing.T) {
	s := conforming(t, func(c *relay.Config) { c.Software = "hairpin test" })
	eachWay(t, func(t *testing.T, w way) {
		c := s.call(t, w)
		c.software = "hairpin test"
		tells := func(request []byte) bool {
			t.Helper()
			c.send(request)
			a, err := readAnswer(c.receive())
			if err != nil {
				t.Fatal(err)
			}
			software := a.get(stun.AttrSoftware)
			if software != nil && string(software) != "hairpin test" {
				t.Errorf("SOFTWARE is %q", software)
			}
			return software != nil
		}
		if !tells(c.unsigned(stun.MethodAllocate, udpTransport)) {
			t.Error("the challenge tells no SOFTWARE")
		}
		for _, row := range []struct {
			says    string
			request []byte
			want    bool
		}{
			{"Binding", c.unsigned(stun.MethodBinding), true},
			{"wrong password", c.with("alice", "wrong").signed(stun.MethodAllocate, udpTransport), true},
			{"Allocate that fails", c.signed(stun.MethodAllocate), true},
			{"Allocate", c.signed(stun.MethodAllocate, udpTransport), true},
			{"Refresh", c.signed(stun.MethodRefresh), true},
		} {
			if got := tells(row.request); got != row.want {
				t.Errorf("%s: SOFTWARE is told: %v, want %v", row.says, got, row.want)
			}
		}
	})
}
