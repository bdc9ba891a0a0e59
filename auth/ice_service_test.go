package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// iceNow is the clock of these tests: credentials for a day end at 1735772400.
var iceNow = time.Unix(1735686000, 0)

func iceListeners() []ICEListener {
	return []ICEListener{
		{Namespace: "stunner", Gateway: "udp-gateway", Name: "udp-listener", Host: "192.0.2.1", Port: 3478, Transport: "udp"},
		{Namespace: "stunner", Gateway: "tcp-gateway", Name: "tcp-listener", Host: "192.0.2.1", Port: 3478, Transport: "tcp"},
		{Name: "six", Host: "2001:db8::1", Port: 3478, Transport: "udp"},
		{Name: "secure", Secure: true, Host: "turn.example.org", Transport: "tcp"},
	}
}

const (
	urlUDP    = "turn:192.0.2.1:3478?transport=udp"
	urlTCP    = "turn:192.0.2.1:3478?transport=tcp"
	urlSix    = "turn:[2001:db8::1]:3478?transport=udp"
	urlSecure = "turns:turn.example.org?transport=tcp"
)

func newICE(t *testing.T, credentials Options, o ICEServiceOptions) http.Handler {
	t.Helper()
	credentials.Now = func() time.Time { return iceNow }
	if o.Listeners == nil {
		o.Listeners = iceListeners
	}
	h, err := NewICEService(newTest(t, credentials), o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask makes a request as /ice?service=turn or with headers as "Name: value".
func ask(h http.Handler, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "127.0.0.1:8088"
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestICEServiceAnswers(t *testing.T) {
	secret := Options{Secrets: []string{"s3cret", "old"}}
	both := Options{Secrets: []string{"s3cret"}, Users: []User{alice()}}
	one := Options{Users: []User{alice()}}
	several := Options{Users: []User{alice(), {Name: "bob", Password: "builder"}}}
	all := []string{urlUDP, urlTCP, urlSix, urlSecure}
	for _, test := range []struct {
		name        string
		credentials Options
		query       string
		username    string
		policy      string
		urls        []string
	}{
		{"nothing asked for", secret, "", "1735772400", "all", all},
		{"as the tutorial asks", secret, "&username=Alice&iceTransportPolicy=relay&namespace=&gateway=&listener=", "1735772400:Alice", "relay", all},
		{"as an older one asks", secret, "&username=alice&icetransportpolicy=relay", "1735772400:alice", "relay", all},
		{"lifetime", secret, "&ttl=3600&username=a", "1735689600:a", "all", all},
		{"one second", secret, "&ttl=1", "1735686001", "all", all},
		{"leading zeros", secret, "&ttl=0060", "1735686060", "all", all},
		{"more than the most", secret, "&ttl=604801", "1736290800", "all", all},
		{"more than a number holds", secret, "&ttl=99999999999999999999999999", "1736290800", "all", all},
		{"colons and spaces", secret, "&username=a:b%20c:1", "1735772400:a:b c:1", "all", all},
		{"digits", secret, "&username=4711", "1735772400:4711", "all", all},
		{"composed", secret, "&username=e%CC%81", "1735772400:\u00e9", "all", all},
		{"secret before static user", both, "&username=alice", "1735772400:alice", "all", all},
		{"static user by name", several, "&username=bob", "bob", "all", all},
		{"the only static user", one, "&username=Carol", "alice", "all", all},
		{"namespace", secret, "&namespace=stunner", "1735772400", "all", []string{urlUDP, urlTCP}},
		{"gateway", secret, "&namespace=stunner&gateway=tcp-gateway", "1735772400", "all", []string{urlTCP}},
		{"listener alone", secret, "&listener=udp-listener", "1735772400", "all", []string{urlUDP}},
		{"everything selected", secret, "&namespace=stunner&gateway=udp-gateway&listener=udp-listener", "1735772400", "all", []string{urlUDP}},
		{"public address", secret, "&public-addr=203.0.113.9", "1735772400", "all",
			[]string{"turn:203.0.113.9:3478?transport=udp", "turn:203.0.113.9:3478?transport=tcp", "turns:203.0.113.9?transport=tcp"}},
		{"public IPv6 address", secret, "&public-addr=2001:db8::9&listener=secure", "1735772400", "all", []string{"turns:[2001:db8::9]?transport=tcp"}},
		{"public name", secret, "&public-addr=relay.example&listener=six", "1735772400", "all", []string{"turn:relay.example:3478?transport=udp"}},
		{"unknown parameter", secret, "&room=1&room=2", "1735772400", "all", all},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newICE(t, test.credentials, ICEServiceOptions{Static: true, MaxLifetime: 7 * 24 * time.Hour})
			w := ask(h, "/ice?service=turn"+test.query)
			var config ICEConfig
			if err := json.Unmarshal(w.Body.Bytes(), &config); err != nil || w.Code != http.StatusOK || len(config.ICEServers) != 1 {
				t.Fatalf("%d %v %s", w.Code, err, w.Body)
			}
			server := config.ICEServers[0]
			credential := ephemeralPassword([]byte("s3cret"), test.username)
			if password, static := map[string]string{"alice": "wonder:land", "bob": "builder"}[test.username]; static {
				credential = password
			}
			if server.Username != test.username || server.Credential != credential || config.ICETransportPolicy != test.policy || !slices.Equal(server.URLs, test.urls) {
				t.Errorf("got %s", w.Body)
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json; charset=utf-8", "X-Content-Type-Options": "nosniff"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q", name, got)
				}
			}

			w = ask(h, "/?service=turn"+test.query)
			var token Token
			if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil {
				t.Fatal(err)
			}
			if token.Username != server.Username || token.Password != server.Credential || !slices.Equal(token.URIs, server.URLs) {
				t.Errorf("as a token: %s", w.Body)
			}
			if seconds, ok := parseExpiry([]byte(strings.Split(token.Username, ":")[0])); ok && seconds != iceNow.Unix()+token.TTL {
				t.Errorf("ttl %d of %q", token.TTL, token.Username)
			}
		})
	}
}

