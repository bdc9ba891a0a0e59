package relay_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// What a reload says is so for whoever comes next, and whoever is there goes on as before.
func TestReloadTakesOver(t *testing.T) {
	const first, second = "the first secret", "the second secret"
	// ephemeral is a caller with credentials of a secret.
	ephemeral := func(t *testing.T, s *changing, secret string, ttl time.Duration) *caller {
		t.Helper()
		maker, err := auth.New(auth.Options{Realm: "hairpin", Secrets: []string{secret}})
		if err != nil {
			t.Fatal(err)
		}
		name, password, err := maker.Issue("dave", ttl)
		if err != nil {
			t.Fatal(err)
		}
		return s.call(t, overUDP).as(name, password)
	}
	allocates := func(t *testing.T, c *caller, code int) {
		t.Helper()
		c.request(stun.MethodAllocate, udpTransport).want(t, code)
	}
	dir := t.TempDir()
	file := func(t *testing.T, name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name   string
		before func(*testing.T, *relay.Config)
		change func(*testing.T, *relay.Config)
		check  func(t *testing.T, s *changing, reloaded bool)
	}{
		{"secrets", func(_ *testing.T, c *relay.Config) { c.Auth.Secrets = []string{first} },
			func(_ *testing.T, c *relay.Config) { c.Auth.Secrets = []string{second} },
			func(t *testing.T, s *changing, reloaded bool) {
				codes := map[bool]int{true: 0, false: 401}
				allocates(t, ephemeral(t, s, first, time.Hour), codes[!reloaded])
				allocates(t, ephemeral(t, s, second, time.Hour), codes[reloaded])
			}},
		{"a file of secrets", func(t *testing.T, c *relay.Config) {
			c.Auth.Secrets, c.Auth.SecretsFile = nil, file(t, "first", first+"\n")
		},
			func(t *testing.T, c *relay.Config) {
				c.Auth.SecretsFile = file(t, "second", second+"\n"+first+"\n")
			},
			func(t *testing.T, s *changing, reloaded bool) {
				allocates(t, ephemeral(t, s, first, time.Hour), 0)
				allocates(t, ephemeral(t, s, second, time.Hour), map[bool]int{true: 0, false: 401}[reloaded])
			}},
		{"enforcement of expiry", func(_ *testing.T, c *relay.Config) { c.Auth.Secrets = []string{first} },
			func(_ *testing.T, c *relay.Config) { c.Auth.EnforceExpiry = true },
			func(t *testing.T, s *changing, reloaded bool) {
				if granted := ephemeral(t, s, first, 100*time.Second).allocate().seconds(t); granted <= 100 != reloaded {
					t.Errorf("%d s are granted to who may stay for 100", granted)
				}
			}},
		{"whose media are looked at", func(_ *testing.T, c *relay.Config) { c.Quality = quality.Off },
			func(_ *testing.T, c *relay.Config) { c.Quality = quality.Full },
			func(t *testing.T, s *changing, reloaded bool) {
				a, b := s.call(t, overUDP), s.call(t, overUDP)
				joined(a, b)
				for n := range uint16(20) {
					a.send(channelData(0x4001, rtp(7, n), true))
					b.wantChannel(0x4002, rtp(7, n))
				}
				s.Allocations(-1, func(n relay.AllocationInfo) bool {
					if n.Relayed == a.relayed && (n.UpMedia != nil) != reloaded {
						t.Errorf("media are looked at: %v", !reloaded)
					}
					return true
				})
			}},
		{"a file of rules for peers", func(t *testing.T, c *relay.Config) {
			c.Peers = peers.Options{Rules: peerRules(t, "loop"), File: file(t, "rules", "127.0.0.0/8\n")}
		},
			func(t *testing.T, c *relay.Config) { c.Peers.File = file(t, "others", "127.0.0.2\n") },
			func(t *testing.T, s *changing, reloaded bool) {
				c, h := s.call(t, overUDP), newHost(t, false)
				c.allocate()
				c.request(stun.MethodChannelBind, channel(0x4000), peer(h.address())).want(t, map[bool]int{true: 403, false: 0}[reloaded])
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := changeable(t, outgoing, func(c *relay.Config) {
				onlyUDP(c)
				test.before(t, c)
			})
			a, b := s.call(t, overUDP), s.call(t, overUDP)
			joined(a, b)
			test.check(t, s, false)
			talk(a, b)
			test.change(t, &s.Config)
			if err := s.Reload(s.Config); err != nil {
				t.Fatal(err)
			}
			talk(a, b)
			test.check(t, s, true)
			talk(a, b)
			a.request(stun.MethodRefresh).want(t, 0)
		})
	}
}
