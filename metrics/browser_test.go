package metrics

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/tcp"
)

// The page in a browser: with 5,000 allocations, names that try to break out, both themes, the keyboard, and actions.

const (
	patience  = 30 * time.Second
	artifacts = "../artifacts/page" // where pictures go; git ignores it
	crowd     = 5000
	dualOne   = 2 // the ID of one with two relayed addresses
	tcpOne    = 4 // that of a TCP allocation
)

// busyRelay is a Source whose allocations are at work.
type busyRelay struct {
	*fake
	began time.Time

	mu    sync.Mutex
	ended map[uint64]bool
}

func newBusyRelay(t *testing.T) *busyRelay {
	users := make([]string, crowd)
	for i := range users {
		users[i] = fmt.Sprintf("user-%04d", i)
		if i < len(hostile) {
			users[i] = hostile[i]
		}
	}
	b := &busyRelay{fake: newFake(users...), began: time.Now(), ended: map[uint64]bool{}}
	b.snapshot.Started = b.began.Add(-50 * time.Hour)
	b.prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	b.peers = peers.LoopOnly()
	for i := range b.allocations {
		a := &b.allocations[i]
		a.Created, a.Expires = b.began.Add(-time.Duration(i)*time.Second), b.began.Add(10*time.Minute)
		if i < 20 {
			a.UpMedia = new(quality.Tracker)
			for n := range 2000 { // of 20 ms; every (i+10)th is lost
				if n%(i+10) != 5 {
					a.UpMedia.Observe(rtp(uint32(1000+i), uint16(n)), int64(n)*int64(20*time.Millisecond))
				}
			}
			a.Read = allocation.Time(2000 * 20 * time.Millisecond)
		}
	}
	// The third one's peer is the one with the long name.
	b.allocations[2].Channels = []*allocation.Channel{{Number: 0x4002, Peer: b.allocations[len(hostile)-1].Relayed}}
	twoFamilies, overTCP := &b.allocations[dualOne-1], &b.allocations[tcpOne-1]
	twoFamilies.Additional = netip.MustParseAddrPort("[2001:db8::2]:50001")
	twoFamilies.Moves, twoFamilies.Earlier = 2, []relay.Place{
		{Transport: "udp", Client: netip.MustParseAddrPort("203.0.113.4:61000"), Server: netip.MustParseAddrPort("192.0.2.1:3478")},
		{Transport: "udp", Client: netip.MustParseAddrPort("[2001:db8:4::1]:7"), Server: netip.MustParseAddrPort("[2001:db8::1]:3478")},
	}
	overTCP.Transport, overTCP.RelayTransport, overTCP.Channels = "tcp", "tcp", nil
	overTCP.Connections = []tcp.Reading{
		{Peer: b.allocations[4].Relayed, Joined: true, Up: 3 << 20, Down: 1200},
		{Peer: netip.MustParseAddrPort("203.0.113.9:443")},
	}
	b.history = map[uint64][]relay.Moment{1: {
		{First: b.began, Last: b.began, Times: 1, What: "created", Detail: "for 10m0s"},
		{First: b.began, Last: b.began.Add(time.Minute), Times: 2, What: "permitted", Detail: "192.0.2.1"},
		{First: b.began, Last: b.began, Times: 1, What: "refused", Detail: "create_permission: 403, the server's rules don't allow this peer (10.0.0.1)"},
	}}
	return b
}

// rtp makes an RTP packet (RFC 3550 §5.1) of 20 ms at 48 kHz.
func rtp(ssrc uint32, sequence uint16) []byte {
	b := make([]byte, 12+80)
	b[0], b[1] = 0x80, 111
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], uint32(sequence)*960)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

func (b *busyRelay) at(a relay.AllocationInfo) relay.AllocationInfo {
	since := uint64(time.Since(b.began) / time.Millisecond)
	a.Counts.Up = allocation.Count{Packets: since / 20, Bytes: since * (5 + a.ID%97)}
	a.Counts.Down = allocation.Count{Packets: since / 20, Bytes: since * (5 + a.ID%89)}
	return a
}

func (b *busyRelay) live() (all []relay.AllocationInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.allocations {
		if !b.ended[a.ID] {
			all = append(all, b.at(a))
		}
	}
	return all
}

func (b *busyRelay) Allocations(_ int, yield func(relay.AllocationInfo) bool) {
	for _, a := range b.live() {
		if !yield(a) {
			return
		}
	}
}

func (b *busyRelay) Allocation(id uint64) (relay.AllocationInfo, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.fake.Allocation(id)
	return b.at(a), ok && !b.ended[id]
}

