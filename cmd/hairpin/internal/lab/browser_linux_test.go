package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

//go:embed testdata/call.html
var callPage []byte

// artifacts is where pictures go, from this directory; git ignores it.
const artifacts = "../../../../artifacts/lab"

// browser is a tab of a Chromium that runs on a host, with a camera and a microphone that do not exist.
type browser struct {
	t    *testing.T
	host *host
	ctx  context.Context
}

// needBrowser skips the test without Chromium, which is missing then by this name.
func needBrowser(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		const missing = "there is no chromium here (Debian: apt-get install chromium), so no browser's getStats was held against the relay"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return path
}

// browse starts Chromium on the host. It is spoken to by a pipe, for which its network is no obstacle.
func (h *host) browse(t *testing.T) *browser {
	t.Helper()
	path := needBrowser(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // namespaces are for root
		chromedp.DisableGPU,
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1400, 1000),
		chromedp.ModifyCmdFunc(func(c *exec.Cmd) {
			c.Args = append([]string{"ip", "netns", "exec", h.name, path}, c.Args[1:]...)
			c.Path, c.Err = exec.LookPath("ip")
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		}),
	)
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, endBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		endBrowser()
		endAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &browser{t, h, ctx}
}

func do[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *browser) open(url string) { b.t.Helper(); do(b, chromedp.Navigate(url)) }

// eval runs JavaScript, which may be a promise, and decodes what it gives.
func (b *browser) eval(script string, to any) {
	b.t.Helper()
	text := do(b, chromedp.Evaluate[string]("(async () => JSON.stringify((await ("+script+")) ?? null))()", chromedp.EvalAwaitPromise))
	if to != nil {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			b.t.Fatalf("%s gave %s", script, text)
		}
	}
}

// tab opens another tab.
func (b *browser) tab() *browser {
	b.t.Helper()
	ctx, end := chromedp.NewContext(b.ctx)
	b.t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatal(err)
	}
	return &browser{b.t, b.host, ctx}
}

// shot keeps a picture of the page, light or dark.
func (b *browser) shot(name, scheme string) {
	b.t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
	png := do(b, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(artifacts, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(artifacts, name+"-"+scheme+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// page serves the call's page on the host itself: a browser gives cameras to no other http.
func (h *host) page(t *testing.T) (url string) {
	t.Helper()
	var l net.Listener
	var err error
	h.in(func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(callPage)
	})}
	ended := make(chan struct{})
	go func() { // ends with the server
		_ = server.Serve(l)
		close(ended)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return "http://" + l.Addr().String() + "/"
}

// lend makes a TCP address of one host reachable at the same address on another.
func lend(t *testing.T, from, to *host, address string) {
	t.Helper()
	var l net.Listener
	var err error
	to.in(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener; connections end with what they lead to
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			var far net.Conn
			from.in(func() { far, err = net.Dial("tcp", address) })
			if err != nil {
				near.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
				}()
			}
		}
	}()
}
