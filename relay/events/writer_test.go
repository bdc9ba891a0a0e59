package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/pion/logging"
)

// log keeps what a Writer says.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "\n")
}

func (l *log) options(target string, queue int) Options {
	f := logging.DefaultLoggerFactory{Writer: l, DefaultLogLevel: logging.LogLevelInfo, ScopeLevels: map[string]logging.LogLevel{}}
	return Options{Target: target, Queue: queue, Log: f.NewLogger("events"), Instance: "a"}
}

// fake is a sink that does what a test says.
type fake struct {
	mu      sync.Mutex
	text    bytes.Buffer
	answer  func(lines []byte) (int, error) // nil: takes all
	closed  bool
	writes  int
	blocked chan struct{} // not nil: writes wait for it
}

func (f *fake) write(ctx context.Context, lines []byte) (int, error) {
	if f.blocked != nil {
		<-f.blocked
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	n, err := len(lines), error(nil)
	if ctx.Err() != nil {
		n, err = 0, ctx.Err()
	} else if f.answer != nil {
		n, err = f.answer(lines)
	}
	f.text.Write(lines[:n])
	return n, err
}

func (f *fake) reopen() error { f.text.Reset(); return nil }
func (f *fake) close() error  { f.closed = true; return nil }

// read returns the events in what was written, each by its type and allocation, "lost" with how many are missing.
func read(t *testing.T, text string) (all []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Type == Lost {
			all = append(all, fmt.Sprint("lost ", e.Missing))
		} else {
			all = append(all, fmt.Sprint(e.Type, " ", e.Allocation))
		}
	}
	return all
}

func expect(t *testing.T, text string, want ...string) {
	t.Helper()
	if got := strings.Join(read(t, text), ", "); got != strings.Join(want, ", ") {
		t.Errorf("the stream says %s, want %s", got, strings.Join(want, ", "))
	}
}

func birth(id uint64) *Event { return &Event{Type: Birth, Allocation: id} }

