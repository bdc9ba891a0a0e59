package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	devtools "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// artifacts is where screenshots go, from this directory; git ignores it.
const artifacts = "../../artifacts/one2one"

// theBrowser is one Chromium for all tests of this package; each page is a tab of it, with a camera and a microphone
// that do not exist.
var theBrowser struct {
	once sync.Once
	ctx  context.Context
	end  func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if theBrowser.end != nil {
		theBrowser.end()
	}
	os.Exit(code)
}

func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser is nothing for -short")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no chromium here (Debian: apt-get install chromium), and CI must have it")
		}
		t.Skip("there is no chromium here (Debian: apt-get install chromium)")
	}
	theBrowser.once.Do(func() {
		dir, err := os.MkdirTemp("", "one2one")
		if err != nil {
			theBrowser.err = err
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path),
			chromedp.UserDataDir(dir),
			chromedp.NoSandbox, // tests may run as root, in a container
			chromedp.DisableGPU,
			chromedp.Flag("use-fake-device-for-media-stream", true),
			chromedp.Flag("use-fake-ui-for-media-stream", true),
			chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
			chromedp.Flag("disable-component-update", true),
			chromedp.Flag("ignore-certificate-errors", true), // of the relay's, made for the test
			chromedp.WindowSize(1280, 1160),
		)
		allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, endBrowser := chromedp.NewContext(allocator)
		theBrowser.err = chromedp.Do(ctx)
		theBrowser.ctx = ctx
		theBrowser.end = func() {
			chromedp.Cancel(ctx)
			endBrowser()
			endAllocator()
			os.RemoveAll(dir)
		}
	})
	if theBrowser.err != nil {
		t.Fatal(theBrowser.err)
	}
	return theBrowser.ctx
}

// person is somebody with the page open.
type person struct {
	t    *testing.T
	name string
	ctx  context.Context
	gone bool

	mu   sync.Mutex
	said []string // errors of the page's console
}

// spy keeps the connections that the page makes; before is run ahead of it.
const spy = `
globalThis.connections = [];
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...args) { super(...args); connections.push(this); }
};
`

// open opens the page for somebody who asks for a transport, and registers; before is JavaScript that comes ahead of the
// page's own.
func (s *stage) open(name, transport, before string) *person {
	s.t.Helper()
	p := &person{t: s.t, name: name}
	tab, closeTab := chromedp.NewContext(browser(s.t))
	p.ctx = tab
	if err := chromedp.Listen(tab, p.listen); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() && !p.gone {
			p.shot("failed-" + strings.ReplaceAll(s.t.Name(), "/", "-") + "-" + name)
			p.mu.Lock()
			s.t.Logf("%s's console: %q", name, p.said)
			p.mu.Unlock()
		}
		closeTab()
	})
	if _, err := chromedp.Call(tab, devtools.AddScriptToEvaluateOnNewDocument, devtools.AddScriptToEvaluateOnNewDocumentParams{Source: spy + before}); err != nil {
		s.t.Fatal(err)
	}
	do(p, chromedp.Navigate(fmt.Sprintf("%s/?name=%s&transport=%s", s.url, name, transport)))
	return p
}

func (p *person) listen(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type != "error" {
			return
		}
		for _, a := range e.Args {
			text += fmt.Sprint(a.Value, a.Description)
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, text)
}

// do is an action on somebody's page.
func do[T any](p *person, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return got
}

// eval runs JavaScript, which may be a promise, and decodes what it gives.
func (p *person) eval(script string, to any) {
	p.t.Helper()
	text := do(p, chromedp.Evaluate[string]("(async () => JSON.stringify((await ("+script+")) ?? null))()", chromedp.EvalAwaitPromise))
	if to != nil {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			p.t.Fatalf("%s: %s gave %s", p.name, script, text)
		}
	}
}

// until waits for JavaScript to be true.
func (p *person) until(script string) {
	p.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		var is bool
		if p.eval(script, &is); is {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			p.t.Fatalf("%s: not so after %v: %s; the page says %q, %q", p.name, patience, script, p.text("statusText"), p.text("noticeText"))
		}
	}
}

func (p *person) state(state string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.body.dataset.state === %q", state))
}

// hears waits for a notice.
func (p *person) hears(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("!document.getElementById('notice').hidden && document.getElementById('noticeText').textContent.includes(%q)", text))
}

func (p *person) text(id string) (text string) {
	p.t.Helper()
	p.eval(fmt.Sprintf("document.getElementById(%q).textContent", id), &text)
	return text
}

func (p *person) click(id string) {
	p.t.Helper()
	p.eval(fmt.Sprintf("document.getElementById(%q).click()", id), nil)
}

// calls types a name and presses Enter.
func (p *person) calls(name string) {
	p.t.Helper()
	p.eval(fmt.Sprintf("(document.getElementById('peer').value = %q, document.getElementById('peer').focus())", name), nil)
	do(p, key("\r"))
}

// key presses a key as its user would.
func key(k string) chromedp.Action[chromedp.Void] { return chromedp.KeyEvent(k) }

// leaves closes the page.
func (p *person) leaves() {
	p.t.Helper()
	if err := chromedp.Cancel(p.ctx); err != nil {
		p.t.Error(err)
	}
	p.gone = true
}

// shot keeps a picture of the page.
func (p *person) shot(name string) {
	p.t.Helper()
	png := do(p, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(artifacts, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(artifacts, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// likes makes the page believe that its user likes it light or dark.
func (p *person) likes(scheme string) {
	p.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		p.t.Fatal(err)
	}
}

// counts is what getStats says about the call that the page is in.
type counts struct {
	LocalType, RemoteType  string
	Way                    string // to the relay
	FramesDecoded          int
	AudioSamples           float64
	AudioPackets           int
	Received, Lost         int // RTP packets
	PairPacketsSent        int
	PairPacketsReceived    int
	PairBytesSent          int
	PairBytesReceived      int
	Address, RemoteAddress string
}

const counting = `connections.at(-1).getStats().then((stats) => {
  const all = [...stats.values()], of = (type, kind) => all.find((s) => s.type === type && (!kind || s.kind === kind));
  const pair = stats.get(of("transport")?.selectedCandidatePairId);
  const local = stats.get(pair?.localCandidateId), remote = stats.get(pair?.remoteCandidateId);
  const video = of("inbound-rtp", "video"), audio = of("inbound-rtp", "audio");
  return {
    LocalType: local?.candidateType, RemoteType: remote?.candidateType, Way: local?.relayProtocol,
    Address: local && local.address + ":" + local.port, RemoteAddress: remote && remote.address + ":" + remote.port,
    FramesDecoded: video?.framesDecoded ?? 0, AudioSamples: audio?.totalSamplesReceived ?? 0, AudioPackets: audio?.packetsReceived ?? 0,
    Received: (video?.packetsReceived ?? 0) + (audio?.packetsReceived ?? 0), Lost: (video?.packetsLost ?? 0) + (audio?.packetsLost ?? 0),
    PairPacketsSent: pair?.packetsSent ?? 0, PairPacketsReceived: pair?.packetsReceived ?? 0,
    PairBytesSent: pair?.bytesSent ?? 0, PairBytesReceived: pair?.bytesReceived ?? 0,
  };
})`

func (p *person) counts() (c counts) {
	p.t.Helper()
	p.eval(counting, &c)
	return c
}
