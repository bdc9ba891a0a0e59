package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// More clients than there are places, none of which hangs up by itself: each is answered.
func TestLimitConnections(t *testing.T) {
	const places, clients = 4, 40
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, places)
	server := &http.Server{Handler: l.unlessCrowded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := len(l.places); n > places {
			t.Errorf("%d connections", n)
		}
		io.WriteString(w, "answer")
	}))}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()

	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience} // which keeps its connection
			response, err := client.Get("http://" + inner.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		})
	}
	running.Wait()
	server.Close()
	if err := <-ended; err != http.ErrServerClosed {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after its end: %v", err)
	}
}
