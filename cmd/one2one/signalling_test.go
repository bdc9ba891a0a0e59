package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// lobby is the application server with an ICE service that can be told to fail.
type lobby struct {
	t      *testing.T
	url    string
	broken atomic.Bool
	asked  atomic.Int32 // ICE configurations
}

func newLobby(t *testing.T, o stageOptions) *lobby {
	t.Helper()
	l := &lobby{t: t}
	ice := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.broken.Load() || r.Header.Get("Authorization") != "Bearer key" || r.URL.Query().Get("service") != "turn" {
			http.Error(w, `{"error":"no"}`, http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"iceServers":[{"urls":["turn:192.0.2.1"],"username":"%d:%s","credential":"c"}],"iceTransportPolicy":%q}`,
			l.asked.Add(1), r.URL.Query().Get("username"), r.URL.Query().Get("iceTransportPolicy"))
	}))
	t.Cleanup(ice.Close)
	l.url = startApplication(t, ice.URL+"/ice", o)
	return l
}

// client is a browser without a page, as the tutorial's clients are.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

func (l *lobby) connect() *client {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(l.url, "http", "ws", 1)+"/one2one", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	c := &client{l.t, conn}
	l.t.Cleanup(func() { conn.CloseNow() })
	return c
}

func (l *lobby) registered(name string) *client {
	l.t.Helper()
	c := l.connect()
	c.says(`{"id":"register","name":%q}`, name)
	c.hears("registerResponse", accepted, "")
	return c
}

func (c *client) says(format string, args ...any) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) next() message {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

// hears takes the next message, which must be this one.
func (c *client) hears(id, response, text string) message {
	c.t.Helper()
	m := c.next()
	if m.ID != id || m.Response != response || !strings.Contains(m.Message, text) {
		c.t.Fatalf("%s %q %q, want %s %q %q", m.ID, m.Response, m.Message, id, response, text)
	}
	return m
}

// A whole call with the messages of the tutorial, and nothing else.
func TestTutorial(t *testing.T) {
	l := newLobby(t, stageOptions{})
	alice := l.connect()
	alice.says(`{"id":"register","name":"alice"}`)
	first := alice.hears("registerResponse", accepted, "")
	if got := string(first.ICEConfiguration); got != `{"iceServers":[{"urls":["turn:192.0.2.1"],"username":"1:alice","credential":"c"}],"iceTransportPolicy":"relay"}` {
		t.Errorf("iceConfiguration %s", got)
	}
	bob := l.registered("bob")

	alice.says(`{"id":"onIceCandidate","candidate":{"candidate":"early","sdpMid":"0"}}`) // before the call
	alice.says(`{"id":"call","from":"alice","to":"bob","sdpOffer":"offer"}`)
	alice.says(`{"id":"onIceCandidate","candidate":{"candidate":"ringing","sdpMid":"0"}}`)
	m := bob.hears("incomingCall", "", "")
	if m.From != "alice" || m.SDPOffer != "offer" || !strings.Contains(string(m.ICEConfiguration), `"3:bob"`) {
		t.Errorf("incomingCall %+v", m)
	}
	bob.says(`{"id":"onIceCandidate","candidate":{"candidate":"bob's","sdpMid":"0"}}`)
	bob.says(`{"id":"incomingCallResponse","from":"alice","callResponse":"accept","sdpAnswer":"answer"}`)
	if m := alice.hears("iceCandidate", "", ""); string(m.Candidate) != `{"candidate":"bob's","sdpMid":"0"}` {
		t.Errorf("candidate %s", m.Candidate)
	}
	if m := alice.hears("callResponse", accepted, ""); m.SDPAnswer != "answer" {
		t.Errorf("callResponse %+v", m)
	}
	for _, want := range []string{"early", "ringing"} {
		if m := bob.hears("iceCandidate", "", ""); !strings.Contains(string(m.Candidate), want) {
			t.Errorf("candidate %s, want %s", m.Candidate, want)
		}
	}
	bob.says(`{"id":"stop"}`) // the callee
	alice.hears("stopCommunication", "", "bob has hung up")

	// The next call, the other way round, with credentials that are made for it.
	bob.says(`{"id":"iceConfiguration"}`)
	if m := bob.hears("iceConfiguration", "", ""); !strings.Contains(string(m.ICEConfiguration), `"4:bob"`) {
		t.Errorf("iceConfiguration %s", m.ICEConfiguration)
	}
	bob.says(`{"id":"call","to":"alice","sdpOffer":"offer"}`)
	if m := alice.hears("incomingCall", "", ""); !strings.Contains(string(m.ICEConfiguration), `"5:alice"`) {
		t.Errorf("iceConfiguration %s", m.ICEConfiguration)
	}
	alice.says(`{"id":"incomingCallResponse","from":"bob","callResponse":"reject"}`)
	bob.hears("callResponse", rejected, "alice declined")
}

func TestRenegotiation(t *testing.T) {
	l := newLobby(t, stageOptions{})
	alice, bob := l.registered("alice"), l.registered("bob")
	alice.says(`{"id":"renegotiate","sdpOffer":"x"}`)
	alice.hears("error", "", "there is no call to renegotiate")
	alice.says(`{"id":"call","to":"bob","sdpOffer":"offer"}`)
	bob.hears("incomingCall", "", "")
	alice.says(`{"id":"renegotiate","sdpOffer":"x"}`)
	alice.hears("error", "", "there is no call to renegotiate")
	bob.says(`{"id":"incomingCallResponse","callResponse":"accept","sdpAnswer":"answer"}`)
	alice.hears("callResponse", accepted, "")
	bob.says(`{"id":"renegotiate"}`)
	bob.hears("error", "", "no offer")
	bob.says(`{"id":"renegotiate","sdpOffer":"again"}`)
	if m := alice.hears("renegotiate", "", ""); m.SDPOffer != "again" || !strings.Contains(string(m.ICEConfiguration), ":alice") {
		t.Errorf("%+v", m)
	}
	alice.says(`{"id":"renegotiateResponse"}`)
	alice.hears("error", "", "no answer")
	alice.says(`{"id":"renegotiateResponse","sdpAnswer":"yes"}`)
	if m := bob.hears("renegotiateResponse", "", ""); m.SDPAnswer != "yes" {
		t.Errorf("%+v", m)
	}
}

// Each wrong message has its answer, and the one after it is served.
func TestWrongMessages(t *testing.T) {
	l := newLobby(t, stageOptions{})
	l.registered("taken")
	for _, test := range []struct{ name, text, id, says string }{
		{"no JSON", `hello`, "error", "not a JSON object"},
		{"not an object", `[1]`, "error", "not a JSON object"},
		{"number for a name", `{"id":"register","name":7}`, "error", "not a JSON object"},
		{"no id", `{"name":"x"}`, "error", `no "id"`},
		{"unknown id", `{"id":"dance"}`, "error", "comes before a name"},
		{"huge", `{"id":"` + strings.Repeat("x", maxMessage) + `"}`, "error", "at most 65536"},
		{"empty name", `{"id":"register","name":""}`, "registerResponse", "the name is empty"},
		{"control character", `{"id":"register","name":"a\u0007"}`, "registerResponse", "cannot be shown"},
		{"direction override", `{"id":"register","name":"a\u202eb"}`, "registerResponse", "cannot be shown"},
		{"spaces around", `{"id":"register","name":" a "}`, "registerResponse", "begins or ends with a space"},
		{"10 kB", `{"id":"register","name":"` + strings.Repeat("x", 10_000) + `"}`, "registerResponse", "more than 64 characters"},
		{"taken", `{"id":"register","name":"taken"}`, "registerResponse", "the name taken is already registered"},
		{"call first", `{"id":"call","to":"taken","sdpOffer":"o"}`, "callResponse", "you have to register"},
		{"answer first", `{"id":"incomingCallResponse","from":"taken","callResponse":"accept"}`, "error", "comes before a name"},
		{"candidate first", `{"id":"onIceCandidate","candidate":{}}`, "error", "comes before a name"},
		{"stop first", `{"id":"stop"}`, "error", "comes before a name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := l.connect()
			c.t = t
			c.says("%s", test.text)
			if m := c.next(); m.ID != test.id || !strings.Contains(m.Message, test.says) || m.Response != "" && m.Response != rejected {
				t.Errorf("%+v", m)
			}
			c.says(`{"id":"register","name":%q}`, "after "+test.name)
			c.hears("registerResponse", accepted, "")
		})
	}
	for _, test := range []struct{ name, text, id, says string }{
		{"unknown id", `{"id":"dance"}`, "error", `"dance" is not a message`},
		{"registered again", `{"id":"register","name":"me"}`, "registerResponse", "you are registered already"},
		{"another name", `{"id":"register","name":"other"}`, "registerResponse", "you are registered as me already"},
		{"nobody named", `{"id":"call","sdpOffer":"o"}`, "callResponse", "whom to call"},
		{"no offer", `{"id":"call","to":"taken"}`, "callResponse", "no offer"},
		{"unknown", `{"id":"call","to":"nobody","sdpOffer":"o"}`, "callResponse", "nobody is not registered"},
		{"oneself", `{"id":"call","to":"me","sdpOffer":"o"}`, "callResponse", "you cannot call yourself"},
		{"no call", `{"id":"incomingCallResponse","from":"taken","callResponse":"accept","sdpAnswer":"a"}`, "error", "there is no call from taken"},
		{"no candidate", `{"id":"onIceCandidate"}`, "error", "no candidate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := l.connect()
			c.t = t
			c.says(`{"id":"register","name":"me"}`)
			for c.next().Response != accepted { // the one before may still be leaving
				c.says(`{"id":"register","name":"me"}`)
			}
			c.says("%s", test.text)
			if m := c.next(); m.ID != test.id || !strings.Contains(m.Message, test.says) {
				t.Errorf("%+v", m)
			}
			c.says(`{"id":"iceConfiguration"}`)
			c.hears("iceConfiguration", "", "")
			c.conn.Close(websocket.StatusNormalClosure, "")
		})
	}
}

// Two calls at once, and a third person in between: nobody else notices.
func TestBusy(t *testing.T) {
	l := newLobby(t, stageOptions{})
	alice, bob, carol := l.registered("alice"), l.registered("bob"), l.registered("carol")
	alice.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
	bob.hears("incomingCall", "", "")
	bob.says(`{"id":"call","to":"alice","sdpOffer":"o"}`)
	bob.hears("callResponse", rejected, "you are in a call with alice already")
	carol.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
	carol.hears("callResponse", rejected, "bob is busy")
	carol.says(`{"id":"call","to":"alice","sdpOffer":"o"}`)
	carol.hears("callResponse", rejected, "alice is busy")
	carol.says(`{"id":"incomingCallResponse","from":"alice","callResponse":"accept","sdpAnswer":"a"}`)
	carol.hears("error", "", "no call from alice")
	bob.says(`{"id":"incomingCallResponse","from":"carol","callResponse":"accept","sdpAnswer":"a"}`)
	bob.hears("error", "", "no call from carol")
	bob.says(`{"id":"incomingCallResponse","from":"alice","callResponse":"accept"}`)
	bob.hears("error", "", "accepted without an answer")
	bob.says(`{"id":"incomingCallResponse","from":"alice","callResponse":"accept","sdpAnswer":"a"}`)
	alice.hears("callResponse", accepted, "")
	bob.says(`{"id":"incomingCallResponse","from":"alice","callResponse":"accept","sdpAnswer":"a"}`)
	bob.hears("error", "", "no call from alice")
	alice.says(`{"id":"stop"}`)
	bob.hears("stopCommunication", "", "alice has hung up")
	alice.says(`{"id":"stop"}`) // once more is no fault
	alice.says(`{"id":"iceConfiguration"}`)
	alice.hears("iceConfiguration", "", "")
	carol.says(`{"id":"call","to":"alice","sdpOffer":"o"}`)
	alice.hears("incomingCall", "", "")
}

// A socket that dies frees its name and ends its call, whichever side it was.
func TestSocketDies(t *testing.T) {
	l := newLobby(t, stageOptions{})
	bob := l.registered("bob")
	for _, test := range []struct {
		callee bool
		id     string
	}{{true, "stopCommunication"}, {false, "callResponse"}} {
		alice := l.registered("alice")
		if test.callee {
			alice.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
			bob.hears("incomingCall", "", "")
		} else {
			bob.says(`{"id":"call","to":"alice","sdpOffer":"o"}`)
			alice.hears("incomingCall", "", "")
		}
		alice.conn.CloseNow()
		if m := bob.next(); m.ID != test.id || !strings.Contains(m.Message, "alice has lost the connection") {
			t.Errorf("%+v", m)
		}
	}
	l.registered("alice")
}

// Without an ICE configuration there is no registration and no call, and the name is free again.
func TestICEServiceFails(t *testing.T) {
	l := newLobby(t, stageOptions{})
	alice, bob := l.registered("alice"), l.registered("bob")
	l.broken.Store(true)
	carol := l.connect()
	for range 2 {
		carol.says(`{"id":"register","name":"carol"}`)
		carol.hears("registerResponse", rejected, "credential service")
	}
	alice.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
	alice.hears("callResponse", rejected, "credential service")
	alice.says(`{"id":"iceConfiguration"}`)
	if m := alice.hears("iceConfiguration", "", "credential service"); m.ICEConfiguration != nil {
		t.Errorf("%+v", m)
	}
	l.broken.Store(false)
	carol.says(`{"id":"register","name":"carol"}`)
	carol.hears("registerResponse", accepted, "")
	bob.says(`{"id":"call","to":"alice","sdpOffer":"o"}`)
	alice.hears("incomingCall", "", "")
}

func TestNoAnswer(t *testing.T) {
	l := newLobby(t, stageOptions{ringFor: 50 * time.Millisecond})
	alice, bob := l.registered("alice"), l.registered("bob")
	alice.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
	bob.hears("incomingCall", "", "")
	alice.hears("callResponse", rejected, "bob does not answer")
	bob.hears("stopCommunication", "", "you did not answer")
}

// What goes on too long ends, for the one who does it.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		does   func(c *client)
		status websocket.StatusCode
	}{
		{"beyond all bounds", func(c *client) { c.says("%s", strings.Repeat("x", maxRead+1)) }, websocket.StatusMessageTooBig},
		{"wrong again and again", func(c *client) {
			for range maxFaults {
				c.says("?")
			}
		}, websocket.StatusPolicyViolation},
		{"candidates without end", func(c *client) {
			c.says(`{"id":"register","name":"flood"}`)
			for range maxCandidates + maxFaults {
				c.says(`{"id":"onIceCandidate","candidate":{}}`)
			}
		}, websocket.StatusPolicyViolation},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLobby(t, stageOptions{})
			other, c := l.registered("other"), l.connect()
			c.t = t
			test.does(c)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for {
				if _, _, err := c.conn.Read(ctx); err != nil {
					if got := websocket.CloseStatus(err); got != test.status {
						t.Errorf("%v: %v", got, err)
					}
					break
				}
			}
			other.says(`{"id":"iceConfiguration"}`)
			other.hears("iceConfiguration", "", "")
		})
	}
}

// Whoever is there when the server ends hears of it.
func TestGoodbye(t *testing.T) {
	at, err := url.Parse("http://127.0.0.1:1/ice")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h := newHub(ctx, newICEClient(at, "", "relay"), time.Minute, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(http.HandlerFunc(h.serve))
	defer server.Close()
	c := (&lobby{t: t, url: server.URL}).connect()
	c.says(`{"id":"register","name":"a"}`)
	c.hears("registerResponse", rejected, "")
	cancel()
	if _, _, err := c.conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Error(err)
	}
	h.wait()
}

// Candidates of one call have an end, too.
func TestCandidatesOfACall(t *testing.T) {
	l := newLobby(t, stageOptions{})
	alice, bob := l.registered("alice"), l.registered("bob")
	alice.says(`{"id":"call","to":"bob","sdpOffer":"o"}`)
	bob.hears("incomingCall", "", "")
	for range maxCandidates + 1 {
		alice.says(`{"id":"onIceCandidate","candidate":{}}`)
	}
	alice.hears("error", "", "candidates in one call")
	bob.says(`{"id":"incomingCallResponse","callResponse":"accept","sdpAnswer":"a"}`)
	for range maxCandidates {
		bob.hears("iceCandidate", "", "")
	}
	alice.hears("callResponse", accepted, "")
}

// A page of another origin is kept out: it could register in its visitor's name.
func TestOrigin(t *testing.T) {
	l := newLobby(t, stageOptions{})
	_, response, err := websocket.Dial(t.Context(), strings.Replace(l.url, "http", "ws", 1)+"/one2one",
		&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	if err == nil || response == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("%v %v", response, err)
	}
}

func TestPage(t *testing.T) {
	l := newLobby(t, stageOptions{})
	for path, want := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css", "/icon.svg": "image/svg+xml"} {
		response, err := http.Get(l.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s %s", path, response.Status, got)
		}
		if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", path, policy)
		}
	}
}
