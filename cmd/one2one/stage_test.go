package main

import (
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/secure"
)

// patience bounds every wait of these tests; a good run does not use it up.
const patience = 30 * time.Second

// stage is all that a call needs: a relay, its ICE service, and the application server, in this process.
type stage struct {
	t     *testing.T
	url   string // of the page
	port  string // of the relay, for UDP and TCP, or for TLS
	tls   bool
	relay *relay.Server // nil while it is down
	stop  func()        // ends the relay and waits
	ice   *httptest.Server
}

// stageOptions; the zero value is a stage on which all goes well.
type stageOptions struct {
	secret  string // of the ICE service, when it is not the relay's
	ringFor time.Duration
	tls     bool // the relay is offered over TLS only
}

const relaySecret = "stage"

func newStage(t *testing.T, o stageOptions) *stage {
	t.Helper()
	s := &stage{t: t, port: freePort(t), tls: o.tls}
	s.startRelay()
	t.Cleanup(func() { s.stop() })

	secret := relaySecret
	if o.secret != "" {
		secret = o.secret
	}
	issuer, err := auth.New(auth.Options{Realm: "stage", Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	var listeners []auth.ICEListener
	for _, l := range s.relay.ListenerInfos() {
		offered := auth.ICEListener{Host: l.Public.Addr().String(), Port: l.Public.Port(), Transport: l.Scheme}
		if l.Scheme == "tls" {
			offered.Secure, offered.Transport = true, "tcp"
		}
		listeners = append(listeners, offered)
	}
	service, err := auth.NewICEService(issuer, auth.ICEServiceOptions{Listeners: func() []auth.ICEListener { return listeners }, Keys: []string{"key"}})
	if err != nil {
		t.Fatal(err)
	}
	s.ice = httptest.NewServer(service)
	t.Cleanup(s.ice.Close)
	s.url = startApplication(t, s.ice.URL+"/ice", o)
	return s
}

// startApplication starts the server under test and returns its address.
func startApplication(t *testing.T, ice string, o stageOptions) string {
	t.Helper()
	at, err := url.Parse(ice)
	if err != nil {
		t.Fatal(err)
	}
	if o.ringFor == 0 {
		o.ringFor = time.Minute
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	application := newServer(ctx, options{ice: at, iceKey: "key", policy: "relay", ringFor: o.ringFor}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ended := make(chan error, 1)
	go func() { ended <- application.serve(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the application server ended with %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// startRelay starts the relay, or another one in its place that knows nothing of the first.
func (s *stage) startRelay() {
	s.t.Helper()
	config := relay.Config{
		Listeners: []relay.Listener{{Scheme: "udp", Address: relayHost() + ":" + s.port}, {Scheme: "tcp", Address: relayHost() + ":" + s.port}},
		Auth:      auth.Options{Realm: "stage", Secrets: []string{relaySecret}},
		Log:       &logging.DefaultLoggerFactory{Writer: s.t.Output(), DefaultLogLevel: logging.LogLevelWarn},
	}
	if s.tls {
		config.Listeners = []relay.Listener{{Scheme: "tls", Address: relayHost() + ":" + s.port}}
		config.Certificates = []secure.Pair{certificateFiles(s.t)}
	}
	server, err := relay.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	s.relay = server
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the relay ended with %v", err)
		}
		s.stop = func() {}
	}
}

// until waits for something that only this process knows.
func (s *stage) until(is func() bool) {
	s.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-again.C:
		case <-deadline:
			s.t.Fatalf("not so after %v", patience)
		}
	}
}

// relayHost is an address of this host that browsers can reach a relay at: they leave loopback out of their networks,
// but where it is all there is.
func relayHost() string {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr().String()
		}
	}
	return "127.0.0.1"
}

// freePort finds a port that nobody uses, for UDP and TCP alike.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", relayHost()+":0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			p.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			return port
		}
	}
}
