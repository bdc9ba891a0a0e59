package control

import (
	"sync/atomic"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Stats counts what the control plane did. The zero value is ready. It is written
// by all workers and read by whoever scrapes. All its dimensions are closed, so that
// every series exists from the start.
type Stats struct {
	requests  [methods][codes]atomic.Uint64
	failures  [authFailures]atomic.Uint64
	discarded [discards]atomic.Uint64
}

// EachRequest yields the count of answered requests by method ("binding",
// "allocate", …), class ("success" or "error") and error code (0 for a success).
func (s *Stats) EachRequest(yield func(method, class string, code int, count uint64)) {
	for m := range methods {
		for c := range codes {
			class := wire.ClassError
			if c == success {
				class = wire.ClassSuccess
			}
			yield(m.String(), class.String(), c.number(), s.requests[m][c].Load())
		}
	}
}

// EachAuthFailure yields the count of refused credentials by reason. A request
// without credentials is none: every client starts with one.
func (s *Stats) EachAuthFailure(yield func(reason string, count uint64)) {
	for f := notAFailure + 1; f < authFailures; f++ {
		yield(f.String(), s.failures[f].Load())
	}
}

// EachDiscard yields the count of messages that were silently discarded, by reason.
func (s *Stats) EachDiscard(yield func(reason string, count uint64)) {
	for d := range discards {
		yield(d.String(), s.discarded[d].Load())
	}
}

func (s *Stats) count(m method, c code) { s.requests[m][c].Add(1) }

func (s *Stats) fail(f authFailure) {
	if f != notAFailure {
		s.failures[f].Add(1)
	}
}

func (s *Stats) discard(d discarded) { s.discarded[d].Add(1) }

// method is a method that is answered.
type method uint8

const (
	methodBinding method = iota
	methodAllocate
	methodRefresh
	methodCreatePermission
	methodChannelBind
	methodConnect
	methodConnectionBind
	methods // how many there are
)

var methodTable = [methods]wire.Method{
	methodBinding:          wire.MethodBinding,
	methodAllocate:         wire.MethodAllocate,
	methodRefresh:          wire.MethodRefresh,
	methodCreatePermission: wire.MethodCreatePermission,
	methodChannelBind:      wire.MethodChannelBind,
	methodConnect:          wire.MethodConnect,
	methodConnectionBind:   wire.MethodConnectionBind,
}

func methodOf(m wire.Method) (method, bool) {
	for i, known := range methodTable {
		if m == known {
			return method(i), true
		}
	}
	return 0, false
}

func (m method) String() string { return methodTable[m].String() }

// authFailure is a reason for which credentials were refused.
type authFailure uint8

const (
	notAFailure          authFailure = iota
	failureIncomplete                // 400: a part of the set is missing
	failureWrongRealm                // 401
	failureUnknownUser               // 401
	failureWrongPassword             // 401
	failureExpired                   // 401: an ephemeral credential after its time
	failureStaleNonce                // 438: also a nonce of somebody else, or of nobody
	failureWrongUser                 // 441: the allocation is another user's
	failureAlgorithms                // 400: the password algorithms are not those that were offered, which is a sign of a bid-down
	failureAlgorithm                 // 401: a password algorithm that is switched off
	failureToken                     // 401: an access token that cannot be opened
	failureTokenExpired              // 401: an access token before or after its time
	authFailures                     // how many there are
)

// String returns the reason as a metric's label.
func (f authFailure) String() string {
	return [authFailures]string{
		"none", "incomplete", "wrong_realm", "unknown_user", "wrong_password", "expired", "stale_nonce", "wrong_user",
		"algorithms", "algorithm", "token", "token_expired",
	}[f]
}

// discarded is a reason for which a message was not answered.
type discarded uint8

const (
	discardMalformed   discarded = iota // not a well-formed STUN message
	discardFingerprint                  // FINGERPRINT does not match
	discardMethod                       // a request of a method that this server does not have
	discardClass                        // a response, or an indication that no client sends
	discardRate                         // a source makes too many requests without an allocation
	discardBytes                        // a network gets more than its share of answers that prove nothing
	discardLogins                       // a source fails to log in too often
	discards                            // how many there are
)

// String returns the reason as a metric's label.
func (d discarded) String() string {
	return [discards]string{"malformed", "fingerprint", "method", "class", "unauthenticated_rate", "unauthenticated_bytes", "failed_logins"}[d]
}