func TestICEServiceRefuses(t *testing.T) {
	secret := Options{Secrets: []string{"s3cret"}}
	several := Options{Users: []User{alice(), {Name: "keyed", Key: make([]byte, 16)}}}
	for _, test := range []struct {
		name        string
		credentials Options
		target      string
		status      int
		field       string
		says        string
	}{
		{"no service", secret, "/ice", 400, "service", "service is missing; write service=turn"},
		{"empty service", secret, "/ice?service=", 400, "service", "is missing"},
		{"wrong service", secret, "/ice?service=stun", 400, "service", `"stun" is not available`},
		{"no service for a token", secret, "/?username=a", 400, "service", "is missing"},
		{"no lifetime", secret, "/ice?service=turn&ttl=0", 400, "ttl", "write 1 or more"},
		{"many zeros", secret, "/ice?service=turn&ttl=000", 400, "ttl", "write 1 or more"},
		{"negative", secret, "/ice?service=turn&ttl=-5", 400, "ttl", `"-5" is not a number of seconds`},
		{"plus", secret, "/ice?service=turn&ttl=%2B5", 400, "ttl", `"+5" is not a number of seconds`},
		{"fraction", secret, "/ice?service=turn&ttl=1.5", 400, "ttl", `"1.5" is not a number of seconds`},
		{"unit", secret, "/ice?service=turn&ttl=1h", 400, "ttl", `"1h" is not a number of seconds`},
		{"digits of another script", secret, "/ice?service=turn&ttl=" + url.QueryEscape("٣"), 400, "ttl", "is not a number of seconds"},
		{"control character", secret, "/ice?service=turn&username=a%00b", 400, "username", "contains a character that is not allowed"},
		{"line end", secret, "/ice?service=turn&username=a%0D%0Ab", 400, "username", "contains a character that is not allowed"},
		{"no UTF-8", secret, "/ice?service=turn&username=%ff", 400, "username", "is not UTF-8 text"},
		{"10 kB", secret, "/ice?service=turn&username=" + strings.Repeat("x", 10000), 400, "username", "has 10000 bytes"},
		{"too long with its expiry", secret, "/ice?service=turn&username=" + strings.Repeat("x", 500), 400, "username", "has 511 bytes with its expiry"},
		{"10 kB, static", several, "/ice?service=turn&username=" + strings.Repeat("x", 10000), 400, "username", "has 10000 bytes"},
		{"policy", secret, "/ice?service=turn&iceTransportPolicy=public", 400, "iceTransportPolicy", `"public" is not an ICE transport policy; write all or relay`},
		{"twice", secret, "/ice?service=turn&ttl=1&ttl=2", 400, "ttl", "ttl is given twice; give it once"},
		{"percent", secret, "/ice?service=turn&username=%zz", 400, "", "the query cannot be read"},
		{"semicolon", secret, "/ice?service=turn;username=a", 400, "", "the query cannot be read"},
		{"public address", secret, "/ice?service=turn&public-addr=a/b", 400, "public-addr", `"a/b" is no address that clients can connect to`},
		{"public address with a port", secret, "/ice?service=turn&public-addr=192.0.2.1:1", 400, "public-addr", "no address"},
		{"public address of nobody", secret, "/ice?service=turn&public-addr=0.0.0.0", 400, "public-addr", "no address"},
		{"unknown listener", secret, "/ice?service=turn&listener=nobody", 404, "listener", `no listener has listener "nobody"`},
		{"unknown gateway", secret, "/ice?service=turn&namespace=stunner&gateway=nobody", 404, "gateway", `no listener has gateway "nobody", or none with all that is selected`},
		{"unknown namespace", secret, "/ice?service=turn&namespace=" + strings.Repeat("n", 100), 404, "namespace", strings.Repeat("n", 64) + `"…`},
		{"listener of another gateway", secret, "/ice?service=turn&gateway=udp-gateway&listener=tcp-listener", 404, "listener", "none with all that is selected"},
		{"unknown static user", several, "/ice?service=turn&username=bob", 400, "username", "names none of the static users"},
		{"no static user named", several, "/ice?service=turn", 400, "username", "names none of the static users"},
		{"known by key", several, "/ice?service=turn&username=keyed", 400, "username", "HA1 key alone"},
		{"elsewhere", secret, "/turn?service=turn", 404, "", "there are /ice?service=turn and /?service=turn"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(newICE(t, test.credentials, ICEServiceOptions{Static: true}), test.target)
			var answer struct{ Error, Field string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			if w.Code != test.status || answer.Field != test.field || !strings.Contains(answer.Error, test.says) {
				t.Errorf("%d %q %q", w.Code, answer.Field, answer.Error)
			}
			if len(answer.Error) > 300 || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d bytes, %v", len(answer.Error), w.Header())
			}
		})
	}
}

