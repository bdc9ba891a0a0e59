package check

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/cmd/hairpin/internal/probe"
)

// Limits of what can be asked.
const (
	maxParallel = 32
	minQuiet    = 10 * time.Millisecond
	maxQuiet    = 10 * time.Second
)

// Options say what to check and how. The command's flags bear the same names.
type Options struct {
	Server   probe.URI
	Secure   bool // TLS over the URI's TCP: a turns URI
	Insecure bool // accept any certificate

	// User, Password, Secret and Realm are as for a probe.
	User, Password, Secret, Realm string

	// OtherUser and OtherPassword are a second user, for the rows about one user's allocation in another's hands. With
	// Secret there always is one.
	OtherUser, OtherPassword string

	Peer     netip.Addr    // an address of this host where the server can send to; invalid: allocations are each other's peers
	Timeout  time.Duration // longest wait for an answer
	Quiet    time.Duration // how long nothing has to come for silence
	Parallel int           // rows at a time
	Slow     bool          // also rows that wait for an RFC's timer
	Only     string        // only rows whose ID or citation begins so; empty: all

	wrap func(net.Conn, *exam) net.Conn // what a row's sockets speak through, for tests that lie to rows; nil: nothing
}

// ParseURI reads a turn or turns URI; secure says that it is turns. TLS runs over TCP, on port 5349 unless another one is
// named (RFC 7065 §3.2).
func ParseURI(s string) (u probe.URI, secure bool, fault *probe.Fault) {
	scheme, rest, _ := strings.Cut(s, ":")
	if !strings.EqualFold(scheme, "turns") {
		u, fault = probe.ParseURI(s)
		return u, false, fault
	}
	authority, query, _ := strings.Cut(rest, "?")
	switch strings.ToLower(query) {
	case "", "transport=tcp":
	default:
		return u, true, &probe.Fault{Key: s, What: fmt.Sprintf("%q is not known with turns", query), Remedy: "write turns:HOST:PORT?transport=tcp"}
	}
	if u, fault = probe.ParseURI("turn:" + authority + "?transport=tcp"); fault != nil {
		return u, true, &probe.Fault{Key: s, What: fault.What, Remedy: strings.ReplaceAll(fault.Remedy, "turn:", "turns:")}
	}
	if !strings.Contains(authority[strings.LastIndexByte(authority, ']')+1:], ":") {
		u.Port = securePort
	}
	return u, true, nil
}

const securePort = 5349

// probing is what a probe needs of the options, with values of its own where a check has none.
func (o Options) probing() probe.Options {
	return probe.Options{
		Server: o.Server, User: o.User, Password: o.Password, Secret: o.Secret, Realm: o.Realm, Timeout: o.Timeout,
		Count: 1, Interval: time.Second, Size: probe.MinSize,
	}
}

// Validate reports every fault of o; it changes nothing.
func (o Options) Validate() []*probe.Fault {
	faults := o.probing().Validate()
	fault := func(key, what, remedy string) {
		faults = append(faults, &probe.Fault{Key: key, What: what, Remedy: remedy})
	}
	if o.Parallel < 1 || o.Parallel > maxParallel {
		fault("parallel", fmt.Sprintf("%d is out of range", o.Parallel), fmt.Sprintf("choose from 1 to %d", maxParallel))
	}
	if o.Quiet < minQuiet || o.Quiet > maxQuiet {
		fault("quiet", fmt.Sprintf("%v is out of range", o.Quiet), fmt.Sprintf("choose from %v to %v", minQuiet, maxQuiet))
	}
	if (o.OtherUser == "") != (o.OtherPassword == "") {
		fault("other-user", "goes together with --other-password", "give both or none of them")
	}
	if o.OtherUser != "" && o.OtherUser == o.User {
		fault("other-user", "is the same as --user", "name another user of the server")
	}
	if o.Insecure && !o.Secure {
		fault("insecure", "has no meaning without TLS", "check a turns: address or leave it out")
	}
	if len(o.chosen()) == 0 {
		fault("only", fmt.Sprintf("%q begins no row", o.Only), `write for example "RFC 8656" or "8656-7.2"`)
	}
	return faults
}

// chosen are the rows that the options want.
func (o Options) chosen() (rows []Row) {
	for _, r := range Rows() {
		if strings.HasPrefix(r.ID, o.Only) || strings.HasPrefix(r.Citation(), o.Only) {
			rows = append(rows, r)
		}
	}
	return rows
}
