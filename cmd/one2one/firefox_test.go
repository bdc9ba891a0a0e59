package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// firefox is another engine than Chromium, driven by WebDriver BiDi, which is JSON over a WebSocket.
type firefox struct {
	t      *testing.T
	ctx    context.Context
	driver *websocket.Conn
	last   int // id of a command
}

// preferences give it a camera and a microphone that do not exist, and keep it from calling home.
const preferences = `
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
`

// A call between two pages of Firefox; CI need not have it.
func TestFirefox(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser is nothing for -short")
	}
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		path, err = exec.LookPath("firefox")
	}
	if err != nil {
		t.Skip("there is no firefox-esr here (Debian: apt-get install firefox-esr)")
	}
	s, f := newStage(t, stageOptions{}), startFirefox(t, path)
	bob := f.open(s.url + "/?name=bob&transport=tcp")
	f.until(bob, `document.body.dataset.state === "ready"`)
	alice := f.open(s.url + "/?name=alice&transport=udp&call=bob")
	f.until(bob, `document.body.dataset.state === "ringing"`)
	f.eval(bob, `document.getElementById("accept").click()`, nil)
	for tab, way := range map[string]string{alice: "udp", bob: "tcp"} {
		f.until(tab, `document.body.dataset.state === "connected"`)
		f.until(tab, counting+".then((c) => c.FramesDecoded >= 20 && c.AudioPackets >= 50)")
		var c counts
		if f.eval(tab, counting, &c); c.LocalType != "relay" || c.RemoteType != "relay" || c.Way != way {
			t.Errorf("from %s (%s) to %s", c.LocalType, c.Way, c.RemoteType)
		}
	}
	f.until(alice, `document.querySelectorAll("#plots polyline[points*=' ']").length >= 5`)
	f.shot(alice, "firefox")
	f.eval(bob, `document.getElementById("hangup").click()`, nil)
	f.until(alice, `document.body.dataset.state === "ready"`)
}

func startFirefox(t *testing.T, path string) *firefox {
	t.Helper()
	profile, err := os.MkdirTemp("", "one2one") // t.TempDir would hold it against the browser that it still writes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(preferences), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	browser := exec.CommandContext(ctx, path, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "--window-size", "1280,1160")
	browser.Env = append(os.Environ(), "HOME="+profile)
	says, err := browser.StderrPipe()
	if err == nil {
		err = browser.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	at, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		listening := regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)
		var said bytes.Buffer
		for lines := bufio.NewScanner(says); lines.Scan(); {
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				at <- found[1]
			}
			fmt.Fprintln(&said, lines.Text())
		}
		browser.Wait()
		if t.Failed() {
			t.Logf("firefox: %s", said.Bytes())
		}
	}()
	f := &firefox{t: t, ctx: ctx}
	t.Cleanup(func() {
		if f.driver != nil {
			f.try("browser.close", struct{}{}, nil)
			f.driver.CloseNow()
		}
		select {
		case <-ended:
		case <-time.After(patience):
		}
		cancel()
		<-ended
	})
	select {
	case url := <-at:
		f.driver, _, err = websocket.Dial(ctx, url+"/session", nil)
	case <-ended:
		err = errors.New("it ended at once")
	}
	if err != nil {
		t.Fatal(err)
	}
	f.driver.SetReadLimit(-1)
	f.call("session.new", object{"capabilities": object{}}, nil)
	f.call("script.addPreloadScript", object{"functionDeclaration": "() => {" + spy + "}"}, nil)
	return f
}

type object map[string]any

// call gives a command and waits for what it returns; there are no events, as none is subscribed to.
func (f *firefox) call(method string, parameters, result any) {
	f.t.Helper()
	if err := f.try(method, parameters, result); err != nil {
		f.t.Fatalf("%s: %v", method, err)
	}
}

func (f *firefox) try(method string, parameters, result any) error {
	f.last++
	if err := wsjson.Write(f.ctx, f.driver, object{"id": f.last, "method": method, "params": parameters}); err != nil {
		return err
	}
	var answer struct {
		Result         json.RawMessage
		Error, Message string
	}
	if err := wsjson.Read(f.ctx, f.driver, &answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return errors.New(answer.Error + ": " + answer.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}

// open opens a page and names its tab.
func (f *firefox) open(url string) string {
	f.t.Helper()
	var tab struct{ Context string }
	f.call("browsingContext.create", object{"type": "window"}, &tab)
	f.call("browsingContext.navigate", object{"context": tab.Context, "url": url, "wait": "complete"}, nil)
	return tab.Context
}

// eval runs JavaScript in a tab, which may be a promise, and decodes what it gives.
func (f *firefox) eval(tab, script string, to any) {
	f.t.Helper()
	var got struct {
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	f.call("script.evaluate", object{
		"expression":   "(async () => JSON.stringify((await (" + script + ")) ?? null))()",
		"target":       object{"context": tab},
		"awaitPromise": true,
	}, &got)
	if got.ExceptionDetails.Text != "" {
		f.t.Fatalf("%s: %s", script, got.ExceptionDetails.Text)
	}
	if to != nil {
		if err := json.Unmarshal([]byte(got.Result.Value), to); err != nil {
			f.t.Fatalf("%s gave %s", script, got.Result.Value)
		}
	}
}

// until waits for JavaScript to be true.
func (f *firefox) until(tab, script string) {
	f.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for {
		var is bool
		if f.eval(tab, script, &is); is {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			var page string
			f.eval(tab, "document.body.dataset.state + ': ' + document.body.innerText", &page)
			f.shot(tab, "failed-firefox")
			f.t.Fatalf("not so after %v: %s; the page says %s", patience, script, strings.Join(strings.Fields(page), " "))
		}
	}
}

// shot keeps a picture of a tab.
func (f *firefox) shot(tab, name string) {
	f.t.Helper()
	var got struct{ Data string }
	f.call("browsingContext.captureScreenshot", object{"context": tab}, &got)
	png, err := base64.StdEncoding.DecodeString(got.Data)
	if err == nil {
		err = os.MkdirAll(artifacts, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(artifacts, name+".png"), png, 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}
