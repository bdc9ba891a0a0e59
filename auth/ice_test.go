package auth

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestICE(t *testing.T) {
	now := func() time.Time { return time.Unix(1735686000, 0) }
	users := []User{alice(), {Name: "keyed", Key: make([]byte, 16)}}
	static := newTest(t, Options{Users: users, Now: now})
	both := newTest(t, Options{Users: users, Secrets: []string{"s3cret"}, Now: now})
	urls := []string{"turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp"}
	const head = `{"iceServers":[{"urls":["turn:192.0.2.1:3478?transport=udp","turn:192.0.2.1:3478?transport=tcp"],`

	for _, c := range []struct {
		name string
		a    *Authenticator
		urls []string
		user string
		ttl  time.Duration
		want string // JSON
		err  error  // nil and no JSON: any
	}{
		{"static", static, urls, "alice", 0, head + `"username":"alice","credential":"wonder:land"}]}`, nil},
		{"static before ephemeral", both, urls, "alice", time.Hour, head + `"username":"alice","credential":"wonder:land"}]}`, nil},
		{"ephemeral", both, urls, "bob", time.Hour, head + `"username":"1735689600:bob","credential":"` + ephemeralPassword([]byte("s3cret"), "1735689600:bob") + `"}]}`, nil},
		{"ephemeral without id", both, urls, "", time.Hour, head + `"username":"1735689600","credential":"` + ephemeralPassword([]byte("s3cret"), "1735689600") + `"}]}`, nil},
		{"key only", both, urls, "keyed", time.Hour, "", ErrNoPassword},
		{"unknown, no secret", static, urls, "bob", time.Hour, "", ErrNoSecret},
		{"no ttl", both, urls, "bob", 0, "", nil},
		{"no URL", static, nil, "alice", 0, "", nil},
	} {
		config, err := c.a.ICE(c.urls, c.user, c.ttl)
		if c.want == "" {
			if err == nil || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.err)
			}
			continue
		}
		got, _ := json.Marshal(config)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.name, err, got, c.want)
		}
	}
}

func TestStaticUser(t *testing.T) {
	a := newTest(t, Options{Users: []User{alice(), {Name: "keyed", Key: make([]byte, 16)}}})
	for _, c := range []struct {
		name, password string
		ok             bool
	}{{"alice", "wonder:land", true}, {"keyed", "", false}, {"nobody", "", false}, {"", "", false}, {"\xff", "", false}} {
		if password, ok := a.StaticUser(c.name); password != c.password || ok != c.ok {
			t.Errorf("%q: %q, %v", c.name, password, ok)
		}
	}
}
