package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what a browser may say.
const (
	maxMessage    = 64 << 10  // bytes; a description of audio, video and data has some 6 kB
	maxRead       = 256 << 10 // beyond, the WebSocket is closed; between the two, the message is answered with an error
	maxName       = 64        // characters
	maxCandidates = 200       // that one side may send in one call
	maxRestarts   = 200       // renegotiations in one call
	maxFaults     = 20        // wrong messages after which a WebSocket is closed
)

// A message is every message of both directions. The names of the members and of those ids that are there are those of
// the one-to-one tutorials of Kurento and STUNner.
//
//	browser → server                                       server → browser
//	register              name                             registerResponse   response, message, iceConfiguration
//	iceConfiguration                                       iceConfiguration   iceConfiguration, message
//	call                  to, sdpOffer                     incomingCall       from, sdpOffer, iceConfiguration
//	incomingCallResponse  from, callResponse, sdpAnswer    callResponse       response, message, sdpAnswer
//	onIceCandidate        candidate                        iceCandidate       candidate
//	renegotiate           sdpOffer                         renegotiate        sdpOffer, iceConfiguration
//	renegotiateResponse   sdpAnswer                        renegotiateResponse sdpAnswer
//	stop                                                   stopCommunication  message
//	                                                       error              message
//
// iceConfiguration (credentials afresh for a call) and the two of renegotiation (a call that found a new way after the
// relay was restarted) are not in the tutorials; a client that does not know them is served as well.
type message struct {
	ID               string          `json:"id"`
	Name             string          `json:"name,omitempty"`
	From             string          `json:"from,omitempty"`
	To               string          `json:"to,omitempty"`
	Response         string          `json:"response,omitempty"`
	CallResponse     string          `json:"callResponse,omitempty"`
	Message          string          `json:"message,omitempty"`
	SDPOffer         string          `json:"sdpOffer,omitempty"`
	SDPAnswer        string          `json:"sdpAnswer,omitempty"`
	Candidate        json.RawMessage `json:"candidate,omitempty"`
	ICEConfiguration json.RawMessage `json:"iceConfiguration,omitempty"`
}

// The two values of response.
const (
	accepted = "accepted"
	rejected = "rejected"
)

func parseMessage(text []byte) (message, error) {
	var m message
	switch err := json.Unmarshal(text, &m); {
	case len(text) > maxMessage:
		return message{}, fmt.Errorf("the message has %d bytes, at most %d are taken", len(text), maxMessage)
	case err != nil:
		return message{}, errors.New("the message is not a JSON object with texts in it")
	case m.ID == "":
		return message{}, errors.New(`the message has no "id"`)
	}
	return m, nil
}

// checkName says what is wrong with the name of a user.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name contains a character that cannot be shown")
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("the name has more than %d characters", maxName)
	case name != strings.TrimSpace(name):
		return errors.New("the name begins or ends with a space")
	}
	return nil
}

func problem(text string) message { return message{ID: "error", Message: text} }
