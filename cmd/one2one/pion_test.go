package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v3"
)

// Two clients that are programs, by pion/webrtc: they take the ICE service's answer as it is, meet in the relay, and a
// megabyte arrives byte for byte.
func TestPion(t *testing.T) {
	for _, test := range []struct{ first, second string }{{"udp", "udp"}, {"udp", "tcp"}, {"tcp", "tcp"}} {
		t.Run(test.first+" "+test.second, func(t *testing.T) {
			s := newStage(t, stageOptions{})
			alice, bob := s.peer("alice", test.first), s.peer("bob", test.second)
			trickle(t, alice, bob)

			sent := make([]byte, 1<<20)
			rand.Read(sent)
			arrived := make(chan [sha256.Size]byte, 1)
			bob.OnDataChannel(func(c *webrtc.DataChannel) {
				var all bytes.Buffer
				c.OnMessage(func(m webrtc.DataChannelMessage) {
					if all.Write(m.Data); all.Len() == len(sent) {
						arrived <- sha256.Sum256(all.Bytes())
					}
				})
			})
			channel, err := alice.CreateDataChannel("file", nil)
			if err != nil {
				t.Fatal(err)
			}
			channel.OnOpen(func() {
				for part := sent; len(part) > 0; part = part[16<<10:] {
					if err := channel.Send(part[:16<<10]); err != nil {
						t.Error(err)
					}
				}
			})
			describe(t, alice, bob)
			select {
			case sum := <-arrived:
				if sum != sha256.Sum256(sent) {
					t.Error("something else arrived")
				}
			case <-time.After(patience):
				t.Fatalf("not all has arrived; alice is %s, bob is %s", alice.ConnectionState(), bob.ConnectionState())
			}
			for _, p := range []*webrtc.PeerConnection{alice, bob} {
				pair, err := p.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
				if err != nil || pair.Local.Typ != webrtc.ICECandidateTypeRelay || pair.Remote.Typ != webrtc.ICECandidateTypeRelay {
					t.Errorf("%v %v", pair, err)
				}
			}
		})
	}
}

// configuration is the ICE service's answer, of which one transport is left.
func (s *stage) configuration(name, transport string) json.RawMessage {
	s.t.Helper()
	response, err := http.Get(s.ice.URL + "/ice?service=turn&key=key&iceTransportPolicy=relay&username=" + name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var answer struct {
		Servers []struct {
			URLs       []string `json:"urls"`
			Username   string   `json:"username"`
			Credential string   `json:"credential"`
		} `json:"iceServers"`
		Policy string `json:"iceTransportPolicy"`
	}
	if err != nil || json.Unmarshal(body, &answer) != nil || len(answer.Servers) != 1 {
		s.t.Fatalf("%v: %s", err, body)
	}
	answer.Servers[0].URLs = slices.DeleteFunc(answer.Servers[0].URLs, func(url string) bool { return !strings.HasSuffix(url, "transport="+transport) })
	if body, err = json.Marshal(answer); err != nil {
		s.t.Fatal(err)
	}
	return body
}

func (s *stage) peer(name, transport string) *webrtc.PeerConnection {
	s.t.Helper()
	var configuration webrtc.Configuration
	if err := json.Unmarshal(s.configuration(name, transport), &configuration); err != nil {
		s.t.Fatal(err)
	}
	p, err := webrtc.NewPeerConnection(configuration)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { p.Close() })
	return p
}

// trickle hands each candidate to the other side once that has both descriptions.
func trickle(t *testing.T, peers ...*webrtc.PeerConnection) {
	t.Helper()
	for i, p := range peers {
		other, candidates := peers[1-i], make(chan webrtc.ICECandidateInit, 100)
		p.OnICECandidate(func(c *webrtc.ICECandidate) {
			if c == nil {
				close(candidates)
				return
			}
			candidates <- c.ToJSON()
		})
		ready := make(chan struct{})
		other.OnSignalingStateChange(func(state webrtc.SignalingState) {
			if state == webrtc.SignalingStateStable {
				close(ready)
			}
		})
		go func() { // ends when gathering does, or with the test's process
			<-ready
			for c := range candidates {
				other.AddICECandidate(c) // a refused one shows in that nothing arrives
			}
		}()
	}
}

func describe(t *testing.T, alice, bob *webrtc.PeerConnection) {
	t.Helper()
	offer, err := alice.CreateOffer(nil)
	if err == nil {
		err = alice.SetLocalDescription(offer)
	}
	if err == nil {
		err = bob.SetRemoteDescription(offer)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := bob.CreateAnswer(nil)
	if err == nil {
		err = bob.SetLocalDescription(answer)
	}
	if err == nil {
		err = alice.SetRemoteDescription(answer)
	}
	if err != nil {
		t.Fatal(err)
	}
}
