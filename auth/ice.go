package auth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// ICEServer is an RTCIceServer of WebRTC. Marshalled to JSON it carries the credential, printed it does not.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// ICEConfig is an RTCConfiguration: the argument of new RTCPeerConnection(…).
type ICEConfig struct {
	ICEServers         []ICEServer `json:"iceServers"`
	ICETransportPolicy string      `json:"iceTransportPolicy,omitempty"` // "", "all" or "relay"
}

// ICE makes the configuration that lets a browser use the server at urls. A static user of that name gets its own
// password (ErrNoPassword when only its key is known), for which ttl means nothing; everybody else an ephemeral
// credential as by Issue (ErrNoSecret when there is none to sign it).
func (a *Authenticator) ICE(urls []string, user string, ttl time.Duration) (ICEConfig, error) {
	if len(urls) == 0 {
		return ICEConfig{}, errors.New("auth: an ICE configuration needs at least one URL")
	}
	server := ICEServer{URLs: slices.Clone(urls)}
	s := a.current.Load()
	if acc, ok := s.static(user); ok {
		if acc.password == "" {
			return ICEConfig{}, fmt.Errorf("%w: user %q", ErrNoPassword, acc.name)
		}
		server.Username, server.Credential = acc.name, acc.password
	} else {
		username, password, err := a.issue(s, user, ttl)
		if errors.Is(err, ErrNoSecret) {
			return ICEConfig{}, fmt.Errorf("%w, and %q is not a static user", err, user)
		} else if err != nil {
			return ICEConfig{}, err
		}
		server.Username, server.Credential = username, password
	}
	return ICEConfig{ICEServers: []ICEServer{server}}, nil
}

// StaticUser returns the password of a static user. ok is false when there is no such user or only its key is known.
func (a *Authenticator) StaticUser(name string) (password string, ok bool) {
	acc, ok := a.current.Load().static(name)
	return acc.password, ok && acc.password != ""
}

// static finds a user by a name that was typed, not received: it is put into its profile form first.
func (s *snapshot) static(name string) (account, bool) {
	processed, err := opaque(name)
	if err != nil {
		return account{}, false
	}
	return s.find([]byte(processed))
}

// String, GoString, Format and LogValue hide the credential.

func (s ICEServer) String() string {
	credential := "hidden"
	if s.Credential == "" {
		credential = "none"
	}
	return fmt.Sprintf("%s as %q, credential %s", strings.Join(s.URLs, " "), s.Username, credential)
}
func (s ICEServer) GoString() string           { return "auth.ICEServer{" + s.String() + "}" }
func (s ICEServer) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }
func (s ICEServer) LogValue() slog.Value       { return slog.StringValue(s.String()) }

func (c ICEConfig) String() string             { return fmt.Sprintf("%v", c.ICEServers) }
func (c ICEConfig) GoString() string           { return "auth.ICEConfig{" + c.String() + "}" }
func (c ICEConfig) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }
func (c ICEConfig) LogValue() slog.Value       { return slog.StringValue(c.String()) }
