package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// iceParameters are all that the ICE credential service reads, as its documentation spells them.
var iceParameters = []string{"service", "username", "ttl", "iceTransportPolicy", "key", "public-addr", "namespace", "gateway", "listener"}

// iceQuery has the parameters of a request that are not empty, by the names of iceParameters.
type iceQuery map[string]string

// parseICEQuery reads what it can even of a faulty query, as the key may be in it.
func parseICEQuery(raw string) (iceQuery, error) {
	values, err := url.ParseQuery(raw)
	q, repeated := iceQuery{}, ""
	for name, given := range values {
		i := slices.IndexFunc(iceParameters, func(known string) bool { return strings.EqualFold(known, name) })
		if i < 0 {
			continue
		}
		name = iceParameters[i]
		for _, text := range given {
			if _, twice := q[name]; twice && text != "" {
				repeated = name
			} else if text != "" {
				q[name] = text
			}
		}
	}
	switch {
	case err != nil:
		return q, &refusal{status: http.StatusBadRequest, Reason: "the query cannot be read; write parameters as NAME=VALUE, parted by &, other characters percent-encoded"}
	case repeated != "":
		return q, wrongParameter(repeated, "is given twice", "give it once")
	}
	return q, nil
}

// iceRequest is a request that is understood.
type iceRequest struct {
	username string
	lifetime time.Duration // whole seconds
	policy   string
	host     string // replaces that of the listeners; empty: it does not

	namespace, gateway, listener string // empty: all
}

var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$`)

func (s *iceService) read(q iceQuery) (*iceRequest, error) {
	r := &iceRequest{
		username: q["username"], policy: "all", host: q["public-addr"],
		namespace: q["namespace"], gateway: q["gateway"], listener: q["listener"],
	}
	switch service := q["service"]; {
	case service == "":
		return nil, wrongParameter("service", "is missing", "write service=turn")
	case service != "turn":
		return nil, wrongParameter("service", fmt.Sprintf("%s is not available", quoted(service)), "write service=turn")
	}
	if policy, ok := q["iceTransportPolicy"]; ok {
		if policy != "all" && policy != "relay" {
			return nil, wrongParameter("iceTransportPolicy", fmt.Sprintf("%s is not an ICE transport policy", quoted(policy)), "write all or relay")
		}
		r.policy = policy
	}
	var err error
	if r.lifetime, err = s.lifetime(q["ttl"]); err != nil {
		return nil, err
	}
	if len(r.username) > MaxUsername {
		return nil, wrongParameter("username", fmt.Sprintf("has %d bytes", len(r.username)), fmt.Sprintf("at most %d are allowed with the expiry ahead of it (RFC 8489 §14.3)", MaxUsername))
	}
	if r.username != "" {
		if _, err := opaque(r.username); err != nil {
			return nil, wrongParameter("username", err.Error(), "choose another one")
		}
	}
	if r.host != "" {
		host := strings.TrimSuffix(strings.TrimPrefix(r.host, "["), "]")
		ip, err := netip.ParseAddr(host)
		isName := err != nil && len(r.host) <= 253 && hostName.MatchString(r.host)
		if isIP := err == nil && ip.Zone() == "" && !ip.IsUnspecified() && !ip.IsMulticast(); !isIP && !isName {
			return nil, wrongParameter("public-addr", fmt.Sprintf("%s is no address that clients can connect to", quoted(r.host)), "write the IP address or the name of one host")
		}
		r.host = host
	}
	return r, nil
}

// lifetime reads the ttl. More than the most is no fault: the answer says what was granted.
func (s *iceService) lifetime(ttl string) (time.Duration, error) {
	most := s.options.MaxLifetime.Truncate(time.Second)
	if ttl == "" {
		return min(DefaultICELifetime, most), nil
	}
	digits := strings.TrimLeft(ttl, "0")
	switch {
	case !allDigits([]byte(ttl)):
		return 0, wrongParameter("ttl", fmt.Sprintf("%s is not a number of seconds", quoted(ttl)), "write 1 or more in decimal digits")
	case digits == "":
		return 0, wrongParameter("ttl", "of 0 seconds is over at once", "write 1 or more")
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seconds > int64(most/time.Second) {
		return most, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// urls are those of the listeners that the request selects, each once.
func (r *iceRequest) urls(listeners []ICEListener) []string {
	var urls []string
	for _, l := range listeners {
		if r.namespace != "" && r.namespace != l.Namespace || r.gateway != "" && r.gateway != l.Gateway || r.listener != "" && r.listener != l.Name {
			continue
		}
		if r.host != "" {
			l.Host = r.host
		}
		if url := l.URL(); !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}

// nowhere is the answer when no listener is left.
func (r *iceRequest) nowhere() error {
	refused := &refusal{status: http.StatusNotFound, Reason: "there is no listener to connect to"}
	for _, selector := range []struct{ field, value string }{{"listener", r.listener}, {"gateway", r.gateway}, {"namespace", r.namespace}} {
		if selector.value != "" {
			refused.Field = selector.field
			refused.Reason = fmt.Sprintf("no listener has %s %s", selector.field, quoted(selector.value))
			if r.listener != "" && r.gateway+r.namespace != "" || r.gateway != "" && r.namespace != "" {
				refused.Reason += ", or none with all that is selected"
			}
			break
		}
	}
	return refused
}

// quoted repeats a wrong value, or how it begins.
func quoted(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + "…"
	}
	return strconv.Quote(text)
}
