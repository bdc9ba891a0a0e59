package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/relay/rate"
)

// Limits and defaults of the ICE credential service.
const (
	// DefaultICELifetime is how long a credential is good for when a request asks for nothing else: a day, as in
	// draft-uberti-behave-turn-rest-00 §2.2.
	DefaultICELifetime = 24 * time.Hour

	// corsLifetime is how long a browser may remember that it may ask, in seconds.
	corsLifetime = 600

	// maxQuoted is how much of a wrong value an answer repeats, in bytes.
	maxQuoted = 64

	// rateBurst is for how long a source may save up requests, to make them at once.
	rateBurst = 10 * time.Second
)

// ICEListener is one address that an ICE configuration can send a browser to.
type ICEListener struct {
	// Namespace, Gateway and Name are what a request may select it by; each may be empty.
	Namespace, Gateway, Name string

	Secure    bool   // turns: instead of turn:
	Host      string // name or IP address, IPv6 without brackets
	Port      uint16 // 0: none is written, clients take 3478, or 5349 for turns (RFC 7065 §3.2)
	Transport string // "udp" or "tcp"; empty: none is written
}

// URL is the listener's URL in the form of RFC 7065 §3.1.
func (l ICEListener) URL() string {
	url, host := "turn:", l.Host
	if l.Secure {
		url = "turns:"
	}
	switch {
	case l.Port != 0:
		url += net.JoinHostPort(host, strconv.Itoa(int(l.Port)))
	case strings.Contains(host, ":"):
		url += "[" + host + "]"
	default:
		url += host
	}
	if l.Transport != "" {
		url += "?transport=" + l.Transport
	}
	return url
}

// ICEServiceOptions say what the ICE credential service hands out, and to whom.
type ICEServiceOptions struct {
	// Listeners are asked for at each request; it is called concurrently.
	Listeners func() []ICEListener

	// Keys are the API keys; whoever shows one of them is answered, and no rate limit holds for it. Empty: everybody is.
	Keys []string

	// Static allows handing out the password of a static user where there is no secret. It does not end by itself.
	Static bool

	// Local says that only this host can connect. Without a key, requests under another host name are refused then, as a
	// page of the web makes them with a name of its own that resolves to 127.0.0.1 (DNS rebinding).
	Local bool

	AllowOrigins []string      // whose pages may read the answers: SCHEME://HOST[:PORT], or * for all
	MaxLifetime  time.Duration // of a credential, in whole seconds; a request for more gets this. 0: DefaultICELifetime
	Rate         int           // requests per second that one source may make without a key, tenfold at once; 0: no limit
}

// NewICEService returns the handler of the ICE credential service, with the credentials of a:
//
//	GET /ice  ICEConfig, for new RTCPeerConnection(…); as STUNner's authentication service
//	GET /     Token, as in draft-uberti-behave-turn-rest-00
//
// The parameters are in deploy/openapi.yaml. With a secret every credential is ephemeral. An empty parameter counts as
// absent, names of parameters are taken in upper and lower case, and unknown ones are ignored. Nothing is logged.
func NewICEService(a *Authenticator, o ICEServiceOptions) (http.Handler, error) {
	var faults []error
	s := &iceService{auth: a, options: o, limit: rate.New[netip.Prefix](o.Rate, rateBurst)}
	if o.Listeners == nil {
		faults = append(faults, errors.New("auth: ICE service: Listeners is nil; give a function that lists what clients can connect to"))
	}
	if o.MaxLifetime == 0 {
		s.options.MaxLifetime = DefaultICELifetime
	}
	if o.MaxLifetime != 0 && o.MaxLifetime < time.Second {
		faults = append(faults, fmt.Errorf("auth: ICE service: MaxLifetime %v is too short; give 1s or more", o.MaxLifetime))
	}
	if o.Rate < 0 {
		faults = append(faults, fmt.Errorf("auth: ICE service: Rate %d is negative; give 0 or more", o.Rate))
	}
	for i, k := range o.Keys {
		if k == "" {
			faults = append(faults, fmt.Errorf("auth: ICE service: key %d is empty; give a random text or leave it out", i+1))
		}
		s.keys = append(s.keys, sha256.Sum256([]byte(k))) // the sum hides how long the key is
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return s, nil
}

type iceService struct {
	auth    *Authenticator
	options ICEServiceOptions
	keys    [][sha256.Size]byte
	limit   *rate.Limit[netip.Prefix]
}

// Token is the answer of the TURN REST API, draft-uberti-behave-turn-rest-00 §2.2.
type Token struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	TTL      int64    `json:"ttl"` // seconds
	URIs     []string `json:"uris"`
}

// A refusal is an answer that is none. Its JSON is the whole body.
type refusal struct {
	status int
	Reason string `json:"error"`
	Field  string `json:"field,omitempty"` // the parameter, as the documentation spells it
	wait   time.Duration
}

func (r *refusal) Error() string { return r.Reason }

// wrongParameter answers a fault of the request.
func wrongParameter(field, what, remedy string) *refusal {
	return &refusal{status: http.StatusBadRequest, Field: field, Reason: field + " " + what + "; " + remedy}
}

