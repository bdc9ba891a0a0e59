package load

import (
	"crypto/md5"
	"errors"
	"fmt"
	"time"

	"github.com/pion/turn/v3"
	"golang.org/x/text/secure/precis"
)

var errNoRelayed = errors.New("success without a relayed address")

// Refusal says that the server did not do what was asked, so that nothing, or less, could be measured.
type Refusal struct {
	Request     string // "Allocate", "CreatePermission", "ChannelBind", "Refresh"
	Code        int    // ERROR-CODE; 0: the response had none, or there was no response
	Reason      string // the server's phrase, or what is wrong with its answer
	Unanswered  bool   // there was no response
	Broken      error  // the connection failed
	Credentials bool   // the request carried credentials
}

func (r *Refusal) Error() string {
	switch {
	case r.Broken != nil && r.Request == "":
		return r.Broken.Error()
	case r.Broken != nil:
		return fmt.Sprintf("%s: %v", r.Request, r.Broken)
	case r.Unanswered:
		return r.Request + " was not answered"
	case r.Code == 0:
		return fmt.Sprintf("%s was answered with %s", r.Request, r.Reason)
	case r.Reason == "":
		return fmt.Sprintf("%s was answered with %d", r.Request, r.Code)
	}
	return fmt.Sprintf("%s was answered with %d (%s)", r.Request, r.Code, r.Reason)
}

// Remedy is one sentence on what to try; "hairpin probe" knows more.
func (r *Refusal) Remedy() string {
	switch {
	case r.Unanswered, r.Broken != nil:
		return "is there a TURN server at this address and transport? hairpin probe tells more"
	case r.Code == 401 && !r.Credentials:
		return "the server wants credentials: give --user and --password, or --secret"
	case r.Code == 400 && r.Request == "Allocate", r.Code == 401:
		return "user name, password or secret is wrong"
	case r.Code == 403:
		return "the server does not let its clients meet: coturn needs --allow-loopback-peers for 127.0.0.0/8"
	case r.Code == 437:
		return "the server still holds an allocation of this address and port; try again, or take others by --clients-from"
	case r.Code == 440:
		return "the server has no relayed address of this family: try the other one with --family"
	case r.Code == 486:
		return "this user may not have so many allocations: lift the server's quota, or ask for fewer"
	case r.Code == 508:
		return "the server has no relayed address or port left: ask for fewer, or give it more"
	}
	return "hairpin probe tells more"
}

// longTermKey is the key of RFC 8489 §9.2.2.
func longTermKey(username, realm, password string) []byte {
	sum := md5.Sum([]byte(username + ":" + realm + ":" + password))
	return sum[:]
}

// credentials are what o asks for, prepared as RFC 8489 §9.2.2 wants it. Ephemeral ones outlive the run by an hour.
func (o Options) credentials() (username, password string, err error) {
	username, password = o.User, o.Password
	if o.Secret != "" {
		life := time.Hour + o.Warmup + o.Duration
		if o.User == "" {
			username, password, err = turn.GenerateLongTermCredentials(o.Secret, life)
		} else {
			username, password, err = turn.GenerateLongTermTURNRESTCredentials(o.Secret, o.User, life)
		}
	}
	if err == nil && username != "" {
		username, err = precis.OpaqueString.String(username)
	}
	if err == nil && password != "" {
		password, err = precis.OpaqueString.String(password)
	}
	if err != nil {
		err = fmt.Errorf("credentials: %w", err)
	}
	return username, password, err
}

// printable keeps a server's text from steering the user's terminal.
func printable(b []byte) string {
	text := []rune(string(b))
	for i, r := range text {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			text[i] = '?'
		}
	}
	return string(text)
}