func (b *busyRelay) End(id uint64) bool {
	_, ok := b.Allocation(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[id] = true
	return ok
}

func (b *busyRelay) Snapshot() relay.Snapshot {
	n := b.fake.Snapshot()
	since := uint64(time.Since(b.began) / time.Millisecond)
	n.Allocations = len(b.live())
	n.Listeners = []relay.ListenerCounts{n.Listeners[0]}
	for d := range n.Listeners[0].Traffic {
		n.Listeners[0].Traffic[d] = allocation.Count{Packets: since * uint64(200+20*d), Bytes: since * uint64(20000+1500*d)}
	}
	n.Dropped = []relay.Count{{Name: "no_peer", Value: since / 50}, {Name: "peer_no_permission", Value: since / 90}, {Name: "malformed"}}
	n.AuthFailures = []relay.Count{{Name: "wrong_password", Value: since / 400}, {Name: "stale_nonce", Value: since / 700}}
	return n
}

// view is a tab with a page.
type view struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // complaints of the page's console
}

// browse starts Chromium for one test.
func browse(t *testing.T) *view {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser is nothing for -short")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no chromium here (Debian: apt-get install chromium), and CI must have it")
		}
		t.Skip("SKIPPED: the status page in a browser: there is no chromium here (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // tests may run as root, in a container
		chromedp.DisableGPU, chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1400, 1000),
	)
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, endBrowser := chromedp.NewContext(allocator)
	v := &view{t: t, ctx: ctx}
	t.Cleanup(func() {
		chromedp.Cancel(ctx)
		endBrowser()
		endAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, v.listen); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *view) listen(e any) {
	var text string
	switch e := e.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description
		}
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprint(e.Type)
		for _, a := range e.Args {
			text += fmt.Sprint(" ", a.Value, a.Description)
		}
	default:
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said = append(v.said, text)
}

func do[T any](v *view, action chromedp.Action[T]) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	if err != nil {
		v.t.Fatal(err)
	}
	return got
}

func (v *view) open(url string) { v.t.Helper(); do(v, chromedp.Navigate(url)) }

// eval runs JavaScript and decodes what it gives.
func (v *view) eval(script string, to any) {
	v.t.Helper()
	text := do(v, chromedp.Evaluate[string]("(async () => JSON.stringify((await ("+script+")) ?? null))()", chromedp.EvalAwaitPromise))
	if err := json.Unmarshal([]byte(text), to); err != nil {
		v.t.Fatalf("%s gave %s", script, text)
	}
}

// until waits for JavaScript to be true.
func (v *view) until(script string) {
	v.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		var is bool
		if v.eval("!!("+script+")", &is); is {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			v.shot("failed")
			v.t.Fatalf("not so after %v: %s; the console says %q", patience, script, v.said)
		}
	}
}

// shot keeps a picture of the page.
func (v *view) shot(name string) {
	v.t.Helper()
	if err := os.MkdirAll(artifacts, 0o755); err != nil {
		v.t.Fatal(err)
	}
	v.until("document.body && document.body.scrollWidth > 0 && document.body.scrollHeight > 0") // laid out
	if err := os.WriteFile(filepath.Join(artifacts, name+".png"), do(v, chromedp.FullScreenshot(100)), 0o644); err != nil {
		v.t.Fatal(err)
	}
}

func (v *view) likes(scheme string) {
	v.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		v.t.Fatal(err)
	}
}

// clean says that the page complained of nothing, and that nobody's script ran.
func (v *view) clean() {
	v.t.Helper()
	var broken bool
	if v.eval("!!globalThis.broken || !!document.querySelector('img, iframe, b[onclick]')", &broken); broken {
		v.t.Error("a name became markup")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.said) > 0 {
		v.t.Errorf("the console says %q", v.said)
	}
}