func (s *iceService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.allowOrigin(w, r)
	switch {
	case r.URL.Path != "/ice" && r.URL.Path != "/":
		s.refuse(w, &refusal{status: http.StatusNotFound, Reason: "there are /ice?service=turn and /?service=turn"})
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		s.refuse(w, &refusal{status: http.StatusMethodNotAllowed, Reason: "only GET is answered here"})
	default:
		token, policy, err := s.issue(r)
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			s.refuse(w, refused)
		case r.URL.Path == "/":
			answerJSON(w, http.StatusOK, token)
		default:
			answerJSON(w, http.StatusOK, struct { // as ICEConfig, whose policy may be left out
				ICEServers         []ICEServer `json:"iceServers"`
				ICETransportPolicy string      `json:"iceTransportPolicy"`
			}{[]ICEServer{{URLs: token.URIs, Username: token.Username, Credential: token.Password}}, policy})
		}
	}
}

// issue is the way of a request: who asks, what for, where to, with which credential.
func (s *iceService) issue(r *http.Request) (Token, string, error) {
	q, err := parseICEQuery(r.URL.RawQuery)
	shown := shownKey(r, q)
	if !s.knows(shown) {
		if wait := s.limit.Admit(sourceOf(r), 1, s.auth.now().UnixNano()); wait > 0 {
			return Token{}, "", &refusal{status: http.StatusTooManyRequests, wait: wait, Reason: "too many requests from this address; wait, or show the API key"}
		}
		if err := s.admits(r, shown); err != nil {
			return Token{}, "", err
		}
	}
	if err != nil {
		return Token{}, "", err
	}
	request, err := s.read(q)
	if err != nil {
		return Token{}, "", err
	}
	urls := request.urls(s.options.Listeners())
	if len(urls) == 0 {
		return Token{}, "", request.nowhere()
	}
	username, password, err := s.credential(request)
	if err != nil {
		return Token{}, "", err
	}
	return Token{Username: username, Password: password, TTL: int64(request.lifetime / time.Second), URIs: urls}, request.policy, nil
}

// credential is ephemeral wherever there is a secret.
func (s *iceService) credential(r *iceRequest) (username, password string, err error) {
	now := s.auth.current.Load()
	if len(now.secrets) > 0 {
		username, password, err = s.auth.issue(now, r.username, r.lifetime)
		if err != nil {
			return "", "", wrongParameter("username", "cannot be signed: "+strings.TrimPrefix(err.Error(), "auth: "), "choose another one")
		}
		return username, password, nil
	}
	if !s.options.Static {
		return "", "", &refusal{status: http.StatusForbidden, Reason: "there is no secret to sign an ephemeral credential with, and passwords of static " +
			"users are handed out on loopback or for an API key only; configure a secret"}
	}
	account, ok := now.static(r.username)
	if !ok {
		account, ok = now.only()
	}
	switch {
	case !ok:
		return "", "", wrongParameter("username", "names none of the static users, and there is no secret for ephemeral credentials", "name one of them")
	case account.password == "":
		return "", "", wrongParameter("username", "names a user whose HA1 key alone is configured", "configure its password, or a secret")
	}
	return account.name, account.password, nil
}

// admits says who is let in without a key that is right.
func (s *iceService) admits(r *http.Request, shown string) error {
	switch {
	case len(s.keys) > 0 && shown == "":
		return &refusal{status: http.StatusUnauthorized, Field: "key", Reason: "an API key is needed; send \"Authorization: Bearer KEY\", or key=KEY"}
	case len(s.keys) > 0:
		return &refusal{status: http.StatusUnauthorized, Field: "key", Reason: "this API key is not known"}
	case s.options.Local && !IsLocalName(r.Host):
		return &refusal{status: http.StatusForbidden, Reason: fmt.Sprintf("this address answers to localhost and to IP addresses, not to %s; "+
			"use one of these, or set an API key", quoted(r.Host))}
	}
	return nil
}

// knows compares in a time that says nothing about the keys.
func (s *iceService) knows(shown string) bool {
	sum, found := sha256.Sum256([]byte(shown)), 0
	for i := range s.keys {
		found |= subtle.ConstantTimeCompare(sum[:], s.keys[i][:])
	}
	return found == 1
}

// shownKey is the bearer token (RFC 6750 §2.1), else the parameter.
func shownKey(r *http.Request, q iceQuery) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return q["key"]
}

// sourceOf is whom the rate limit counts: an IPv4 address, or the /64 that an IPv6 host may choose its address from.
func sourceOf(r *http.Request) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // not a network of addresses: all of it is one source
	}
	return rate.Source(at.Addr())
}

// allowOrigin is the CORS protocol: it tells a browser which pages may read the answer. There are no cookies here, and
// nothing else that a browser would add by itself.
func (s *iceService) allowOrigin(w http.ResponseWriter, r *http.Request) {
	if len(s.options.AllowOrigins) == 0 {
		return
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	switch {
	case slices.Contains(s.options.AllowOrigins, "*"):
		origin = "*"
	case origin == "" || !slices.Contains(s.options.AllowOrigins, origin):
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization")
		w.Header().Set("Access-Control-Max-Age", strconv.Itoa(corsLifetime))
	}
}

func (s *iceService) refuse(w http.ResponseWriter, r *refusal) {
	switch {
	case r.status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="hairpin ICE service"`)
	case r.wait > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(r.wait.Seconds()))))
	}
	answerJSON(w, r.status, r)
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // it is no HTML, and nosniff keeps it so
	encoder.Encode(body)         // an error means that nobody reads any more
}

// IsLocalName says whether a Host header is one that nobody else can make resolve to this host: an IP address, localhost
// or a name below it (RFC 6761 §6.3).
func IsLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
