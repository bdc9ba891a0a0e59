package lab

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
)

// Clients are sent to addresses that they can reach: to loopback ones only by a host that has no others.
func TestAdvertised(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	const v4, v6 = "192.0.2.5", "2001:db8::5"
	for _, test := range []struct {
		name            string
		addresses, args []string
		want            []string
	}{
		{"ipv4", []string{v4 + "/32"}, nil, []string{"turn:192.0.2.5:3478?transport=udp", "turn:192.0.2.5:3478?transport=tcp"}},
		{"ipv6", []string{v6 + "/128"}, nil, []string{"turn:[2001:db8::5]:3478?transport=udp", "turn:[2001:db8::5]:3478?transport=tcp"}},
		{"both", []string{v4 + "/32", v6 + "/128"}, []string{"--listen", "udp://:3478"}, []string{"turn:192.0.2.5:3478?transport=udp", "turn:[2001:db8::5]:3478?transport=udp"}},
		{"none", nil, []string{"--listen", "udp://:3478"}, []string{"turn:127.0.0.1:3478?transport=udp", "turn:[::1]:3478?transport=udp"}},
		{"nat", nil, []string{"--listen", "udp://:3478", "--public-address", "203.0.113.7"}, []string{"turn:203.0.113.7:3478?transport=udp"}},
		{"named", []string{v4 + "/32"}, []string{"--listen", "udp://:3478", "--listen", "tcp://127.0.0.1:3479"}, []string{"turn:192.0.2.5:3478?transport=udp"}},
	} {
		h := n.host(test.name)
		for _, a := range test.addresses {
			h.ip("addr add " + a + " dev lo" + nodad(a))
		}
		r := h.serve("127.0.0.1", append(test.args, "--ice", "127.0.0.1:8088")...)
		var config struct {
			ICEServers []struct {
				URLs []string `json:"urls"`
			} `json:"iceServers"`
		}
		code, body := r.ask("127.0.0.1:8088", "/ice?service=turn&username="+user)
		if err := json.Unmarshal(body, &config); err != nil || code != http.StatusOK || len(config.ICEServers) != 1 {
			t.Errorf("%s: %d %v %s", test.name, code, err, body)
		} else if got := config.ICEServers[0].URLs; !slices.Equal(got, test.want) {
			t.Errorf("%s: clients are sent to %q, want %q", test.name, got, test.want)
		}
	}
}