func TestLines(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	var counted quality.Counts
	counted[quality.KindRTP], counted[quality.KindDTLS] = 2, 1
	seen := quality.Snapshot{Packets: counted, RTCP: quality.RTCPCounts{quality.RTCPSenderReport: 3}, Streams: []quality.Stream{
		{SSRC: 7, PayloadType: 111, Packets: 99, Bytes: 9900, Expected: 100, Lost: 1, ClockRate: 48000, MeanJitter: 1500 * time.Microsecond,
			LongestGap: time.Second, Stalls: 1, Stalled: time.Second, First: 0, Last: 5e9},
		{SSRC: 8},
	}}
	wall := func(n int64) time.Time { return at.Add(time.Duration(n)) }
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{Type: Birth, Time: at, Allocation: 5, User: "a\n</script>\xff", Listener: "udp://:3478", Transport: "udp",
			Client: netip.MustParseAddrPort("[::1]:5"), Server: netip.MustParseAddrPort("[::1]:3478"), Relay: netip.MustParseAddrPort("192.0.2.1:6"), RelayTransport: "tcp"},
			`{"instance":"a","number":1,"type":"birth","time":"2026-01-02T03:04:05.000006Z","allocation":5,"user":"a\n\u003c/script\u003e\ufffd",` +
				`"listener":"udp://:3478","transport":"udp","client":"[::1]:5","server":"[::1]:3478","relay":"192.0.2.1:6","relay_transport":"tcp"}`},
		{Event{Type: Refusal, Time: at, Method: "allocate", Code: 486, Reason: "quota"},
			`{"instance":"a","number":1,"type":"refusal","time":"2026-01-02T03:04:05.000006Z","method":"allocate","code":486,"reason":"quota"}`},
		{Event{Type: Move, Time: at, Allocation: 5, Relay: netip.MustParseAddrPort("192.0.2.1:6"), AdditionalRelay: netip.MustParseAddrPort("[2001:db8::1]:6"), Moves: 1,
			Earlier: []Place{{"udp", netip.MustParseAddrPort("[::1]:5"), netip.MustParseAddrPort("[::1]:3478")}}},
			`{"instance":"a","number":1,"type":"move","time":"2026-01-02T03:04:05.000006Z","allocation":5,"relay":"192.0.2.1:6","additional_relay":"[2001:db8::1]:6",` +
				`"moves":1,"earlier":[{"transport":"udp","client":"[::1]:5","server":"[::1]:3478"}]}`},
		{Event{Type: Death, Time: at, Allocation: 5, Why: "expired", Duration: 1.5,
			Traffic: &Traffic{FromClient: Count{1, 2}}, Quality: &Directed{FromClient: MediaOf(&seen, wall)}},
			`{"instance":"a","number":1,"type":"death","time":"2026-01-02T03:04:05.000006Z","allocation":5,"why":"expired","duration":1.5,` +
				`"traffic":{"from_client":{"packets":1,"bytes":2},"to_client":{"packets":0,"bytes":0},` +
				`"from_client_dropped":{"packets":0,"bytes":0},"to_client_dropped":{"packets":0,"bytes":0}},` +
				`"quality":{"from_client":{"packets":{"dtls":1,"rtp":2},"rtcp":{"sr":3},"streams":[` +
				`{"ssrc":7,"payload_type":111,"packets":99,"bytes":9900,"expected":100,"lost":1,"loss":0.01,"duplicates":0,"reordered":0,` +
				`"longest_loss":0,"inferred_clock_rate":48000,"jitter_ms":1.5,"longest_gap_ms":1000,"stalls":1,"stalled_ms":1000,` +
				`"first":"2026-01-02T03:04:05.000006Z","last":"2026-01-02T03:04:10.000006Z"},` +
				`{"ssrc":8,"payload_type":0,"packets":0,"bytes":0,"expected":0,"lost":0,"loss":0,"duplicates":0,"reordered":0,` +
				`"longest_loss":0,"inferred_clock_rate":0,"longest_gap_ms":0,"stalls":0,"stalled_ms":0,` +
				`"first":"2026-01-02T03:04:05.000006Z","last":"2026-01-02T03:04:05.000006Z"}]}}}`},
	} {
		var out bytes.Buffer
		l := &log{}
		o := l.options("stdout", 0)
		o.Stdout = &out
		w, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		w.Emit(&c.event)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ended); err != nil {
			t.Error(err)
		}
		if out.String() != c.want+"\n" {
			t.Errorf("line\n\t%s\nwant\n\t%s", out.String(), c.want)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"", filepath.Join(t.TempDir(), "no", "such"), t.TempDir(), "ftp://example.org/x", "https://", "http://u:secret@[::1/",
	} {
		w, err := New((&log{}).options(target, 0))
		if err == nil || w != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", target, err)
		}
	}
	if _, err := New((&log{}).options("stdout", -1)); err == nil {
		t.Error("a queue of -1 events")
	}
}

// A full queue loses events in front of nobody's wait, refusals first, and the stream says how many.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{blocked: make(chan struct{})}
		o := (&log{}).options("", 4)
		w := newWriter(&o, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		w.Emit(birth(1))
		synctest.Wait() // 1 is being written
		var taken []bool
		for id := range uint64(4) {
			taken = append(taken, w.Emit(&Event{Type: []Type{Refusal, Move}[id%2], Allocation: 2 + id}))
		}
		for id := range uint64(3) {
			taken = append(taken, w.Emit(birth(6+id)))
		}
		if fmt.Sprint(taken) != "[true true false false true true false]" || w.Counts() != (Counts{Full: 3, Waiting: 4}) {
			t.Errorf("taken %v, %+v", taken, w.Counts())
		}
		close(f.blocked)
		synctest.Wait()
		w.Emit(birth(9))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !f.closed {
			t.Errorf("%v, closed: %v", err, f.closed)
		}
		expect(t, f.text.String(), "birth 1", "lost 3", "refusal 2", "move 3", "birth 6", "birth 7", "birth 9")
		if w.Counts() != (Counts{Written: 6, Full: 3}) || w.Emit(birth(10)) {
			t.Errorf("%+v", w.Counts())
		}
	})
}