func TestICEServiceAdmits(t *testing.T) {
	secret, static := Options{Secrets: []string{"s3cret"}}, Options{Users: []User{alice()}}
	keys := []string{"k1", "k2"}
	for _, test := range []struct {
		name        string
		credentials Options
		options     ICEServiceOptions
		query       string
		header      string
		status      int
	}{
		{"no key", secret, ICEServiceOptions{Keys: keys}, "", "", 401},
		{"wrong key", secret, ICEServiceOptions{Keys: keys}, "&key=k", "", 401},
		{"wrong key before other faults", secret, ICEServiceOptions{Keys: keys}, "&key=k&ttl=x", "", 401},
		{"key", secret, ICEServiceOptions{Keys: keys}, "&key=k1", "", 200},
		{"second key", secret, ICEServiceOptions{Keys: keys}, "", "Authorization: bearer k2", 200},
		{"header before parameter", secret, ICEServiceOptions{Keys: keys}, "&key=k1", "Authorization: Bearer k3", 401},
		{"another scheme", secret, ICEServiceOptions{Keys: keys}, "", "Authorization: Basic k1", 401},
		{"key where none is needed", secret, ICEServiceOptions{}, "&key=x", "", 200},
		{"static not allowed", static, ICEServiceOptions{}, "", "", 403},
		{"static allowed", static, ICEServiceOptions{Static: true}, "", "", 200},
		{"local by address", secret, ICEServiceOptions{Local: true}, "", "Host: [::1]:8088", 200},
		{"local by name", secret, ICEServiceOptions{Local: true}, "", "Host: localhost:8088", 200},
		{"rebound name", secret, ICEServiceOptions{Local: true}, "", "Host: evil.example:8088", 403},
		{"proxied name with a key", secret, ICEServiceOptions{Local: true, Keys: keys}, "&key=k1", "Host: ice.example", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(newICE(t, test.credentials, test.options), "/ice?service=turn"+test.query, test.header)
			if w.Code != test.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (test.status == 401) {
				t.Errorf("WWW-Authenticate: %v", w.Header())
			}
		})
	}
}