func TestPageInBrowser(t *testing.T) {
	v := browse(t)
	b := newBusyRelay(t)
	drained := make(chan struct{}, 1)
	h := NewHandler(b, Options{Token: "s3cret", Version: "v1.2.3", Drain: func() { drained <- struct{}{} }})
	server := httptest.NewServer(h)
	defer server.Close()
	defer h.Close()
	url := strings.Replace(server.URL, "http://", "http://admin:s3cret@", 1) + "/"

	v.likes("light")
	v.open(url)
	v.until("document.querySelectorAll('#plots figure').length === 7 && document.getElementById('state').textContent === 'live'")
	v.until("document.querySelectorAll('#plots path')[0].getAttribute('d')?.split('L').length > 4")
	v.until("document.querySelectorAll('#table tbody tr').length === 50 && document.getElementById('matched').textContent === '5\u202f000'")
	v.shot("overview-light")
	v.clean()

	// Sorted on the server, by click; the order is in the address.
	v.eval("document.querySelector('[data-key=loss] a').click()", new(any))
	v.until("document.querySelector('#table tbody td:nth-child(12)').textContent === '10.0 %' && location.search === '?sort=loss'")
	var took float64
	v.eval("(async () => { const t = performance.now(); await (await fetch(at('table?sort=in'))).json(); return performance.now() - t; })()", &took)
	t.Logf("a part of %d rows, sorted anew, takes %.0f ms", crowd, took)

	// Filtered by keyboard alone: / goes to the filter.
	do(v, chromedp.KeyEvent("/"))
	do(v, chromedp.KeyEvent("user-0042"))
	v.until("document.querySelectorAll('#table tbody tr').length === 1 && document.getElementById('matched').textContent.startsWith('1 of')")
	v.until("new URLSearchParams(location.search).get('filter') === 'user-0042'")
	v.likes("dark")
	v.shot("overview-dark-filtered")
	v.clean()

	// Paged.
	v.open(url + "?offset=4990")
	v.until("document.querySelectorAll('#table tbody tr').length === 10 && document.getElementById('back') && !document.getElementById('next')")
	v.eval("document.getElementById('back').click()", new(any))
	v.until("location.search.includes('offset=4940')")
	v.shot("overview-dark")

	// A dual allocation that has moved, and one of TCP: what the script writes is what stood there.
	for id, name := range map[int]string{dualOne: "allocation-dual", tcpOne: "allocation-tcp"} {
		v.open(url + "?id=" + strconv.Itoa(id))
		v.until("document.getElementById('state').textContent === 'live' && document.querySelectorAll('#plots path').length >= 2")
		var is [3]string
		v.eval("['client', 'relayed', 'connections'].map((id) => document.getElementById(id)?.textContent ?? '')", &is)
		for i, want := range map[int][3]string{
			dualOne: {"moved 2×, before at udp 203.0.113.4:61000, udp [2001:db8:4::1]:7)", "192.0.2.1:50001 [2001:db8::2]:50001", ""},
			tcpOne:  {"198.51.100.1:40003", "192.0.2.1:50003/tcp", "203.0.113.9:443pending"},
		}[id] {
			if !strings.Contains(is[i], want) {
				t.Errorf("allocation %d shows %q, want %q", id, is[i], want)
			}
		}
		v.shot(name)
		v.clean()
	}

	// One allocation, whose user's name is hostile.
	v.open(url + "?id=1")
	v.until("document.getElementById('state').textContent === 'live' && document.querySelectorAll('#plots path').length >= 3")
	v.until("document.querySelectorAll('#plots path')[0].getAttribute('d')?.split('L').length > 3")
	v.shot("allocation-dark")
	v.likes("light")
	v.shot("allocation-light")
	var name string
	if v.eval("document.querySelector('#facts bdi').textContent", &name); name != hostile[0] {
		t.Errorf("the name is shown as %q, want %q", name, hostile[0])
	}
	v.clean()

	// On a narrow screen, and with a name of 508 bytes beside the figures, nothing is wider than the page.
	narrow := emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 800, DeviceScaleFactor: 1}
	if _, err := chromedp.Call(v.ctx, emulation.SetDeviceMetricsOverride, narrow); err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]string{"overview-narrow": url, "allocation-narrow": url + "?id=3", "allocation-narrow-history": url + "?id=1"} {
		v.open(page)
		v.until("document.getElementById('state').textContent === 'live' && document.querySelectorAll('#plots path').length >= 3")
		v.shot(name)
		var wide float64
		if v.eval("document.documentElement.scrollWidth", &wide); wide > 390 {
			t.Errorf("%s is %v wide on a screen of 390", name, wide)
		}
		v.clean()
	}
	if _, err := chromedp.Call(v.ctx, emulation.ClearDeviceMetricsOverride, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	v.open(url + "?id=1")
	v.until("document.getElementById('state').textContent === 'live'")

	// Ended, after a question.
	v.eval("(globalThis.confirm = (q) => { globalThis.asked = q; return true; }, document.querySelector('#end button').click())", new(any))
	v.until("globalThis.asked?.includes('allocation 1') && !document.getElementById('ended').hidden")
	if _, live := b.Allocation(1); live {
		t.Error("it lives on")
	}
	// Drained, after a question; not when it is answered with no.
	v.open(url)
	v.until("document.getElementById('state').textContent === 'live'")
	v.eval("(globalThis.confirm = (q) => { globalThis.asked = q; return false; }, document.querySelector('#drain button').click())", new(any))
	v.until("globalThis.asked?.includes('4\u202f999')")
	if len(drained) > 0 {
		t.Error("it drains though its user said no")
	}
	v.eval("(globalThis.confirm = () => true, document.querySelector('#drain button').click())", new(any))
	select {
	case <-drained:
	case <-time.After(patience):
		t.Error("it doesn't drain")
	}
	v.clean()

	// The server ends: the page says so.
	h.Close()
	v.until("document.getElementById('state').className === 'bad'")
}

// Without script, there is the same as it stands.
func TestPageWithoutScript(t *testing.T) {
	v := browse(t)
	h := NewHandler(newBusyRelay(t), Options{Loopback: true, Version: "v1.2.3"})
	server := httptest.NewServer(h)
	defer server.Close()
	defer h.Close()
	if _, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	v.open(server.URL + "/?sort=-id&filter=user-49")
	v.until("document.querySelectorAll('#table tbody tr').length === 50 && document.querySelector('#table bdi').textContent === 'user-4999' && document.getElementById('plots').hidden")
	v.shot("without-script")
	v.clean()
}
