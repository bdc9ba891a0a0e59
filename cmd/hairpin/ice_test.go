package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v3"

	"github.com/hairpin-turn/hairpin/auth"
)

func iceConfig(t *testing.T, args ...string) auth.ICEServer {
	t.Helper()
	got := hairpin(t, append([]string{"ice"}, args...)...)
	if got.code != exitGood {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	var config auth.ICEConfig
	if err := json.Unmarshal([]byte(got.stdout), &config); err != nil {
		t.Fatal(err)
	}
	return config.ICEServers[0]
}

func TestICEStatic(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "users", "carol:three\n")
	for _, test := range []struct {
		name, line, username, credential string
		urls                             []string
	}{
		{"only user", "--user alice:one --public-address 192.0.2.1", "alice", "one",
			[]string{"turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp"}},
		{"one of them", "--user alice:one --user bob:two --username bob --url turn:a.example", "bob", "two", []string{"turn:a.example"}},
		{"beside a secret", "--user alice:one --secret s --id alice --url turn:a.example:3478?transport=udp --url turns:b.example:443?transport=tcp", "alice", "one",
			[]string{"turn:a.example:3478?transport=udp", "turns:b.example:443?transport=tcp"}},
		{"from the file", "--users-file users --username carol --listen udp://[2001:db8::1]:1000", "carol", "three", []string{"turn:[2001:db8::1]:1000?transport=udp"}},
		{"by IP version", "--user alice:one --listen udp://0.0.0.0:1 --listen udp://[::]:2 --public-address 192.0.2.1 --public-address 2001:db8::1", "alice", "one",
			[]string{"turn:192.0.2.1:1?transport=udp", "turn:[2001:db8::1]:2?transport=udp"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := iceConfig(t, strings.Fields(test.line)...)
			if got.Username != test.username || got.Credential != test.credential || !slices.Equal(got.URLs, test.urls) {
				t.Errorf("got %q %q %q", got.Username, got.Credential, got.URLs)
			}
		})
	}
}

// Ephemeral credentials are those that pion/turn's handler for the TURN REST API accepts.
func TestICEEphemeral(t *testing.T) {
	before := time.Now().Add(time.Hour).Unix()
	for _, id := range []string{"", "alice"} {
		got := iceConfig(t, "--secret", "s1", "--secret", "s2", "--id", id, "--ttl", "1h", "--url", "turn:a.example")
		expiry, name, _ := strings.Cut(got.Username, ":")
		seconds, err := strconv.ParseInt(expiry, 10, 64)
		if err != nil || name != id || seconds < before || seconds > time.Now().Add(time.Hour).Unix() {
			t.Errorf("user name %q for %q", got.Username, id)
		}
		key, ok := turn.LongTermTURNRESTAuthHandler("s1", nil)(got.Username, "hairpin", nil)
		if !ok || string(key) != string(turn.GenerateAuthKey(got.Username, "hairpin", got.Credential)) {
			t.Errorf("%q %q is not what pion/turn accepts", got.Username, got.Credential)
		}
	}
}

func TestICEPolicy(t *testing.T) {
	got := hairpin(t, "ice", "--user", "a:b", "--url", "turn:a.example", "--policy", "relay")
	want := `{
  "iceServers": [
    {
      "urls": [
        "turn:a.example"
      ],
      "username": "a",
      "credential": "b"
    }
  ],
  "iceTransportPolicy": "relay"
}
`
	got.want(t, exitGood, want, "")
}

func TestICEEnvironment(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("HAIRPIN_SECRET", "s")
	t.Setenv("HAIRPIN_ICE_URL", "turn:turn.example")
	t.Setenv("HAIRPIN_ICE_USERNAME", "alice")
	t.Setenv("HAIRPIN_ICE_POLICY", "relay")
	got := hairpinHere("ice")
	if got.code != exitGood || !strings.Contains(got.stdout, `:alice"`) || !strings.Contains(got.stdout, `"iceTransportPolicy": "relay"`) {
		t.Errorf("%+v", got)
	}
	t.Setenv("HAIRPIN_ICE_TTL", "60")
	hairpinHere("ice").want(t, exitUsage, "", "--ttl: \"60\" is not a duration of at least one second; write for example 24h or 90m\n")
}

func TestICEFaults(t *testing.T) {
	for _, test := range []struct{ line, answer string }{
		{"--url turn:x", "--secret: no credentials are given; give --secret, --secrets-file, --user or --users-file\n"},
		{"--secret s --url turn:x --ttl 60", "--ttl: \"60\" is not a duration of at least one second; write for example 24h or 90m\n"},
		{"--secret s --url http://x --url turn:x?transport=sctp --url turn:x:0 --url turn:", "--url: \"http://x\" is not a TURN URL; write turn:HOST:PORT?transport=udp or …=tcp\n" +
			"--url: \"turn:x?transport=sctp\" is not a TURN URL; write turn:HOST:PORT?transport=udp or …=tcp\n" +
			"--url: \"turn:x:0\" is not a TURN URL; write turn:HOST:PORT?transport=udp or …=tcp\n" +
			"--url: \"turn:\" is not a TURN URL; write turn:HOST:PORT?transport=udp or …=tcp\n"},
		{"--secret s --url turn:x --policy none", "--policy: \"none\" is not an ICE transport policy; write all or relay\n"},
		{"--user a:b --url turn:x --username c", "--username: no static user has this name, and there is no secret for ephemeral credentials; name one of the users, or give --secret\n"},
		{"--user a:0x000102030405060708090a0b0c0d0e0f --url turn:x", "--username: this user is known by its HA1 key only; give its password, NAME:PASSWORD\n"},
		{"--secret s --url turn:x --username a\u0001", "--username: the user name contains a character that is not allowed (control, invisible or unassigned; RFC 8265 §4.2); write another one\n"},
		{"--secret s --listen udp://[2001:db8::1]:1 --public-address 192.0.2.1", "--public-address: there is no address of the listeners' IP version to connect to; give --public-address IP or --url URL\n"},
	} {
		t.Run(test.line, func(t *testing.T) {
			hairpin(t, append([]string{"ice"}, strings.Fields(test.line)...)...).want(t, exitUsage, "", test.answer)
		})
	}
}
