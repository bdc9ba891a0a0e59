package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hairpin-turn/hairpin/metrics"
)

const sessionsTable = `ID  USER                   CLIENT               LISTENER         RELAYED ADDRESS                      AGE   EXPIRES IN  FROM CLIENT      TO CLIENT      DROPPED  LOSS   JITTER
3   alice                  198.51.100.1:40000   udp://:3478      192.0.2.1:50000                      4m5s  10m0s       1200 / 240.0 kB  1100 / 1.2 MB  7        5.0 %  3.9 ms
7   "1800000000:b\x1b[2J"  [2001:db8::7]:40000  tcp://[::]:3478  192.0.2.1:50001 [2001:db8::1]:50001  5s    0s          0 / 0 B          1 / 999 B      0
`

var sessionsNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sessionsReport is the answer of the status test, with streams.
func sessionsReport(t *testing.T) *metrics.Status {
	t.Helper()
	report, err := readStatus([]byte(statusAnswer))
	if err != nil {
		t.Fatal(err)
	}
	jitter, less := 3.9, 1.0
	report.Allocations[0].Streams = []metrics.Stream{{Loss: 0.05, MeanJitter: &less}, {Loss: 0.01, MeanJitter: &jitter}, {}}
	return report
}

func TestSessionTable(t *testing.T) {
	var out strings.Builder
	writeColumns(&out, sessionTable(rowsOf(sessionsReport(t).Allocations), listedColumns, listedName, sessionsNow))
	if out.String() != sessionsTable {
		t.Errorf("got\n%s\nwant\n%s", out.String(), sessionsTable)
	}
}

// The connections of TCP allocations have a table of their own.
func TestConnectionTable(t *testing.T) {
	report := sessionsReport(t)
	if rows := connectionTable(report, sessionsNow); len(rows) != 1 {
		t.Errorf("without any: %q", rows[1:])
	}
	a := &report.Allocations[0]
	a.RelayTransport = "tcp"
	a.Connections = []metrics.Connection{
		{Peer: netip.MustParseAddrPort("192.0.2.1:50001"), State: "joined", Since: sessionsNow.Add(-time.Minute), BytesIn: 1200, BytesOut: 7},
		{Peer: netip.MustParseAddrPort("[2001:db8::9]:80"), State: "pending", Since: sessionsNow},
	}
	var out strings.Builder
	writeColumns(&out, connectionTable(report, sessionsNow))
	const want = `ID  PEER              CONNECTION  AGE   FROM CLIENT  TO CLIENT
3   192.0.2.1:50001   joined      1m0s  1.2 kB       7 B
3   [2001:db8::9]:80  pending     0s    0 B          0 B
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if rows := sessionTable(rowsOf(report.Allocations), listedColumns, listedName, sessionsNow); rows[1][4] != "192.0.2.1:50000/tcp" {
		t.Errorf("its relayed address is spelled %q", rows[1][4])
	}
}

// Names that others choose leave the columns behind them where they can be read.
func TestNamesInTables(t *testing.T) {
	for _, test := range []struct {
		name string
		most int
		want string
	}{
		{"alice", 5, "alice"}, {"alice", 4, "ali…"}, {strings.Repeat("x", 508), 32, strings.Repeat("x", 31) + "…"},
		{"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"},
		{"\x1b[2J\u009b", 99, `"\x1b[2J\u009b"`}, {"\u202eevil", 99, `"\u202eevil"`}, {"a\nb", 99, `"a\nb"`}, {"\xff", 99, `"\xff"`}, {strings.Repeat("\x1b", 99), 6, `"\x1b…`},
	} {
		if got := nameIn(test.name, test.most); got != test.want {
			t.Errorf("%q in %d cells is %q, want %q", test.name, test.most, got, test.want)
		}
	}
	var out strings.Builder
	writeColumns(&out, [][]string{{"日本", "a"}, {"x", "b"}})
	if out.String() != "日本  a\nx     b\n" {
		t.Errorf("%q", out.String())
	}
}