func TestFailingTarget(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		answer func(began time.Time, lines []byte) (int, error)
		want   []string
		counts Counts
		writes int // attempts for the first batch
		logged int
	}{
		{"for a moment", func(began time.Time, lines []byte) (int, error) {
			if time.Since(began) < 3*time.Second {
				return 0, broken
			}
			return len(lines), nil
		}, []string{"birth 1", "birth 2"}, Counts{Written: 2}, 5, 2},
		{"for too long", func(began time.Time, lines []byte) (int, error) {
			if time.Since(began) < 70*time.Second {
				return 0, broken
			}
			return len(lines), nil
		}, []string{"lost 1", "birth 2"}, Counts{Written: 1, Failed: 1}, 12, 2},
		{"for good", func(_ time.Time, lines []byte) (int, error) {
			if bytes.Contains(lines, []byte(`"allocation":1`)) {
				return 0, fmt.Errorf("no: %w", errRefused)
			}
			return len(lines), nil
		}, []string{"lost 1", "birth 2"}, Counts{Written: 1, Failed: 1}, 1, 2},
		{"in the middle of a line", func(began time.Time, lines []byte) (int, error) {
			if time.Since(began) < time.Second {
				return min(5, len(lines)), broken
			}
			return len(lines), nil
		}, []string{"birth 1", "birth 2"}, Counts{Written: 2}, 4, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := &fake{answer: func(lines []byte) (int, error) { return c.answer(began, lines) }}
				l := &log{}
				o := l.options("", 0)
				w := newWriter(&o, f)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- w.Run(ctx) }()
				w.Emit(birth(1))
				time.Sleep(90 * time.Second)
				synctest.Wait()
				first := f.writes
				w.Emit(birth(2))
				synctest.Wait()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				expect(t, f.text.String(), c.want...)
				if w.Counts() != c.counts || first != c.writes || l.lines() != c.logged {
					t.Errorf("%+v after %d attempts, %d lines of log", w.Counts(), first, l.lines())
				}
			})
		})
	}
}

// Who brings about refusals or moves as fast as packets come hides neither others' nor what is billed, and fills no disk.
func TestFloods(t *testing.T) {
	for _, kind := range []Type{Refusal, Move} {
		t.Run(string(kind), func(t *testing.T) { testFlood(t, kind) })
	}
}

func testFlood(t *testing.T, kind Type) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		o := (&log{}).options("", 0)
		w := newWriter(&o, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		one := func(last byte) *Event {
			return &Event{Type: kind, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 7)}
		}
		taken := 0
		for range 100 { // a minute and 40 seconds
			for range 1000 {
				if w.Emit(one(1)) {
					taken++
				}
			}
			time.Sleep(time.Second)
		}
		if want := sourceEvents * 110; taken < want-sourceEvents || taken > want {
			t.Errorf("one source has %d lines, want about %d", taken, want)
		}
		if !w.Emit(one(2)) || !w.Emit(birth(1)) {
			t.Error("another's or a birth is lost")
		}
		all := 0
		for range 10 {
			for source := range 200 {
				if w.Emit(one(byte(source))) {
					all++
				}
			}
		}
		if want := allEvents * int(eventsBurst/time.Second); all > want || all < want/2 {
			t.Errorf("all have %d lines at once, want %d at most", all, want)
		}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		lines := uint64(taken + 2 + all)
		if n := w.Counts(); n.Written != lines || n.ExcessRefusals+n.ExcessMoves != 100*1000+2+2000-lines {
			t.Errorf("%+v, %d lines", n, lines)
		} else if (n.ExcessRefusals > 0) != (kind == Refusal) || (n.ExcessMoves > 0) != (kind == Move) {
			t.Errorf("%+v after %ss", n, kind)
		}
		if !strings.Contains(f.text.String(), `"type":"lost"`) {
			t.Error("nobody is told that there is more")
		}
	})
}

