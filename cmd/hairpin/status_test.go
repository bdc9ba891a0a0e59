package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const statusAnswer = `{
 "version": "v1.2.3", "started": "2026-01-01T03:04:05Z", "draining": true, "deadline": "2026-01-02T03:34:05Z", "total": 5,
 "listeners": [
  {"name":"udp://:3478","address":"0.0.0.0:3478","public":"192.0.2.1:3478"},
  {"name":"tcp://[::]:3478","address":"[::]:3478","public":"[2001:db8::1]:3478"}
 ],
 "allocations": [
  {"id":3,"user":"alice","listener":"udp://:3478","client":"198.51.100.1:40000","relay":"192.0.2.1:50000",
   "created":"2026-01-02T03:00:00Z","expires":"2026-01-02T03:14:05.5Z",
   "permissions":[{"peer":"192.0.2.1"},{"peer":"192.0.2.2"}],"channels":[{"number":"0x4000","peer":"192.0.2.1:50001"}],
   "counters":{"client_in":{"packets":1200,"bytes":240000},"client_out":{"packets":1100,"bytes":1220000}},
   "dropped":{"client_in":3,"peer_in":4}},
  {"id":7,"user":"1800000000:b\u001b[2J","listener":"tcp://[::]:3478","client":"[2001:db8::7]:40000","relay":"192.0.2.1:50001","additional_relay":"[2001:db8::1]:50001",
   "created":"2026-01-02T03:04:00Z","expires":"2026-01-02T03:03:00Z",
   "permissions":[],"channels":[],
   "counters":{"client_out":{"packets":1,"bytes":999}},
   "dropped":{}}
 ]}`

const statusTable = `hairpin v1.2.3, up 24h0m0s, 5 allocations

draining: no new allocations; what is left ends in 30m0s at the latest

LISTENER         ADDRESS       PUBLIC ADDRESS
udp://:3478      0.0.0.0:3478  192.0.2.1:3478
tcp://[::]:3478  [::]:3478     [2001:db8::1]:3478

ID  USER                   CLIENT               LISTENER         RELAYED ADDRESS                      AGE   EXPIRES IN  PEERS  CHANNELS  FROM CLIENT      TO CLIENT      DROPPED
3   alice                  198.51.100.1:40000   udp://:3478      192.0.2.1:50000                      4m5s  10m0s       2      1         1200 / 240.0 kB  1100 / 1.2 MB  7
7   "1800000000:b\x1b[2J"  [2001:db8::7]:40000  tcp://[::]:3478  192.0.2.1:50001 [2001:db8::1]:50001  5s    0s          0      0         0 / 0 B          1 / 999 B      0
and 3 more; --limit shows them
`

func TestStatusTable(t *testing.T) {
	var out strings.Builder
	if err := showTable(&out, []byte(statusAnswer), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if out.String() != statusTable {
		t.Errorf("got\n%s\nwant\n%s", out.String(), statusTable)
	}
}

// adminStandIn answers as an admin address with a token does.
func adminStandIn(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz":
		case r.Header.Get("Authorization") != "Bearer token":
			http.Error(w, "", http.StatusUnauthorized)
		case r.URL.RequestURI() == "/allocations?limit=1000":
			w.Write([]byte(`{"started":"0001-01-01T00:00:00Z","listeners":[],"allocations":[]}`))
		default:
			http.Error(w, "what is wrong and what to do", http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestStatus(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "token", "token\n")
	admin := adminStandIn(t)
	write(t, "hairpin.yaml", "admin: "+admin+"\nadmin-token-file: token\n")
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	answer := `{"started":"0001-01-01T00:00:00Z","listeners":[],"allocations":[]}` + "\n"
	for _, test := range []struct {
		name, line     string
		code           int
		stdout, stderr string
	}{
		{"by argument", admin + " --admin-token token --json", exitGood, answer, ""},
		{"by flag", "--admin " + admin + " --admin-token token --json", exitGood, answer, ""},
		{"by file", "--config hairpin.yaml --json", exitGood, answer, ""},
		{"alive", "--admin " + admin + " --health", exitGood, "", ""},
		{"no token", admin, exitRuntime, "", admin + " wants its token; give --admin-token or --admin-token-file, as the server has it\n"},
		{"refused", admin + " --admin-token token --limit 7", exitRuntime, "", admin + " refuses (403 Forbidden): what is wrong and what to do\n"},
		{"negative", admin + " --limit -1", exitUsage, "", "--limit: -1 is negative; write 0 or more\n"},
		{"nobody there", "--admin " + dead.Addr().String(), exitRuntime, "", dead.Addr().String() + " does not answer: connection refused; is the server running, and is this its --admin address?\n"},
		{"not alive", "--health --admin " + dead.Addr().String(), exitRuntime, "", dead.Addr().String() + " does not answer: connection refused; is the server running, and is this its --admin address?\n"},
		{"off", "--admin off", exitUsage, "", "--admin: the admin address is off; name the server's as HOST:PORT\n"},
		{"wrong argument", "localhost", exitUsage, "", "localhost: is not HOST:PORT; write for example 127.0.0.1:9478\n"},
		{"two arguments", "a:1 b:2 --interval 0s", exitUsage, "", "b:2: is a second address; name one server\n--interval: 0s is no time; write for example 2s\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			hairpin(t, append([]string{"status"}, strings.Fields(test.line)...)...).want(t, test.code, test.stdout, test.stderr)
		})
	}
}

func TestStatusEnvironment(t *testing.T) {
	admin := adminStandIn(t)
	clearEnvironment(t)
	t.Setenv("HAIRPIN_ADMIN", admin)
	t.Setenv("HAIRPIN_STATUS_HEALTH", "true")
	hairpinHere("status").want(t, exitGood, "", "")
}

// Where the server listens on every address, loopback is asked.
func TestAdminTarget(t *testing.T) {
	for admin, want := range map[string]string{
		"127.0.0.1:9478": "127.0.0.1:9478",
		":9478":          "localhost:9478",
		"0.0.0.0:9478":   "127.0.0.1:9478",
		"[::]:9478":      "localhost:9478",
		"[::1]:9478":     "[::1]:9478",
	} {
		var s Settings
		if err := parseHTTPAddress(&s.Admin, value{text: admin}, "127.0.0.1:9478"); err != nil {
			t.Fatal(err)
		}
		if got, found := s.adminTarget(""); got != want || found != nil {
			t.Errorf("%s: %q %v, want %q", admin, got, found, want)
		}
	}
}

func TestStatusOfSomethingElse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) }))
	defer server.Close()
	got := hairpin(t, "status", server.Listener.Addr().String())
	if got.code != exitRuntime || !strings.HasPrefix(got.stderr, "the answer is not the JSON of a hairpin server: ") {
		t.Errorf("%+v", got)
	}
}
