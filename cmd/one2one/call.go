package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// call is between two sessions, from the caller's offer on. All of it is guarded by hub.mu.
//
//	call ──► preparing ──incomingCall──► ringing ──accept──► answered ──┐
//	             │                          │                           ├──► over
//	             └──────── no ICE ──────────┴── reject, stop, time ─────┘
type call struct {
	caller, callee *session
	state          callState
	ringing        *time.Timer       // ends the call when nobody answers; nil before
	waiting        []json.RawMessage // the caller's candidates, until the callee has accepted
	candidates     map[*session]int  // sent so far
	restarts       int               // offers within the call
}

type callState uint8

const (
	preparing callState = iota
	ringing
	answered
)

// other is the one at the other end.
func (c *call) other(s *session) *session {
	if s == c.caller {
		return c.callee
	}
	return c.caller
}

// startCall rings at the callee, with credentials that are made for this call.
func (h *hub) startCall(ctx context.Context, s *session, m message) error {
	c, err := h.openCall(s, m)
	if err != nil {
		return err
	}
	configuration, err := h.configuration(ctx, m.To)

	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.call != c: // one of the two has left meanwhile
		return nil
	case err != nil:
		h.forgetLocked(c)
		return err
	}
	c.state = ringing
	c.ringing = time.AfterFunc(h.ringFor, func() { h.unanswered(c) })
	c.callee.send(message{ID: "incomingCall", From: s.name, SDPOffer: m.SDPOffer, ICEConfiguration: configuration})
	return nil
}

// openCall makes both sides busy.
func (h *hub) openCall(s *session, m message) (*call, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	callee := h.users[m.To]
	switch {
	case s.name == "":
		return nil, errors.New("you have to register a name before you call")
	case s.call != nil:
		return nil, fmt.Errorf("you are in a call with %s already", s.call.other(s).name)
	case m.To == "":
		return nil, errors.New("the message does not say whom to call")
	case m.SDPOffer == "":
		return nil, errors.New("the message has no offer")
	case callee == nil:
		return nil, fmt.Errorf("%.64s is not registered", m.To)
	case callee == s:
		return nil, errors.New("you cannot call yourself")
	case callee.call != nil:
		return nil, fmt.Errorf("%s is busy", m.To)
	}
	c := &call{caller: s, callee: callee, waiting: s.early, candidates: map[*session]int{s: len(s.early)}}
	s.early = nil
	s.call, callee.call = c, c
	h.log.Info("call", "from", s.name, "to", callee.name)
	return c, nil
}

func (h *hub) unanswered(c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.caller.call != c || c.state != ringing {
		return
	}
	name := c.callee.name
	h.forgetLocked(c)
	c.caller.send(message{ID: "callResponse", Response: rejected, Message: name + " does not answer"})
	c.callee.send(message{ID: "stopCommunication", Message: "you did not answer"})
}

// answerCall is the callee's accept or reject.
func (h *hub) answerCall(s *session, m message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := s.call
	switch {
	case c == nil || c.callee != s || c.state != ringing || m.From != "" && m.From != c.caller.name:
		return fmt.Errorf("there is no call from %.64s to be answered", m.From)
	case m.CallResponse == "accept" && m.SDPAnswer == "":
		return errors.New("the call is accepted without an answer in it")
	case m.CallResponse != "accept":
		h.forgetLocked(c)
		c.caller.send(message{ID: "callResponse", Response: rejected, Message: s.name + " declined"})
		return nil
	}
	c.state = answered
	c.ringing.Stop()
	c.caller.send(message{ID: "callResponse", Response: accepted, SDPAnswer: m.SDPAnswer})
	for _, candidate := range c.waiting {
		s.send(message{ID: "iceCandidate", Candidate: candidate})
	}
	c.waiting = nil
	return nil
}

// candidate keeps what comes before the call, or before the callee can use it.
func (h *hub) candidate(s *session, candidate json.RawMessage) error {
	if len(candidate) == 0 {
		return errors.New("the message has no candidate")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := s.call
	if c == nil {
		if len(s.early) >= maxCandidates {
			return fmt.Errorf("more than %d candidates without a call", maxCandidates)
		}
		s.early = append(s.early, candidate)
		return nil
	}
	if c.candidates[s]++; c.candidates[s] > maxCandidates {
		return fmt.Errorf("more than %d candidates in one call", maxCandidates)
	}
	if s == c.caller && c.state != answered {
		c.waiting = append(c.waiting, candidate)
		return nil
	}
	c.other(s).send(message{ID: "iceCandidate", Candidate: candidate})
	return nil
}

// renegotiate passes on an offer within a call, with credentials that are made for it.
func (h *hub) renegotiate(ctx context.Context, s *session, m message) error {
	h.mu.Lock()
	c := s.call
	running := c != nil && c.state == answered
	var name string
	if running {
		name = c.other(s).name
		c.candidates[s] = 0
		c.restarts++
	}
	spent := running && c.restarts > maxRestarts
	h.mu.Unlock()
	switch {
	case !running:
		return errors.New("there is no call to renegotiate")
	case spent:
		return fmt.Errorf("more than %d renegotiations in one call", maxRestarts)
	case m.SDPOffer == "":
		return errors.New("the message has no offer")
	}
	configuration, err := h.configuration(ctx, name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.call == c {
		c.other(s).send(message{ID: "renegotiate", SDPOffer: m.SDPOffer, ICEConfiguration: configuration})
	}
	return nil
}

func (h *hub) renegotiated(s *session, m message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.call == nil || s.call.state != answered:
		return errors.New("there is no call to renegotiate")
	case m.SDPAnswer == "":
		return errors.New("the message has no answer")
	}
	s.call.candidates[s] = 0
	s.call.other(s).send(message{ID: "renegotiateResponse", SDPAnswer: m.SDPAnswer})
	return nil
}

// stop hangs up, gives up or declines, on either side. Without a call there is nothing to be done.
func (h *hub) stop(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.early = nil
	c := s.call
	if c == nil {
		return
	}
	said := s.name + " has hung up"
	switch {
	case c.state != answered && s == c.callee:
		said = s.name + " declined"
	case c.state != answered:
		said = s.name + " gave up"
	}
	h.endLocked(c, s, said)
}

// endLocked ends the call and tells the one who did not end it.
func (h *hub) endLocked(c *call, by *session, said string) {
	h.forgetLocked(c)
	other := c.other(by)
	switch {
	case other == c.caller && c.state != answered:
		other.send(message{ID: "callResponse", Response: rejected, Message: said})
	case other == c.callee && c.state == preparing: // it does not know yet
	default:
		other.send(message{ID: "stopCommunication", Message: said})
	}
}

func (h *hub) forgetLocked(c *call) {
	if c.ringing != nil {
		c.ringing.Stop()
	}
	c.caller.call, c.callee.call = nil, nil
	c.caller.early, c.callee.early = nil, nil
}
