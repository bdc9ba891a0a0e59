package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// maxSessions bounds the WebSockets at a time.
const maxSessions = 10_000

// hub knows who is there. One lock guards it all; nothing waits while it is held.
type hub struct {
	// Immutable.
	ctx     context.Context // of every session
	ice     *iceClient
	ringFor time.Duration
	log     *slog.Logger

	mu      sync.Mutex
	users   map[string]*session // by name, from the request to register on
	present int                 // sessions
	gone    sync.WaitGroup      // of present
}

func newHub(ctx context.Context, ice *iceClient, ringFor time.Duration, log *slog.Logger) *hub {
	return &hub{ctx: ctx, ice: ice, ringFor: ringFor, log: log, users: map[string]*session{}}
}

func (h *hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.present >= maxSessions {
		return false
	}
	h.present++
	h.gone.Add(1)
	return true
}

func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.present--
	h.gone.Done()
}

// wait returns when every session has ended.
func (h *hub) wait() { h.gone.Wait() }

// handle takes one message. Its error is told to the browser that sent it.
func (h *hub) handle(ctx context.Context, s *session, m message) error {
	h.log.Debug("message", "id", m.ID, "user", s.name) // name is written by this goroutine only
	switch m.ID {
	case "register":
		h.register(ctx, s, m.Name)
		return nil
	case "call":
		if err := h.startCall(ctx, s, m); err != nil {
			s.send(message{ID: "callResponse", Response: rejected, Message: err.Error()})
		}
		return nil
	}
	if s.name == "" {
		return fmt.Errorf("%q comes before a name is registered", m.ID)
	}
	switch m.ID {
	case "iceConfiguration":
		configuration, err := h.configuration(ctx, s.name)
		if err != nil {
			s.send(message{ID: "iceConfiguration", Message: err.Error()})
			return nil
		}
		s.send(message{ID: "iceConfiguration", ICEConfiguration: configuration})
		return nil
	case "incomingCallResponse":
		return h.answerCall(s, m)
	case "onIceCandidate":
		return h.candidate(s, m.Candidate)
	case "renegotiate":
		return h.renegotiate(ctx, s, m)
	case "renegotiateResponse":
		return h.renegotiated(s, m)
	case "stop":
		h.stop(s)
		return nil
	}
	return fmt.Errorf("%.64q is not a message that is known here", m.ID)
}

// configuration fetches credentials afresh. Why it could not is for the log, not for users.
func (h *hub) configuration(ctx context.Context, name string) (json.RawMessage, error) {
	configuration, err := h.ice.configuration(ctx, name)
	if err != nil {
		h.log.Warn("no ICE configuration", "reason", err)
		return nil, errNoICE
	}
	return configuration, nil
}

// register takes a name and gives it back when there is no ICE configuration for it.
func (h *hub) register(ctx context.Context, s *session, name string) {
	err := h.takeName(s, name)
	var configuration json.RawMessage
	if err == nil {
		if configuration, err = h.configuration(ctx, name); err != nil {
			h.unregister(s)
		}
	}
	if err != nil {
		s.send(message{ID: "registerResponse", Response: rejected, Message: err.Error()})
		return
	}
	h.log.Info("registered", "user", name)
	s.send(message{ID: "registerResponse", Response: accepted, ICEConfiguration: configuration})
}

func (h *hub) takeName(s *session, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.name == name:
		return errors.New("you are registered already")
	case s.name != "":
		return fmt.Errorf("you are registered as %s already", s.name)
	case h.users[name] != nil:
		return fmt.Errorf("the name %s is already registered", name)
	}
	h.users[name], s.name = s, name
	return nil
}

// unregister frees the name and ends the call. It is the end of a session, and of a registration that failed.
func (h *hub) unregister(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.call != nil {
		h.endLocked(s.call, s, s.name+" has lost the connection")
	}
	if s.name != "" {
		delete(h.users, s.name)
		h.log.Info("gone", "user", s.name)
		s.name = ""
	}
	s.early = nil
}
