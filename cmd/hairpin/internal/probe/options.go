package probe

import (
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/text/secure/precis"
)

// Limits of what can be asked. A probe is a measurement, not a load generator.
const (
	maxCount    = 1_000_000
	minInterval = time.Millisecond // for load there is hairpin bench
	maxInterval = time.Minute
	maxSize     = 65_000 // bytes; a Send indication around it still fits a UDP datagram
	minTimeout  = 50 * time.Millisecond
	maxTimeout  = time.Minute
	maxUser     = 508 - len("1234567890:") // bytes; RFC 8489 §14.3, with room for an expiry
)

// credentialLife is how long ephemeral credentials outlive the last packet.
const credentialLife = time.Hour

// keepAliveInterval is how often a long probe renews its allocations, channels
// and permissions, the shortest-lived of which lasts 300 s (RFC 8656 §9).
const keepAliveInterval = 2 * time.Minute

// Options say what to probe and how. The command's flags bear the same names.
type Options struct {
	Server URI

	// User and Password are long-term credentials. With Secret instead of
	// Password they are ephemeral, <unix expiry> or <unix expiry>:User.
	// None at all is tried too: the server may want none.
	User, Password, Secret string
	Realm                  string // empty: the one that the server names

	Count    int           // packets
	Interval time.Duration // between packets
	Size     int           // bytes of a packet's payload, at least MinSize

	// Timeout is the longest wait for any one answer: a connection, a
	// response, and the first returning packet. On UDP a request is
	// retransmitted for 7.8 s, after which more patience makes no difference.
	Timeout time.Duration

	Echo          string    // HOST:PORT of a UDP peer that returns what it gets; empty: a second allocation
	Indications   bool      // Send and Data indications instead of channels
	Family        int       // of the relayed addresses: 4, 6, or 0: the server's default
	PeerTransport Transport // of the second allocation; empty: the server URI's

	RootCAs  *x509.CertPool // who may have signed the certificate of a turns server; nil: the system's
	Insecure bool           // take any certificate

	keepAlive time.Duration // 0: keepAliveInterval; for tests
}

// A Fault is one thing that is wrong in what was asked.
type Fault struct {
	Key    string // the option, named as the command's flag, or the URI
	What   string
	Remedy string
}

func (f *Fault) Error() string { return f.Key + ": " + f.What + "; " + f.Remedy }

// Validate reports every fault of o; it changes nothing.
func (o Options) Validate() []*Fault {
	var faults []*Fault
	fault := func(key, what, remedy string) { faults = append(faults, &Fault{key, what, remedy}) }
	outside := func(key string, bad bool, value, low, high any) {
		if bad {
			fault(key, fmt.Sprintf("%v is out of range", value), fmt.Sprintf("choose from %v to %v", low, high))
		}
	}

	switch {
	case o.Password != "" && o.Secret != "":
		fault("secret", "excludes --password", "leave one of them out, also in the environment")
	case o.User != "" && o.Password == "" && o.Secret == "":
		fault("user", "has no password", "give --password or --secret, or HAIRPIN_PROBE_PASSWORD or HAIRPIN_PROBE_SECRET in the environment")
	case o.User == "" && o.Password != "":
		fault("password", "has no user", "give --user, or HAIRPIN_PROBE_USER in the environment")
	}
	if len(o.User) > maxUser {
		fault("user", fmt.Sprintf("has %d bytes", len(o.User)), fmt.Sprintf("at most %d are possible (RFC 8489 §14.3)", maxUser))
	}
	if _, err := precis.OpaqueString.String(o.User); o.User != "" && err != nil {
		fault("user", "has characters that no user name may have", "see RFC 8265")
	}
	if _, err := precis.OpaqueString.String(o.Password); o.Password != "" && err != nil {
		fault("password", "has characters that no password may have", "see RFC 8265")
	}
	outside("count", o.Count < 1 || o.Count > maxCount, o.Count, 1, maxCount)
	outside("interval", o.Interval < minInterval || o.Interval > maxInterval, o.Interval, minInterval, maxInterval)
	outside("size", o.Size < MinSize || o.Size > maxSize, o.Size, MinSize, maxSize)
	outside("timeout", o.Timeout < minTimeout || o.Timeout > maxTimeout, o.Timeout, minTimeout, maxTimeout)
	if o.Family != 0 && o.Family != 4 && o.Family != 6 {
		fault("family", fmt.Sprintf("%d is no IP version", o.Family), "write 4 or 6")
	}
	if o.PeerTransport != "" && o.PeerTransport != UDP && o.PeerTransport != TCP {
		fault("peer-transport", fmt.Sprintf("%q is not known", o.PeerTransport), "write udp or tcp")
	}
	if o.PeerTransport != "" && o.Server.Transport.secure() {
		fault("peer-transport", "has no meaning with turns:, which has a port of its own", "leave it out, or probe the server's turn: address")
	}
	if (o.Insecure || o.RootCAs != nil) && !o.Server.Transport.secure() {
		fault("insecure", "and ca are about certificates, of which a turn: server shows none", "probe a turns: address, or leave them out")
	}
	if o.Echo != "" {
		host, port, err := net.SplitHostPort(o.Echo)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
			fault("echo", fmt.Sprintf("%q is no address of a peer", o.Echo), "write HOST:PORT")
		}
		if o.PeerTransport != "" {
			fault("peer-transport", "has no meaning with --echo, which replaces the second allocation", "leave one of them out")
		}
	}
	return faults
}
