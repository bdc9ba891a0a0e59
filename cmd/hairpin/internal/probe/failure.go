package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/pion/stun/v2"
)

// Unreachable says that the server could not be talked to: its name does not
// resolve, nobody listens, nothing usable is answered.
type Unreachable struct {
	Address string // what was tried
	Reason  string // one clause
	Err     error  // private cause; may be nil
}

func (u *Unreachable) Error() string { return u.Address + ": " + u.Reason }
func (u *Unreachable) Unwrap() error { return u.Err }

// unreachable turns an error of the network into the clause that a user understands.
func unreachable(address string, err error) *Unreachable {
	var dns *net.DNSError
	var timeout net.Error
	reason := err.Error()
	distrust, distrusts := distrusted(err)
	switch {
	case distrusts:
		reason = "its certificate is not trusted: " + distrust + "; give --ca FILE with whoever signed it, or --insecure to look past it"
	case errors.As(err, &dns) && dns.IsNotFound:
		reason = "the host name does not resolve"
	case errors.As(err, &dns):
		reason = "the host name could not be resolved: " + dns.Err
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "connection refused: nobody listens on this port"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		reason = "no route to this address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		reason = "the server closed the connection"
	case errors.As(err, &timeout) && timeout.Timeout():
		reason = "no answer"
	}
	return &Unreachable{Address: address, Reason: reason, Err: err}
}

// Refusal is an error response that ended the probe.
type Refusal struct {
	Side      string // which allocation: "A" or "B"
	Request   string // "Allocate", "CreatePermission", "ChannelBind"
	Code      int    // ERROR-CODE; 0 when the response carried none
	Reason    string // the server's reason phrase, may be empty
	Realm     string // that the server named, may be empty
	Alternate string // ALTERNATE-SERVER of a 300, may be empty

	Credentials bool           // the refused request carried credentials
	Ephemeral   bool           // and they came from a shared secret
	Peer        netip.AddrPort // whom the request named; invalid for Allocate
	Indications bool           // the probe uses indications
}

func (r *Refusal) Error() string {
	code := "an error without a code"
	if r.Code != 0 {
		code = fmt.Sprintf("%d", r.Code)
		if r.Reason != "" {
			code += " (" + r.Reason + ")"
		}
	}
	what := r.Request
	if r.Peer.IsValid() {
		what += " for peer " + r.Peer.String()
	}
	return fmt.Sprintf("%s of allocation %s was answered with %s", what, r.Side, code)
}

// Remedy is one sentence on what to try.
func (r *Refusal) Remedy() string {
	switch stun.ErrorCode(r.Code) {
	case stun.CodeUnauthorized:
		switch {
		case !r.Credentials:
			return fmt.Sprintf("the server wants credentials for the realm %q: give --user and --password, or --secret (or set HAIRPIN_PROBE_USER, _PASSWORD, _SECRET)", r.Realm)
		case r.Ephemeral:
			return fmt.Sprintf("the secret is not the server's, or the clocks of this machine and the server differ (realm %q)", r.Realm)
		default:
			return fmt.Sprintf("user name or password is wrong for the realm %q, or the credentials have expired", r.Realm)
		}
	case stun.CodeForbidden, 0:
		if r.Peer.IsValid() {
			return "the relay does not let its clients reach this peer. For a relayed address of its own: coturn needs --allow-loopback-peers for 127.0.0.0/8 and no denied-peer-ip that covers it; a hairpin server refuses every peer outside its --peers rule, as it should"
		}
		return "the server's policy forbids this user or this client address to allocate"
	case stun.CodeBadRequest:
		if r.Credentials && r.Request == "Allocate" {
			return "check user name and password first: some servers (pion/turn) answer wrong ones with 400"
		}
		if r.Request == "ChannelBind" && !r.Indications {
			return "the server does not bind channels as RFC 8656 says; try --indications"
		}
		return "the server does not understand this request; is it a TURN server (RFC 8656)?"
	case stun.CodeTryAlternate:
		if r.Alternate != "" {
			return "the server sends its clients elsewhere: probe " + r.Alternate
		}
		return "the server sends its clients elsewhere without saying where"
	case stun.CodeAllocMismatch:
		return "the server holds an old allocation of this address and port, or lost the one just made; try again in a minute"
	case stun.CodeStaleNonce:
		return "the server calls each of its own nonces stale: are several servers, without a common nonce secret, behind one address?"
	case stun.CodeAddrFamilyNotSupported:
		return "the server has no relayed address of this family: try the other one with --family"
	case stun.CodeWrongCredentials:
		return "the server holds the allocation for another user; the credentials must stay the same over the probe"
	case stun.CodeUnsupportedTransProto:
		return "the server relays no UDP"
	case stun.CodePeerAddrFamilyMismatch:
		return "peer and relayed address are of different families: set --family to the peer's"
	case stun.CodeAllocQuotaReached:
		return "this user holds as many allocations as the server allows: the probe needs two (one with --echo)"
	case stun.CodeInsufficientCapacity:
		return "the server has no relayed address or port left"
	}
	return "see the server's log"
}