// A secrets file that is emptied while the service runs must not open the static users' passwords.
func TestICEServiceFollowsCredentials(t *testing.T) {
	h := newICE(t, Options{Users: []User{alice()}, Secrets: []string{"s3cret"}}, ICEServiceOptions{})
	a := h.(*iceService).auth
	if w := ask(h, "/ice?service=turn"); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	now := *a.current.Load()
	now.secrets = nil
	a.current.Store(&now)
	if w := ask(h, "/ice?service=turn"); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "wonder") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestICEServiceOrigins(t *testing.T) {
	const origin = "https://app.example"
	for _, test := range []struct {
		name    string
		allowed []string
		origin  string
		want    string
	}{
		{"none allowed", nil, origin, ""},
		{"allowed", []string{"https://other.example", origin}, origin, origin},
		{"another one", []string{origin}, "https://evil.example", ""},
		{"all", []string{"*"}, origin, "*"},
		{"no browser", []string{origin}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newICE(t, Options{Secrets: []string{"s"}}, ICEServiceOptions{AllowOrigins: test.allowed, Keys: []string{"k"}})
			for _, method := range []string{http.MethodGet, http.MethodOptions} {
				r := httptest.NewRequest(method, "/ice?service=turn", nil)
				r.Header.Set("Origin", test.origin)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if got := w.Header().Get("Access-Control-Allow-Origin"); got != test.want {
					t.Errorf("%s: %q", method, got)
				}
				if method == http.MethodOptions && (w.Code != http.StatusNoContent || (w.Header().Get("Access-Control-Allow-Headers") == "Authorization") != (test.want != "")) {
					t.Errorf("preflight: %d %v", w.Code, w.Header())
				}
			}
		})
	}
}

func TestICEServiceMethods(t *testing.T) {
	h := newICE(t, Options{Secrets: []string{"s"}}, ICEServiceOptions{})
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "OPTIONS": 204, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/ice?service=turn", nil))
		if w.Code != want || want == 405 && w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
}

// 10,000 requests at once are all answered, and another source does not notice them.
func TestICEServiceUnderLoad(t *testing.T) {
	const requests, rate = 10_000, 100
	h := newICE(t, Options{Secrets: []string{"s"}}, ICEServiceOptions{Rate: rate, Keys: nil})
	var mu sync.Mutex
	answers := map[int]int{}
	var running sync.WaitGroup
	for i := range requests {
		running.Go(func() {
			w := ask(h, fmt.Sprintf("/ice?service=turn&username=u%d", i))
			mu.Lock()
			defer mu.Unlock()
			answers[w.Code]++
			if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
			}
		})
	}
	running.Wait()
	// Those who come together at the end of the burst may be one too many each.
	ok, burst := answers[http.StatusOK], rate*int(rateBurst.Seconds())
	if ok < burst || ok > burst+runtime.GOMAXPROCS(0) || answers[http.StatusTooManyRequests] != requests-ok {
		t.Errorf("%v", answers)
	}
	r := httptest.NewRequest(http.MethodGet, "/ice?service=turn", nil)
	r.RemoteAddr = "[2001:db8::7]:4711"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("another source: %d %s", w.Code, w.Body)
	}
}

// A right key is not limited, wrong ones are.
func TestICEServiceLimitsGuesses(t *testing.T) {
	h := newICE(t, Options{Secrets: []string{"s"}}, ICEServiceOptions{Rate: 1, Keys: []string{"k"}})
	last := 0
	for range int(rateBurst.Seconds()) + 1 {
		last = ask(h, "/ice?service=turn&key=guess").Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("last guess: %d", last)
	}
	if w := ask(h, "/ice?service=turn&key=k"); w.Code != http.StatusOK {
		t.Errorf("right key: %d", w.Code)
	}
}

func TestSourceOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":          "192.0.2.1/32",
		"[::ffff:192.0.2.1]:80": "192.0.2.1/32",
		"[2001:db8::1]:80":      "2001:db8::/64",
		"[fe80::1%eth0]:80":     "fe80::/64",
		"@":                     "invalid Prefix",
	} {
		if got := sourceOf(&http.Request{RemoteAddr: remote}).String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

func TestICEServiceOptions(t *testing.T) {
	_, err := NewICEService(newTest(t, Options{Secrets: []string{"s"}}), ICEServiceOptions{MaxLifetime: time.Millisecond, Rate: -1, Keys: []string{""}})
	for _, want := range []string{"Listeners is nil", "MaxLifetime 1ms is too short", "Rate -1 is negative", "key 1 is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