func TestInPlace(t *testing.T) {
	for _, test := range []struct {
		name, page     string
		columns, lines int
		want           string
	}{
		{"fits", "ab\ncd\n", 2, 2, "\x1b[Hab\x1b[K\r\ncd\x1b[K\x1b[J"},
		{"too wide", "abc\n", 2, 9, "\x1b[Ha…\x1b[K\x1b[J"},
		{"too long", "a\nb\nc\n", 99, 2, "\x1b[Ha\x1b[K\r\n… 2 more lines\x1b[K\x1b[J"},
		{"of unknown size", "abc\nd\n", 0, 0, "\x1b[Habc\x1b[K\r\nd\x1b[K\x1b[J"},
	} {
		if got := string(inPlace(test.page, test.columns, test.lines)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSessions(t *testing.T) {
	t.Chdir(t.TempDir())
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		switch {
		case r.URL.Path == "/end" && r.URL.Query().Get("id") == "7":
			w.Write([]byte(`{"allocation":7}`))
		case r.URL.Path == "/end":
			http.Error(w, "there is no such allocation", http.StatusNotFound)
		default:
			json.NewEncoder(w).Encode(metrics.Status{Total: 2})
		}
	}))
	defer server.Close()
	admin := server.Listener.Addr().String()
	for _, test := range []struct {
		name, line     string
		code           int
		stdout, stderr string
		asks           string
	}{
		{"by argument", admin, exitGood, "none\n", "", "GET /allocations?limit=1000 "},
		{"of a user", "--user a&b --limit 5 " + admin, exitGood, "none\n", "", "GET /allocations?limit=5&user=a%26b "},
		{"end", "end 7 " + admin + " --admin-token token", exitGood, "allocation 7 is over\n", "", "POST /end?id=7 Bearer token"},
		{"end by flag", "end 7 --admin " + admin, exitGood, "allocation 7 is over\n", "", "POST /end?id=7 "},
		{"end nobody", "end 8 " + admin, exitRuntime, "", admin + " refuses (404 Not Found): there is no such allocation\n", "POST /end?id=8 "},
		{"end nothing", "end", exitUsage, "", "ID: \"\" is not the ID of an allocation; \"hairpin sessions\" lists them\n", ""},
		{"end a name", "end alice", exitUsage, "", "ID: \"alice\" is not the ID of an allocation; \"hairpin sessions\" lists them\n", ""},
		{"end at two", "end 7 a:1 b:2", exitUsage, "", "b:2: is a second address; name one server\n", ""},
		{"no address", "ends", exitUsage, "", "ends: is not HOST:PORT; write for example 127.0.0.1:9478\n", ""},
		{"unknown flag", "--users a", exitUsage, "", "--users: is not a flag of \"hairpin sessions\"; did you mean --user?\n", ""},
		{"negative", admin + " --limit -1", exitUsage, "", "--limit: -1 is negative; write 0 or more\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked = nil
			hairpin(t, append([]string{"sessions"}, strings.Fields(test.line)...)...).want(t, test.code, test.stdout, test.stderr)
			if got := strings.Join(asked, ";"); got != test.asks {
				t.Errorf("asked %q, want %q", got, test.asks)
			}
		})
	}
}

// watchedServer answers what --watch asks for.
func watchedServer(asked *[]string) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		*asked = append(*asked, path)
		if len(*asked) > 4 {
			return nil, context.DeadlineExceeded
		}
		if strings.HasPrefix(path, "/table") {
			return []byte(`{"total":5000,"rows":[{"id":4999,"user":"` + strings.Repeat("n", 99) + `","in":2e6,"out":1000,"loss":0.05}]}`), nil
		}
		return []byte(`{"version":"v1","total":5000}`), nil
	}
}

// Where nobody redraws, the answers follow each other, and the first fault ends it. The busiest are the server's to find.
func TestWatchElsewhere(t *testing.T) {
	var out strings.Builder
	var asked []string
	w := &watching{out: &out, interval: time.Millisecond}
	err := w.run(context.Background(), watchedServer(&asked), 1000)
	if err != context.DeadlineExceeded || strings.Count(out.String(), "hairpin v1") != 2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%v, wrote %q", err, out.String())
	}
	if strings.Join(asked[:2], " ") != "/allocations?limit=0 /table?sort=traffic&limit=200" {
		t.Errorf("asked for %q", asked)
	}
	lines := strings.Split(out.String(), "\n")
	if got := strings.Join(strings.Fields(lines[3]), " "); got != "4999 "+strings.Repeat("n", 31)+"… 2.0 Mbit/s 1 kbit/s 5.0 % 0 "+strings.Join(strings.Fields(lines[3])[9:], " ") {
		t.Errorf("%q", got)
	}
	if lines[4] != "and 4999 more that are less busy" {
		t.Errorf("%q", lines[4])
	}
}