// Who is refused chooses the name, which whoever reads the stream in a terminal is not to suffer from.
func TestHostileNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"\u009b2J", "\x1b[2J\a", "a\nb\r", "\u202eb", "\x7f\b", "\U000e0041", "日本 é", "<b>\"'", "\xff\u2028"}
		f := &fake{}
		o := (&log{}).options("", 0)
		w := newWriter(&o, f)
		for _, name := range names {
			w.Emit(&Event{Type: Refusal, User: name})
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ended); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(f.text.String(), "\n"), "\n")
		if len(lines) != len(names) {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		for i, line := range lines {
			var e Event
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.User != strings.ToValidUTF8(names[i], "\uFFFD") {
				t.Errorf("%q became %q: %v", names[i], e.User, err)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", line)
			}
		}
	})
}

// What a target is judged by, and what is left of it where it is shown.
func TestSpelledTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target, shown string
		good          bool
	}{
		{"stdout", "stdout", true}, {"/a/b?c", "/a/b?c", true}, {"https://a:1/", "https://a:1/", true}, {"http://a", "http://a", true},
		{"https://u:p@a/b?k=s", "https://a/*", true}, {"https://u@a", "https://a/*", true}, {"https://a/T0/SECRET", "https://a/*", true}, {"https://a?k", "https://a/*", true},
		{"ftp://u:p@a", "*", false}, {"http://", "*", false}, {"http://u:p@[::1", "*", false},
	} {
		if err := Check(c.target); (err == nil) != c.good || err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", c.target, err)
		}
		if shown := Hide(c.target, "*"); shown != c.shown {
			t.Errorf("%s is shown as %s", c.target, shown)
		}
	}
}

// A batch that is given up within a line leaves a line that cannot be read, and only that.
func TestTornLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := true
		f := &fake{answer: func(lines []byte) (int, error) {
			if full && bytes.HasPrefix(lines, []byte("{")) {
				return 5, errors.New("disk full")
			} else if full {
				return 0, errors.New("disk full")
			}
			return len(lines), nil
		}}
		o := (&log{}).options("", 0)
		w := newWriter(&o, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		for id := range uint64(2) {
			w.Emit(birth(1 + id))
			time.Sleep(90 * time.Second)
		}
		f.mu.Lock()
		full = false
		f.mu.Unlock()
		w.Emit(birth(3))
		synctest.Wait()
		cancel()
		<-done
		torn, rest, _ := strings.Cut(f.text.String(), "\n")
		if json.Valid([]byte(torn)) {
			t.Errorf("%q", torn)
		}
		expect(t, rest, "lost 2", "birth 3")
		if w.Counts() != (Counts{Written: 1, Failed: 2}) {
			t.Errorf("%+v", w.Counts())
		}
	})
}

// A file that is full within a line and moved away leaves the whole line to the next.
func TestReopenWithinALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.answer = func(lines []byte) (int, error) {
			switch f.writes {
			case 1:
				return bytes.IndexByte(lines, '\n') + 6, errors.New("disk full")
			case 2:
				return 0, errors.New("disk full")
			}
			return len(lines), nil
		}
		o := (&log{}).options("", 0)
		w := newWriter(&o, f)
		w.Emit(birth(1))
		w.Emit(birth(2))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(firstWait + 1)
		w.Reopen()
		synctest.Wait()
		cancel()
		<-done
		expect(t, f.text.String(), "birth 2")
		if w.Counts() != (Counts{Written: 2}) {
			t.Errorf("%+v", w.Counts())
		}
	})
}

