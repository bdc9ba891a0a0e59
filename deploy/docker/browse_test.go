package docker_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/hairpin-turn/hairpin/auth"
)

// browsing is set for the process that plays a browser outside: this test again, in the namespace of the clients.
const browsing = "HAIRPIN_TEST_BROWSE"

// browse opens the demonstration's page outside, registers there, and calls with the credentials that it is given.
func (e *engine) browse(t *testing.T) {
	t.Helper()
	output, err := run(patience, append(os.Environ(), browsing+"=https://"+hostAddress+":8443"), "ip", "netns", "exec", e.outside,
		os.Args[0], "-test.run", "^TestBrowse$", "-test.v")
	if err != nil {
		t.Fatal(err)
	}
	var configuration auth.ICEConfig
	for line := range strings.Lines(output) {
		json.Unmarshal([]byte(line), &configuration) // one of them is it
	}
	if len(configuration.ICEServers) != 1 {
		t.Fatalf("no ICE configuration\n%s", output)
	}
	server := configuration.ICEServers[0]
	for _, at := range server.URLs {
		if err := e.probe(t, credentials{user: server.Username, password: server.Credential}, at, 20); err != nil {
			t.Error(err)
		}
	}
	if len(server.URLs) != 2 {
		t.Errorf("the page is sent to %q", server.URLs)
	}
}

// TestBrowse is the browser.
func TestBrowse(t *testing.T) {
	at := os.Getenv(browsing)
	if at == "" {
		t.Skip("runs within TestEngine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // made at its start
	var page []byte
	until(t, "the page is served", func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if page, err = io.ReadAll(response.Body); err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, page)
		}
		return err
	})
	connection, _, err := websocket.Dial(ctx, at+"/one2one", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.CloseNow()
	if err := wsjson.Write(ctx, connection, map[string]string{"id": "register", "name": "alice"}); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Response, Message string
		ICEConfiguration  json.RawMessage `json:"iceConfiguration"`
	}
	if err := wsjson.Read(ctx, connection, &answer); err != nil || answer.Response != "accepted" {
		t.Fatalf("%v: %+v", err, answer)
	}
	fmt.Printf("\n%s\n", answer.ICEConfiguration)
}
