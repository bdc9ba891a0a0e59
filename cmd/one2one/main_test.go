package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

//go:generate go test -run ^TestHelp$ -update .

var update = flag.Bool("update", false, "write the golden file in testdata anew")

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"one2one", "--help"}, &out, io.Discard); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if *update {
		if err := os.WriteFile("testdata/help.txt", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/help.txt")
	if err != nil || out.String() != string(want) {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestWrongFlags(t *testing.T) {
	for _, test := range []struct{ line, says string }{
		{"--address 8443", `--address: "8443" is not IP:PORT; write for example 127.0.0.1:8443 or 0.0.0.0:8443`},
		{"--ice-url 127.0.0.1:8088", `--ice-url: "127.0.0.1:8088" is not an HTTP address; write for example http://127.0.0.1:8088/ice`},
		{"--policy none", `--policy: "none" is not an ICE transport policy; write relay or all`},
		{"--tls maybe", `--tls: "maybe" is not known; write on, off or auto`},
		{"--cert x", `--cert: certificate and key belong together; give --cert and --key, or neither`},
		{"--ring 0s", `--ring: 0s is too short; write 1s or more`},
		{"here", `here: is a surplus argument; one2one takes flags only`},
		{"--policy x --tls y", "--policy: \"x\" is not an ICE transport policy; write relay or all\n--tls: \"y\" is not known; write on, off or auto"},
		{"--nothing", `flag provided but not defined: -nothing; "one2one --help" lists the flags`},
	} {
		var out, err bytes.Buffer
		if code := run(t.Context(), append([]string{"one2one"}, strings.Fields(test.line)...), &out, &err); code != exitUsage || err.String() != test.says+"\n" {
			t.Errorf("%s: %d %q %q", test.line, code, err.String(), out.String())
		}
	}
}

// The process as a user starts it, with the certificate that it makes.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, printed := io.Pipe()
	ended := make(chan int, 1)
	address := "127.0.0.1:" + freePort(t)
	go func() {
		ended <- run(ctx, []string{"one2one", "--address", address, "--tls", "on"}, printed, t.Output())
		printed.Close()
	}()
	text := make([]byte, 1000)
	n, err := out.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "https://localhost:") {
		t.Fatalf("%v %q", err, text[:n])
	}
	go io.Copy(io.Discard, out)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Get("https://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
	var second bytes.Buffer
	if code := run(ctx, []string{"one2one", "--address", address}, io.Discard, &second); code != exitRuntime || !strings.Contains(second.String(), "the port is in use") {
		t.Errorf("a second one: %d %q", code, second.String())
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestReachable(t *testing.T) {
	for _, test := range []struct{ at, on string }{
		{"127.0.0.1:8443", "localhost:8443"},
		{"[::1]:8443", "[::1]:8443"},
		{"192.0.2.1:8443", "192.0.2.1:8443"},
	} {
		if got := reachable(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(test.at))); !slices.Equal(got, []string{test.on}) {
			t.Errorf("%s: %q", test.at, got)
		}
	}
	for _, everywhere := range []string{"0.0.0.0:8443", "[::]:8443"} {
		got := reachable(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(everywhere)))
		if got[0] != "localhost:8443" {
			t.Errorf("%s: %q", everywhere, got)
		}
		for _, other := range got[1:] {
			if at, err := netip.ParseAddrPort(other); err != nil || at.Port() != 8443 || !at.Addr().IsGlobalUnicast() {
				t.Errorf("%s: other hosts are sent to %q", everywhere, other)
			}
		}
	}
}

func TestSelfSigned(t *testing.T) {
	now := time.Now()
	pair, err := selfSigned(now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