// A target that hangs keeps neither those who emit nor the end of the process.
func TestDeadTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{blocked: make(chan struct{})}
		o := (&log{}).options("", 100)
		w := newWriter(&o, f)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		w.Emit(birth(0))
		synctest.Wait()
		began := time.Now()
		for id := range uint64(150) {
			w.Emit(birth(id))
		}
		cancel()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "100 are left") || time.Since(began) != grace+time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		close(f.blocked) // the bubble has no dead disks
		synctest.Wait()
		if n := w.Counts(); n.Full != 50 || n.Failed != 101 {
			t.Errorf("%+v", n)
		}
	})
}

func TestShutdownWritesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		o := (&log{}).options("", 10_000)
		w := newWriter(&o, f)
		for id := range uint64(10_000) {
			w.Emit(birth(id))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ended); err != nil || w.Counts() != (Counts{Written: 10_000}) {
			t.Errorf("%v, %+v", err, w.Counts())
		}
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(path, []byte("{\"type\":\"birth\",\"allocation\":1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := New((&log{}).options(path, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Emit(birth(2))
	written(t, w, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	w.Reopen()
	for {
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	w.Emit(birth(3))
	written(t, w, 2)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for name, want := range map[string][]string{path + ".1": {"birth 1", "birth 2"}, path: {"birth 3"}} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, string(text), want...)
	}
}

// A file that cannot be opened anew leaves the one in use.
func TestReopenFails(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	f := &file{path: filepath.Join(directory, "events")}
	if err := f.reopen(); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	before := f.File
	f.path = filepath.Join(directory, "no", "such")
	if err := f.reopen(); err == nil || f.File != before {
		t.Errorf("%v", err)
	}
	if n, err := f.write(t.Context(), []byte("x\n")); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// written waits until so many events are.
func written(t *testing.T, w *Writer, n uint64) {
	t.Helper()
	for w.Counts().Written < n {
		if t.Context().Err() != nil {
			t.Fatalf("%+v", w.Counts())
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got bytes.Buffer
	attempts := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events", func(answer http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		attempts++
		user, password, _ := r.BasicAuth()
		switch {
		case user != "u" || password != "secret" || r.Header.Get("Content-Type") != "application/x-ndjson":
			answer.WriteHeader(http.StatusForbidden)
		case attempts == 1:
			answer.WriteHeader(http.StatusServiceUnavailable)
		default:
			if _, err := io.Copy(&got, r.Body); err != nil {
				t.Error(err)
			}
			answer.WriteHeader(http.StatusNoContent)
		}
	})
	listening := httptest.NewServer(mux)
	defer listening.Close()
	w, err := New((&log{}).options(strings.Replace(listening.URL, "://", "://u:secret@", 1)+"/events", 0))
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(3) {
		w.Emit(birth(id))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ended); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	expect(t, got.String(), "birth 0", "birth 1", "birth 2")
	if attempts != 2 || w.Counts() != (Counts{Written: 3}) {
		t.Errorf("%d attempts, %+v", attempts, w.Counts())
	}
}

func TestServersAnswers(t *testing.T) {
	t.Parallel()
	listening := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		answer.Header().Set("Location", "/200")
		answer.WriteHeader(code)
	}))
	gone := httptest.NewServer(nil)
	gone.Close()
	defer listening.Close()
	for _, c := range []struct {
		url     string
		taken   bool
		refused bool
	}{
		{listening.URL + "/200", true, false}, {listening.URL + "/202", true, false}, {listening.URL + "/204", true, false},
		{listening.URL + "/307", false, true}, {listening.URL + "/400", false, true}, {listening.URL + "/401", false, true},
		{listening.URL + "/413", false, true}, {listening.URL + "/408", false, false}, {listening.URL + "/429", false, false},
		{listening.URL + "/500", false, false}, {listening.URL + "/503", false, false}, {gone.URL, false, false},
	} {
		s, err := newServer(c.url + "?token=secret")
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.write(t.Context(), []byte("{}\n"))
		if (n == 3) != c.taken || (err == nil) != c.taken || errors.Is(err, errRefused) != c.refused {
			t.Errorf("%s: %d, %v", c.url, n, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("a secret is told: %v", err)
		}
		s.close()
	}
}
