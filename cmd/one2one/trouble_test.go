package main

import (
	"testing"
	"time"
)

// What a user reads when a call does not come about.
func TestNoCall(t *testing.T) {
	s := newStage(t, stageOptions{})
	alice, bob := s.open("alice", "any", ""), s.open("bob", "any", "")
	carol := s.open("carol", "any", "")
	for _, p := range []*person{alice, bob, carol} {
		p.state("ready")
	}
	alice.shot("ready")

	alice.calls("nobody")
	alice.hears("No call: nobody is not registered")
	alice.shot("unknown")
	alice.calls("alice")
	alice.hears("No call: you cannot call yourself")

	alice.calls("bob")
	bob.state("ringing")
	bob.shot("ringing")
	alice.shot("calling")
	carol.calls("bob")
	carol.hears("No call: bob is busy")
	do(bob, key("\x1b"))
	bob.state("ready")
	alice.hears("No call: bob declined")

	alice.calls("bob")
	bob.state("ringing")
	alice.click("hangup")
	bob.hears("The call is over: alice gave up")

	// A name that somebody has; it is free again when that one leaves.
	second := s.open("bob", "any", "")
	second.hears("You could not be registered: the name bob is already registered")
	second.shot("name-taken")
	bob.leaves()
	s.until(func() bool {
		second.eval("document.getElementById('registerForm').requestSubmit()", nil)
		var state string
		second.eval("document.body.dataset.state", &state)
		return state == "ready"
	})
}

func TestCallUnanswered(t *testing.T) {
	s := newStage(t, stageOptions{ringFor: time.Second})
	alice, bob := s.open("alice", "any", ""), s.open("bob", "any", "")
	alice.state("ready")
	bob.state("ready")
	alice.calls("bob")
	alice.hears("No call: bob does not answer")
	bob.hears("The call is over: you did not answer")
}

// Somebody whose browser is closed in the middle of a call.
func TestPeerGone(t *testing.T) {
	s := newStage(t, stageOptions{})
	alice, bob := s.call("any", "any")
	bob.leaves()
	alice.hears("The call is over: bob has")
	alice.state("ready")
}

func TestWrongCredentials(t *testing.T) {
	s := newStage(t, stageOptions{secret: "another one"})
	alice, bob := s.open("alice", "udp", ""), s.open("bob", "udp", "")
	alice.state("ready")
	bob.state("ready")
	alice.calls("bob")
	alice.hears("The relay refuses the credentials of this call")
	alice.state("ready")
	alice.shot("wrong-credentials")
	bob.until("!document.getElementById('incoming').open")
	bob.state("ready")
}

func TestRelayDown(t *testing.T) {
	s := newStage(t, stageOptions{})
	s.stop()
	alice, bob := s.open("alice", "tcp", ""), s.open("bob", "tcp", "")
	alice.state("ready")
	bob.state("ready")
	alice.calls("bob")
	alice.hears("The relay cannot be reached over TCP")
	alice.shot("relay-down")
}

// Without the credential service nobody is registered, and the name stays free.
func TestNoCredentials(t *testing.T) {
	s := newStage(t, stageOptions{})
	s.ice.Close()
	for range 2 {
		alice := s.open("alice", "any", "")
		alice.hears("You could not be registered: the relay's credential service gives no answer")
		alice.state("idle")
	}
}

// Cameras that are blocked, missing or in use.
func TestNoCamera(t *testing.T) {
	s := newStage(t, stageOptions{})
	bob := s.open("bob", "any", "")
	bob.state("ready")
	for _, test := range []struct {
		name, script, says string
		goesOn             bool
	}{
		{"blocked", refusing("NotAllowedError"), "Camera and microphone are blocked. Allow them", false},
		{"used", refusing("NotReadableError"), "another program may be using them", false},
		{"insecure", `Object.defineProperty(navigator, "mediaDevices", { value: undefined });`, "Browsers open the camera only for HTTPS and localhost", false},
		{"none", refusing("NotFoundError"), "Neither camera nor microphone was found. You can call all the same", true},
		{"deaf", `const own = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wish) => { if (wish.video) throw new DOMException("", "NotFoundError"); return own(wish); };`, "No camera was found. You can call all the same: the other side hears you", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			alice := s.open(test.name, "any", test.script)
			alice.hears(test.says)
			alice.shot("camera-" + test.name)
			alice.calls("bob")
			if !test.goesOn {
				alice.hears(test.says)
				alice.state("ready")
				return
			}
			bob.t = t
			bob.state("ringing")
			bob.click("accept")
			alice.until(counting + ".then((c) => c.FramesDecoded > 5 && c.AudioPackets > 5)")
			alice.click("hangup")
			bob.state("ready")
		})
	}
}

func refusing(name string) string {
	return `navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "` + name + `"); };`
}
